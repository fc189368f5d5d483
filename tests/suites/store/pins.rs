//! Limits on guessing PINs: one by one, many at once, and for a month.

use std::cell::Cell;

use shared::domain::person::{MAX_WRONG_AN_HOUR, Person, Verdict};
use shared::domain::time::Timestamp;
use tests::capacity::dynoxide;
use tests::seed;
use tests::test_env::TestEnv;

use super::{ORG, OTHER_ORG, at, org};

/// Five of 200 wrong guesses at once get the verdict `Wrong`, the others `Locked`. Right PINs at once lock nothing.
#[tokio::test]
async fn two_hundred_guesses_at_once_get_five_verdicts() {
    let env = TestEnv::new().await;
    let store = env.store();
    let person = Person { pin_hash: None, ..Person::with_pin(7, true, String::new()) };
    seed::person(&env.dynamodb, &env.table, ORG, 7).await;
    let record_pin_attempt = async |count: usize, right: bool, at: Timestamp| {
        let tries: Vec<Option<String>> = (0..count).map(|number| (!right).then(|| format!("try {number}"))).collect();
        let attempts =
            tries.iter().map(async |id| store.record_pin_attempt(&org(), &person, id.as_deref(), at).await.unwrap());
        futures_util::future::join_all(attempts).await
    };
    let of = |verdicts: &[Verdict], wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();

    assert_eq!(of(&record_pin_attempt(20, true, at(0)).await, Verdict::Right), 20);
    let wrong = record_pin_attempt(200, false, at(0)).await;
    assert_eq!((of(&wrong, Verdict::Wrong), of(&wrong, Verdict::Locked)), (5, 195));
    assert_eq!(record_pin_attempt(1, true, at(0)).await, [Verdict::Locked]);
    // The lock ends fifteen minutes after the last wrong guess.
    let persons = store.persons(&org(), &[7]).await.unwrap();
    assert!(!persons[&7].lock_has_ended(at(15 * 60 - 1)));
    assert!(persons[&7].lock_has_ended(at(15 * 60)));
    let again = store.record_pin_attempt(&org(), &persons[&7], Some("again"), at(15 * 60)).await.unwrap();
    assert_eq!((again, store.persons(&org(), &[7]).await.unwrap()[&7].wrong.len()), (Verdict::Wrong, 1));
}

/// A wrong try that is written again counts once, gets the same verdict, and does not prolong a lock.
#[tokio::test]
async fn a_pin_try_counts_once() {
    let env = TestEnv::new().await;
    let store = env.store();
    seed::person(&env.dynamodb, &env.table, ORG, 7).await;
    let person = async || store.persons(&org(), &[7]).await.unwrap().remove(&7).unwrap();
    for seconds in 0..10 {
        let verdict = store.record_pin_attempt(&org(), &person().await, Some("one"), at(seconds)).await.unwrap();
        assert_eq!((verdict, person().await.wrong.len()), (Verdict::Wrong, 1));
    }
    for other in ["two", "three", "four", "five"] {
        assert_eq!(
            store.record_pin_attempt(&org(), &person().await, Some(other), at(10)).await.unwrap(),
            Verdict::Wrong
        );
    }
    let locked = person().await;
    assert_eq!(store.record_pin_attempt(&org(), &locked, Some("five"), at(60)).await.unwrap(), Verdict::Wrong);
    assert_eq!(store.record_pin_attempt(&org(), &locked, Some("six"), at(60)).await.unwrap(), Verdict::Locked);
    assert_eq!(store.record_pin_attempt(&org(), &locked, None, at(60)).await.unwrap(), Verdict::Locked);
    assert_eq!(person().await, locked);
}

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// A person whose PIN is guessed many times. The table is in dynoxide, which is fast enough for that.
struct Guessed {
    env: TestEnv,
    tries: Cell<usize>,
}

impl Guessed {
    async fn new() -> Self {
        let env = TestEnv::with_table_at(&dynoxide().await).await;
        seed::person(&env.dynamodb, &env.table, ORG, 7).await;
        Self { env, tries: Cell::new(0) }
    }

    async fn row(&self) -> Person {
        self.env.store().persons(&org(), &[7]).await.unwrap().remove(&7).unwrap()
    }

    /// Makes `count` guesses at once, all based on `read`, and returns how many of them got the verdict `Wrong`.
    async fn guess(&self, read: &Person, count: usize, now: Timestamp) -> usize {
        let store = self.env.store();
        let attempts = (0..count).map(|_| {
            let id = format!("try {}", self.tries.replace(self.tries.get() + 1));
            let store = &store;
            async move { store.record_pin_attempt(&org(), read, Some(&id), now).await.unwrap() }
        });
        let verdicts = futures_util::future::join_all(attempts).await;
        verdicts.into_iter().filter(|verdict| *verdict == Verdict::Wrong).count()
    }

    /// Returns how long the PIN is still locked, in minutes. Panics if it is not locked.
    async fn locked_minutes(&self, now: i64) -> i64 {
        let row = self.row().await;
        assert!(row.is_locked(at(now)));
        (row.locked_until - at(now).epoch_seconds()) / MINUTE
    }
}

