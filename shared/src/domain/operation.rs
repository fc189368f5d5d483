//! An operation: the record of an accepted instruction, from its 202 response to its last event.
//!
//! Its row is also the record of its idempotency key. The row is put if absent, under an ID derived from the key. So
//! of any number of requests with the same key, one creates the operation and the others find it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::acceptance::{Acceptance, expires_at};
use super::bind::BindOutcome;
use super::bulk::{BulkCancellation, BulkStatus, CancelType, Planned};
use super::ids::{AccountId, BulkId, CardId, CorrelationId, OperationId, OrgId};
use super::order::OrderRef;
use super::time::{Date, Timestamp};

pub use super::status::OperationState;

/// The subject of an operation, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Subject {
    /// Binds a card, and can replace another card with it.
    BindCard {
        /// The card to bind.
        card_id: CardId,
        /// The card to replace.
        #[serde(skip_serializing_if = "Option::is_none")]
        reissued_card_id: Option<CardId>,
        /// The outcome, set once when the operation ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<BindOutcome>,
    },
    /// Creates a bulk. Recorded only for the idempotency key: the response is complete.
    CreateBulk {
        /// The bulk's ID, chosen before anything is written.
        bulk_id: BulkId,
    },
    /// Adds items to a bulk. Recorded only for the idempotency key: the response is complete.
    IncrementBulk {
        /// The bulk's ID.
        bulk_id: BulkId,
    },
    /// Issues the cards of a bulk.
    StartBulk {
        /// The bulk's ID.
        bulk_id: BulkId,
        /// The day of issue of the cards.
        issuing_date: Date,
        /// The day of expiry of the cards.
        expiration_date: Date,
        /// The progress of the start.
        #[serde(flatten)]
        progress: Progress,
    },
    /// Cancels the items of a bulk: all of them, or those that were named.
    CancelBulk {
        /// The bulk's ID.
        bulk_id: BulkId,
        /// The items that it cancels.
        cancel_type: CancelType,
        /// The bulk's status when the operation ended, set once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bulk_status: Option<BulkStatus>,
        /// The state of the bulk's cancellation when the operation ended, set once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancellation: Option<BulkCancellation>,
        /// The progress of the cancel.
        #[serde(flatten)]
        progress: Progress,
    },
    /// Cancels orders. The outcome of each is stored with the order.
    CancelOrders {
        /// The orders whose cancellation was accepted, in the order of the request.
        orders: Vec<OrderRef>,
        /// The statuses of the request's entries in the response, as one letter each. The letters belong to the
        /// endpoint.
        statuses: String,
        /// True if a duplicate of the request may also be sending its messages.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        repeated: bool,
    },
}

/// The kind of an operation, which is its subject's tag.
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
    /// Returns the kind of the operation.
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

/// The progress of an operation on a bulk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The batches whose items the operation is about: those that were committed when it was first planned.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub batches: BTreeSet<u32>,
    /// The progress of planning. Set after each page of items, once SQS has the messages of its chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
    /// The number of chunks, set once all their messages are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// The number of items in all chunks, set with the number of chunks. For a refused start, the bulk's number of
    /// items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_total: Option<u32>,
    /// The numbers of the completed chunks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub done: BTreeSet<u32>,
    /// Items in the completed chunks.
    #[serde(default)]
    pub items_done: u32,
    /// Items that the operation itself changed.
    #[serde(default)]
    pub items_changed: u32,
    /// Changed items that it canceled before they had a card. (This counter is not about blank cards.)
    #[serde(default)]
    pub items_blank: u32,
    /// Items that it could not change.
    #[serde(default)]
    pub items_failed: u32,
}

impl Progress {
    /// Returns whether planning is complete.
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        self.chunks.is_some()
    }

    /// Returns whether all chunks are complete, so that only the operation's end is left to do.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chunks.is_some_and(|chunks| self.done.len() == chunks as usize)
    }
}

/// An operation as stored in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The organization's ID.
    pub org_id: OrgId,
    /// The operation's ID, derived from the idempotency key if the client sent one.
    pub operation_id: OperationId,
    /// The account of the request's token. `None` if the token was the organization's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The state of the operation.
    pub state: OperationState,
    /// A hash of the request. Another request with the same key has another hash, and is a misuse.
    pub fingerprint: String,
    /// The request's correlation ID.
    pub cid: CorrelationId,
    /// The time when the operation was accepted.
    pub created_at: Timestamp,
    /// The time when the operation ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The subject of the operation.
    #[serde(flatten)]
    pub subject: Subject,
}

impl Operation {
    /// Returns the operation's ID and its time of acceptance.
    #[must_use]
    pub const fn acceptance(&self) -> Acceptance {
        Acceptance { operation_id: self.operation_id, accepted_at: self.created_at }
    }

    /// Returns whether this caller may see the operation. A caller limited to an account sees only the operations
    /// that this account requested.
    #[must_use]
    pub fn is_known_to(&self, account: Option<AccountId>) -> bool {
        account.is_none() || self.account_id == account
    }

    /// Returns the second from which the operation counts as expired. Its row may remain longer, because DynamoDB
    /// deletes expired rows within days.
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
    #[case(json!({
        "kind": "START_BULK", "bulk_id": "b", "issuing_date": "2026-11-22T00:00:00Z",
        "expiration_date": "2032-11-22T00:00:00Z",
    }))]
    #[case(json!({ "kind": "CANCEL_BULK", "bulk_id": "b", "cancel_type": "FULL" }))]
    #[case(json!({ "kind": "CANCEL_ORDERS", "orders": [], "statuses": "" }))]
    fn a_subjects_kind_is_its_tag(#[case] row: Value) {
        let subject: Subject = serde_json::from_value(row.clone()).unwrap();
        assert_eq!(serde_json::to_value(subject.kind()).unwrap(), row["kind"]);
        assert_eq!(serde_json::to_value(subject).unwrap()["kind"], row["kind"]);
    }

    fn requested_by(account: Option<u64>) -> Operation {
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
    #[case::of_the_organization(None, [true, false, false])]
    #[case::of_an_account(Some(7), [true, true, false])]
    fn an_account_sees_only_its_own_operations(#[case] owner: Option<u64>, #[case] expected: [bool; 3]) {
        let operation = requested_by(owner);
        let callers = [None, AccountId::new(7), AccountId::new(8)];
        assert_eq!(callers.map(|caller| operation.is_known_to(caller)), expected);
    }

    #[test]
    fn it_expires_ninety_days_after_it_was_accepted() {
        assert_eq!(requested_by(None).expires_at(), 1_795_316_645 + 90 * 24 * 60 * 60);
    }
}
