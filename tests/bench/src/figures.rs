//! Draws what was measured last: the charts under tests/bench/plots.

use std::path::Path;

use serde_json::Value;

use crate::plot::{Bar, bars};
use crate::results::load;

/// Draws all for which there are results.
pub fn draw() {
    let results = load();
    let charts = [
        ("start", "start", "sum ms", "From a process's start to its first answer", "ms"),
        ("remote", "remote", "sum ms", "From a process's start to its first answer, services 20 ms away, by TLS", "ms"),
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

/// Writes a chart.
pub fn write(name: &str, svg: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plots");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.svg")), svg).unwrap();
}

/// Shortest first.
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
