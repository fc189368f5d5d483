//! Prints results, as a table for people or as JSON for programs, and shows the progress of long commands.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::terminal::{escaped, json};

/// The printer of results.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Print JSON, not tables.
    pub json: bool,
}

impl Output {
    /// Prints rows, each an object. A table has only these members, as its columns.
    pub fn table(self, columns: &[&str], rows: &[Value]) {
        if self.json {
            println!("{}", json(&Value::from(rows)));
            return;
        }
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()).collect();
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                cells.iter().map(|row| row[index].chars().count()).max().unwrap_or(0).max(column.len())
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", padded.join("  ").trim_end());
        };
        line(&mut columns.iter().copied());
        for row in &cells {
            line(&mut row.iter().map(String::as_str));
        }
    }

    /// Prints one object. For people, each member is a line.
    pub fn object(self, object: &Value) {
        match object {
            Value::Object(members) if !self.json => {
                let width = members.keys().map(String::len).max().unwrap_or(0);
                members.iter().for_each(|(name, value)| println!("{:width$}  {}", escaped(name), cell(value)));
            }
            other => println!("{}", json(other)),
        }
    }

    /// Prints one of several objects, as one line of JSON. For people, prints these lines instead, and indents all but
    /// the first.
    pub fn passage(self, object: &Value, lines: &[String]) {
        if self.json {
            println!("{}", json(object));
            return;
        }
        for (number, line) in lines.iter().enumerate() {
            let indent = if number == 0 { "" } else { "  " };
            println!("{indent}{}", escaped(line));
        }
    }

    /// Returns a progress bar on standard error. Without a number of steps, it is a spinner. It is hidden if standard
    /// error is not a terminal, and with JSON output.
    pub fn progress(self, steps: Option<u64>) -> ProgressBar {
        let (bar, template) = match steps {
            _ if self.json => return ProgressBar::hidden(),
            Some(steps) => (ProgressBar::new(steps), "{bar:40} {pos}/{len} {msg} ({eta} left)"),
            None => (ProgressBar::no_length(), "{spinner} {pos} {msg}"),
        };
        bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}

/// Returns the value as people see it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_shows_any_value() {
        assert_eq!((cell(&json!({ "a": [1] })), cell(&Value::Null)), ("{\"a\":[1]}".to_owned(), "-".to_owned()));
        assert_eq!(
            (cell(&json!("a\u{9b}")), cell(&json!(["\u{9b}"]))),
            ("a\\u{9b}".to_owned(), "[\"\\u{9b}\"]".to_owned())
        );
    }
}
