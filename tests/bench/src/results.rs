//! The results: printed as tables, and stored in `target/bench/results.json`, both as `{table: {row: {column:
//! number}}}` and as they were printed. A table is stored until it is measured again.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A row: its name, and its numbers with their columns.
pub type Row = (String, Vec<(&'static str, f64)>);

/// The member that contains the tables as they were printed.
const PRINTED: &str = "printed";

/// Prints the table and stores it.
pub fn table(name: &str, heading: &str, rows: &[Row]) {
    let text = format!("## {heading}\n\n{}", markdown(rows));
    println!("{text}");
    let columns = |columns: &[(&'static str, f64)]| -> Map<String, Value> {
        columns.iter().map(|(column, number)| ((*column).to_owned(), json!(number))).collect()
    };
    let mut all = load();
    all[name] = rows.iter().map(|(row, numbers)| (row.clone(), Value::Object(columns(numbers)))).collect();
    all[PRINTED][name] = json!(text);
    std::fs::write(path(), serde_json::to_string_pretty(&all).unwrap()).unwrap();
}

/// Returns everything that is stored.
pub fn load() -> Value {
    std::fs::read_to_string(path()).map_or_else(|_| json!({}), |text| serde_json::from_str(&text).unwrap())
}

/// Returns the last printed text of this table.
pub fn printed<'a>(all: &'a Value, table: &str) -> Option<&'a str> {
    all[PRINTED][table].as_str()
}

/// Returns one stored number.
pub fn number(all: &Value, table: &str, row: &str, column: &str) -> Option<f64> {
    all[table][row][column].as_f64()
}

/// Returns the time that this percentage of all times does not exceed.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

/// Converts a time to milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn markdown(rows: &[Row]) -> String {
    let Some((_, first)) = rows.first() else { return String::new() };
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = first.iter().map(|(column, _)| (*column).to_owned());
    let mut text = line([String::new()].into_iter().chain(names).collect());
    text += &line(vec!["---".to_owned(); first.len() + 1]);
    for (row, numbers) in rows {
        text += &line([row.clone()].into_iter().chain(numbers.iter().map(|(_, number)| short(*number))).collect());
    }
    text
}

/// Formats a number with three digits, or as an empty text if it is not a number.
fn short(number: f64) -> String {
    match number.abs() {
        _ if number.is_nan() => String::new(),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn path() -> PathBuf {
    PathBuf::from(::tests::variable("BINDERY_LOCAL_DIR")).join("results.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!([0, 50, 99, 100].map(|percent| percentile(&times, percent).as_millis()), [1, 100, 198, 200]);
        assert_eq!(percentile(&times[..1], 99).as_millis(), 200);
    }

    #[test]
    fn a_table_is_as_wide_as_its_first_row() {
        let row = ("hello".to_owned(), vec![("start ms", 2.5), ("ratio", f64::NAN), ("bytes", 1234.0)]);
        let expected = "|  | start ms | ratio | bytes |\n| --- | --- | --- | --- |\n| hello | 2.50 |  | 1234 |\n";
        assert_eq!(markdown(&[row]), expected);
    }
}
