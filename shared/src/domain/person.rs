//! A person who creates orders or acts on them: their PIN, and the wrong attempts at it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::order::PersonId;
use super::time::Timestamp;

/// Wrong PINs in a row that lock a person's PIN (contract). The same number is allowed after each lock.
pub const MAX_TRIES: usize = 5;
/// Duration of the first lock, in seconds (contract: 15 minutes). Each further lock in a row lasts twice as long (our
/// rule).
pub const LOCK_SECONDS: i64 = 15 * 60;
/// Maximum duration of a lock, in seconds (our limit: a day). With it, an attacker can try 35 PINs of a person on the
/// first day, 180 in 30 days, and 1,855 in a year.
pub const MAX_LOCK_SECONDS: i64 = 24 * 60 * 60;
/// Maximum PINs of all persons of an organization that can be tried in an hour without being reported as right (our
/// limit). With random four-digit PINs, an attacker finds one in 33 hours. If one PIN in fifty is mistyped, 15,000
/// right ones are possible before the limit is reached.
pub const MAX_WRONG_AN_HOUR: usize = 300;
/// Minimum characters of a new PIN (our limit).
pub const MIN_PIN_CHARS: usize = 4;

const HOUR_SECONDS: i64 = 60 * 60;

/// A person as stored in their row. A person need not have a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The person's ID.
    pub creator_id: PersonId,
    /// True if canceling the orders that they created requires a PIN: that of the person for whom it is requested.
    pub pin_required: bool,
    /// The PIN's hash by Argon2id with a pepper, as a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_hash: Option<String>,
    /// The IDs of the wrong attempts in a row. As a set, it counts an attempt once, however often it is written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wrong: BTreeSet<String>,
    /// The end of the lock that begins after [`MAX_TRIES`] wrong attempts, in Unix seconds.
    #[serde(default)]
    pub locked_until: i64,
    /// The duration of that lock, in seconds. [`LOCK_SECONDS`] if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_seconds: Option<i64>,
}

impl Person {
    /// Creates a person whose PIN was just set, without wrong attempts or a lock.
    #[must_use]
    pub const fn with_pin(creator_id: PersonId, pin_required: bool, pin_hash: String) -> Self {
        let pin_hash = Some(pin_hash);
        Self { creator_id, pin_required, pin_hash, wrong: BTreeSet::new(), locked_until: 0, lock_seconds: None }
    }

    /// Returns whether the PIN is locked.
    #[must_use]
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.wrong.len() >= MAX_TRIES && self.locked_until > now.epoch_seconds()
    }

    /// Returns whether a lock of the PIN has ended, so that attempts are counted from zero again.
    #[must_use]
    pub fn lock_has_ended(&self, now: Timestamp) -> bool {
        self.wrong.len() >= MAX_TRIES && !self.is_locked(now)
    }

    /// Returns the duration of the next lock in seconds, if no right PIN comes before it.
    #[must_use]
    pub fn next_lock_seconds(&self) -> i64 {
        let seconds = self.lock_seconds.unwrap_or(LOCK_SECONDS);
        seconds.saturating_mul(2).clamp(LOCK_SECONDS, MAX_LOCK_SECONDS)
    }

    /// Returns the verdict that follows from this row alone, which reveals nothing new. A wrong attempt that was
    /// reported before is reported again. While the PIN is locked, any other attempt is reported as locked. If
    /// neither applies, the attempt must be counted.
    #[must_use]
    pub fn verdict(&self, wrong: Option<&str>, now: Timestamp) -> Option<Verdict> {
        if wrong.is_some_and(|id| self.wrong.contains(id)) {
            return Some(Verdict::Wrong);
        }
        self.is_locked(now).then_some(Verdict::Locked)
    }
}

/// The reported result of a PIN verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The PIN is right.
    Right,
    /// The PIN is wrong.
    Wrong,
    /// There were too many wrong PINs. The verdict does not reveal whether this one is right.
    Locked,
}

/// Returns the hour, counted from 1970, in which an organization's wrong PINs are counted.
#[must_use]
pub const fn hour_of(now: Timestamp) -> i64 {
    now.epoch_seconds().div_euclid(HOUR_SECONDS)
}

/// Returns the time in Unix seconds after which no process counts in this hour, even if its clock is an hour late.
#[must_use]
pub const fn hour_expires_at(hour: i64) -> i64 {
    hour.saturating_add(2).saturating_mul(HOUR_SECONDS)
}

/// The reasons why a new PIN is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPin {
    /// The PIN can be found by trying all PINs of its length.
    #[error("the PIN has fewer than {MIN_PIN_CHARS} characters")]
    TooShort,
    /// The PIN is among the first guesses of an attacker.
    #[error("the PIN is one character repeated, or a run such as 1234 or dcba")]
    Trivial,
}

