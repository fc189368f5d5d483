//! The effect of each choice in `bind-card`'s release build, changed one at a time. No candidate connects before the
//! first event, because not all can. The benchmark `remote` shows the effect of early connections.

use crate::fixture::Fixture;
use crate::results::{Row, load, number, table};
use crate::{candidate, sizes, start, warm};

/// Measures the choices and prints the results.
pub async fn run() {
    let candidates = candidate::choices();
    let fixture = Fixture::start().await;
    sizes::measure("choices sizes", &candidates);
    start::measure(&fixture, &fixture.near, &candidates, ("choices start", "Release builds: start")).await;
    start::measure(&fixture, &fixture.far, &candidates, ("choices remote", "Release builds: start, by TLS")).await;
    warm::measure(&fixture, &candidates, ("choices warm", "Release builds: warm")).await;
    summary(&candidates);
}

/// Prints one line for each choice.
fn summary(candidates: &[candidate::Candidate]) {
    let results = load();
    let columns = [
        ("MB", "choices sizes", "MB"),
        ("init CPU ms", "choices start", "init CPU ms"),
        ("init and first event CPU ms", "choices start", "sum CPU ms"),
        ("the same by TLS, CPU ms", "choices remote", "sum CPU ms"),
        ("warm CPU ms", "choices warm", "CPU ms"),
        ("RSS MB", "choices warm", "RSS MB"),
    ];
    let row = |candidate: &candidate::Candidate| -> Row {
        let cell = |(column, table, of)| (column, number(&results, table, candidate.name, of).unwrap());
        (candidate.name.to_owned(), columns.map(cell).into())
    };
    table("choices", "Release builds", &candidates.iter().map(row).collect::<Vec<_>>());
}
