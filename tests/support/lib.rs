//! What the tests against the local stack share.
//!
//! - [`stack`]: the deployed stack, as a client and as its operator see it. One organisation per test.
//! - [`test_env`]: a table, a queue and a bus of a test's own, for tests that run functions themselves.
//! - [`bulks`]: bulks of the deployed stack, as a client makes and reads them.
//! - [`commits`]: transactions that are seen row by row.
//! - [`contract`]: the documents of the API and the forms of events and messages, to which all is held that is seen.
//! - [`capacity`]: what a flow costs.
//! - [`function`]: a function's binary, run as Lambda would run it, and killed as Lambda would not.
//! - [`invocation`]: what an invocation of a function came to.
//! - [`orders`]: the order system, played, and persons with PINs.
//! - [`payloads`]: what Lambda hands to functions.
//! - [`proxy`]: stands between a function and the emulator: lets a test step in between two calls, counts them, delays them.
//! - [`requests`]: requests to every endpoint, made from the `OpenAPI` document's examples.
//! - [`simulation`]: random instructions in bad schedule, and what must be true afterwards.
//! - [`token`]: access tokens, good ones and forged ones.
//! - [`queue_simulator`]: messages, delivered again and out of order to functions that are killed.
//! - [`webhook`]: an endpoint that takes events, or does not.
//! - [`fault_schedule`]: which faults functions meet, drawn from a seed.
//! - [`seed`]: cards that were issued before the test.
//!
//! Everything here is for tests, so it panics where a test should fail.
#![allow(clippy::expect_used, clippy::missing_panics_doc, clippy::unwrap_used, clippy::panic)]

pub mod bulks;
pub mod capacity;
mod clients;
pub mod commits;
pub mod contract;
pub mod fault_schedule;
pub mod function;
pub mod invocation;
pub mod lineage;
pub mod link;
pub mod operator;
pub mod orders;
mod partial_failures;
pub mod payloads;
pub mod proxy;
pub mod queue_simulator;
pub mod requests;
pub mod seed;
pub mod simulation;
pub mod stack;
pub mod template;
pub mod test_env;
pub mod token;
pub mod webhook;

/// A variable of the environment that `infra/local/up` wrote.
#[must_use]
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./tests/run"))
}

/// What stands before AWS's services, or for them, lets functions connect in advance, and takes no notice of it.
pub fn ping_route<S: Clone + Send + Sync + 'static>() -> axum::Router<S> {
    axum::Router::new().route("/ping", axum::routing::get(async || "healthy"))
}
