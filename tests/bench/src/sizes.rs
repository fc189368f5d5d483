//! The sizes of the binaries.

use crate::results::{Row, table};
use crate::subject::{self, Subject};

/// Measures them, and prints.
pub fn run() {
    let all = [subject::rust(), subject::ours()].concat();
    let own: Vec<Subject> = all.into_iter().filter(|subject| !subject.name.contains("warm-up")).collect();
    measure("sizes", &own);
}

/// Of these, and prints a table of this name.
#[allow(clippy::cast_precision_loss)]
pub fn measure(name: &str, subjects: &[Subject]) {
    let size = |subject: &Subject| std::fs::metadata(&subject.program.binary).unwrap().len() as f64 / 1e6;
    let rows: Vec<Row> =
        subjects.iter().map(|subject| (subject.name.to_owned(), vec![("MB", size(subject))])).collect();
    table(name, "Binaries, stripped", &rows);
}
