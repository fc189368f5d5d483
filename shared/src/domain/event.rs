//! What is published: the envelope, and the data of each event type, as the contract has them.
//!
//! An event is a function of stored facts. Made again, it is the same event: the same `event_id`,
//! the same bytes in `data`. A consumer can drop repeats by `event_id` alone.

use serde::Serialize;
use uuid::Uuid;

use super::bind::{Bind, BindRefusal, ReplacedCard, status_after_reissue};
use super::bulk::BulkSettings;
use super::card::{CardFacts, CardStatus};
use super::ids::{AccountId, BulkId, CardId, CorrelationId, CustomerId, ExternalId, OperationId, OrgId, ProgramId};
use super::order::{CancellationCode, Order, PersonId};
use super::time::{Date, Timestamp};

mod bulk;

pub use bulk::{NonameBulkCancellationData, NonameBulkStartData, NonameCancellationData, StartRefusal};

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

/// Whether an instruction had its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    /// It had.
    Success,
    /// It was refused for good.
    Failure,
}

/// What a bind was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationType {
    /// A plain bind.
    BindNoname,
    /// A bind that replaces another card.
    BindReissue,
}

/// What a card is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CardType {
    /// The only kind of noname card.
    Plastic,
}

/// The data of `bind_card`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BindCardData {
    account_id: AccountId,
    customer_id: CustomerId,
    card_id: CardId,
    card_status: CardStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_previous_status: Option<CardStatus>,
    card_name: &'static str,
    card_printed_name: &'static str,
    program_id: ProgramId,
    issuing_date: Date,
    expiration_date: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_id: Option<BulkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<ExternalId>,
    operation_type: OperationType,
    status: EventStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_code: Option<BindRefusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl BindCardData {
    pub(super) fn new(
        bind: &Bind,
        facts: &CardFacts,
        card_status: CardStatus,
        card_previous_status: Option<CardStatus>,
        failure: Option<BindRefusal>,
    ) -> Self {
        Self {
            account_id: bind.account_id,
            customer_id: bind.customer_id,
            card_id: bind.card_id,
            card_status,
            card_previous_status,
            card_name: NONAME,
            card_printed_name: NONAME,
            program_id: facts.program_id,
            issuing_date: facts.issuing_date,
            expiration_date: facts.expiration_date,
            bulk_id: facts.bulk_id.clone(),
            external_id: facts.external_id.clone(),
            operation_type: bind.operation_type(),
            status: if failure.is_some() { EventStatus::Failure } else { EventStatus::Success },
            message_code: failure,
            message: failure.map(|code| code.to_string()),
        }
    }
}

/// The name of, and on, a noname card.
const NONAME: &str = "";

/// The data of `update`. Required members that are always null are written as null (contract).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardUpdateData {
    account_id: AccountId,
    card_id: CardId,
    card_status: CardStatus,
    card_previous_status: CardStatus,
    card_type: CardType,
    card_name: &'static str,
    card_printed_name: (),
    card_hash: (),
    card_last_four_numbers: (),
    activation_date: (),
    contactless_enabled: bool,
    operation_type: OperationType,
    new_card_id: CardId,
    program_id: ProgramId,
    issuing_date: Date,
    expiration_date: Date,
    status: EventStatus,
}

impl CardUpdateData {
    pub(super) fn replaced(bind: &Bind, card: &ReplacedCard) -> Self {
        let previous = card.previous_status;
        Self {
            account_id: bind.account_id,
            card_id: card.card_id,
            card_status: status_after_reissue(previous).unwrap_or(previous),
            card_previous_status: previous,
            card_type: CardType::Plastic,
            card_name: NONAME,
            card_printed_name: (),
            card_hash: (),
            card_last_four_numbers: (),
            activation_date: (),
            contactless_enabled: card.facts.contactless_enabled,
            operation_type: bind.operation_type(),
            new_card_id: bind.card_id,
            program_id: card.facts.program_id,
            issuing_date: card.facts.issuing_date,
            expiration_date: card.facts.expiration_date,
            status: EventStatus::Success,
        }
    }
}

/// The data of `create`. Required members that are always null are written as null (contract).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CardCreateData {
    card_id: CardId,
    bulk_id: BulkId,
    external_id: ExternalId,
    program_id: ProgramId,
    card_status: CardStatus,
    card_type: CardType,
    contactless_enabled: bool,
    account_id: (),
    card_hash: (),
    card_last_four_numbers: (),
    card_name: (),
    card_printed_name: (),
    embossed: (),
    expiration_date: Date,
    issuing_date: Date,
    status: EventStatus,
}

impl CardCreateData {
    /// What is said of a card issued for this item of a bulk. Of constants and of facts that never
    /// change: the card may have been bound since.
    #[must_use]
    pub const fn new(
        card_id: CardId,
        bulk_id: BulkId,
        external_id: ExternalId,
        settings: &BulkSettings,
        issuing_date: Date,
        expiration_date: Date,
    ) -> Self {
        Self {
            card_id,
            bulk_id,
            external_id,
            program_id: settings.program_id,
            card_status: CardStatus::Unbound,
            card_type: CardType::Plastic,
            contactless_enabled: settings.contactless_enabled,
            account_id: (),
            card_hash: (),
            card_last_four_numbers: (),
            card_name: (),
            card_printed_name: (),
            embossed: (),
            expiration_date,
            issuing_date,
            status: EventStatus::Success,
        }
    }
}

/// The data of `cancellation_requested`, and with its last three members of `cancellation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancellationData {
    order_id: Option<i32>,
    international_order_uid: Option<Uuid>,
    creator_id: PersonId,
    operation_id: OperationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<EventStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_code: Option<CancellationCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

impl CancellationData {
    /// What is said of the operation's cancellation of the order, which ended so if it has ended.
    pub(super) fn new(order: &Order, operation_id: OperationId, code: Option<CancellationCode>) -> Self {
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
