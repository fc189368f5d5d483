//! The deny list, and the limit of requests: both hold for all requests of an organization.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{OrgId, is_of_one_line};
use super::time::Timestamp;

/// Maximum organizations that are shut out at once. Our limit: the list is one row, and every endpoint reads all of it.
pub const MAX_DENIED: usize = 100;
/// Maximum length of a reason, in Unicode code points. Our limit: 100 reasons in four bytes a code point are 80 KB,
/// well below the 400 KB of a row (AWS limit).
pub const MAX_REASON_CHARS: usize = 200;

/// The organizations that an operator has shut out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyList {
    /// The number of changes. A change is written only over the version that it was made from.
    pub version: u64,
    /// The reason and the time for each.
    pub denied: BTreeMap<OrgId, Denial>,
}

/// The reason and the time of an exclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The operator's reason. The organization does not see it.
    pub reason: String,
    /// The time at which the operator shut it out.
    pub at: Timestamp,
}

/// The reason why an organization cannot be added to the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DenialError {
    /// The reason is empty, too long, or not a line.
    #[error("the reason must be one line of 1 to {MAX_REASON_CHARS} characters")]
    Reason,
    /// The list is full.
    #[error("{MAX_DENIED} organizations are shut out already")]
    Full,
}

impl DenyList {
    /// Adds the organization. If it is shut out already, replaces its reason, and keeps the time.
    ///
    /// # Errors
    /// See [`DenialError`].
    pub fn deny(&mut self, org: OrgId, reason: &str, at: Timestamp) -> Result<(), DenialError> {
        let reason = reason.trim();
        if !(1..=MAX_REASON_CHARS).contains(&reason.chars().count()) || !is_of_one_line(reason) {
            return Err(DenialError::Reason);
        }
        if self.denied.len() >= MAX_DENIED && !self.denied.contains_key(&org) {
            return Err(DenialError::Full);
        }
        let at = self.denied.get(&org).map_or(at, |denial| denial.at);
        self.denied.insert(org, Denial { reason: reason.to_owned(), at });
        Ok(())
    }
}

/// Microseconds in a second. Times of buckets are in microseconds, so that the interval between two tokens is exact
/// enough at hundreds a second.
pub(crate) const SECOND: u64 = 1_000_000;

/// The limit of each organization's requests: a token bucket, as the generic cell rate algorithm computes it (ITU-T
/// I.371). The state of a bucket is one number: the time at which it is full again.
///
/// A request takes tokens, and waits for none: it is admitted if the bucket has one token, and may leave the bucket in
/// debt. So a request that takes more tokens than the bucket holds is admitted too, but nothing after it until the debt
/// is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimit {
    /// The time in which the bucket gains a token.
    interval: u64,
    /// The time before it is full from which on a bucket has a token.
    tolerance: u64,
}

