//! Published events: the envelope, and the data of each event type, as the contract defines them.
//!
//! An event is a function of stored facts. Built again, it is the same event, with the same `event_id` and the same
//! bytes in `data`. A consumer can drop duplicates by `event_id` alone.

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

/// An event that is ready to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The same for every repetition of a fact: the `UUIDv5` of the operation, its time of acceptance, event type and
    /// item.
    pub event_id: Uuid,
    /// The version of the schema.
    pub schema_version: u32,
    /// The business domain of the event.
    pub domain: &'static str,
    /// The type of the event, which is also the detail type on the bus.
    pub event_type: &'static str,
    /// The tenant's organization ID.
    pub org_id: OrgId,
    /// The correlation ID of the request that caused the event.
    pub cid: CorrelationId,
    /// The time of the fact.
    pub timestamp: Timestamp,
    /// The facts that the event reports.
    pub data: EventData,
    /// The time when the instruction was accepted. It is not published, only used for the metrics.
    #[serde(skip)]
    pub accepted_at: Timestamp,
}

/// The data that all events of an operation share.
#[derive(Debug, Clone)]
pub struct EventContext {
    /// The tenant's organization ID.
    pub org_id: OrgId,
    /// The operation's ID.
    pub operation_id: OperationId,
    /// The correlation ID of the operation's request.
    pub cid: CorrelationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
}

impl EventContext {
    /// Returns the event that reports `data` about `item`. An operation publishes one event of each type about an
    /// item.
    ///
    /// The time of acceptance is part of the event's ID, because an idempotency key used again after it expired
    /// yields another operation with the same ID.
    #[must_use]
    pub fn event(&self, timestamp: Timestamp, item: impl std::fmt::Display, data: EventData) -> Event {
        let event_type = data.event_type();
        // The name is unambiguous, because neither a time nor an event type contains a line feed.
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

/// The outcome of an instruction for one card, item or order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The instruction was carried out.
    Applied,
    /// The instruction was refused, with this code.
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

/// The data of each event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EventData {
    /// A bind is done, or has failed finally.
    BindCard(BindCardData),
    /// A card was replaced by a reissue.
    Update(CardUpdateData),
    /// A card was issued.
    Create(CardCreateData),
    /// An item of a bulk was canceled, or could not be.
    NonameCancellation(NonameCancellationData),
    /// A start of a bulk is done, or was refused.
    NonameBulkStart(NonameBulkStartData),
    /// A cancel of a bulk is done.
    NonameBulkCancellation(NonameBulkCancellationData),
    /// The cancellation of an order was requested. The order system acts on this event.
    CancellationRequested(CancellationData),
    /// An order was canceled, or could not be.
    Cancellation(CancellationData),
}

impl EventData {
    /// Returns the event's type. Only this function contains the names, because published sources spell them both
    /// with and without a version suffix.
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

    /// Returns the effect on one card, item or order that this event reports, or `None` if another event reports it.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        match self {
            Self::BindCard(data) => Some(Effect::of(data.status, data.message_code)),
            Self::Create(_) | Self::CancellationRequested(_) => Some(Effect::Applied),
            Self::NonameCancellation(data) => Some(Effect::of(data.status, data.message_code)),
            Self::Cancellation(data) => data.status.map(|status| Effect::of(status, data.message_code)),
            // A refused start publishes no other event.
            Self::NonameBulkStart(data) => data.message_code.map(|code| Effect::of(EventStatus::Failure, code)),
            // These are half of a reissue, and the end of a bulk's cancel.
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
