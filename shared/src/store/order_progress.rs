//! An operation's own record of its orders: a set of requested orders, and a set of ended ones.
//!
//! Writing a member to a set again has no effect, so no order is counted twice. An ended order may be in both sets if
//! a late copy of its message came last. The end takes precedence.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;

use super::bulks::text_set;
use super::cancel::expiry;
use super::change::Change;
use super::{Store, StoreError, key, operation_partition};
use crate::domain::acceptance::Acceptance;
use crate::domain::ids::OrgId;
use crate::domain::order::progress::{PARTS, Stage, part_of};
use crate::domain::order::{CancellationCode, OrderRef};
use crate::domain::time::Timestamp;

/// A row with the notes of some of the operation's orders.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    requested: BTreeSet<String>,
    #[serde(default)]
    ended: BTreeSet<String>,
}

impl Store {
    /// Records with the operation how far an order's cancellation has come, according to the order. Recording it
    /// again changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note_stage(
        &self,
        org: &OrgId,
        operation: Acceptance,
        order: OrderRef,
        stage: Stage,
    ) -> Result<(), StoreError> {
        const CALL: &str = "UpdateItem operation orders";
        let (update, condition, note) = match stage {
            Stage::Requested => (
                "ADD requested :notes SET expires_at = :expires_at",
                "NOT contains(requested, :note)",
                order.to_string(),
            ),
            Stage::Ended { code, at } => (
                "ADD ended :notes DELETE requested :order SET expires_at = :expires_at",
                "NOT contains(ended, :note)",
                format!("{order} {} {}", letter(code), at.epoch_milliseconds()),
            ),
        };
        let mut values = vec![
            (":notes", text_set(&note)),
            (":note", AttributeValue::S(note)),
            (":expires_at", expiry(operation.accepted_at)),
        ];
        if let Stage::Ended { .. } = stage {
            values.push((":order", text_set(order)));
        }
        let key =
            key(operation_partition(org, operation.operation_id), &sort_key(operation, part_of(operation, order)));
        let change = Change { call: CALL, key, update, condition, names: Vec::new(), values };
        // A condition that does not hold means that the note exists already.
        self.change(change).await.map(|_| ())
    }

    /// Returns the progress of the operation's orders, read consistently. Orders whose messages are still in the
    /// queue are missing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn stages(&self, org: &OrgId, operation: Acceptance) -> Result<BTreeMap<OrderRef, Stage>, StoreError> {
        const CALL: &str = "Query operation orders";
        let range = (sort_key(operation, 0), sort_key(operation, PARTS - 1));
        let parts: Vec<Part> = self.operation_rows(CALL, org, operation.operation_id, range, None).await?;
        let unreadable = || StoreError::broken(CALL, "unreadable note");
        let mut stages = BTreeMap::new();
        for note in parts.iter().flat_map(|part| &part.requested) {
            stages.insert(order_of(note).ok_or_else(unreadable)?, Stage::Requested);
        }
        for note in parts.iter().flat_map(|part| &part.ended) {
            let (order, stage) = end_of(note).ok_or_else(unreadable)?;
            stages.insert(order, stage);
        }
        Ok(stages)
    }
}

/// Returns the sort key of a row of notes. An idempotency key used again after it expired yields the same operation
/// ID with another time of acceptance, and each acceptance has its own rows.
fn sort_key(operation: Acceptance, part: u32) -> String {
    format!("ORDERS#{}#{part:02}", operation.accepted_at)
}

/// Returns the letter for an outcome in a note. The letters are stored: never change one.
const fn letter(code: CancellationCode) -> char {
    match code {
        CancellationCode::Canceled => 'C',
        CancellationCode::TooLateToCancel => 'L',
        CancellationCode::UnknownOrder => 'U',
        CancellationCode::AlreadyPendingCancel => 'P',
        CancellationCode::Other => 'O',
    }
}

fn code_of(letter: &str) -> Option<CancellationCode> {
    Some(match letter {
        "C" => CancellationCode::Canceled,
        "L" => CancellationCode::TooLateToCancel,
        "U" => CancellationCode::UnknownOrder,
        "P" => CancellationCode::AlreadyPendingCancel,
        "O" => CancellationCode::Other,
        _ => return None,
    })
}

fn order_of(text: &str) -> Option<OrderRef> {
    let domestic = text.parse().map(OrderRef::Domestic);
    domestic.or_else(|_| text.parse().map(OrderRef::International)).ok()
}

fn end_of(note: &str) -> Option<(OrderRef, Stage)> {
    let mut words = note.split(' ');
    let (order, letter, at) = (words.next()?, words.next()?, words.next()?);
    let at = Timestamp::of_epoch_milliseconds(at.parse().ok()?)?;
    Some((order_of(order)?, Stage::Ended { code: code_of(letter)?, at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_note_can_be_read() {
        let at = Timestamp::of_epoch_milliseconds(1_795_000_000_123).unwrap();
        let uid = "6269c403-5b9f-47dd-b8c3-7ecbef8f686d".parse().unwrap();
        for order in [OrderRef::Domestic(i32::MIN), OrderRef::Domestic(7), OrderRef::International(uid)] {
            assert_eq!(order_of(&order.to_string()), Some(order));
            for code in ["C", "L", "U", "P", "O"] {
                let code = code_of(code).unwrap();
                let note = format!("{order} {} {}", letter(code), at.epoch_milliseconds());
                assert_eq!(end_of(&note), Some((order, Stage::Ended { code, at })));
            }
        }
        for invalid in ["", "7", "7 C", "7 X 1", "7 C x", "x C 1", "7 C 999999999999999999"] {
            assert_eq!(end_of(invalid), None, "{invalid:?}");
        }
    }
}
