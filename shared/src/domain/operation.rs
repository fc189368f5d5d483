//! An operation: the record of one accepted instruction, from its 202 to its last event.
//!
//! Its row is also the record of its idempotency key: the row is put if absent, under an ID made of
//! the key, so of any number of requests with one key one makes the operation and the rest find it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::acceptance::{Acceptance, expires_at};
use super::bind::BindOutcome;
use super::bulk::{BulkCancellation, BulkStatus, CancelType, Planned};
use super::ids::{AccountId, BulkId, CardId, CorrelationId, OperationId, OrgId};
use super::order::OrderRef;
use super::time::{Date, Timestamp};

pub use super::status::OperationState;

/// What an operation is about, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Subject {
    /// Bind a card, and perhaps let it replace another.
    BindCard {
        /// The card to bind.
        card_id: CardId,
        /// The card that it replaces.
        #[serde(skip_serializing_if = "Option::is_none")]
        reissued_card_id: Option<CardId>,
        /// Set once, when the operation ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<BindOutcome>,
    },
    /// Create a bulk. Recorded only for its idempotency key: the answer says all.
    CreateBulk {
        /// The bulk, whose ID is chosen before anything is written.
        bulk_id: BulkId,
    },
    /// Add items to a bulk. Recorded only for its idempotency key: the answer says all.
    IncrementBulk {
        /// The bulk.
        bulk_id: BulkId,
    },
    /// Issue the cards of a bulk.
    StartBulk {
        /// The bulk.
        bulk_id: BulkId,
        /// The cards' day of issue.
        issuing_date: Date,
        /// The cards' day of expiry.
        expiration_date: Date,
        /// How far it has come.
        #[serde(flatten)]
        progress: Progress,
    },
    /// Cancel the items of a bulk: all, or those that were named.
    CancelBulk {
        /// The bulk.
        bulk_id: BulkId,
        /// Which of its items.
        cancel_type: CancelType,
        /// How far the bulk had come when the operation ended; set once, then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bulk_status: Option<BulkStatus>,
        /// What cancels had made of the bulk when the operation ended; set once, then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancellation: Option<BulkCancellation>,
        /// How far it has come.
        #[serde(flatten)]
        progress: Progress,
    },
    /// Cancel orders. What became of each stands with the order.
    CancelOrders {
        /// The orders whose cancellation was accepted, in the order of the request.
        orders: Vec<OrderRef>,
        /// What the client was told of each entry of the request, a letter each: the endpoint's own.
        told: String,
        /// Whether a repetition of the request may be sending its messages as well.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        repeated: bool,
    },
}

/// What kind of operation it is: a subject's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "see the subjects of the same names")]
pub enum OperationKind {
    BindCard,
    CreateBulk,
    IncrementBulk,
    StartBulk,
    CancelBulk,
    CancelOrders,
}

impl Subject {
    /// Returns its kind.
    #[must_use]
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::BindCard { .. } => OperationKind::BindCard,
            Self::CreateBulk { .. } => OperationKind::CreateBulk,
            Self::IncrementBulk { .. } => OperationKind::IncrementBulk,
            Self::StartBulk { .. } => OperationKind::StartBulk,
            Self::CancelBulk { .. } => OperationKind::CancelBulk,
            Self::CancelOrders { .. } => OperationKind::CancelOrders,
        }
    }
}

/// How far an operation on a bulk has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The batches whose items it is about: those that were committed when it was planned first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub batches: BTreeSet<u32>,
    /// How far it is planned; set after each page of items, once SQS has the messages of its chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
    /// Into how many chunks it was cut; set when all their messages are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// The items in all chunks, set with their number; of a start that is refused, the bulk's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_total: Option<u32>,
    /// The chunks that are done.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub done: BTreeSet<u32>,
    /// Items in the chunks that are done.
    #[serde(default)]
    pub items_done: u32,
    /// Items that the operation itself changed.
    #[serde(default)]
    pub items_changed: u32,
    /// Those of them that it canceled before they had a card.
    #[serde(default)]
    pub items_blank: u32,
    /// Items that it was refused.
    #[serde(default)]
    pub items_failed: u32,
}

