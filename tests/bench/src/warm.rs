//! What an event takes of a process that has handled many.

use std::time::{Duration, Instant};

use tests::function::{Function, Memory};

use crate::results::{Row, ms, percentile, table};
use crate::site::Site;
use crate::subject::{self, Subject, answer};

/// Events of each subject that are not counted.
const UNCOUNTED: usize = 50;
/// Events that are.
const COUNTED: usize = 500;
/// Of them, those that one subject handles before it is the next one's turn.
const TURN: usize = 25;

struct Measured {
    times: Vec<Duration>,
    cpu: Duration,
    memory: Memory,
}

/// Measures it, and prints.
pub async fn run() {
    let heading = format!("Warm: {COUNTED} events after {UNCOUNTED}");
    measure(&Site::start().await, &subject::all(), ("warm", &heading)).await;
}

/// Of these, and prints a table of this name and heading.
pub async fn measure(site: &Site, subjects: &[Subject], (name, heading): (&str, &str)) {
    let mut all = Vec::new();
    for subject in subjects {
        let function = subject.function(&site.near).await;
        function.start().await;
        turn(site, subject, &function, UNCOUNTED).await;
        let measured = Measured { times: Vec::new(), cpu: Duration::ZERO, memory: function.memory().await };
        all.push((subject, function, measured));
    }
    for _ in 0..COUNTED / TURN {
        for (subject, function, measured) in &mut all {
            let (times, cpu) = turn(site, subject, function, TURN).await;
            measured.times.extend(times);
            measured.cpu += cpu;
            measured.memory = function.memory().await;
        }
    }
    let ours =
        |name: &str| all.iter().find(|(subject, ..)| subject.name == name).map(|(.., measured)| measured).unwrap();
    let rows: Vec<Row> = all
        .iter()
        .map(|(subject, _, measured)| (subject.name.to_owned(), columns(measured, ours(subject.role.measure()))))
        .collect();
    table(name, heading, &rows);
}

/// Their times, and what they took of the processor in all.
async fn turn(site: &Site, subject: &Subject, function: &Function, events: usize) -> (Vec<Duration>, Duration) {
    let cpu = function.cpu_time().await;
    let mut times = Vec::new();
    for _ in 0..events {
        let task = site.task(subject, 1).await;
        let started = Instant::now();
        let answer = answer(function, task.event.clone()).await;
        times.push(started.elapsed());
        site.check(&task, &answer).await;
    }
    // What it does after its answer counts, too: by now, it asks for the next event.
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
