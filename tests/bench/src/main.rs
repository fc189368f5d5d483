//! Bindery's benchmarks: `./tests/bench/run`, or some of them: `./tests/bench/run start remote`.
//!
//! What is compared is measured side by side, in turns, in one run on one machine: only the ratios mean something elsewhere.
//!
//! - [`start`]: from a process's start to its first event, that event, and the next ones; `remote` with services that are reached
//!   by TLS, and 20 ms away.
//! - [`warm`]: what an event takes after many.
//! - [`batch`]: a worker's batch of ten messages beside one of one.
//! - [`sizes`]: of the binaries.
//! - [`choices`]: of the release build, each made otherwise.
//! - [`orders`]: of many orders in one request.
//! - [`scale`]: up to 100,000 cards, beside the floor of bare writes, on its [`ground`].
//! - [`costs`]: of each flow, at the [`prices`] of AWS, beside those of the [`naive`] design. [`rows`] are there before.
//!
//! [`subject`] says what is measured, [`site`] on what ground, [`fake_aws`] takes what is sent, [`tls`] puts it at a distance. [`results`] prints and keeps,
//! [`goals`] judges, [`figures`] draws and writes all down (`./tests/bench/run plots`), with [`plot`].
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod batch;
mod choices;
mod costs;
mod fake_aws;
mod figures;
mod goals;
mod ground;
mod naive;
mod orders;
mod plot;
mod prices;
mod results;
mod rows;
mod scale;
mod site;
mod sizes;
mod start;
mod subject;
mod tls;
mod warm;

/// All benchmarks, in the order in which they are run.
const ALL: [&str; 9] = ["sizes", "start", "warm", "remote", "batch", "choices", "orders", "costs", "scale"];

#[tokio::main]
async fn main() {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let named = if named.is_empty() { ALL.map(str::to_owned).into() } else { named };
    for name in &named {
        match name.as_str() {
            "sizes" => sizes::run(),
            "start" => start::near().await,
            "warm" => warm::run().await,
            "remote" => start::far().await,
            "batch" => batch::run().await,
            "choices" => choices::run().await,
            "orders" => orders::run().await,
            "scale" => scale::run().await,
            "costs" => costs::run().await,
            "plots" => figures::draw(),
            other => panic!("there is no benchmark {other}: {}, and plots", ALL.join(", ")),
        }
    }
    println!("{}", goals::markdown(&results::load()));
}
