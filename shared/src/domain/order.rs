//! An order, as the broker's order system tells of it, and our cancellations of it beside that.
//!
//! The order system owns an order's status and version: nothing of ours ever changes those. What we know is
//! beside them: which operation's cancellation is **pending**, and what became of every cancellation that came
//! this far. Each operation has an entry of its own there, which nothing overwrites, so "mine already?" can be
//! answered for ever.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{CancellationData, Event, EventContext, EventData, EventStatus};
use super::ids::{CorrelationId, OperationId, OrgId};
use super::time::Timestamp;

/// Most cancellations that an order keeps a note of. Ours: its row holds 400 KB (AWS limit). One that comes after
/// them is refused.
pub const MAX_CANCELLATIONS: u32 = 200;

/// A person: who created an order.
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
    /// The market refused for another reason.
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
            Self::Other => "The market refused to cancel the order.",
        }
    }
}

/// One operation's cancellation of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
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
    pub cancellations: BTreeMap<OperationId, Cancellation>,
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
            status: change.status,
            version: change.version,
            updated_at: change.updated_at,
            pending: None,
            cancellations: BTreeMap::new(),
        }
    }

    /// Whether it can be canceled.
    ///
    /// # Errors
    /// [`NotCancelable`].
    pub fn check_cancelable(&self) -> Result<(), NotCancelable> {
        match self.status {
            OrderStatus::Active | OrderStatus::PartiallyFilled if self.pending.is_none() => Ok(()),
            OrderStatus::Active | OrderStatus::PartiallyFilled | OrderStatus::PendingCancel => {
                Err(NotCancelable::Pending)
            }
            OrderStatus::Filled | OrderStatus::Canceled | OrderStatus::Rejected | OrderStatus::Expired => {
                Err(NotCancelable::NotActive)
            }
        }
    }

    /// The order after this change, learnt at `now`. A change of an older version, or of this one, leaves status
    /// and version as they are; but a refusal by the market ends the cancellation that it names whenever it
    /// comes, or the order would stay pending for ever.
    #[must_use]
    pub fn after(&self, change: &OrderChange, now: Timestamp) -> Self {
        let mut order = self.clone();
        let is_news = change.version > self.version;
        if is_news {
            (order.status, order.version, order.updated_at) = (change.status, change.version, change.updated_at);
        }
        let Some(pending) = self.pending else { return order };
        let code = match change.rejected {
            Some((operation, code)) if operation == pending => code,
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

    /// The note of this operation, accepted then.
    #[must_use]
    pub fn cancellation(&self, operation: OperationId, accepted_at: Timestamp) -> Option<&Cancellation> {
        self.cancellations.get(&operation).filter(|cancellation| cancellation.accepted_at == accepted_at)
    }

    /// The events of the cancellations that this version of the order ended.
    #[must_use]
    pub fn events_of_version(&self, org_id: &OrgId, version: u64) -> Vec<Event> {
        let ended = |cancellation: &Cancellation| {
            cancellation.outcome.as_ref().is_some_and(|outcome| outcome.version == Some(version))
        };
        let of_version = self.cancellations.iter().filter(|(_, cancellation)| ended(cancellation));
        of_version.filter_map(|(operation, _)| self.outcome_event(org_id, *operation)).collect()
    }

    /// That the operation's cancellation was asked for, if it was.
    #[must_use]
    pub fn request_event(&self, org_id: &OrgId, operation_id: OperationId) -> Option<Event> {
        let cancellation = self.cancellations.get(&operation_id)?;
        let data = CancellationData::new(self, operation_id, None);
        let event = EventData::CancellationRequested(data);
        Some(context(org_id, operation_id, cancellation).event(cancellation.requested_at?, self.order, event))
    }

    /// How the operation's cancellation ended, if it has.
    #[must_use]
    pub fn outcome_event(&self, org_id: &OrgId, operation_id: OperationId) -> Option<Event> {
        let cancellation = self.cancellations.get(&operation_id)?;
        let outcome = cancellation.outcome.as_ref()?;
        let data = CancellationData::new(self, operation_id, Some(outcome.code));
        let event = EventData::Cancellation(data);
        Some(context(org_id, operation_id, cancellation).event(outcome.at, self.order, event))
    }
}

fn context(org_id: &OrgId, operation_id: OperationId, cancellation: &Cancellation) -> EventContext {
    EventContext { org_id: org_id.clone(), operation_id, cid: cancellation.cid.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const OPERATION: &str = "0192d1c0-0000-7000-8000-000000000001";
    const ANOTHER: &str = "0192d1c0-0000-7000-8000-000000000002";
    const LIVE: [OrderStatus; 3] = [OrderStatus::Active, OrderStatus::PartiallyFilled, OrderStatus::PendingCancel];
    const FINAL: [OrderStatus; 4] =
        [OrderStatus::Filled, OrderStatus::Canceled, OrderStatus::Rejected, OrderStatus::Expired];

    fn now() -> Timestamp {
        serde_json::from_value(json!("2026-11-22T03:04:05.678Z")).unwrap()
    }

    fn change(version: u64, status: OrderStatus) -> OrderChange {
        OrderChange { order: OrderRef::Domestic(7), creator_id: 9, status, version, updated_at: now(), rejected: None }
    }

    fn refusal(version: u64, operation: &str) -> OrderChange {
        let rejected = Some((operation.parse().unwrap(), CancellationCode::Other));
        OrderChange { rejected, ..change(version, OrderStatus::Active) }
    }

    /// Version 1, with a cancellation pending.
    fn pending() -> Order {
        let operation: OperationId = OPERATION.parse().unwrap();
        let cid = "c".parse().unwrap();
        let cancellation = Cancellation { cid, accepted_at: now(), requested_at: Some(now()), outcome: None };
        Order {
            pending: Some(operation),
            cancellations: BTreeMap::from([(operation, cancellation)]),
            ..Order::new(&change(1, OrderStatus::Active))
        }
    }

    fn outcome(order: &Order) -> Option<(CancellationCode, Option<u64>)> {
        let outcome = order.cancellations.values().next()?.outcome.as_ref()?;
        Some((outcome.code, outcome.version))
    }

    fn after(order: &Order, changes: &[OrderChange]) -> Order {
        changes.iter().fold(order.clone(), |order, change| order.after(change, now()))
    }

    #[rstest]
    #[case::lives_on(change(2, OrderStatus::PartiallyFilled), None)]
    #[case::under_way(change(2, OrderStatus::PendingCancel), None)]
    #[case::canceled(change(2, OrderStatus::Canceled), Some((CancellationCode::Canceled, Some(2))))]
    #[case::filled(change(2, OrderStatus::Filled), Some((CancellationCode::TooLateToCancel, Some(2))))]
    #[case::older(change(1, OrderStatus::Canceled), None)]
    #[case::refused(refusal(2, OPERATION), Some((CancellationCode::Other, Some(2))))]
    #[case::refused_late(refusal(1, OPERATION), Some((CancellationCode::Other, Some(1))))]
    #[case::another_refused(refusal(2, ANOTHER), None)]
    fn a_change_ends_a_pending_cancellation_or_passes_under_it(
        #[case] change: OrderChange,
        #[case] expected: Option<(CancellationCode, Option<u64>)>,
    ) {
        let order = pending().after(&change, now());
        assert_eq!((outcome(&order), order.pending.is_some()), (expected, expected.is_none()));
    }

    #[test]
    fn events_say_what_is_noted_and_always_the_same() {
        let org: OrgId = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let order = pending().after(&change(2, OrderStatus::Canceled), now());
        let events = order.events_of_version(&org, 2);
        assert_eq!(
            serde_json::to_value(&events[0].data).unwrap(),
            json!({
                "order_id": 7, "international_order_uid": null, "creator_id": 9, "operation_id": OPERATION,
                "status": "SUCCESS", "message_code": "CANCELED", "message": "The order was canceled.",
            })
        );
        let later = after(&order, &[change(3, OrderStatus::Canceled), change(2, OrderStatus::Canceled)]);
        assert_eq!(later.events_of_version(&org, 2), events);
        assert!(later.events_of_version(&org, 3).is_empty());
        let request = later.request_event(&org, OPERATION.parse().unwrap()).unwrap();
        assert_eq!(Some(request), pending().request_event(&org, OPERATION.parse().unwrap()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// In whatever order changes come, and however often each, the order ends as if they had come once, in
        /// order.
        #[test]
        fn shuffled_and_repeated_changes_come_to_the_same(
            live in prop::collection::vec(select(&LIVE[..]), 0..8),
            last in select(&FINAL[..]),
            ends in any::<bool>(),
            is_refused in any::<bool>(),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            shuffle in any::<u64>(),
        ) {
            let mut changes: Vec<OrderChange> = (2..).zip(live).map(|(version, status)| change(version, status)).collect();
            let version = u64::try_from(changes.len()).unwrap() + 2;
            // Either the market refuses, and the order lives on; or it ends.
            if ends {
                changes.push(change(version, last));
            } else if is_refused {
                changes.push(refusal(version, OPERATION));
                changes.push(change(version + 1, OrderStatus::Active));
            }
            let expected = after(&pending(), &changes);
            let mut shuffled = changes.clone();
            if !changes.is_empty() {
                shuffled.extend(order.iter().map(|index| changes[index.index(changes.len())].clone()));
            }
            fastrand::Rng::with_seed(shuffle).shuffle(&mut shuffled);
            let ended = after(&pending(), &shuffled);
            prop_assert_eq!(&ended, &expected);
            prop_assert_eq!(outcome(&ended).is_some(), ends || is_refused);
        }

        /// The market refuses, and the order ends later: which of the two comes first says how the cancellation
        /// ended, since its event is out then. Either way it ends once, and the order is as the order system has it.
        #[test]
        fn a_refusal_and_an_end_come_to_one_outcome(last in select(&FINAL[..]), shuffle in any::<u64>()) {
            let mut changes = vec![refusal(2, OPERATION), change(3, OrderStatus::Active), change(4, last)];
            changes.extend(changes.clone());
            fastrand::Rng::with_seed(shuffle).shuffle(&mut changes);
            let mut order = pending();
            let mut first = None;
            for change in &changes {
                order = order.after(change, now());
                first = first.or(outcome(&order));
                prop_assert!(first.is_none() || outcome(&order) == first);
            }
            prop_assert_eq!((order.status, order.version, order.pending), (last, 4, None));
            prop_assert!(matches!(first, Some((_, Some(2 | 4)))));
        }
    }
}
