//! A person who creates orders or acts on them: their PIN, and how often it was guessed wrong.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::order::PersonId;
use super::time::Timestamp;

/// Wrong PINs in a row after which a person's PIN is locked (contract). After each lock there are as many again.
pub const MAX_TRIES: usize = 5;
/// How long the first lock lasts, in seconds (contract: 15 minutes). Each further one in a row lasts twice as long (ours).
pub const LOCK_SECONDS: i64 = 15 * 60;
/// How long a lock lasts at most, in seconds (ours: a day). So of one person 35 PINs can be guessed on the first day, 180 in
/// 30 days, 1,855 in a year.
pub const MAX_LOCK_SECONDS: i64 = 24 * 60 * 60;
/// Most PINs that are tried in an hour for an organisation and not told to be right, whosever they are (ours). Of PINs that are
/// drawn at random, four digits each, who guesses finds one in 33 hours. Where one PIN in fifty is mistyped, 15,000 are right
/// before that.
pub const MAX_WRONG_AN_HOUR: usize = 300;
/// Fewest characters of a new PIN (ours).
pub const MIN_PIN_CHARS: usize = 4;

const HOUR_SECONDS: i64 = 60 * 60;

/// A person as their row has it. There need not be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    pub creator_id: PersonId,
    /// Whether the orders that they created are canceled only with a PIN: that of the person for whom it is asked.
    pub pin_required: bool,
    /// The PIN, hashed by Argon2id with a pepper: a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_hash: Option<String>,
    /// The wrong tries in a row, each by its ID: so a try counts once, however often it is written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wrong: BTreeSet<String>,
    /// Until when the PIN is locked once there were [`MAX_TRIES`] of them, in seconds after 1970.
    #[serde(default)]
    pub locked_until: i64,
    /// How long that lock lasts, in seconds: [`LOCK_SECONDS`] if nothing stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_seconds: Option<i64>,
}

impl Person {
    /// A person whose PIN was just set: no wrong try and no lock counts against it.
    #[must_use]
    pub const fn with_pin(creator_id: PersonId, pin_required: bool, pin_hash: String) -> Self {
        let pin_hash = Some(pin_hash);
        Self { creator_id, pin_required, pin_hash, wrong: BTreeSet::new(), locked_until: 0, lock_seconds: None }
    }

    /// Whether the PIN is locked.
    #[must_use]
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.wrong.len() >= MAX_TRIES && self.locked_until > now.epoch_seconds()
    }

    /// Whether the PIN was locked, but is not any more: the tries count from nothing again.
    #[must_use]
    pub fn lock_has_ended(&self, now: Timestamp) -> bool {
        self.wrong.len() >= MAX_TRIES && !self.is_locked(now)
    }

    /// Returns how long the lock after this one lasts, if no right PIN comes between them.
    #[must_use]
    pub fn next_lock_seconds(&self) -> i64 {
        let seconds = self.lock_seconds.unwrap_or(LOCK_SECONDS);
        seconds.saturating_mul(2).clamp(LOCK_SECONDS, MAX_LOCK_SECONDS)
    }

    /// Returns what is said of a try by this row alone: of a wrong one that was told before, the same; of any other while the
    /// PIN is locked, that. Nothing new is told by either. If the row says neither, the try counts.
    #[must_use]
    pub fn verdict(&self, wrong: Option<&str>, now: Timestamp) -> Option<Verdict> {
        if wrong.is_some_and(|id| self.wrong.contains(id)) {
            return Some(Verdict::Wrong);
        }
        self.is_locked(now).then_some(Verdict::Locked)
    }
}

/// What is said of a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// There were too many wrong ones: whether this one is right is not said.
    Locked,
}

/// Returns the hour, counted from 1970 on, in which an organisation's wrong PINs are counted.
#[must_use]
pub const fn hour_of(now: Timestamp) -> i64 {
    now.epoch_seconds().div_euclid(HOUR_SECONDS)
}

/// Returns when nobody counts in this hour any more, whose clock may be an hour late: in seconds after 1970.
#[must_use]
pub const fn hour_expires_at(hour: i64) -> i64 {
    hour.saturating_add(2).saturating_mul(HOUR_SECONDS)
}

/// Why a PIN is not to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPin {
    /// It is found by trying all.
    #[error("the PIN has fewer than {MIN_PIN_CHARS} characters")]
    TooShort,
    /// It is among those that are guessed first.
    #[error("the PIN is one character repeated, or a run such as 1234 or dcba")]
    Trivial,
}

/// Checks a PIN that is to be set.
///
/// # Errors
/// [`WeakPin`].
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
    fn it_is_locked_after_five_until_then_and_not_any_more() {
        for tries in 0..7 {
            let person = person(tries, 100, None);
            let found: Vec<_> = [99, 100].map(|now| (person.is_locked(at(now)), person.lock_has_ended(at(now)))).into();
            let expected = if tries < 5 { [(false, false); 2] } else { [(true, false), (false, true)] };
            assert_eq!(found, expected, "{tries}");
        }
    }

    #[test]
    fn nothing_new_is_told_of_what_is_locked_or_was_told() {
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
        /// Whatever stands in a row, the next lock has a length that a lock can have.
        #[test]
        fn no_row_makes_a_lock_longer_than_a_day(seconds in prop::option::of(any::<i64>())) {
            let next = person(MAX_TRIES, 0, seconds).next_lock_seconds();
            prop_assert!((LOCK_SECONDS..=MAX_LOCK_SECONDS).contains(&next));
        }

        #[test]
        fn a_pin_of_four_is_weak_if_its_steps_are_one_of_three(pin in "[0-9]{4}") {
            let steps: BTreeSet<i16> = pin.as_bytes().windows(2).map(|pair| i16::from(pair[1]) - i16::from(pair[0])).collect();
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
    fn a_pin_that_is_guessed_first_is_not_set(#[case] pin: &str, #[case] expected: Result<(), WeakPin>) {
        assert_eq!(check_new_pin(pin), expected);
    }
}
