//! Code shared by Bindery's functions.
//!
//! - [`domain`]: the business rules, and the facts that they are about. Pure: no I/O, no clock, no randomness.
//! - [`message`]: messages in the queues. [`number`]: integers in the forms that other systems write.
//! - [`environment`] (and [`config`]), [`clock`], [`telemetry`] and [`metrics`]: a function's environment, time, logs
//!   and metrics.
//! - [`store`] (DynamoDB), [`queue`] (SQS), [`events`] (EventBridge), [`secret`] (Secrets Manager) and [`aws`]: the
//!   AWS services. A function links only those that it uses. [`calls`]: the times of their calls.
//! - [`http`]: code of endpoints. [`worker`]: code of workers. [`plan`]: code of workers that process a bulk.
//!   [`task`]: code of tasks. [`pin`]: hashing of PINs. [`https`]: requests to servers that are not AWS's.
//! - [`partners`]: references between rows, for tools that inspect the whole table.
//!
//! Code that only one function uses belongs to that function's crate.

/// The error of a function that cannot start, or cannot reach Lambda. It is the runtime's own error type.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs a future to completion on this thread. A function handles one event at a time.
pub(crate) fn block_on(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run)
}

/// A byte order mark, which some serializers write at the start of a text.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

pub mod clock;
pub mod config;
mod connections;
pub mod domain;
pub mod environment;
pub mod message;
pub mod metrics;
#[cfg(test)]
mod modules;
pub mod number;
pub mod telemetry;

pub mod aws;
mod batching;
pub mod calls;
pub mod events;
pub mod http;
pub mod https;
pub mod partners;
pub mod pin;
pub mod plan;
pub mod queue;
pub mod secret;
pub mod store;
pub mod task;
mod trace;
pub mod worker;
