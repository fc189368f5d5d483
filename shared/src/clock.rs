//! The current time, and the time left of an invocation.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::domain::time::Timestamp;

/// Maximum time until a deadline: Lambda's longest timeout (AWS limit).
const MAX_TIME: Duration = Duration::from_secs(15 * 60);
/// Time of an invocation whose runtime reports no plausible deadline. `cargo lambda` reports 1970.
const DEFAULT_TIME: Duration = Duration::from_secs(10);

/// Returns the current time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::new(OffsetDateTime::now_utc())
}

/// Returns the seconds since 1970, with their fraction. If the clock is set before 1970, returns infinity, so that no
/// token is valid.
#[must_use]
pub fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(f64::INFINITY, |since| since.as_secs_f64())
}

/// Returns the whole microseconds since 1970.
#[must_use]
pub fn epoch_microseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the time left of an invocation with this deadline, in milliseconds since 1970.
#[must_use]
pub fn time_left(deadline_ms: u64) -> Duration {
    time_between(SystemTime::now(), deadline_ms)
}

fn time_between(now: SystemTime, deadline_ms: u64) -> Duration {
    let deadline = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(deadline_ms));
    deadline
        .and_then(|deadline| deadline.duration_since(now).ok())
        .filter(|left| *left <= MAX_TIME)
        .unwrap_or(DEFAULT_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_implausible_deadline_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(time_between(now, 1_000_002_000), Duration::from_secs(2));
        assert_eq!(time_between(now, 0), DEFAULT_TIME);
        assert_eq!(time_between(now, u64::MAX), DEFAULT_TIME);
    }
}
