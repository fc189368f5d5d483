//! The sizes of the binaries.

use crate::candidate::{self, Candidate};
use crate::results::{Row, table};

/// Measures the sizes and prints them.
pub fn run() {
    let all = [candidate::rust(), candidate::ours()].concat();
    let own: Vec<Candidate> = all.into_iter().filter(|candidate| !candidate.name.contains("warm-up")).collect();
    measure("sizes", &own);
}

/// Measures these candidates, and prints a table with this name.
#[allow(clippy::cast_precision_loss)]
pub fn measure(name: &str, candidates: &[Candidate]) {
    let size = |candidate: &Candidate| std::fs::metadata(&candidate.program.binary).unwrap().len() as f64 / 1e6;
    let rows: Vec<Row> =
        candidates.iter().map(|candidate| (candidate.name.to_owned(), vec![("MB", size(candidate))])).collect();
    table(name, "Binaries, stripped", &rows);
}
