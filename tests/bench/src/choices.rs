//! `bind-card`'s release build, one choice at a time made otherwise: what each is worth. Without connections made before the first
//! event, which not all have; `remote` shows what those are worth.

use crate::results::{Row, load, number, table};
use crate::site::Site;
use crate::{sizes, start, subject, warm};

/// Measures them, and prints.
pub async fn run() {
    let subjects = subject::choices();
    let site = Site::start().await;
    sizes::measure("choices sizes", &subjects);
    start::measure(&site, &site.near, &subjects, ("choices start", "Release builds: start")).await;
    start::measure(&site, &site.far, &subjects, ("choices remote", "Release builds: start, by TLS")).await;
    warm::measure(&site, &subjects, ("choices warm", "Release builds: warm")).await;
    summary(&subjects);
}

/// One line each.
fn summary(subjects: &[subject::Subject]) {
    let results = load();
    let columns = [
        ("MB", "choices sizes", "MB"),
        ("init CPU ms", "choices start", "init CPU ms"),
        ("init and first event CPU ms", "choices start", "sum CPU ms"),
        ("the same by TLS, CPU ms", "choices remote", "sum CPU ms"),
        ("warm CPU ms", "choices warm", "CPU ms"),
        ("RSS MB", "choices warm", "RSS MB"),
    ];
    let row = |subject: &subject::Subject| -> Row {
        let cell = |(column, table, of)| (column, number(&results, table, subject.name, of).unwrap());
        (subject.name.to_owned(), columns.map(cell).into())
    };
    table("choices", "Release builds", &subjects.iter().map(row).collect::<Vec<_>>());
}
