//! From a process's start to its first event, that event, and the next ones: with services on this machine, and with services
//! reached by TLS from a round trip away.

use std::time::{Duration, Instant};

use crate::results::{ms, percentile, table};
use crate::site::Site;
use crate::subject::{self, Subject, answer};
use crate::tls::ROUND_TRIP;

/// Processes of each subject.
const STARTS: usize = 20;
/// Events after the first.
const WARM: usize = 5;

/// What one subject's processes took.
#[derive(Default)]
struct Times {
    init: Vec<Duration>,
    first: Vec<Duration>,
    sum: Vec<Duration>,
    init_cpu: Vec<Duration>,
    cpu: Vec<Duration>,
    warm: Vec<Duration>,
}

/// With everything on this machine.
pub async fn near() {
    let site = Site::start().await;
    measure(&site, &site.near, &subject::all(), ("start", &format!("Start, medians of {STARTS}"))).await;
}

/// With services at a distance.
pub async fn far() {
    let site = Site::start().await;
    let heading = format!("Start, by TLS, {ROUND_TRIP:?} there and back, medians of {STARTS}");
    measure(&site, &site.far, &subject::all(), ("remote", &heading)).await;
}

/// Starts them in this environment, and prints a table of this name and heading.
pub async fn measure(
    site: &Site,
    environment: &[(String, String)],
    subjects: &[Subject],
    (name, heading): (&str, &str),
) {
    let mut all: Vec<Times> = subjects.iter().map(|_| Times::default()).collect();
    // In turns, so that what else the machine does meets all.
    for _ in 0..STARTS {
        for (subject, times) in subjects.iter().zip(&mut all) {
            start(site, environment, subject, times).await;
        }
    }
    let median = |times: &[Duration]| ms(percentile(times, 50));
    let of = |name: &str, time: fn(&Times) -> &Vec<Duration>| {
        let position = subjects.iter().position(|subject| subject.name == name).unwrap();
        median(time(&all[position]))
    };
    let row = |(subject, times): (&Subject, &Times)| {
        let (init, first, warm, sum) =
            (median(&times.init), median(&times.first), median(&times.warm), median(&times.sum));
        let columns = vec![
            ("init ms", init),
            ("first ms", first),
            ("sum ms", sum),
            ("init CPU ms", median(&times.init_cpu)),
            ("sum CPU ms", median(&times.cpu)),
            ("warm ms", warm),
            ("init ÷ hello's", init / of("hello", |times| &times.init)),
            ("first ÷ warm", first / warm),
            ("sum ÷ ours", sum / of(subject.role.measure(), |times| &times.sum)),
        ];
        (subject.name.to_owned(), columns)
    };
    table(name, heading, &subjects.iter().zip(&all).map(row).collect::<Vec<_>>());
}

async fn start(site: &Site, environment: &[(String, String)], subject: &Subject, times: &mut Times) {
    let mut tasks = Vec::new();
    for _ in 0..=WARM {
        tasks.push(site.task(subject, 1).await);
    }
    let function = subject.function(environment).await;
    let init = function.start().await;
    times.init_cpu.push(function.cpu_time().await);
    for (number, task) in tasks.iter().enumerate() {
        let started = Instant::now();
        let answer = answer(&function, task.event.clone()).await;
        let time = started.elapsed();
        if number == 0 {
            times.cpu.push(function.cpu_time().await);
            times.init.push(init);
            times.first.push(time);
            times.sum.push(init + time);
        } else {
            times.warm.push(time);
        }
        site.check(task, &answer).await;
    }
}
