//! The sizes of the binaries.

use crate::results::{Row, table};
use crate::subject;

/// Measures them, and prints.
#[allow(clippy::cast_precision_loss)]
pub fn run() {
    let subjects = [subject::rust(), subject::ours()].concat();
    let own = subjects.iter().filter(|subject| !subject.name.contains("warm-up"));
    let size = |subject: &subject::Subject| std::fs::metadata(&subject.program.binary).unwrap().len() as f64 / 1e6;
    let rows: Vec<Row> = own.map(|subject| (subject.name.to_owned(), vec![("MB", size(subject))])).collect();
    table("sizes", "Binaries, stripped", &rows);
}
