//! Transactions whose rows become visible one by one, as in DynamoDB. Its emulators change all rows at once.
//!
//! DynamoDB commits a transaction in two phases. First each row's node prepares its write, and from then on refuses
//! other writes. Then each node commits on its own, so a reader can see one row new and another row old. The proxies
//! of a run therefore share a registry of rows. While a transaction holds a row that it has not committed, reads
//! return the old row, and writes are refused. [`proxy`](crate::proxy) consults the registry at every call.
//! tests/EMULATOR.md names the sources.
//!
//! A row is identified by `pk` and `sk` alone, so a registry serves one table. Bindery deletes no row in a
//! transaction, so deletions are not simulated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

mod rows;

pub(crate) use rows::{Key, read_together, table_of, written};

use rows::key_of;

/// A registry of the rows that are being written. Clones share it. The default registry has no effect.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    state: Arc<Mutex<CommitState>>,
}

#[derive(Debug, Default)]
struct CommitState {
    rng: Rng,
    /// The longest time for which a row stays invisible.
    longest: Duration,
    rows: HashMap<Key, RowState>,
    shown: usize,
}

#[derive(Debug)]
enum RowState {
    /// This many writes of only this row are in progress.
    Written(usize),
    /// A transaction holds it.
    Held(Held),
}

#[derive(Debug)]
struct Held {
    /// The token by which DynamoDB recognizes a repeated transaction.
    token: Value,
    /// The old row, or null if it did not exist. `None` until the transaction is sent to the emulator.
    before: Option<Value>,
    /// The time at which the row becomes visible. `None` until the transaction is decided.
    until: Option<Instant>,
}

impl Commits {
    /// Creates a registry of transactions whose rows stay invisible for up to `longest`, drawn from the seed.
    #[must_use]
    pub fn new(longest: Duration, seed: u64) -> Self {
        let commits = Self::default();
        commits.show_apart(longest, seed);
        commits
    }

    /// Sets the longest time for which rows stay invisible. With zero, transactions are visible at once.
    pub fn show_apart(&self, longest: Duration, seed: u64) {
        let mut state = self.state.lock().unwrap();
        (state.longest, state.rng) = (longest, Rng::with_seed(seed));
    }

    /// Returns how often a reader was shown the old row of a committed transaction.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.state.lock().unwrap().shown
    }

    /// Returns whether calls must be checked against the registry.
    pub(crate) fn is_on(&self) -> bool {
        let state = self.at(Instant::now());
        !state.longest.is_zero() || !state.rows.is_empty()
    }

    /// Locks the registry at this time, without the rows that are visible by then.
    fn at(&self, now: Instant) -> MutexGuard<'_, CommitState> {
        let mut state = self.state.lock().unwrap();
        let is_seen = |row: &RowState| matches!(row, RowState::Held(Held { until: Some(until), .. }) if *until <= now);
        state.rows.retain(|_, row| !is_seen(row));
        state
    }

    /// Records writes of single rows, and returns which of them are allowed. Each of those must [`end`](Self::end).
    pub(crate) fn begin(&self, rows: &[Key], now: Instant) -> Vec<bool> {
        let mut state = self.at(now);
        let mut may = |key: &Key| match state.rows.entry(key.clone()).or_insert(RowState::Written(0)) {
            RowState::Written(writes) => {
                *writes += 1;
                true
            }
            RowState::Held(_) => false,
        };
        rows.iter().map(&mut may).collect()
    }

    /// Records that these writes, which were allowed, have completed.
    pub(crate) fn end<'a>(&self, rows: impl IntoIterator<Item = &'a Key>) {
        let mut state = self.state.lock().unwrap();
        for key in rows {
            let Some(RowState::Written(writes)) = state.rows.get_mut(key) else {
                panic!("no write of {key:?} is in progress")
            };
            *writes -= 1;
            if *writes == 0 {
                state.rows.remove(key);
            }
        }
    }

    /// Holds the rows for a transaction, all or none.
    ///
    /// # Errors
    /// Returns DynamoDB's refusal if another write of one of the rows is in progress. (DynamoDB would first complete a
    /// single write that came first, and then the transaction. It may also refuse, which needs no waiting here.)
    pub(crate) fn prepare(&self, rows: &[Key], token: &Value, now: Instant) -> Result<(), Value> {
        let mut state = self.at(now);
        let of_same =
            |row: &RowState| matches!(row, RowState::Held(held) if held.token.is_string() && held.token == *token);
        if rows.iter().any(|key| state.rows.get(key).is_some_and(of_same)) {
            return Err(refusal("TransactionInProgressException"));
        }
        if let Some(canceled) = canceled(rows, |key| state.rows.contains_key(key)) {
            return Err(canceled);
        }
        for key in rows {
            let held = Held { token: token.clone(), before: None, until: None };
            state.rows.insert(key.clone(), RowState::Held(held));
        }
        Ok(())
    }

    /// Returns DynamoDB's refusal to read these rows together, if a transaction holds one of them.
    pub(crate) fn refuse_reading(&self, rows: &[Key], now: Instant) -> Option<Value> {
        let state = self.at(now);
        canceled(rows, |key| matches!(state.rows.get(key), Some(RowState::Held(_))))
    }

    /// Records the old content of held rows, which reads return until the rows become visible. Rows that are not in
    /// `found` did not exist.
    pub(crate) fn hold(&self, rows: &[Key], found: &[Value]) {
        let found: HashMap<Key, &Value> = found.iter().map(|row| (key_of(row), row)).collect();
        let mut state = self.state.lock().unwrap();
        for key in rows {
            let before = found.get(key).map_or(Value::Null, |row| (*row).clone());
            state.held(key).before = Some(before);
        }
    }

    /// Records whether the transaction that holds these rows was committed. Returns when all of them are visible.
    pub(crate) fn decide(&self, rows: &[Key], is_done: bool, now: Instant) -> Instant {
        let mut state = self.state.lock().unwrap();
        let mut last = now;
        for key in rows {
            if is_done {
                let until = now + state.longest.mul_f64(state.rng.f64());
                state.held(key).until = Some(until);
                last = last.max(until);
            } else {
                state.rows.remove(key);
            }
        }
        last
    }

    /// Changes the response to a read of this name to what DynamoDB returns at this time.
    pub(crate) fn show(&self, name: &str, response: &mut Value, now: Instant) {
        let mut state = self.at(now);
        match name {
            "GetItem" => {
                let mut items: Vec<Value> = response.as_object_mut().unwrap().remove("Item").into_iter().collect();
                state.show(&mut items);
                if let Some(item) = items.pop() {
                    response["Item"] = item;
                }
            }
            "BatchGetItem" => {
                for (_, items) in response["Responses"].as_object_mut().into_iter().flatten() {
                    state.show(items.as_array_mut().unwrap());
                }
            }
            _ => {
                let items = response["Items"].as_array_mut().unwrap();
                let absent = state.show(items);
                for count in ["Count", "ScannedCount"] {
                    response[count] = (response[count].as_u64().unwrap() - absent).into();
                }
            }
        }
    }
}