impl TenantLimit {
    /// Returns the limit of this many tokens a second, in a bucket of this many. Returns `None` for the rate 0, which
    /// means no limit.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Option<Self> {
        // Rounded up, so that the rate is never exceeded.
        let interval = (rate > 0).then(|| SECOND.div_ceil(u64::from(rate)))?;
        Some(Self { interval, tolerance: interval * u64::from(burst.saturating_sub(1)) })
    }

    /// Returns the time that this many tokens take.
    #[must_use]
    pub fn cost(self, tokens: u32) -> u64 {
        self.interval * u64::from(tokens)
    }

    /// Returns the latest time at which a bucket may be full again that has a token now.
    #[must_use]
    pub fn latest(self, now: u64) -> u64 {
        now.saturating_add(self.tolerance)
    }

    /// Returns the seconds until a bucket has a token that is full again at this time, or `None` if it has one now.
    #[must_use]
    pub fn seconds_to_wait(self, full_at: u64, now: u64) -> Option<u64> {
        let wait = full_at.saturating_sub(self.latest(now));
        (wait > 0).then(|| wait.div_ceil(SECOND))
    }

    /// Returns when the bucket is full again after a request that takes this many tokens now.
    ///
    /// # Errors
    /// Returns the seconds to wait if the bucket has no token.
    pub fn take(self, full_at: u64, now: u64, tokens: u32) -> Result<u64, u64> {
        self.seconds_to_wait(full_at, now).map_or_else(|| Ok(full_at.max(now) + self.cost(tokens)), Err)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn org(number: usize) -> OrgId {
        format!("TN-6cf9a3a5-8ea1-4a37-9a43-{number:012}").parse().unwrap()
    }

    fn at() -> Timestamp {
        serde_json::from_value(json!("2026-11-22T03:04:05.678Z")).unwrap()
    }

    #[test]
    fn the_list_has_a_limit_but_a_reason_can_always_be_replaced() {
        let mut list = DenyList::default();
        for number in 0..MAX_DENIED {
            assert_eq!(list.deny(org(number), "r", at()), Ok(()));
        }
        assert_eq!(list.deny(org(MAX_DENIED), "r", at()), Err(DenialError::Full));
        assert_eq!(list.deny(org(7), "another", at()), Ok(()));
        assert_eq!((list.denied.len(), list.denied[&org(7)].reason.as_str()), (MAX_DENIED, "another"));
    }

    #[rstest]
    #[case("", false)]
    #[case("a\nb", false)]
    #[case(&"ä".repeat(MAX_REASON_CHARS), true)]
    #[case(&"ä".repeat(MAX_REASON_CHARS + 1), false)]
    fn a_reason_is_a_line(#[case] reason: &str, #[case] is_valid: bool) {
        assert_eq!(DenyList::default().deny(org(1), reason, at()).is_ok(), is_valid);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert_eq!(TenantLimit::new(0, 5), None);
        assert_eq!(TenantLimit::new(300, 1).map(|limit| limit.cost(300)), Some(1_000_200));
    }

    #[test]
    fn a_bucket_serves_its_burst_and_then_its_rate() {
        let limit = TenantLimit::new(2, 3).unwrap();
        let (now, mut full_at) = (1_000 * SECOND, 0);
        for _ in 0..3 {
            full_at = limit.take(full_at, now, 1).unwrap();
        }
        assert_eq!(limit.take(full_at, now, 1), Err(1));
        assert!(limit.take(full_at, now + SECOND / 2, 1).is_ok());
        // A request of any cost is admitted, and the rest waits for it.
        assert_eq!(limit.take(0, now, 10), Ok(now + 5 * SECOND));
        assert_eq!(limit.take(now + 5 * SECOND, now, 1), Err(4));
    }

    prop_compose! {
        /// Returns requests: the microseconds since the one before, and the tokens.
        fn requests()(requests in vec((0..3_000_000_u64, 1..20_u32), 1..60)) -> Vec<(u64, u32)> { requests }
    }

    proptest! {
        /// An organization takes in no period more than its bucket holds and gains, and one request's debt.
        #[test]
        fn no_period_serves_more_than_burst_and_rate(rate in 1..2000_u32, burst in 1..50_u32, requests in requests()) {
            let limit = TenantLimit::new(rate, burst).unwrap();
            let (mut now, mut full_at, mut served) = (SECOND, 0, Vec::new());
            for (pause, tokens) in requests {
                now += pause;
                if let Ok(next) = limit.take(full_at, now, tokens) {
                    prop_assert!(next > full_at && next >= now + limit.cost(tokens));
                    full_at = next;
                    served.push((now, u64::from(tokens)));
                }
            }
            for (first, (from, _)) in served.iter().enumerate() {
                let mut taken = 0;
                for (to, tokens) in &served[first..] {
                    // The last request needs only one token, whatever it takes.
                    let gained = (to - from) * u64::from(rate) / SECOND;
                    prop_assert!(taken < u64::from(burst) + gained, "{taken} tokens in {} us", to - from);
                    taken += tokens;
                }
            }
        }

        /// An organization is served after the reported wait.
        #[test]
        fn a_request_after_the_wait_is_served(rate in 1..2000_u32, burst in 1..50_u32, requests in requests()) {
            let limit = TenantLimit::new(rate, burst).unwrap();
            let (mut now, mut full_at) = (SECOND, 0);
            for (_, tokens) in requests {
                full_at = match limit.take(full_at, now, tokens) {
                    Ok(next) => next,
                    Err(seconds) => {
                        prop_assert!(seconds >= 1);
                        now += seconds * SECOND;
                        limit.take(full_at, now, tokens).unwrap()
                    }
                };
            }
        }

        /// An organization that stays below the rate is never refused, whatever the burst.
        #[test]
        fn no_request_within_the_rate_is_refused(rate in 1..2000_u32, burst in 1..50_u32, requests in requests()) {
            let limit = TenantLimit::new(rate, burst).unwrap();
            let (mut now, mut full_at) = (SECOND, 0);
            for (pause, tokens) in requests {
                full_at = limit.take(full_at, now, tokens).unwrap();
                now += limit.cost(tokens) + pause;
            }
        }
    }
}
