//! Bindery's benchmarks: `./tests/bench/run`, or some of them: `./tests/bench/run start remote`.
//!
//! Candidates are measured in turns, in one run on one machine. Only the ratios are meaningful elsewhere.
//!
//! - [`start`]: from a process's start to its first event, that event, and the next ones. `remote` does the same with
//!   services that are reached by TLS, 20 ms away.
//! - [`warm`]: an event after many others.
//! - [`batch`]: a worker's batch of ten messages compared with one of one.
//! - [`sizes`]: the sizes of the binaries.
//! - [`choices`]: the choices of the release build, each changed.
//! - [`orders`]: many orders in one request.
//! - [`scale`]: up to 100,000 cards, compared with the floor of bare writes, in its [`bench_env`].
//! - [`costs`]: the cost of each flow at AWS's [`prices`], compared with the [`outbox`] design. [`rows`] makes the
//!   rows that exist before.
//!
//! [`candidate`] defines what is compared, and [`fixture`] gives candidates work. [`fake_aws`] replaces services, and
//! [`tls`] adds distance. [`results`] prints and stores tables, [`goals`] checks them, and [`figures`] draws and
//! writes them (`./tests/bench/run plots`), with [`plot`].
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod batch;
mod bench_env;
mod candidate;
mod choices;
mod costs;
mod fake_aws;
mod figures;
mod fixture;
mod goals;
mod orders;
mod outbox;
mod plot;
mod prices;
mod results;
mod rows;
mod scale;
mod sizes;
mod start;
mod tls;
mod warm;

/// All benchmarks, in the order in which they run.
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
