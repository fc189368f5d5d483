//! Computes when to retry an event that the endpoint did not accept.

use std::time::Duration;

use shared::domain::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The wait after the first delivery. It doubles after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The maximum wait. (The maximum visibility timeout in SQS is 12 hours.)
pub const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);
/// The maximum fraction by which a wait is shortened or lengthened, so that events that failed together are not retried
/// together.
const JITTER: f64 = 0.25;

/// Returns the wait after this delivery (counted from 1). `random` chooses between the shortest (0) and the longest (1)
/// jittered wait. The wait is at least what the endpoint requested, up to [`LONGEST_WAIT`].
#[must_use]
pub fn wait(delivery: u32, requested: Option<Duration>, random: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(delivery.saturating_sub(1)));
    let jittered = doubled.min(LONGEST_WAIT).mul_f64(1.0 - JITTER + 2.0 * JITTER * random);
    jittered.max(requested.unwrap_or_default()).min(LONGEST_WAIT)
}

/// Parses a `Retry-After` header, which has seconds or a date.
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
        // The random number spreads the waits.
        assert_eq!(wait(1, None, 0.0), Duration::from_millis(7_500));
        assert_eq!(wait(1, None, 1.0), Duration::from_millis(12_500));
        // All of the template's deliveries (WebhookMaxReceives) take a day, less half an hour.
        assert_eq!(doubled[..14].iter().sum::<u64>() / 3600, 23);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(
            delivery in any::<u32>(),
            requested in any::<Option<u32>>(),
            random in 0.0..1.0,
        ) {
            let requested = requested.map(|seconds| Duration::from_secs(seconds.into()));
            let wait = wait(delivery, requested, random);
            prop_assert!(wait >= FIRST_WAIT.mul_f64(1.0 - JITTER) && wait <= LONGEST_WAIT);
            prop_assert!(wait >= requested.unwrap_or_default().min(LONGEST_WAIT));
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
    fn retry_after_is_seconds_or_a_date(#[case] header: &str, #[case] seconds: Option<u64>) {
        let now = serde_json::from_str("\"2026-11-22T03:04:05.678Z\"").unwrap();
        assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs));
    }
}