/// An attacker who guesses again as soon as each lock ends gets 35 guesses on the first day, and 180 in 30 days.
#[tokio::test]
async fn guessing_after_each_lock_gets_five_guesses_a_day() {
    let guessed = Guessed::new().await;
    let (mut now, mut tried) = (0, Vec::new());
    while now < 30 * DAY {
        let wrong = guessed.guess(&guessed.row().await, 1, at(now)).await;
        tried.extend(std::iter::repeat_n(now, wrong));
        let row = guessed.row().await;
        if wrong == 0 {
            now = row.locked_until - at(0).epoch_seconds();
        }
    }
    let before = |end: i64| tried.iter().filter(|at| **at < end).count();
    assert_eq!([before(DAY), before(2 * DAY), before(30 * DAY)], [35, 40, 180]);
}

/// After a lock has ended, guesses made at once get five tries and one lock, twice as long as the last, whatever state
/// of the row each of them has read before.
#[tokio::test]
async fn concurrent_guesses_end_a_lock_once() {
    let guessed = Guessed::new().await;
    let (mut now, mut read) = (0, Vec::new());
    for minutes in [15, 30, 60, 120] {
        read.push(guessed.row().await);
        // Includes late callers, whose copy of the row is from before this lock or an earlier one.
        let waves = read.iter().map(|read| guessed.guess(read, 8, at(now)));
        let wrong: usize = futures_util::future::join_all(waves).await.into_iter().sum();
        assert_eq!((wrong, guessed.locked_minutes(now).await), (5, minutes));
        now += minutes * MINUTE;
    }
}

#[tokio::test]
async fn a_right_pin_resets_the_lock_time() {
    let guessed = Guessed::new().await;
    let mut now = 0;
    for minutes in [15, 30, 60] {
        assert_eq!(guessed.guess(&guessed.row().await, 6, at(now)).await, 5);
        assert_eq!(guessed.locked_minutes(now).await, minutes);
        now += minutes * MINUTE;
    }
    let (store, row) = (guessed.env.store(), guessed.row().await);
    assert_eq!(store.record_pin_attempt(&org(), &row, None, at(now)).await.unwrap(), Verdict::Right);
    let after = guessed.row().await;
    assert_eq!((after.wrong.len(), after.lock_seconds), (0, None));
    assert_eq!(guessed.guess(&after, 6, at(now)).await, 5);
    assert_eq!(guessed.locked_minutes(now).await, 15);
}

/// The hour's limit of an organization holds for concurrent requests, and for the PINs of all its persons together.
#[tokio::test]
async fn an_hour_admits_a_limited_number_of_wrong_pins() {
    let env = TestEnv::with_table_at(&dynoxide().await).await;
    let store = env.store();
    let tries = |request: usize| (0..7).map(|number| format!("{request}-{number}")).collect::<Vec<_>>();
    let count = async |tries: Vec<String>, now| store.count_tries(&org(), tries, now).await.unwrap();
    let mut admitted: Vec<bool> = Vec::new();
    // Ten at a time: on a busy machine, more at once would lose responses, and a retried call may be refused.
    for wave in 0..5 {
        let counting = (0..10).map(|request| count(tries(10 * wave + request), at(0)));
        admitted.extend(futures_util::future::join_all(counting).await);
    }
    let granted: Vec<usize> = (0..50).filter(|request| admitted[*request]).collect();
    assert_eq!(granted.len(), MAX_WRONG_AN_HOUR / 7);
    // Tries that are counted again take no more room.
    let size = async || {
        let rows = env.rows().await;
        let (_, row) = rows.iter().find(|((pk, _), _)| pk.starts_with(&format!("{ORG}#PINS#"))).unwrap();
        (row["tries"].as_array().unwrap().len(), row["expires_at"].as_i64().unwrap() - at(0).epoch_seconds())
    };
    let before = size().await;
    assert_eq!(before.0, 294);
    assert!((3600..=7200).contains(&before.1));
    count(vec![tries(granted[0])[0].clone()], at(1)).await;
    assert_eq!(size().await, before);
    // There is room for six more: a request with seven is refused, six single ones are admitted, and no more.
    assert!(!count(tries(100), at(1)).await);
    for last in 0..6 {
        assert!(count(vec![format!("last {last}")], at(1)).await);
    }
    assert!(!count(vec!["x".to_owned()], at(1)).await);
    assert_eq!(size().await.0, MAX_WRONG_AN_HOUR);
    // Tries that turn out to be right free their room again.
    store.uncount_tries(&org(), vec!["last 0".to_owned(), "last 1".to_owned()], at(2)).await.unwrap();
    assert_eq!(
        [count(tries(101), at(2)).await, count(vec!["x".to_owned(), "y".to_owned()], at(2)).await],
        [false, true]
    );
    // Another organization and the next hour have their own room.
    assert!(store.count_tries(&OTHER_ORG.parse().unwrap(), vec!["x".to_owned()], at(1)).await.unwrap());
    assert!(count(tries(100), at(3600)).await);
}
