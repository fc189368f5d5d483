//! An order, as the broker's order system reports it, together with our cancellations of it.
//!
//! The order system owns an order's status and version, and Bindery never changes them. Bindery adds which
//! operation's cancellation is **pending**, and the outcome of every cancellation that reached the order. Each
//! operation has its own entry, which is never overwritten. So an operation can always determine whether it has been
//! applied already.

pub mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::acceptance::Acceptance;
use super::ids::{CorrelationId, OperationId};
use super::status::EventStatus;
use super::time::Timestamp;

/// Maximum cancellations stored with an order; later ones are refused. Our limit: the row stays below 8 KB (two read
/// units) even with the longest correlation IDs, and a request reads a thousand such rows.
pub const MAX_CANCELLATIONS: u32 = 16;

/// Maximum persons other than the creator who may act on an order, as listed by the order system (contract).
pub const MAX_AUTHORIZED: usize = 50;

/// Maximum version of an order (contract). Larger numbers are not exact in JSON, and one of them would exclude all
/// later versions.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// The ID of a person who created an order, or may act on it.
pub type PersonId = i32;

/// A reference to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderRef {
    /// A domestic order, by its number.
    #[serde(rename = "order_id")]
    Domestic(i32),
    /// An international order, by its UID.
    #[serde(rename = "international_order_uid")]
    International(Uuid),
}

impl OrderRef {
    /// Returns the number and the UID, of which one is set, as the API has them.
    #[must_use]
    pub const fn ids(self) -> (Option<i32>, Option<Uuid>) {
        match self {
            Self::Domestic(id) => (Some(id), None),
            Self::International(uid) => (None, Some(uid)),
        }
    }
}

impl fmt::Display for OrderRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domestic(id) => id.fmt(f),
            Self::International(uid) => uid.fmt(f),
        }
    }
}

/// An order's status in the order system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// The order is at the market.
    Active,
    /// The order is at the market and partially filled.
    PartiallyFilled,
    /// The market was asked to cancel the order, by Bindery or by another system.
    PendingCancel,
    /// The order was filled (final).
    Filled,
    /// The order was canceled (final).
    Canceled,
    /// The order was rejected (final).
    Rejected,
    /// The order has expired (final).
    Expired,
}

/// The outcome of a cancellation: the vocabulary of FIX's `CxlRejReason`, and success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancellationCode {
    /// The order is canceled.
    Canceled,
    /// The order was filled, rejected or expired before.
    TooLateToCancel,
    /// The market does not know the order.
    UnknownOrder,
    /// Another cancellation is pending.
    AlreadyPendingCancel,
    /// The market refused for another reason, or the order has the maximum number of cancellations.
    Other,
}

impl CancellationCode {
    /// Returns whether the order is canceled, as an event's status.
    #[must_use]
    pub const fn status(self) -> EventStatus {
        match self {
            Self::Canceled => EventStatus::Success,
            Self::TooLateToCancel | Self::UnknownOrder | Self::AlreadyPendingCancel | Self::Other => {
                EventStatus::Failure
            }
        }
    }

    /// Returns the outcome's text.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Canceled => "The order was canceled.",
            Self::TooLateToCancel => "The order is filled, canceled, rejected or expired.",
            Self::UnknownOrder => "The market does not know the order.",
            Self::AlreadyPendingCancel => "Another cancellation of the order is pending.",
            Self::Other => "The order could not be canceled.",
        }
    }
}

/// An operation's cancellation of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancellation {
    /// The correlation ID of the operation's request.
    pub cid: CorrelationId,
    /// The time when the operation was accepted. An idempotency key used again after it expired yields another
    /// operation with the same ID.
    pub accepted_at: Timestamp,
    /// The time of the request to the order system. Not set if the order could no longer be canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// The outcome, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CancellationOutcome>,
}

/// The outcome of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationOutcome {
    /// The code of the outcome.
    pub code: CancellationCode,
    /// The time when Bindery recorded the outcome.
    pub at: Timestamp,
    /// The version of the order that reported the outcome, if the order system did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// An order as stored in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The reference to the order.
    pub order: OrderRef,
    /// The person who created the order. It never changes, because events contain it.
    pub creator_id: PersonId,
    /// The other persons who may act on the order, according to the order system.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authorized_ids: BTreeSet<PersonId>,
    /// The status in the order system.
    pub status: OrderStatus,
    /// The version in the order system, which grows with every change.
    pub version: u64,
    /// The time of the last change, according to the order system.
    pub updated_at: Timestamp,
    /// The operation whose cancellation is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<OperationId>,
    /// All cancellations that reached the order.
    #[serde(default)]
    pub cancellations: BTreeMap<OperationId, OrderCancellation>,
}

/// The reasons why an order cannot be canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCancelable {
    /// The order is filled, canceled, rejected or expired.
    NotActive,
    /// A cancellation by Bindery or another system is pending.
    Pending,
}

impl From<NotCancelable> for CancellationCode {
    fn from(reason: NotCancelable) -> Self {
        match reason {
            NotCancelable::NotActive => Self::TooLateToCancel,
            NotCancelable::Pending => Self::AlreadyPendingCancel,
        }
    }
}

/// A change of an order, as the order system reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderChange {
    /// The order that changed.
    pub order: OrderRef,
    /// The person who created the order.
    pub creator_id: PersonId,
    /// The other persons who may act on the order. `None` leaves them unchanged.
    pub authorized_ids: Option<BTreeSet<PersonId>>,
    /// The new status.
    pub status: OrderStatus,
    /// The version of this change.
    pub version: u64,
    /// The time of the change.
    pub updated_at: Timestamp,
    /// The operation whose cancellation the market refused, and the code.
    pub rejected: Option<(OperationId, CancellationCode)>,
}

