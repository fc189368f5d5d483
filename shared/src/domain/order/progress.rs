//! The progress of one operation's cancellations, according to the operation's own rows.
//!
//! The outcome of a cancellation is stored with the order, whose row is large and must be read whole. So every
//! process that learns the outcome also records it with the operation, before any event reports it. The record
//! repeats the order's own outcome, which never changes. It can be written again by any process, and is not counted
//! twice.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{CancellationCode, OrderCancellation, OrderRef};
use crate::domain::acceptance::Acceptance;
use crate::domain::status::{EventStatus, OperationState};
use crate::domain::time::Timestamp;

/// Number of rows that hold an operation's notes. Our limit: with 1,000 orders, a row has about 16 notes and about 1
/// KB, so that a note costs one or two write units.
pub const PARTS: u32 = 64;

/// The progress of an order's cancellation, once its message has been handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The order system was asked to cancel the order.
    Requested,
    /// The cancellation has ended.
    Ended {
        /// The code of the outcome.
        code: CancellationCode,
        /// The time when Bindery recorded the outcome.
        at: Timestamp,
    },
}

/// The summary of an operation's cancellations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The operation's state: SUCCEEDED once all cancellations have ended.
    pub state: OperationState,
    /// The time when the last cancellation ended, if all have ended.
    pub ended_at: Option<Timestamp>,
    /// The number of orders.
    pub total: u32,
    /// The number of orders whose cancellation has ended.
    pub done: u32,
    /// The number of orders that are canceled.
    pub succeeded: u32,
}

impl OrderCancellation {
    /// Returns the progress of the cancellation.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let ended = self.outcome.as_ref().map(|outcome| Stage::Ended { code: outcome.code, at: outcome.at });
        ended.unwrap_or(Stage::Requested)
    }
}

/// Returns the number of the operation's row that holds the note about this order. It depends on the time of
/// acceptance, so that a client cannot choose orders that fall into the same row.
#[must_use]
pub fn part_of(operation: Acceptance, order: OrderRef) -> u32 {
    let Acceptance { operation_id, accepted_at } = operation;
    let mixed = Uuid::new_v5(operation_id.as_uuid(), format!("{accepted_at}\n{order}").as_bytes());
    // The remainder is less than `PARTS`.
    u32::try_from(mixed.as_u128() % u128::from(PARTS)).unwrap_or_default()
}

/// Returns the summary of these orders' cancellations. `recorded` is the operation's stored state.
#[must_use]
pub fn summary(recorded: OperationState, orders: &[OrderRef], stages: &BTreeMap<OrderRef, Stage>) -> Summary {
    let total = u32::try_from(orders.len()).unwrap_or(u32::MAX);
    let mut summary = Summary { state: recorded, ended_at: None, total, done: 0, succeeded: 0 };
    for stage in orders.iter().filter_map(|order| stages.get(order)) {
        summary.state = OperationState::Running;
        if let Stage::Ended { code, at } = stage {
            summary.done += 1;
            summary.succeeded += u32::from(code.status() == EventStatus::Success);
            summary.ended_at = summary.ended_at.max(Some(*at));
        }
    }
    if summary.done == total {
        summary.state = OperationState::Succeeded;
    } else {
        summary.ended_at = None;
    }
    summary
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const CODES: [CancellationCode; 5] = [
        CancellationCode::Canceled,
        CancellationCode::TooLateToCancel,
        CancellationCode::UnknownOrder,
        CancellationCode::AlreadyPendingCancel,
        CancellationCode::Other,
    ];

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::of_epoch_milliseconds(milliseconds).unwrap()
    }

    fn stage() -> impl Strategy<Value = Option<Stage>> {
        let ended = (select(&CODES[..]), 0..1000_i64).prop_map(|(code, time)| Stage::Ended { code, at: at(time) });
        prop_oneof![Just(None), Just(Some(Stage::Requested)), ended.prop_map(Some)]
    }

    proptest! {
        /// Counts add up for any number of orders and any sequence of ends. The operation has ended once all orders
        /// have.
        #[test]
        fn an_operation_of_orders_has_ended_when_all_of_them_have(found in prop::collection::vec(stage(), 0..20)) {
            let orders: Vec<OrderRef> = (0..).zip(&found).map(|(id, _)| OrderRef::Domestic(id)).collect();
            let stages: BTreeMap<OrderRef, Stage> =
                orders.iter().zip(&found).filter_map(|(order, stage)| Some((*order, (*stage)?))).collect();
            let summary = summary(OperationState::Pending, &orders, &stages);
            let ends: Vec<_> = found.iter().filter_map(|stage| match stage {
                Some(Stage::Ended { code, at }) => Some((*code, *at)),
                _ => None,
            }).collect();
            let canceled = ends.iter().filter(|(code, _)| *code == CancellationCode::Canceled).count();
            prop_assert_eq!(summary.total as usize, found.len());
            prop_assert_eq!((summary.done as usize, summary.succeeded as usize), (ends.len(), canceled));
            let state = if ends.len() == found.len() {
                OperationState::Succeeded
            } else if stages.is_empty() {
                OperationState::Pending
            } else {
                OperationState::Running
            };
            prop_assert_eq!(summary.state, state);
            let last = ends.iter().map(|(_, at)| *at).max();
            prop_assert_eq!(summary.ended_at, last.filter(|_| state == OperationState::Succeeded));
        }
    }

    #[test]
    fn orders_are_spread_unpredictably() {
        let operation_id = "0192d1c0-0000-7000-8000-000000000001".parse().unwrap();
        let parts = |accepted_at| {
            let mut parts = [0; PARTS as usize];
            for order in 0..1000 {
                parts[part_of(Acceptance { operation_id, accepted_at }, OrderRef::Domestic(order)) as usize] += 1;
            }
            parts
        };
        let most = parts(at(0)).into_iter().max().unwrap();
        assert!(most < 40, "{most} of 1,000 in one row");
        assert_ne!(parts(at(0)), parts(at(1)));
    }

    #[test]
    fn a_cancellation_is_requested_until_it_has_an_outcome() {
        let mut note =
            OrderCancellation { cid: "c".parse().unwrap(), accepted_at: at(0), requested_at: None, outcome: None };
        assert_eq!(note.stage(), Stage::Requested);
        let code = CancellationCode::Other;
        note.outcome = Some(super::super::CancellationOutcome { code, at: at(7), version: None });
        assert_eq!(note.stage(), Stage::Ended { code, at: at(7) });
    }
}
