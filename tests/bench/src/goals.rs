//! Bindery's performance goals, and whether the results meet them.

use serde_json::Value;

use crate::results::number;

/// An upper limit for a number, or for a ratio of two.
struct Goal {
    name: &'static str,
    most: f64,
    of: Cell,
    by: Option<Cell>,
}

/// Table, row and column of a number.
type Cell = (&'static str, &'static str, &'static str);

const GOALS: [Goal; 25] = [
    ratio("endpoint: start, without warm-up, × hello's", 3.0, ("start", "endpoint, no warm-up", "init ms"), HELLO),
    ratio("worker: start, without warm-up, × hello's", 3.0, ("start", "worker, no warm-up", "init ms"), HELLO),
    ratio("endpoint: start and first event, × boto3's", 0.05, ENDPOINT, ("start", "boto3 endpoint", "sum ms")),
    ratio("worker: start and first event, × boto3's", 0.05, WORKER, ("start", "boto3 worker", "sum ms")),
    ratio("endpoint: start and first event, × node's", 0.1, ENDPOINT, ("start", "node endpoint", "sum ms")),
    ratio("worker: start and first event, × node's", 0.1, WORKER, ("start", "node worker", "sum ms")),
    number_of("endpoint: first event by TLS, × a warm one", 1.3, ("remote", "endpoint", "first ÷ warm")),
    number_of("worker: first event by TLS, × a warm one", 1.3, ("remote", "worker", "first ÷ warm")),
    ratio("endpoint: CPU of a bind, × boto3's", 0.1, CPU, ("warm", "boto3 endpoint", "CPU ms")),
    ratio("endpoint: CPU of a bind, × node's", 0.2, CPU, ("warm", "node endpoint", "CPU ms")),
    number_of("endpoint: binary, MB", 7.5, ("sizes", "endpoint", "MB")),
    number_of("worker: binary, MB", 8.5, ("sizes", "worker", "MB")),
    number_of("endpoint: RSS, MB", 16.0, ("warm", "endpoint", "RSS MB")),
    number_of("worker: RSS, MB", 16.0, ("warm", "worker", "RSS MB")),
    number_of("worker: batch of ten, × of one, services here", 2.5, ("batch", "worker", "ratio")),
    number_of("worker: batch of ten, × of one, services 20 ms away", 2.5, ("remote batch", "worker", "ratio")),
    number_of("bind: write units", 3.0, ("costs units", "bind", "write units")),
    number_of("bind, with a key: read units", 3.0, ("costs units", "bind, with a key", "read units")),
    number_of("reissue: write units", 6.0, ("costs units", "reissue, with a key", "write units")),
    number_of("cancel FULL: write units a card", 1.15, ("costs units", "cancel FULL, a card", "write units")),
    number_of("cancel PARTIAL: write units a card", 1.15, ("costs units", "cancel PARTIAL, a card", "write units")),
    number_of("cancel, 10,000 by 4: time, × bare writes", 1.5, ("scale cancel", "10000 by 4", "ratio")),
    ratio(
        "cancel: time of 100,000 beside bare writes, × of 10,000",
        1.1,
        ("scale cancel", "100000 by 8", "ratio"),
        ("scale cancel", "10000 by 8", "ratio"),
    ),
    ratio(
        "bind: time of 100,000 beside bare writes, × of 10,000",
        1.1,
        ("scale bind", "100000 by 8", "ratio"),
        ("scale bind", "10000 by 8", "ratio"),
    ),
    ratio(
        "cancel: memory of 100,000, × of 10,000",
        1.1,
        ("scale cancel", "100000 by 1", "peak MB"),
        ("scale cancel", "10000 by 1", "peak MB"),
    ),
];

const HELLO: Cell = ("start", "hello", "init ms");
const ENDPOINT: Cell = ("start", "endpoint", "sum ms");
const WORKER: Cell = ("start", "worker", "sum ms");
const CPU: Cell = ("warm", "endpoint", "CPU ms");

const fn ratio(name: &'static str, most: f64, of: Cell, by: Cell) -> Goal {
    Goal { name, most, of, by: Some(by) }
}

const fn number_of(name: &'static str, most: f64, of: Cell) -> Goal {
    Goal { name, most, of, by: None }
}

/// Returns all goals as a table.
pub fn markdown(results: &Value) -> String {
    let lines: Vec<String> = GOALS.iter().map(|goal| line(goal, results)).collect();
    format!("## Goals\n\n| | At most | Is | |\n| --- | --- | --- | --- |\n{}\n", lines.join("\n"))
}

fn line(Goal { name, most, of, by }: &Goal, results: &Value) -> String {
    let cell = |(table, row, column): Cell| number(results, table, row, column);
    let is = by.map_or(Some(1.0), cell).and_then(|by| Some(cell(*of)? / by));
    match is {
        None => format!("| {name} | {most} | | not measured |"),
        Some(is) if is <= *most => format!("| {name} | {most} | {is:.3} | met |"),
        Some(is) => format!("| {name} | {most} | {is:.3} | **not met** |"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_goal_is_met_up_to_its_limit_and_never_unmeasured() {
        let results =
            |cpu: f64| json!({ "warm": { "endpoint": { "CPU ms": cpu }, "boto3 endpoint": { "CPU ms": 10.0 } } });
        let goal = ratio("CPU", 0.1, CPU, ("warm", "boto3 endpoint", "CPU ms"));
        assert!(line(&goal, &results(1.0)).ends_with("| 0.100 | met |"));
        assert!(line(&goal, &results(1.01)).ends_with("| **not met** |"));
        assert!(line(&goal, &json!({})).ends_with("| not measured |"));
    }
}
