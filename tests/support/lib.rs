//! Support code that the tests against the local stack share.
//!
//! - [`stack`]: the deployed stack, seen by a client and by its operator. Each test has its own organization.
//! - [`test_env`]: a test's own table, queue and bus, for tests that run functions themselves.
//! - [`bulks`]: bulks of the deployed stack, created and read through the API.
//! - [`commits`]: transactions whose rows become visible one by one.
//! - [`contract`]: checks responses, messages and events against the API documents and the schemas.
//! - [`capacity`]: measures the cost of a flow.
//! - [`function`]: runs a function's binary as Lambda would, and kills it at any time.
//! - [`invocation`]: the result of a function's invocation.
//! - [`lineage`]: Lambda's detection of recursive loops.
//! - [`link`]: a network link whose connections break while a function is frozen.
//! - [`operator`]: runs the command `bindery`.
//! - [`orders`]: plays the order system, and sets PINs.
//! - [`payloads`]: events that Lambda passes to functions.
//! - [`proxy`]: a proxy between a function and the emulator. It intercepts, counts and delays calls.
//! - [`requests`]: requests to every endpoint, made from the `OpenAPI` document's examples.
//! - [`simulation`]: random instructions under faults, and a checker of the results.
//! - [`template`]: reads infra/template.yaml.
//! - [`token`]: valid and forged access tokens.
//! - [`queue_simulator`]: delivers messages repeatedly and out of order, to functions that it kills.
//! - [`webhook`]: an endpoint that accepts or refuses events.
//! - [`fault_schedule`]: draws the faults that functions meet from a seed.
//! - [`seed`]: cards that exist before the test begins.
//!
//! All code here is for tests, so it panics where a test should fail.
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

/// Returns a variable of the environment that `infra/local/up` wrote. Panics if it is not set.
#[must_use]
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./tests/run"))
}

/// Returns a router that responds to `/ping`, with which functions open connections in advance. Proxies before AWS and
/// fakes of AWS include it, so that hooks and meters do not see these requests.
pub fn ping_route<S: Clone + Send + Sync + 'static>() -> axum::Router<S> {
    axum::Router::new().route("/ping", axum::routing::get(async || "healthy"))
}
