//! Logs: one JSON object a line on standard output, which Lambda hands to CloudWatch.
//!
//! Lines that matter carry `request_id` or `message_id` and `kind`, `operation_id`, `tenant`, `cid`, `outcome` and
//! `duration_ms`. None carries a token, a PIN, an account or a customer ID, or a request's body.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config;

/// Starts logging. Once, first thing in `main`.
///
/// The level is Lambda's own setting (`AWS_LAMBDA_LOG_LEVEL`), else `RUST_LOG`, else INFO. It holds for our
/// own code; libraries never say more than INFO, because below that the runtime logs whole events and
/// the SDK whole requests, tokens and all.
pub fn init() {
    let level = level_of(config::optional("AWS_LAMBDA_LOG_LEVEL").or_else(|| config::optional("RUST_LOG")).as_deref());
    let targets = Targets::new().with_default(level.min(LevelFilter::INFO)).with_target("shared", level);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_target(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

/// The level of this name; INFO if there is none or no such level.
fn level_of(name: Option<&str>) -> LevelFilter {
    // To `LevelFilter`, an empty name is ERROR.
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