impl Progress {
    /// Whether nothing of it is left to be planned.
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        self.chunks.is_some()
    }

    /// Whether nothing is left to do but to end the operation.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chunks.is_some_and(|chunks| self.done.len() == chunks as usize)
    }
}

/// An operation as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its organisation.
    pub org_id: OrgId,
    /// Its ID: made of the idempotency key where there is one.
    pub operation_id: OperationId,
    /// The account whose token asked for it; none if the token was the organisation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// How far it has come.
    pub state: OperationState,
    /// What its request was, hashed: a key that comes with another request is a misuse.
    pub fingerprint: String,
    /// The request's correlation ID.
    pub cid: CorrelationId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
}

impl Operation {
    /// Returns which operation it is, as it was accepted.
    #[must_use]
    pub const fn acceptance(&self) -> Acceptance {
        Acceptance { operation_id: self.operation_id, accepted_at: self.created_at }
    }

    /// Whether this caller may know of it: who is limited to an account knows of what that account asked for.
    #[must_use]
    pub fn is_known_to(&self, account: Option<AccountId>) -> bool {
        account.is_none() || self.account_id == account
    }

    /// The second from which on the operation counts as gone, though its row may linger (DynamoDB
    /// deletes expired rows within days, not at once).
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        expires_at(self.created_at)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!({ "kind": "BIND_CARD", "card_id": 1 }))]
    #[case(json!({ "kind": "CREATE_BULK", "bulk_id": "b" }))]
    #[case(json!({ "kind": "INCREMENT_BULK", "bulk_id": "b" }))]
    #[case(json!({ "kind": "START_BULK", "bulk_id": "b", "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z" }))]
    #[case(json!({ "kind": "CANCEL_BULK", "bulk_id": "b", "cancel_type": "FULL" }))]
    #[case(json!({ "kind": "CANCEL_ORDERS", "orders": [], "told": "" }))]
    fn a_subjects_kind_is_its_tag(#[case] row: Value) {
        let subject: Subject = serde_json::from_value(row.clone()).unwrap();
        assert_eq!(serde_json::to_value(subject.kind()).unwrap(), row["kind"]);
        assert_eq!(serde_json::to_value(subject).unwrap()["kind"], row["kind"]);
    }

    fn asked_for_by(account: Option<u64>) -> Operation {
        let operation = json!({
            "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", "operation_id": "0192d1c0-0000-7000-8000-000000000001",
            "account_id": account, "state": "PENDING", "fingerprint": "f", "cid": "c",
            "created_at": "2026-11-22T03:04:05.678Z", "kind": "CREATE_BULK", "bulk_id": "b",
        });
        serde_json::from_value(operation).unwrap()
    }

    #[rstest]
    #[case::not_planned(None, &[], (false, false))]
    #[case::done_before_all_is_planned(None, &[0, 1], (false, false))]
    #[case::nothing_done(Some(2), &[], (true, false))]
    #[case::the_last_is_left(Some(2), &[0], (true, false))]
    #[case::the_first_is_left(Some(2), &[1], (true, false))]
    #[case::all_done(Some(2), &[1, 0, 1], (true, true))]
    #[case::nothing_to_do(Some(0), &[], (true, true))]
    fn it_is_complete_once_all_of_its_chunks_are_done(
        #[case] chunks: Option<u32>,
        #[case] done: &[u32],
        #[case] expected: (bool, bool),
    ) {
        let progress = Progress { chunks, done: done.iter().copied().collect(), ..Progress::default() };
        assert_eq!((progress.is_planned(), progress.is_complete()), expected);
    }

    #[rstest]
    #[case::of_the_organisation(None, [true, false, false])]
    #[case::of_an_account(Some(7), [true, true, false])]
    fn an_account_knows_of_its_own_operations_alone(#[case] owner: Option<u64>, #[case] expected: [bool; 3]) {
        let operation = asked_for_by(owner);
        let askers = [None, AccountId::new(7), AccountId::new(8)];
        assert_eq!(askers.map(|asker| operation.is_known_to(asker)), expected);
    }

    #[test]
    fn it_expires_ninety_days_after_it_was_accepted() {
        assert_eq!(asked_for_by(None).expires_at(), 1_795_316_645 + 90 * 24 * 60 * 60);
    }
}
