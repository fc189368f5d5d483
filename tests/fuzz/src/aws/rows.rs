//! The rows of the table. Each key has a row, because the key determines what the row must be.
//!
//! A setting changes all rows of the kind that it is named after: `:card {"status": "LOST"}`. The value null removes
//! a member. Cards with a number that is not divisible by two are bound. Operations and results of chunks exist only
//! if the input has the setting, or if they were put.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::input::Input;
use crate::world::{ACCOUNT, CUSTOMER, PERSON, PIN_HASH};

/// The kinds of rows that an input can change.
const KINDS: [&str; 7] = ["bulk", "card", "item", "operation", "order", "person", "result"];

/// The time when operations were accepted, as the messages state it.
pub(crate) const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";
const TIME: &str = "2026-11-22T00:00:00.000Z";
/// The year 2100, in seconds.
const NEVER: u64 = 4_102_444_800;

/// A row's partition and sort key.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The changes that the input makes to rows of each kind.
    changes: BTreeMap<&'static str, Map<String, Value>>,
    /// The rows that were put, in `DynamoDB`'s JSON.
    put: BTreeMap<Key, Value>,
}

impl Rows {
    /// Returns the rows for an input.
    pub(super) fn of(input: &Input<'_>) -> Self {
        let changes = |kind| {
            let Value::Object(mut members) = serde_json::from_str(input.setting(kind)?).ok()? else { return None };
            // The hash itself determines how much work it takes to verify.
            members.remove("pin_hash");
            Some((kind, members))
        };
        Self { changes: KINDS.into_iter().filter_map(changes).collect(), put: BTreeMap::new() }
    }

    /// Stores a row.
    pub(super) fn put(&mut self, row: Value) {
        self.put.insert(key(&row), row);
    }

    /// Returns whether a row was put with this key.
    pub(super) fn was_put(&self, key: &Key) -> bool {
        self.put.contains_key(key)
    }

    /// Returns the row with this key.
    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        let (kind, made) = self.made(key)?;
        let mut row = match self.put.get(key) {
            Some(put) => put.clone(),
            None => attributes(&made?),
        };
        let members = row.as_object_mut().unwrap();
        for (name, value) in self.changes.get(kind).into_iter().flatten() {
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

    /// Returns the row's kind, and the row that this table makes for the key, if it makes one.
    fn made(&self, (pk, sk): &Key) -> Option<(&'static str, Option<Value>)> {
        let mut parts = pk.splitn(3, '#');
        let (org, kind, id) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        let only_if_set = |kind, row: Value| (kind, self.changes.contains_key(kind).then_some(row));
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
                only_if_set("result", json!({ "at": TIME, "items": items, "expires_at": NEVER }))
            }
            ("OP", _) => {
                let account: u64 = ACCOUNT.parse().unwrap();
                let operation = json!({
                    "org_id": org, "operation_id": id, "account_id": account, "state": "RUNNING", "fingerprint": "f",
                    "cid": "c", "created_at": ACCEPTED, "expires_at": NEVER,
                });
                only_if_set("operation", operation)
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
        card["bound"] = json!({
            "by": by, "accepted_at": TIME, "at": TIME, "account_id": number(ACCOUNT), "customer_id": number(CUSTOMER),
        });
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

/// Returns the key of a row, or of another object with the key's attributes.
pub(super) fn key(row: &Value) -> Key {
    (text(&row["pk"]), text(&row["sk"]))
}

/// Returns the text in an attribute.
pub(super) fn text(attribute: &Value) -> String {
    attribute["S"].as_str().unwrap().to_owned()
}

fn attributes(row: &Value) -> Value {
    row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

/// Returns a value in `DynamoDB`'s JSON.
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
