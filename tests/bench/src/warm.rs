//! The time, processor time and memory of an event in a process that has handled many.

use std::time::{Duration, Instant};

use tests::function::{Function, Memory};

use crate::candidate::{self, Candidate, respond};
use crate::fixture::Fixture;
use crate::results::{Row, ms, percentile, table};

/// Events of each candidate that are not counted.
const UNCOUNTED: usize = 50;
/// Events of each candidate that are counted.
const COUNTED: usize = 500;
/// Counted events that one candidate handles before it is the next one's turn.
const TURN: usize = 25;

struct Measured {
    times: Vec<Duration>,
    cpu: Duration,
    memory: Memory,
}

/// Measures warm candidates and prints the results.
pub async fn run() {
    let heading = format!("Warm: {COUNTED} events after {UNCOUNTED}");
    measure(&Fixture::start().await, &candidate::all(), ("warm", &heading)).await;
}

/// Measures these candidates, and prints a table with this name and heading.
pub async fn measure(fixture: &Fixture, candidates: &[Candidate], (name, heading): (&str, &str)) {
    let mut all = Vec::new();
    for candidate in candidates {
        let function = candidate.function(&fixture.near).await;
        function.start().await;
        turn(fixture, candidate, &function, UNCOUNTED).await;
        let measured = Measured { times: Vec::new(), cpu: Duration::ZERO, memory: function.memory().await };
        all.push((candidate, function, measured));
    }
    for _ in 0..COUNTED / TURN {
        for (candidate, function, measured) in &mut all {
            let (times, cpu) = turn(fixture, candidate, function, TURN).await;
            measured.times.extend(times);
            measured.cpu += cpu;
            measured.memory = function.memory().await;
        }
    }
    let ours =
        |name: &str| all.iter().find(|(candidate, ..)| candidate.name == name).map(|(.., measured)| measured).unwrap();
    let rows: Vec<Row> = all
        .iter()
        .map(|(candidate, _, measured)| (candidate.name.to_owned(), columns(measured, ours(candidate.role.measure()))))
        .collect();
    table(name, heading, &rows);
}

/// Returns the times of these events, and their processor time together.
async fn turn(
    fixture: &Fixture,
    candidate: &Candidate,
    function: &Function,
    events: usize,
) -> (Vec<Duration>, Duration) {
    let cpu = function.cpu_time().await;
    let mut times = Vec::new();
    for _ in 0..events {
        let task = fixture.task(candidate, 1).await;
        let started = Instant::now();
        let response = respond(function, task.event.clone()).await;
        times.push(started.elapsed());
        fixture.check(&task, &response).await;
    }
    // Processor time after the response counts too. By now, the process asks for the next event.
    (times, function.cpu_time().await.checked_sub(cpu).unwrap())
}

#[allow(clippy::cast_precision_loss)]
fn columns(measured: &Measured, ours: &Measured) -> Vec<(&'static str, f64)> {
    let p50 = |measured: &Measured| ms(percentile(&measured.times, 50));
    let cpu = |measured: &Measured| ms(measured.cpu) / COUNTED as f64;
    vec![
        ("p50 ms", p50(measured)),
        ("p99 ms", ms(percentile(&measured.times, 99))),
        ("CPU ms", cpu(measured)),
        ("RSS MB", measured.memory.resident as f64 / 1e6),
        ("peak RSS MB", measured.memory.peak as f64 / 1e6),
        ("p50 ÷ ours", p50(measured) / p50(ours)),
        ("CPU ÷ ours", cpu(measured) / cpu(ours)),
    ]
}
