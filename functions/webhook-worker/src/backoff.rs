//! When an event that was not taken is sent again.

use std::time::Duration;

use shared::domain::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The wait after the first delivery; doubled after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest wait. (SQS hides a message for at most 12 hours.)
pub const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);
/// By how much of itself a wait is shortened or lengthened at most, so that events that failed together do not
/// come back together.
const JITTER: f64 = 0.25;

/// How long to wait after this delivery (from 1): what is drawn decides between the shortest (0) and the longest (1)
/// wait. Never shorter than what the endpoint has asked for, within [`LONGEST_WAIT`].
#[must_use]
pub fn wait(delivery: u32, asked: Option<Duration>, drawn: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(delivery.saturating_sub(1)));
    let jittered = doubled.min(LONGEST_WAIT).mul_f64(1.0 - JITTER + 2.0 * JITTER * drawn);
    jittered.max(asked.unwrap_or_default()).min(LONGEST_WAIT)
}

/// What a `Retry-After` header asks for: seconds, or a date.
#[must_use]
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(header, &Rfc2822).ok()?;
    let seconds = at.unix_timestamp().saturating_sub(now.epoch_seconds());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = (1..=15).map(|delivery| wait(delivery, None, 0.5).as_secs()).collect();
        let doubled = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 21600, 21600, 21600];
        assert_eq!(waits, doubled);
        // What is drawn spreads them.
        assert_eq!(wait(1, None, 0.0), Duration::from_millis(7_500));
        assert_eq!(wait(1, None, 1.0), Duration::from_millis(12_500));
        // All of the template's deliveries (WebhookMaxReceives) take a day, less half an hour.
        assert_eq!(doubled[..14].iter().sum::<u64>() / 3600, 23);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(delivery in any::<u32>(), asked in any::<Option<u32>>(), drawn in 0.0..1.0) {
            let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
            let wait = wait(delivery, asked, drawn);
            prop_assert!(wait >= FIRST_WAIT.mul_f64(1.0 - JITTER) && wait <= LONGEST_WAIT);
            prop_assert!(wait >= asked.unwrap_or_default().min(LONGEST_WAIT));
        }
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case(" 120 ", Some(120))]
    #[case("Sun, 22 Nov 2026 03:05:05 GMT", Some(60))]
    #[case("Sun, 22 Nov 2026 03:00:00 GMT", Some(0))]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn seconds_and_dates_are_understood(#[case] header: &str, #[case] seconds: Option<u64>) {
        let now = serde_json::from_str("\"2026-11-22T03:04:05.678Z\"").unwrap();
        assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs));
    }
}
