//! An order, as the broker's order system tells of it, and our cancellations of it beside that.
//!
//! The order system owns an order's status and version: nothing of ours ever changes those. What we know is
//! beside them: which operation's cancellation is **pending**, and what became of every cancellation that came
//! this far. Each operation has an entry of its own there, which nothing overwrites, so "mine already?" can be
//! answered for ever.

pub mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::acceptance::Acceptance;
use super::ids::{CorrelationId, OperationId};
use super::status::EventStatus;
use super::time::Timestamp;

/// Most cancellations that an order keeps a note of. Ours: so its row stays below 8 KB, two read units, however long their
/// correlation IDs are; a request reads a thousand such rows. One that comes after them is refused.
pub const MAX_CANCELLATIONS: u32 = 16;

/// Most persons beside the creator who may act on an order, as the order system lists them (contract).
pub const MAX_AUTHORIZED: usize = 50;

/// Largest version of an order (contract): beyond it JSON's numbers are not exact, and one such would shut out every later
/// one.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// A person: who created an order, or may act on it.
pub type PersonId = i32;

/// Which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderRef {
    /// By its number.
    #[serde(rename = "order_id")]
    Domestic(i32),
    /// By its UID.
    #[serde(rename = "international_order_uid")]
    International(Uuid),
}

impl OrderRef {
    /// Its number and its UID, of which it has one: as the wire has them.
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

/// What the order system says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// At the market.
    Active,
    /// At the market, filled in part.
    PartiallyFilled,
    /// Somebody, perhaps we, asked the market to cancel it.
    PendingCancel,
    /// Final.
    Filled,
    /// Final.
    Canceled,
    /// Final.
    Rejected,
    /// Final.
    Expired,
}

/// What became of a cancellation: the vocabulary of FIX's `CxlRejReason`, and its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancellationCode {
    /// The order is canceled.
    Canceled,
    /// It was filled, rejected or had expired before.
    TooLateToCancel,
    /// The market does not know it.
    UnknownOrder,
    /// Another cancellation is pending.
    AlreadyPendingCancel,
    /// The market refused for another reason, or the order has too many cancellations.
    Other,
}

impl CancellationCode {
    /// Whether the order is canceled.
    #[must_use]
    pub const fn status(self) -> EventStatus {
        match self {
            Self::Canceled => EventStatus::Success,
            Self::TooLateToCancel | Self::UnknownOrder | Self::AlreadyPendingCancel | Self::Other => {
                EventStatus::Failure
            }
        }
    }

    /// The same in words.
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

/// One operation's cancellation of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancellation {
    /// The correlation ID of its request.
    pub cid: CorrelationId,
    /// When its operation was accepted: an idempotency key that is used again after it expired makes another
    /// operation of the same ID.
    pub accepted_at: Timestamp,
    /// When the order system was asked; not set if the order could not be canceled any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CancellationOutcome>,
}

/// How a cancellation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationOutcome {
    /// What became of it.
    pub code: CancellationCode,
    /// When that was known here.
    pub at: Timestamp,
    /// The version of the order that said so, if the order system did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// An order as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub order: OrderRef,
    /// Who created it. It never changes: events are made of it.
    pub creator_id: PersonId,
    /// Who else may act on it: the order system's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authorized_ids: BTreeSet<PersonId>,
    /// The order system's.
    pub status: OrderStatus,
    /// The order system's; it grows with every change.
    pub version: u64,
    /// The order system's.
    pub updated_at: Timestamp,
    /// The operation whose cancellation is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<OperationId>,
    /// Every cancellation that came this far.
    #[serde(default)]
    pub cancellations: BTreeMap<OperationId, OrderCancellation>,
}

/// Why an order cannot be canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCancelable {
    /// It is filled, canceled, rejected or expired.
    NotActive,
    /// A cancellation, ours or another's, is pending.
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

/// A change of an order, as the order system tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderChange {
    /// Which order.
    pub order: OrderRef,
    /// Who created it.
    pub creator_id: PersonId,
    /// Who else may act on it; if it is not said, whoever might before.
    pub authorized_ids: Option<BTreeSet<PersonId>>,
    /// What it is now.
    pub status: OrderStatus,
    /// Of this change.
    pub version: u64,
    /// When it changed.
    pub updated_at: Timestamp,
    /// The cancellation that the market refused.
    pub rejected: Option<(OperationId, CancellationCode)>,
}

impl Order {
    /// The order as its first change tells of it.
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

    /// Whether this person may act on it: who created it, or whom the order system names beside them.
    #[must_use]
    pub fn may_be_acted_on_by(&self, person: PersonId) -> bool {
        person == self.creator_id || self.authorized_ids.contains(&person)
    }

    /// Whether it can be canceled. One that has [`MAX_CANCELLATIONS`] cannot: nothing could be noted.
    ///
    /// # Errors
    /// [`NotCancelable`].
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

    /// The order after this change, learnt at `now`. A change of an older version, or of this one, leaves status,
    /// version and who may act as they are; but a refusal by the market ends the cancellation that it names whenever it
    /// comes, or the order would stay pending for ever.
    #[must_use]
    pub fn after(&self, change: &OrderChange, now: Timestamp) -> Self {
        let mut order = self.clone();
        let is_news = change.version > self.version;
        if is_news {
            (order.status, order.version, order.updated_at) = (change.status, change.version, change.updated_at);
            if let Some(ids) = &change.authorized_ids {
                order.authorized_ids.clone_from(ids);
            }
        }
        let Some(pending) = self.pending else { return order };
        let code = match change.rejected {
            Some((operation, code)) if operation == pending && !self.is_of_long_before(change) => code,
            _ if !is_news => return order,
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

    /// Whether a refusal is of the time before the pending cancellation was asked for: of one that the same key asked for
    /// before it expired. Both its version and its time must say so, since order systems differ in what they tell of a
    /// refusal; clocks may differ by a day.
    fn is_of_long_before(&self, change: &OrderChange) -> bool {
        const CLOCKS_DIFFER_DAYS: i64 = 1;
        let note = self.pending.and_then(|pending| self.cancellations.get(&pending));
        let is_older = |note: &OrderCancellation| change.updated_at.plus_days(CLOCKS_DIFFER_DAYS) < note.accepted_at;
        change.version < self.version && note.is_some_and(is_older)
    }

    /// Whether a cancellation is pending of an operation of this ID, but accepted at another time.
    #[must_use]
    pub fn is_pending_for_another_of(&self, operation: OperationId, accepted_at: Timestamp) -> bool {
        let is_another = |note: &OrderCancellation| note.accepted_at != accepted_at;
        self.pending == Some(operation) && self.cancellations.get(&operation).is_some_and(is_another)
    }

    /// The note of this operation, accepted then.
    #[must_use]
    pub fn cancellation(&self, operation: OperationId, accepted_at: Timestamp) -> Option<&OrderCancellation> {
        self.cancellations.get(&operation).filter(|cancellation| cancellation.accepted_at == accepted_at)
    }

    /// What becomes of a cancellation, accepted then, that is not noted, if that is sure: notes are for ever, and
    /// an order that is full of them takes no other.
    #[must_use]
    pub fn outcome_without_note(&self, accepted_at: Timestamp) -> Option<CancellationOutcome> {
        let code = CancellationCode::Other;
        self.is_full().then_some(CancellationOutcome { code, at: accepted_at, version: None })
    }

    fn is_full(&self) -> bool {
        self.cancellations.len() >= MAX_CANCELLATIONS as usize
    }

    /// The cancellations that this version of the order ended.
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