/// Checks a new PIN.
///
/// # Errors
/// Returns [`WeakPin`] with the reason.
pub fn check_new_pin(pin: &str) -> Result<(), WeakPin> {
    let chars: Vec<i64> = pin.chars().map(|one| i64::from(u32::from(one))).collect();
    if chars.len() < MIN_PIN_CHARS {
        return Err(WeakPin::TooShort);
    }
    let is_run = |step: i64| chars.windows(2).all(|pair| pair[1] - pair[0] == step);
    if (-1..=1).any(is_run) { Err(WeakPin::Trivial) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use time::OffsetDateTime;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(OffsetDateTime::from_unix_timestamp(seconds).unwrap())
    }

    fn person(tries: usize, locked_until: i64, lock_seconds: Option<i64>) -> Person {
        let wrong = (0..tries).map(|number| number.to_string()).collect();
        Person { wrong, locked_until, lock_seconds, ..Person::with_pin(7, true, String::new()) }
    }

    #[test]
    fn each_lock_in_a_row_is_twice_as_long_up_to_a_day() {
        let mut person = person(MAX_TRIES, 0, None);
        let mut minutes = Vec::new();
        for _ in 0..9 {
            person.lock_seconds = Some(person.next_lock_seconds());
            minutes.push(person.lock_seconds.unwrap() / 60);
        }
        assert_eq!(minutes, [30, 60, 120, 240, 480, 960, 1440, 1440, 1440]);
    }

    #[test]
    fn a_pin_is_locked_after_five_wrong_ones_until_the_lock_ends() {
        for tries in 0..7 {
            let person = person(tries, 100, None);
            let found: Vec<_> = [99, 100].map(|now| (person.is_locked(at(now)), person.lock_has_ended(at(now)))).into();
            let expected = if tries < 5 { [(false, false); 2] } else { [(true, false), (false, true)] };
            assert_eq!(found, expected, "{tries}");
        }
    }

    #[test]
    fn a_verdict_from_the_row_reveals_nothing_new() {
        let (open, locked) = (person(4, 100, None), person(5, 100, None));
        let of = |person: &Person, now| [None, Some("new"), Some("0")].map(|wrong| person.verdict(wrong, at(now)));
        assert_eq!(of(&open, 0), [None, None, Some(Verdict::Wrong)]);
        assert_eq!(of(&locked, 99), [Some(Verdict::Locked), Some(Verdict::Locked), Some(Verdict::Wrong)]);
        assert_eq!(of(&locked, 100), [None, None, Some(Verdict::Wrong)]);
    }

    #[test]
    fn an_hour_is_counted_for_as_long_as_clocks_may_differ() {
        assert_eq!([-1, 0, 3599, 3600].map(|seconds| hour_of(at(seconds))), [-1, 0, 0, 1]);
        assert_eq!(hour_expires_at(1), 3 * 3600);
    }

    proptest! {
        /// Whatever the row contains, the next lock's duration is within the limits.
        #[test]
        fn no_row_makes_a_lock_longer_than_a_day(seconds in prop::option::of(any::<i64>())) {
            let next = person(MAX_TRIES, 0, seconds).next_lock_seconds();
            prop_assert!((LOCK_SECONDS..=MAX_LOCK_SECONDS).contains(&next));
        }

        #[test]
        fn a_pin_of_four_is_weak_if_its_steps_are_one_of_three(pin in "[0-9]{4}") {
            let steps: BTreeSet<i16> =
                pin.as_bytes().windows(2).map(|pair| i16::from(pair[1]) - i16::from(pair[0])).collect();
            let is_run = steps.len() == 1 && steps.iter().all(|step| step.abs() <= 1);
            prop_assert_eq!(check_new_pin(&pin).is_err(), is_run);
        }
    }

    #[rstest]
    #[case("", Err(WeakPin::TooShort))]
    #[case("357", Err(WeakPin::TooShort))]
    #[case("äöü", Err(WeakPin::TooShort))]
    #[case("0000", Err(WeakPin::Trivial))]
    #[case("🙂🙂🙂🙂", Err(WeakPin::Trivial))]
    #[case("1234", Err(WeakPin::Trivial))]
    #[case("987654", Err(WeakPin::Trivial))]
    #[case("abcd", Err(WeakPin::Trivial))]
    #[case("dcba", Err(WeakPin::Trivial))]
    #[case("1357", Ok(()))]
    #[case("1235", Ok(()))]
    #[case("1111 ", Ok(()))]
    #[case("7295", Ok(()))]
    fn a_pin_that_is_easy_to_guess_is_rejected(#[case] pin: &str, #[case] expected: Result<(), WeakPin>) {
        assert_eq!(check_new_pin(pin), expected);
    }
}
