//! Logs: one JSON object a line on standard output, which Lambda hands to `CloudWatch`.
//!
//! Lines that matter carry `request_id` or `message_id`, `operation_id`, `tenant`, `cid`, `outcome` and
//! `duration_ms`. None carries a token, a PIN, an account or a customer ID, or a request's body.

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Starts logging. Once, first thing in `main`.
///
/// The level is Lambda's own setting (`AWS_LAMBDA_LOG_LEVEL`), else `RUST_LOG`, else INFO.
pub fn init() {
    let filter = std::env::var("AWS_LAMBDA_LOG_LEVEL").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(filter);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
