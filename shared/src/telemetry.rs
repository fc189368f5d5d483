//! Logs: one JSON object per line on standard output, which Lambda sends to CloudWatch.
//!
//! The lines about requests and messages have `request_id` or `message_id` and `kind`, `operation_id`, `tenant`,
//! `cid`, `outcome` and `duration_ms`. No line contains a token, a PIN, an account ID, a customer ID or a request's
//! body.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config;

/// Starts logging. Call this once, first in `main`.
///
/// The level is Lambda's own setting (`AWS_LAMBDA_LOG_LEVEL`), otherwise `RUST_LOG`, otherwise INFO. Levels below
/// INFO apply only to this crate. At those levels, the runtime would log whole events and the SDK whole requests,
/// including tokens.
pub fn init() {
    let level = level_of(config::optional("AWS_LAMBDA_LOG_LEVEL").or_else(|| config::optional("RUST_LOG")).as_deref());
    let targets = Targets::new().with_default(level.min(LevelFilter::INFO)).with_target("shared", level);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_target(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

/// Returns the level with this name, or INFO if the name is missing or unknown.
fn level_of(name: Option<&str>) -> LevelFilter {
    // `LevelFilter` parses an empty name as ERROR.
    name.filter(|name| !name.is_empty()).and_then(|name| name.parse().ok()).unwrap_or(LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, LevelFilter::INFO)]
    #[case(Some(""), LevelFilter::INFO)]
    #[case(Some("loud"), LevelFilter::INFO)]
    #[case(Some("DEBUG"), LevelFilter::DEBUG)]
    #[case(Some("warn"), LevelFilter::WARN)]
    fn the_level_is_info_unless_one_is_named(#[case] name: Option<&str>, #[case] level: LevelFilter) {
        assert_eq!(level_of(name), level);
    }
}
