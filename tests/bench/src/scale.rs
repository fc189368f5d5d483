//! Cancels of a bulk, and binds, with a thousand to a hundred thousand cards and one to eight workers. They are
//! compared with the floor of bare writes (`src/bin/bench-floor.rs`) by the same number of similar processes.
//!
//! Processes, emulator and fakes share the machine, so a ratio of times is valid only for this run. Three things are
//! measured separately: the time, the processor time of the workers compared with the floor's, and the time with
//! services at a region's distances, where the processor is not the bottleneck. `SCALE_LARGEST=10000` leaves out
//! larger numbers.

use std::collections::HashMap;
use std::time::Duration;

use tests::capacity::Consumed;
use tests::proxy::Pace;

use crate::bench_env::{BenchEnv, Run, Workload};
use crate::figures;
use crate::plot::{Axis, Line, lines};
use crate::results::{Row, load, ms, number, table};

/// Numbers of cards and workers.
const CELLS: [(usize, usize); 10] = [
    (1000, 1),
    (1000, 2),
    (1000, 4),
    (1000, 8),
    (10_000, 1),
    (10_000, 2),
    (10_000, 4),
    (10_000, 8),
    (100_000, 1),
    (100_000, 8),
];
/// Cards of cancels with services at a region's distances.
const CARDS_IN_REGION: usize = 10_000;
/// Up to this number of cards, each run is repeated three times, and the median counts.
const REPEATED: usize = 10_000;

/// The cancel with five chunks in an invocation, as in the template.
const CANCEL: Workload = Workload::Cancel { chunks: 5 };

/// Measures the runs, prints the results and draws them.
pub async fn run() {
    let largest = std::env::var("SCALE_LARGEST").map_or(usize::MAX, |largest| largest.parse().unwrap());
    let cells: Vec<_> = CELLS.into_iter().filter(|(cards, _)| *cards <= largest).collect();
    counts(largest).await;
    in_region(largest).await;
    binds(&cells).await;
    cancels(&cells).await;
    draw();
}

async fn cancels(cells: &[(usize, usize)]) {
    let mut rows = Vec::new();
    for &(cards, workers) in cells {
        let [cancel, writes, events] =
            medians([CANCEL, Workload::Writes, Workload::WritesAndEvents], None, cards, workers).await;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / float(cards);
        rows.push((
            name(cards, workers),
            vec![
                ("s", seconds(cancel)),
                ("writes s", seconds(writes)),
                ("ratio", seconds(cancel) / seconds(writes)),
                ("writes, events s", seconds(events)),
                ("ratio to both", seconds(cancel) / seconds(events)),
                ("a second", float(cards) / seconds(cancel)),
                ("CPU µs each", each(cancel.workers)),
                ("CPU ratio", ratio(cancel.workers, writes.workers)),
                ("CPU ratio to both", ratio(cancel.workers, events.workers)),
                ("emulator µs each", each(cancel.emulator)),
                ("of writes", each(writes.emulator)),
                ("peak MB", megabytes(cancel)),
            ],
        ));
    }
    table("scale cancel", "Cancel a bulk, beside bare writes, and beside bare writes and events", &rows);
}

async fn binds(cells: &[(usize, usize)]) {
    let mut rows = Vec::new();
    for &(cards, workers) in cells {
        let [bind, writes] = medians([Workload::Bind, Workload::Writes], None, cards, workers).await;
        rows.push((
            name(cards, workers),
            vec![
                ("s", seconds(bind)),
                ("writes s", seconds(writes)),
                ("ratio", seconds(bind) / seconds(writes)),
                ("a second", float(cards) / seconds(bind)),
                ("CPU µs each", bind.workers.as_secs_f64() * 1e6 / float(cards)),
                ("peak MB", megabytes(bind)),
            ],
        ));
    }
    table("scale bind", "Apply binds, beside one bare write each", &rows);
}

/// Measures calls, units, and the hottest partition, which do not depend on the number of workers. Also measures the
/// duration of each call of a cancel with one worker, whose calls do not delay each other.
async fn counts(largest: usize) {
    let mut rows = Vec::new();
    let mut times = Vec::new();
    for cards in [1000, 10_000, 100_000].into_iter().filter(|cards| *cards <= largest) {
        for (name, workload) in [("cancel", CANCEL), ("bind", Workload::Bind)] {
            let mut env = BenchEnv::new(Some(Pace::Here)).await;
            let workers = env.workers(workload, 1).await;
            env.run(workload, cards, &workers).await;
            let passed = env.passed();
            rows.push(counted(name, cards, &passed));
            if workload == CANCEL {
                times = timed(cards, &passed);
            }
        }
    }
    table("scale calls", "Calls of a cancel by one worker", &times);
    table("scale counts", "Calls and units: cancels with their request, binds without it", &rows);
}

