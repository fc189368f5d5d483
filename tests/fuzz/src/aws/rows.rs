//! The rows of the table: one for whatever is asked for, since its key says what it must be.
//!
//! An input changes all rows of a kind by a setting of that name: `:card {"status": "LOST"}` (null takes a member
//! away). Of the IDs of cards, the odd ones are of cards that are bound. Operations, and results of chunks, are there
//! only if the input has the setting, or if they were put.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::input::Input;
use crate::world::{ACCOUNT, CUSTOMER, PERSON, PIN_HASH};

/// What an input can change.
const KINDS: [&str; 7] = ["bulk", "card", "item", "operation", "order", "person", "result"];

/// When operations were accepted, as the messages say.
pub(crate) const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";
const TIME: &str = "2026-11-22T00:00:00.000Z";
/// The year 2100, in seconds.
const NEVER: u64 = 4_102_444_800;

/// A row's partition and sort key.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// What the input says of each kind.
    said: BTreeMap<&'static str, Map<String, Value>>,
    /// What was put, as `DynamoDB` writes it.
    put: BTreeMap<Key, Value>,
}

impl Rows {
    /// Those of an input.
    pub(super) fn of(input: &Input<'_>) -> Self {
        let said = |kind| {
            let Value::Object(mut members) = serde_json::from_str(input.setting(kind)?).ok()? else { return None };
            // A hash says itself how much work it is to verify.
            members.remove("pin_hash");
            Some((kind, members))
        };
        Self { said: KINDS.into_iter().filter_map(said).collect(), put: BTreeMap::new() }
    }

    /// Keeps a row.
    pub(super) fn put(&mut self, row: Value) {
        self.put.insert(key(&row), row);
    }

    /// Whether there is a row that was put.
    pub(super) fn was_put(&self, key: &Key) -> bool {
        self.put.contains_key(key)
    }

    /// The row of this key.
    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        let (kind, made) = self.made(key)?;
        let mut row = match self.put.get(key) {
            Some(put) => put.clone(),
            None => attributes(&made?),
        };
        let members = row.as_object_mut().unwrap();
        for (name, value) in self.said.get(kind).into_iter().flatten() {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), attribute(value));
            }
        }
        members.insert("pk".to_owned(), attribute(&key.0.as_str().into()));
        members.insert("sk".to_owned(), attribute(&key.1.as_str().into()));
        Some(row)
    }

    /// The row's kind, and the row as this table makes it, if it does.
    fn made(&self, (pk, sk): &Key) -> Option<(&'static str, Option<Value>)> {
        let mut parts = pk.splitn(3, '#');
        let (org, kind, id) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        let only_if_said = |kind, row: Value| (kind, self.said.contains_key(kind).then_some(row));
        Some(match (kind, sk.split_once('#').unwrap_or((sk, ""))) {
            ("CARD", _) => ("card", Some(card(id.parse().ok()?))),
            ("BULK", ("I", name)) => ("item", Some(json!({ "external_id": name, "batch": 1, "state": "PENDING" }))),
            ("BULK", _) => ("bulk", Some(bulk(id))),
            ("ORDER", _) => ("order", Some(order(&json!({ "order_id": id.parse::<i32>().ok()? })))),
            ("INTL", _) => ("order", Some(order(&json!({ "international_order_uid": id })))),
            ("PERSON", _) => {
                let person =
                    json!({ "creator_id": id.parse::<i32>().ok()?, "pin_required": false, "pin_hash": PIN_HASH });
                ("person", Some(person))
            }
            ("OP", ("CHUNK", _)) => ("chunk", Some(json!({ "ids": ["a"], "expires_at": NEVER }))),
            ("OP", ("RESULT", _)) => {
                let items = json!({ "EXTERNAL_ID_CANCELED": [{ "id": "a" }] });
                only_if_said("result", json!({ "at": TIME, "items": items, "expires_at": NEVER }))
            }
            ("OP", _) => {
                let account: u64 = ACCOUNT.parse().unwrap();
                let operation = json!({
                    "org_id": org, "operation_id": id, "account_id": account, "state": "RUNNING", "fingerprint": "f", "cid": "c",
                    "created_at": ACCEPTED, "expires_at": NEVER,
                });
                only_if_said("operation", operation)
            }
            ("COUNTER", _) => ("counter", Some(json!({ "last": 1000 }))),
            _ => return None,
        })
    }
}

fn card(id: u64) -> Value {
    let mut card = json!({
        "card_id": id, "status": "UNBOUND", "program_id": 1, "bulk_id": "b", "external_id": "e",
        "contactless_enabled": true, "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z",
    });
    if !id.is_multiple_of(2) {
        let number = |digits: &str| digits.parse::<u64>().unwrap();
        let by = "01a20000-0000-7000-8000-000000000000";
        card["status"] = "NORMAL".into();
        card["bound"] = json!({ "by": by, "accepted_at": TIME, "at": TIME, "account_id": number(ACCOUNT), "customer_id": number(CUSTOMER) });
    }
    card
}

fn bulk(id: &str) -> Value {
    json!({
        "bulk_id": id, "batches": [1], "last_batch": 1, "items": 2, "issued": 0, "canceled": 0,
        "canceled_blank": 0, "settings": { "program_id": 1, "pin_length": 4, "contactless_enabled": true },
    })
}

fn order(order: &Value) -> Value {
    json!({
        "order": order, "creator_id": PERSON, "status": "ACTIVE", "version": 1, "updated_at": TIME,
        "cancellations": {},
    })
}

/// The key that a row, or any other object, has.
pub(super) fn key(row: &Value) -> Key {
    (text(&row["pk"]), text(&row["sk"]))
}

/// The text that an attribute holds.
pub(super) fn text(attribute: &Value) -> String {
    attribute["S"].as_str().unwrap().to_owned()
}

fn attributes(row: &Value) -> Value {
    row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

/// A value as `DynamoDB` writes it.
fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(value) => json!({ "BOOL": value }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(values) => json!({ "L": values.iter().map(attribute).collect::<Vec<_>>() }),
        Value::Object(_) => json!({ "M": attributes(value) }),
    }
}
