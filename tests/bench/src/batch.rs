//! A worker's batch of ten binds beside a batch of one: with services on this machine, where the calls share a processor, and with
//! services at a distance, where they wait.

use std::time::{Duration, Instant};

use crate::results::{Row, ms, percentile, table};
use crate::site::Site;
use crate::subject::{self, Role, Subject, answer};
use crate::tls::ROUND_TRIP;

/// Batches of each size.
const BATCHES: usize = 60;
/// As many as SQS hands over at once.
const SIZES: [usize; 2] = [1, 10];

/// Measures it, and prints.
pub async fn run() {
    let site = Site::start().await;
    let workers: Vec<Subject> = subject::all().into_iter().filter(|subject| subject.role == Role::Worker).collect();
    let rows = measure(&site, &site.near, &workers).await;
    table("batch", &format!("A worker's batch, medians of {BATCHES}"), &rows);
    let rows = measure(&site, &site.far, &workers).await;
    table(
        "remote batch",
        &format!("A worker's batch, by TLS, {ROUND_TRIP:?} there and back, medians of {BATCHES}"),
        &rows,
    );
}

async fn measure(site: &Site, environment: &[(String, String)], workers: &[Subject]) -> Vec<Row> {
    let mut all = Vec::new();
    for worker in workers {
        let function = worker.function(environment).await;
        function.start().await;
        all.push((worker, function, [Vec::new(), Vec::new()]));
    }
    // The first of each size opens connections, and is not counted.
    for number in 0..=BATCHES {
        for (worker, function, times) in &mut all {
            for (size, times) in SIZES.into_iter().zip(times) {
                let task = site.task(worker, size).await;
                let started = Instant::now();
                let answer = answer(function, task.event.clone()).await;
                if number > 0 {
                    times.push(started.elapsed());
                }
                site.check(&task, &answer).await;
            }
        }
    }
    let row = |(worker, _, times): &(&Subject, _, [Vec<Duration>; 2])| {
        let [one, ten] = times.each_ref().map(|times| ms(percentile(times, 50)));
        (worker.name.to_owned(), vec![("1 bind ms", one), ("10 binds ms", ten), ("ratio", ten / one)])
    };
    all.iter().map(row).collect()
}
