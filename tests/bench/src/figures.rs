//! The last results for readers: charts under tests/bench/results/plots, and all tables in
//! tests/bench/results/RESULTS.md.

use std::path::Path;

use serde_json::Value;

use crate::goals;
use crate::plot::{Bar, bars};
use crate::results::{load, printed};
use crate::scale;

/// All tables, in the order in which they are written.
const TABLES: [&str; 15] = [
    "sizes",
    "start",
    "remote",
    "warm",
    "batch",
    "remote batch",
    "choices",
    "orders",
    "costs units",
    "costs",
    "scale counts",
    "scale calls",
    "scale region",
    "scale cancel",
    "scale bind",
];

/// Draws and writes everything for which there are results.
pub fn draw() {
    let results = load();
    write_down(&results);
    scale::draw();
    let charts = [
        ("start", "start", "sum ms", "From a process's start to its first response", "ms"),
        (
            "remote",
            "remote",
            "sum ms",
            "From a process's start to its first response, services 20 ms away, by TLS",
            "ms",
        ),
        ("cpu", "warm", "CPU ms", "Processor time of one warm invocation", "ms"),
        ("memory", "warm", "RSS MB", "Memory of a process after 550 invocations", "MB"),
    ];
    for (file, table, column, title, unit) in charts {
        let rows = rows(&results[table], column);
        if !rows.is_empty() {
            write(file, &bars(title, &format!("{unit}, logarithmic"), &rows));
        }
    }
}

fn write_down(results: &Value) {
    let tables: Vec<&str> = TABLES.iter().filter_map(|table| printed(results, table)).map(str::trim_end).collect();
    let head = "# Results\n\nWritten by `./tests/bench/run plots`. [README.md](../README.md) explains them.";
    let text = [&[head, goals::markdown(results).trim_end()][..], &tables[..]].concat().join("\n\n");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/RESULTS.md"), text.trim_end().to_owned() + "\n")
        .unwrap();
}

/// Writes a chart.
pub fn write(name: &str, svg: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/plots");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.svg")), svg).unwrap();
}

/// Returns the bars of a column, the shortest first.
fn rows(table: &Value, column: &str) -> Vec<Bar> {
    let rows = table.as_object().into_iter().flatten();
    let bar = |(row, numbers): (&String, &Value)| {
        let ours = row.starts_with("endpoint") || row.starts_with("worker");
        Some(Bar { label: row.clone(), value: numbers[column].as_f64()?, ours: ours && !row.contains("SDK") })
    };
    let mut bars: Vec<Bar> = rows.filter_map(bar).collect();
    bars.sort_by(|one, other| one.value.total_cmp(&other.value));
    bars
}