fn counted(name: &str, cards: usize, passed: &Consumed) -> Row {
    let mut kinds: HashMap<&str, f64> = HashMap::new();
    let mut hottest = ("", 0.0);
    for (partition, units) in &passed.partitions {
        let kind = partition.split('#').nth(1).unwrap();
        *kinds.entry(kind).or_default() += units;
        if *units > hottest.1 {
            hottest = (kind, *units);
        }
    }
    let calls = |name: &str| float(passed.other_calls(name));
    (
        format!("{name} {cards}, hottest is {}", hottest.0),
        vec![
            ("writes each", passed.writes / float(cards)),
            ("reads each", passed.reads / float(cards)),
            ("DynamoDB calls", float(passed.dynamodb_calls())),
            ("PutEvents", calls("PutEvents")),
            ("SQS sends", calls("SendMessage") + calls("SendMessageBatch")),
            ("hottest %", 100.0 * hottest.1 / passed.writes),
            ("its units", hottest.1),
        ],
    )
}

fn timed(cards: usize, passed: &Consumed) -> Vec<Row> {
    let thousands = float(cards) / 1000.0;
    let row = |(name, (calls, time)): (&String, &(usize, Duration))| {
        let each = ms(*time) / float(*calls);
        let columns = vec![
            ("a 1000 cards", float(*calls) / thousands),
            ("ms each", each),
            ("ms a 1000 cards", ms(*time) / thousands),
        ];
        (format!("{cards}: {name}"), columns)
    };
    passed.dynamodb.iter().chain(&passed.others).map(row).collect()
}

/// Measures with services at a region's distances, and with several chunks in an invocation.
async fn in_region(largest: usize) {
    let cards = CARDS_IN_REGION.min(largest);
    let mut rows = Vec::new();
    for workers in [1, 4, 8] {
        let cancels = [1, 2, 5].map(|chunks| Workload::Cancel { chunks });
        let [one, two, five] = medians(cancels, Some(Pace::Region), cards, workers).await;
        let [writes, events] =
            medians([Workload::Writes, Workload::WritesAndEvents], Some(Pace::Region), cards, workers).await;
        rows.push((
            name(cards, workers),
            vec![
                ("s", seconds(one)),
                ("2 chunks s", seconds(two)),
                ("5 chunks s", seconds(five)),
                ("writes s", seconds(writes)),
                ("writes, events s", seconds(events)),
                ("ratio", seconds(five) / seconds(writes)),
                ("ratio to both", seconds(five) / seconds(events)),
            ],
        ));
    }
    table("scale region", "Cancel a bulk at a region's distances, by chunks per invocation", &rows);
}

/// Runs each kind of work in turns, in its own processes. Returns the run with the median time of each.
async fn medians<const N: usize>(all: [Workload; N], pace: Option<Pace>, cards: usize, workers: usize) -> [Run; N] {
    let mut env = BenchEnv::new(pace).await;
    let mut processes = Vec::new();
    for workload in all {
        processes.push(env.workers(workload, workers).await);
    }
    let mut runs: [Vec<Run>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..if cards <= REPEATED && pace.is_none() { 3 } else { 1 } {
        for ((workload, workers), runs) in all.into_iter().zip(&processes).zip(&mut runs) {
            runs.push(env.run(workload, cards, workers).await);
        }
    }
    runs.map(|mut runs| {
        runs.sort_by_key(|run| run.time);
        runs[runs.len() / 2]
    })
}

/// Draws the last results: time against cards.
pub fn draw() {
    let results = load();
    let line = |name: &str, table: &str, column: &str, workers: usize| {
        let points = CELLS.into_iter().filter(|cell| cell.1 == workers);
        let time = |(cards, workers)| number(&results, table, &self::name(cards, workers), column);
        let points = points.filter_map(|cell| Some((float(cell.0), time(cell)?))).collect();
        Line { name: format!("{name}, {workers}"), points }
    };
    let all = [
        line("cancel", "scale cancel", "s", 1),
        line("cancel", "scale cancel", "s", 8),
        line("bind", "scale bind", "s", 1),
        line("bind", "scale bind", "s", 8),
        line("bare writes", "scale cancel", "writes s", 1),
        line("bare writes", "scale cancel", "writes s", 8),
    ];
    let (across, up) = (Axis { label: "cards", log: true }, Axis { label: "seconds", log: true });
    figures::write("scale", &lines("Time against cards, by 1 and by 8 workers", across, up, &all));
}

fn name(cards: usize, workers: usize) -> String {
    format!("{cards} by {workers}")
}

fn seconds(run: Run) -> f64 {
    run.time.as_secs_f64()
}

fn megabytes(run: Run) -> f64 {
    float(usize::try_from(run.peak).unwrap_or(usize::MAX)) / 1e6
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
fn float(count: usize) -> f64 {
    count as f64
}
