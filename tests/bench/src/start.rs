//! The time from a process's start to its first event, of that event, and of the next ones: with services on this
//! machine, and with services reached by TLS a round trip away.

use std::time::{Duration, Instant};

use crate::candidate::{self, Candidate, respond};
use crate::fixture::Fixture;
use crate::results::{ms, percentile, table};
use crate::tls::ROUND_TRIP;

/// Processes of each candidate.
const STARTS: usize = 20;
/// Events after the first.
const WARM: usize = 5;

/// The times of one candidate's processes.
#[derive(Default)]
struct Times {
    init: Vec<Duration>,
    first: Vec<Duration>,
    sum: Vec<Duration>,
    init_cpu: Vec<Duration>,
    cpu: Vec<Duration>,
    warm: Vec<Duration>,
}

/// Measures with all services on this machine.
pub async fn near() {
    let fixture = Fixture::start().await;
    measure(&fixture, &fixture.near, &candidate::all(), ("start", &format!("Start, medians of {STARTS}"))).await;
}

/// Measures with services at a distance.
pub async fn far() {
    let fixture = Fixture::start().await;
    let heading = format!("Start, by TLS, {ROUND_TRIP:?} there and back, medians of {STARTS}");
    measure(&fixture, &fixture.far, &candidate::all(), ("remote", &heading)).await;
}

/// Starts the candidates in this environment, and prints a table with this name and heading.
pub async fn measure(
    fixture: &Fixture,
    environment: &[(String, String)],
    candidates: &[Candidate],
    (name, heading): (&str, &str),
) {
    let mut all: Vec<Times> = candidates.iter().map(|_| Times::default()).collect();
    // Candidates run in turns, so that other load on the machine affects all of them.
    for _ in 0..STARTS {
        for (candidate, times) in candidates.iter().zip(&mut all) {
            start(fixture, environment, candidate, times).await;
        }
    }
    let median = |times: &[Duration]| ms(percentile(times, 50));
    let of = |name: &str, time: fn(&Times) -> &Vec<Duration>| {
        let position = candidates.iter().position(|candidate| candidate.name == name).unwrap();
        median(time(&all[position]))
    };
    let row = |(candidate, times): (&Candidate, &Times)| {
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
            ("sum ÷ ours", sum / of(candidate.role.measure(), |times| &times.sum)),
        ];
        (candidate.name.to_owned(), columns)
    };
    table(name, heading, &candidates.iter().zip(&all).map(row).collect::<Vec<_>>());
}

async fn start(fixture: &Fixture, environment: &[(String, String)], candidate: &Candidate, times: &mut Times) {
    let mut tasks = Vec::new();
    for _ in 0..=WARM {
        tasks.push(fixture.task(candidate, 1).await);
    }
    let function = candidate.function(environment).await;
    let init = function.start().await;
    times.init_cpu.push(function.cpu_time().await);
    for (number, task) in tasks.iter().enumerate() {
        let started = Instant::now();
        let response = respond(&function, task.event.clone()).await;
        let time = started.elapsed();
        if number == 0 {
            times.cpu.push(function.cpu_time().await);
            times.init.push(init);
            times.first.push(time);
            times.sum.push(init + time);
        } else {
            times.warm.push(time);
        }
        fixture.check(task, &response).await;
    }
}