impl Order {
    /// Creates an order from the first change that reports it.
    #[must_use]
    pub fn new(change: &OrderChange) -> Self {
        Self {
            order: change.order,
            creator_id: change.creator_id,
            authorized_ids: change.authorized_ids.clone().unwrap_or_default(),
            status: change.status,
            version: change.version,
            updated_at: change.updated_at,
            pending: None,
            cancellations: BTreeMap::new(),
        }
    }

    /// Returns whether this person may act on the order: its creator, or a person whom the order system lists.
    #[must_use]
    pub fn may_be_acted_on_by(&self, person: PersonId) -> bool {
        person == self.creator_id || self.authorized_ids.contains(&person)
    }

    /// Checks that the order can be canceled. An order with [`MAX_CANCELLATIONS`] cannot, because it has no room for
    /// an outcome.
    ///
    /// # Errors
    /// Returns [`NotCancelable`] with the reason.
    pub fn check_cancelable(&self) -> Result<(), NotCancelable> {
        match self.status {
            OrderStatus::Active | OrderStatus::PartiallyFilled if self.is_full() => Err(NotCancelable::Pending),
            OrderStatus::Active | OrderStatus::PartiallyFilled if self.pending.is_none() => Ok(()),
            OrderStatus::Active | OrderStatus::PartiallyFilled | OrderStatus::PendingCancel => {
                Err(NotCancelable::Pending)
            }
            OrderStatus::Filled | OrderStatus::Canceled | OrderStatus::Rejected | OrderStatus::Expired => {
                Err(NotCancelable::NotActive)
            }
        }
    }

    /// Returns the order after this change, which was received at `now`. A change of the same version or an older one
    /// does not affect the status, the version or the authorized persons. But a refusal by the market ends the
    /// cancellation that it names whenever it arrives; otherwise the order would stay pending.
    #[must_use]
    pub fn after(&self, change: &OrderChange, now: Timestamp) -> Self {
        let mut order = self.clone();
        let is_newer = change.version > self.version;
        if is_newer {
            (order.status, order.version, order.updated_at) = (change.status, change.version, change.updated_at);
            if let Some(ids) = &change.authorized_ids {
                order.authorized_ids.clone_from(ids);
            }
        }
        let Some(pending) = self.pending else { return order };
        let code = match change.rejected {
            Some((operation, code)) if operation == pending && !self.predates_request(change) => code,
            _ if !is_newer => return order,
            _ => match change.status {
                OrderStatus::Canceled => CancellationCode::Canceled,
                OrderStatus::Filled | OrderStatus::Rejected | OrderStatus::Expired => CancellationCode::TooLateToCancel,
                OrderStatus::Active | OrderStatus::PartiallyFilled | OrderStatus::PendingCancel => return order,
            },
        };
        order.pending = None;
        if let Some(cancellation) = order.cancellations.get_mut(&pending) {
            cancellation.outcome = Some(CancellationOutcome { code, at: now, version: Some(change.version) });
        }
        order
    }

    /// Returns whether a refusal is older than the pending cancellation's request: it belongs to a cancellation with
    /// the same key, requested before the key expired. Both version and time must indicate this, because order
    /// systems differ in the versions that they report with a refusal. Clocks may differ by a day.
    fn predates_request(&self, change: &OrderChange) -> bool {
        const CLOCKS_DIFFER_DAYS: i64 = 1;
        let note = self.pending.and_then(|pending| self.cancellations.get(&pending));
        let is_older = |note: &OrderCancellation| change.updated_at.plus_days(CLOCKS_DIFFER_DAYS) < note.accepted_at;
        change.version < self.version && note.is_some_and(is_older)
    }

    /// Returns whether the pending cancellation is of an operation with this ID, but accepted at another time.
    #[must_use]
    pub fn is_pending_for_another_of(&self, operation: OperationId, accepted_at: Timestamp) -> bool {
        let is_another = |note: &OrderCancellation| note.accepted_at != accepted_at;
        self.pending == Some(operation) && self.cancellations.get(&operation).is_some_and(is_another)
    }

    /// Returns the cancellation of the operation with this ID and this time of acceptance.
    #[must_use]
    pub fn cancellation(&self, operation: OperationId, accepted_at: Timestamp) -> Option<&OrderCancellation> {
        self.cancellations.get(&operation).filter(|cancellation| cancellation.accepted_at == accepted_at)
    }

    /// Returns the outcome of a cancellation that has no entry, if it is certain. Entries are permanent, so an order
    /// with the maximum number accepts no other.
    #[must_use]
    pub fn outcome_without_note(&self, accepted_at: Timestamp) -> Option<CancellationOutcome> {
        let code = CancellationCode::Other;
        self.is_full().then_some(CancellationOutcome { code, at: accepted_at, version: None })
    }

    fn is_full(&self) -> bool {
        self.cancellations.len() >= MAX_CANCELLATIONS as usize
    }

    /// Returns the cancellations that this version of the order ended.
    pub fn ended_by_version(&self, version: u64) -> impl Iterator<Item = (Acceptance, &OrderCancellation)> {
        let by_version = move |note: &OrderCancellation| {
            note.outcome.as_ref().is_some_and(|outcome| outcome.version == Some(version))
        };
        let ended = self.cancellations.iter().filter(move |(_, note)| by_version(note));
        ended.map(|(id, note)| (Acceptance { operation_id: *id, accepted_at: note.accepted_at }, note))
    }
}

#[cfg(test)]
mod tests;
