//! What Bindery's functions share.
//!
//! - [`domain`]: the rules of the business and the facts they speak of. Pure: no I/O, no clock, no randomness.
//! - [`message`]: what travels through the queues; [`number`]: how others write integers.
//! - [`environment`] (and [`config`]), [`clock`], [`telemetry`]: the environment a function starts in, its time, and its logs;
//!   `metrics`: what it counts.
//! - The edges, of which a function links what it uses:
//!   `store` (DynamoDB), `queue` (SQS), `events` (EventBridge), `secret` (Secrets Manager), `pin` (how PINs are kept), `http` (an endpoint),
//!   `worker` (a queue's worker; `plan`: one that goes through a bulk).
//! - [`partners`]: which rows belong together, for who looks at the whole table.
//!
//! What belongs to one function alone does not belong here.

/// What a function ends with that cannot start, or cannot reach Lambda. The runtime's own error type.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs this until it ends, on this thread alone: a function handles one event at a time.
pub(crate) fn block_on(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run)
}

/// A byte order mark, which some serializers write before a text.
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
pub mod events;
pub mod http;
pub mod partners;
pub mod pin;
pub mod plan;
pub mod queue;
pub mod secret;
pub mod store;
mod trace;
pub mod worker;
