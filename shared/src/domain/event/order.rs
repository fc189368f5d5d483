//! Events about the cancellations of orders.

use serde::Serialize;
use uuid::Uuid;

use super::{Event, EventContext, EventData};
use crate::domain::ids::{OperationId, OrgId};
use crate::domain::order::{CancellationCode, Order, OrderCancellation, PersonId};
use crate::domain::status::EventStatus;

/// The data of `cancellation_requested`. With its last three members, also the data of `cancellation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancellationData {
    order_id: Option<i32>,
    international_order_uid: Option<Uuid>,
    creator_id: PersonId,
    operation_id: OperationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<EventStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_code: Option<CancellationCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

impl CancellationData {
    /// Creates the data about the operation's cancellation of the order, with its outcome's code if it has ended.
    fn new(order: &Order, operation_id: OperationId, code: Option<CancellationCode>) -> Self {
        let (order_id, international_order_uid) = order.order.ids();
        Self {
            order_id,
            international_order_uid,
            creator_id: order.creator_id,
            operation_id,
            status: code.map(CancellationCode::status),
            message_code: code,
            message: code.map(CancellationCode::message),
        }
    }
}

impl Order {
    /// Returns the events of the cancellations that this version of the order ended.
    #[must_use]
    pub fn events_of_version(&self, org_id: &OrgId, version: u64) -> Vec<Event> {
        let ended = self.ended_by_version(version);
        ended.filter_map(|(operation, _)| self.outcome_event(org_id, operation.operation_id)).collect()
    }

    /// Returns the event that reports the request of the operation's cancellation, if it was requested.
    #[must_use]
    pub fn request_event(&self, org_id: &OrgId, operation_id: OperationId) -> Option<Event> {
        let cancellation = self.cancellations.get(&operation_id)?;
        let data = CancellationData::new(self, operation_id, None);
        let event = EventData::CancellationRequested(data);
        Some(context(org_id, operation_id, cancellation).event(cancellation.requested_at?, self.order, event))
    }

    /// Returns the event that reports the outcome of the operation's cancellation, if it has ended.
    #[must_use]
    pub fn outcome_event(&self, org_id: &OrgId, operation_id: OperationId) -> Option<Event> {
        let cancellation = self.cancellations.get(&operation_id)?;
        let outcome = cancellation.outcome.as_ref()?;
        let data = CancellationData::new(self, operation_id, Some(outcome.code));
        let event = EventData::Cancellation(data);
        Some(context(org_id, operation_id, cancellation).event(outcome.at, self.order, event))
    }
}

fn context(org_id: &OrgId, operation_id: OperationId, cancellation: &OrderCancellation) -> EventContext {
    let OrderCancellation { cid, accepted_at, .. } = cancellation;
    EventContext { org_id: org_id.clone(), operation_id, cid: cid.clone(), accepted_at: *accepted_at }
}
