//! What Bindery's functions share.
//!
//! - [`domain`]: the rules of the business and the facts they speak of. Pure: no I/O, no clock, no randomness.
//! - [`message`]: what travels through the queues.
//! - [`config`], [`clock`], [`telemetry`]: the environment a function starts in, its time, and its logs; `metrics`: what
//!   it counts.
//! - The edges, each behind a feature so that a function links only what it uses:
//!   `store` (DynamoDB), `queue` (SQS), `events` (EventBridge), `secret` (Secrets Manager), `pin` (how PINs are kept), `http` (an endpoint),
//!   `worker` (a queue's worker; `plan`: one that goes through a bulk).
//!
//! What belongs to one function alone does not belong here.

/// What a function ends with that cannot start, or cannot reach Lambda. The runtime's own error type.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

pub mod clock;
pub mod config;
pub mod domain;
pub mod message;
#[cfg(any(feature = "events", feature = "http"))]
pub mod metrics;
pub mod telemetry;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(any(feature = "events", feature = "queue"))]
mod batching;
#[cfg(feature = "events")]
pub mod events;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "pin")]
pub mod pin;
#[cfg(feature = "worker")]
pub mod plan;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(feature = "secret")]
pub mod secret;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "worker")]
pub mod worker;
