//! A worker's batch of ten binds compared with a batch of one. With services on this machine, the calls compete for a
//! processor. With remote services, they wait.

use std::time::{Duration, Instant};

use crate::candidate::{self, Candidate, Role, respond};
use crate::fixture::Fixture;
use crate::results::{Row, ms, percentile, table};
use crate::tls::ROUND_TRIP;

/// Batches of each size.
const BATCHES: usize = 60;
/// One message, and as many as SQS delivers at once.
const SIZES: [usize; 2] = [1, 10];

/// Measures the batches and prints the results.
pub async fn run() {
    let fixture = Fixture::start().await;
    let workers: Vec<Candidate> =
        candidate::all().into_iter().filter(|candidate| candidate.role == Role::Worker).collect();
    let rows = measure(&fixture, &fixture.near, &workers).await;
    table("batch", &format!("A worker's batch, medians of {BATCHES}"), &rows);
    let rows = measure(&fixture, &fixture.far, &workers).await;
    table(
        "remote batch",
        &format!("A worker's batch, by TLS, {ROUND_TRIP:?} there and back, medians of {BATCHES}"),
        &rows,
    );
}

async fn measure(fixture: &Fixture, environment: &[(String, String)], workers: &[Candidate]) -> Vec<Row> {
    let mut all = Vec::new();
    for worker in workers {
        let function = worker.function(environment).await;
        function.start().await;
        all.push((worker, function, [Vec::new(), Vec::new()]));
    }
    // The first batch of each size opens connections, and is not counted.
    for number in 0..=BATCHES {
        for (worker, function, times) in &mut all {
            for (size, times) in SIZES.into_iter().zip(times) {
                let task = fixture.task(worker, size).await;
                let started = Instant::now();
                let response = respond(function, task.event.clone()).await;
                if number > 0 {
                    times.push(started.elapsed());
                }
                fixture.check(&task, &response).await;
            }
        }
    }
    let row = |(worker, _, times): &(&Candidate, _, [Vec<Duration>; 2])| {
        let [one, ten] = times.each_ref().map(|times| ms(percentile(times, 50)));
        (worker.name.to_owned(), vec![("1 bind ms", one), ("10 binds ms", ten), ("ratio", ten / one)])
    };
    all.iter().map(row).collect()
}