impl CommitState {
    fn held(&mut self, key: &Key) -> &mut Held {
        let Some(RowState::Held(held)) = self.rows.get_mut(key) else { panic!("no transaction holds {key:?}") };
        held
    }

    /// Replaces held rows by their old content. Returns how many of them did not exist.
    fn show(&mut self, items: &mut Vec<Value>) -> u64 {
        let all = items.len();
        items.retain_mut(|item| {
            let Some(RowState::Held(Held { before: Some(before), .. })) = self.rows.get(&key_of(item)) else {
                return true;
            };
            if item != before {
                self.shown += 1;
                item.clone_from(before);
            }
            !item.is_null()
        });
        (all - items.len()) as u64
    }
}

/// Returns DynamoDB's refusal of a transaction on these rows, if one of them is busy.
fn canceled(rows: &[Key], is_busy: impl Fn(&Key) -> bool) -> Option<Value> {
    let reason = |key: &Key| {
        if is_busy(key) {
            json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" })
        } else {
            json!({ "Code": "None" })
        }
    };
    let mut canceled = refusal("TransactionCanceledException");
    canceled["CancellationReasons"] = rows.iter().map(reason).collect();
    rows.iter().any(is_busy).then_some(canceled)
}

/// Returns the body of DynamoDB's response with status 400.
pub(crate) fn refusal(exception: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{exception}"), "message": "Transaction is ongoing" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn key(name: &str) -> Key {
        (name.to_owned(), "CARD".to_owned())
    }

    fn row(name: &str, status: &str) -> Value {
        json!({ "pk": { "S": name }, "sk": { "S": "CARD" }, "status": { "S": status } })
    }

    /// Returns two rows that a committed transaction wrote, and when each becomes visible. Only the first existed
    /// before.
    fn done() -> (Commits, [Key; 2], [Instant; 2]) {
        let (commits, rows, start) = (Commits::new(LONGEST, 1), ["a", "b"].map(key), Instant::now());
        commits.prepare(&rows, &Value::Null, start).unwrap();
        commits.hold(&rows, &[row("a", "OLD")]);
        let last = commits.decide(&rows, true, start);
        let seen = rows.clone().map(|key| {
            let mut state = commits.state.lock().unwrap();
            state.held(&key).until.unwrap()
        });
        assert_eq!(last, seen[0].max(seen[1]));
        assert!(seen[0] > start && seen[1] > start && seen[0] != seen[1] && last <= start + LONGEST);
        (commits, rows, seen)
    }

    /// Returns the status of the two rows that reads of each kind return at this time. The emulator has the new status.
    fn shown(commits: &Commits, at: Instant) -> [Value; 2] {
        let new = ["a", "b"].map(|name| row(name, "NEW"));
        let mut query = json!({ "Items": new, "Count": 2, "ScannedCount": 2 });
        commits.show("Query", &mut query, at);
        let mut batch = json!({ "Responses": { "table": new } });
        commits.show("BatchGetItem", &mut batch, at);
        let found = query["Items"].as_array().unwrap();
        assert_eq!(&query["Items"], &batch["Responses"]["table"]);
        assert_eq!((&query["Count"], &query["ScannedCount"]), (&json!(found.len()), &json!(found.len())));
        ["a", "b"].map(|name| {
            let mut one = json!({ "Item": row(name, "NEW") });
            commits.show("GetItem", &mut one, at);
            assert_eq!(one.get("Item"), found.iter().find(|row| key_of(row) == key(name)));
            one["Item"]["status"]["S"].clone()
        })
    }

    #[test]
    fn a_read_between_two_commits_sees_one_row_new_and_one_as_it_was() {
        let (commits, _, seen) = done();
        let (old, new) = ([json!("OLD"), Value::Null], json!("NEW"));
        let (first, last) = (seen[0].min(seen[1]), seen[0].max(seen[1]));
        assert_eq!(shown(&commits, first.checked_sub(Duration::from_nanos(1)).unwrap()), old);
        let between = if seen[0] < seen[1] { [new.clone(), Value::Null] } else { [json!("OLD"), new.clone()] };
        assert_eq!(shown(&commits, first), between);
        assert_eq!(shown(&commits, last.checked_sub(Duration::from_nanos(1)).unwrap()), between);
        // `shown` reads each row three times: two old rows in its first call, one in each of the next two.
        assert_eq!(commits.shown(), 12);
        assert_eq!(shown(&commits, last), [new.clone(), new]);
        assert_eq!(commits.shown(), 12);
    }

    #[test]
    fn a_row_that_is_not_seen_yet_is_not_written() {
        let (commits, rows, seen) = done();
        let (first, last) = (seen[0].min(seen[1]), seen[0].max(seen[1]));
        assert_eq!(commits.begin(&rows, first), seen.map(|seen| seen == first));
        commits.end(rows.iter().zip(seen).filter(|(_, seen)| *seen == first).map(|(row, _)| row));
        assert!(commits.refuse_reading(&rows, first).is_some());
        let three = [&rows[..], &[key("c")]].concat();
        let refusal = commits.prepare(&three, &Value::Null, first).unwrap_err();
        assert!(refusal["__type"].as_str().unwrap().ends_with("#TransactionCanceledException"));
        let codes = refusal["CancellationReasons"].as_array().unwrap().iter().map(|reason| reason["Code"].clone());
        let expected = [seen[0] > first, seen[1] > first, false];
        let expected = expected.map(|is_held| json!(if is_held { "TransactionConflict" } else { "None" }));
        assert_eq!(codes.collect::<Vec<_>>(), expected);
        // Afterwards all may be read together and written, also by the callers refused before.
        assert!(commits.refuse_reading(&rows, last).is_none());
        assert_eq!(commits.begin(&three, last), [true; 3]);
    }

    #[test]
    fn a_row_that_is_written_is_not_prepared() {
        let (commits, rows, now) = (Commits::new(LONGEST, 1), ["a", "b"].map(key), Instant::now());
        assert_eq!(commits.begin(&[key("b"), key("b")], now), [true; 2]);
        for _ in 0..2 {
            assert_eq!(
                commits.prepare(&rows, &Value::Null, now).unwrap_err()["CancellationReasons"][0]["Code"],
                "None"
            );
            commits.end(&[key("b")]);
        }
        commits.prepare(&rows, &Value::Null, now).unwrap();
    }

    #[test]
    fn a_transaction_that_was_refused_leaves_no_trace() {
        let (commits, rows, now) = (Commits::new(LONGEST, 1), ["a", "b"].map(key), Instant::now());
        commits.prepare(&rows, &Value::Null, now).unwrap();
        commits.hold(&rows, &[row("a", "OLD")]);
        assert_eq!(commits.decide(&rows, false, now), now);
        assert!(commits.state.lock().unwrap().rows.is_empty());
        assert_eq!(shown(&commits, now), [json!("NEW"), json!("NEW")]);
        assert_eq!(commits.begin(&rows, now), [true; 2]);
    }

    #[test]
    fn a_repeated_transaction_is_refused_as_in_progress() {
        let (commits, rows, now) = (Commits::new(LONGEST, 1), ["a", "b"].map(key), Instant::now());
        let exception = |token: &str| {
            let refusal = commits.prepare(&rows, &json!(token), now).err()?;
            Some(refusal["__type"].as_str().unwrap().split_once('#').unwrap().1.to_owned())
        };
        assert_eq!(exception("one"), None);
        assert_eq!(exception("one").as_deref(), Some("TransactionInProgressException"));
        assert_eq!(exception("two").as_deref(), Some("TransactionCanceledException"));
    }
}
