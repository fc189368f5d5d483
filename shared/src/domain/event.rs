//! What is published: the envelope, and the data of each event type, as the contract has them.
//!
//! An event is a function of stored facts. Made again, it is the same event: the same `event_id`,
//! the same bytes in `data`. A consumer can drop repeats by `event_id` alone.

use serde::Serialize;
use uuid::Uuid;

use super::ids::{CorrelationId, OperationId, OrgId};
use super::time::Timestamp;

mod bulk;
mod card;
mod order;

pub use super::status::EventStatus;
pub use bulk::{NonameBulkCancellationData, NonameBulkStartData, NonameCancellationData, StartRefusal, start_event};
pub use card::{BindCardData, CardCreateData, CardType, CardUpdateData, Contradiction, bind_events, create_event};
pub use order::CancellationData;

/// The version of the envelope and of every event's data.
const SCHEMA_VERSION: u32 = 1;

/// An event, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The same for every repetition of one fact: `UUIDv5` of the operation, when it was accepted, event type and item.
    pub event_id: Uuid,
    /// The version of the form.
    pub schema_version: u32,
    /// The part of the business that it belongs to.
    pub domain: &'static str,
    /// What happened; also the detail type on the bus.
    pub event_type: &'static str,
    /// The tenant.
    pub org_id: OrgId,
    /// The correlation ID of the request that led to it.
    pub cid: CorrelationId,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The facts.
    pub data: EventData,
    /// When the instruction was accepted that led to it. Not published: it is for the metrics.
    #[serde(skip)]
    pub accepted_at: Timestamp,
}

/// What all events of one operation share.
#[derive(Debug, Clone)]
pub struct EventContext {
    /// The tenant.
    pub org_id: OrgId,
    /// The operation.
    pub operation_id: OperationId,
    /// The correlation ID of its request.
    pub cid: CorrelationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl EventContext {
    /// The event that says `data` of `item`. An operation says each event type of an item once.
    ///
    /// When the operation was accepted is a part of the event's ID: an idempotency key that is used again after it
    /// expired makes another operation of the same ID.
    #[must_use]
    pub fn event(&self, timestamp: Timestamp, item: impl std::fmt::Display, data: EventData) -> Event {
        let event_type = data.event_type();
        // Unambiguous: neither a time nor an event type holds a line feed.
        let name = format!("{}\n{event_type}\n{item}", self.accepted_at);
        Event {
            event_id: Uuid::new_v5(self.operation_id.as_uuid(), name.as_bytes()),
            schema_version: SCHEMA_VERSION,
            domain: data.domain(),
            event_type,
            org_id: self.org_id.clone(),
            cid: self.cid.clone(),
            timestamp,
            data,
            accepted_at: self.accepted_at,
        }
    }
}

/// What became of an instruction for one card, item or order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It had its way.
    Applied,
    /// It was refused, with this code.
    Refused(String),
}

impl Effect {
    fn of(status: EventStatus, code: impl Serialize) -> Self {
        match (status, serde_json::to_value(code)) {
            (EventStatus::Failure, Ok(serde_json::Value::String(code))) => Self::Refused(code),
            (EventStatus::Failure, _) => Self::Refused("UNKNOWN".to_owned()),
            (EventStatus::Success, _) => Self::Applied,
        }
    }
}

/// The facts of each event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EventData {
    /// A bind is done, or failed for good.
    BindCard(BindCardData),
    /// A card changed: it was replaced by a reissue.
    Update(CardUpdateData),
    /// A card was issued.
    Create(CardCreateData),
    /// An item of a bulk was canceled, or not.
    NonameCancellation(NonameCancellationData),
    /// A start of a bulk is done, or was refused.
    NonameBulkStart(NonameBulkStartData),
    /// A cancel of a bulk is done.
    NonameBulkCancellation(NonameBulkCancellationData),
    /// An order is to be canceled: the order system acts on it.
    CancellationRequested(CancellationData),
    /// An order was canceled, or not.
    Cancellation(CancellationData),
}

impl EventData {
    /// The one place where event types are named: published sources spell them both with and
    /// without a version suffix.
    const fn event_type(&self) -> &'static str {
        match self {
            Self::BindCard(_) => "bind_card",
            Self::Update(_) => "update",
            Self::Create(_) => "create",
            Self::NonameCancellation(_) => "noname_cancellation",
            Self::NonameBulkStart(_) => "noname_bulk_start",
            Self::NonameBulkCancellation(_) => "noname_bulk_cancellation",
            Self::CancellationRequested(_) => "cancellation_requested",
            Self::Cancellation(_) => "cancellation",
        }
    }

    /// What it says of its instruction's effect on one card, item or order; `None` if another event does.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        match self {
            Self::BindCard(data) => Some(Effect::of(data.status, data.message_code)),
            Self::Create(_) | Self::CancellationRequested(_) => Some(Effect::Applied),
            Self::NonameCancellation(data) => Some(Effect::of(data.status, data.message_code)),
            Self::Cancellation(data) => data.status.map(|status| Effect::of(status, data.message_code)),
            // A refused start has no other event.
            Self::NonameBulkStart(data) => data.message_code.map(|code| Effect::of(EventStatus::Failure, code)),
            // One half of a reissue; the end of a bulk's cancel.
            Self::Update(_) | Self::NonameBulkCancellation(_) => None,
        }
    }

    const fn domain(&self) -> &'static str {
        match self {
            Self::BindCard(_)
            | Self::Update(_)
            | Self::Create(_)
            | Self::NonameCancellation(_)
            | Self::NonameBulkStart(_)
            | Self::NonameBulkCancellation(_) => "cards",
            Self::CancellationRequested(_) | Self::Cancellation(_) => "orders",
        }
    }
}

#[cfg(test)]
mod tests;
