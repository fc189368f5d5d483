//! Events about cards.

use serde::Serialize;

use super::{Event, EventContext, EventData};
use crate::domain::acceptance::Acceptance;
use crate::domain::bind::{
    Bind, BindEffect, BindOutcome, BindRefusal, OperationType, ReplacedCard, status_after_reissue,
};
use crate::domain::bulk::{Bulk, BulkItem, BulkSettings};
use crate::domain::card::{CardFacts, CardStatus};
use crate::domain::ids::{AccountId, BulkId, CardId, CustomerId, ExternalId, ProgramId};
use crate::domain::status::EventStatus;
use crate::domain::time::Date;

/// The material of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CardType {
    /// Plastic, the only kind of noname card.
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
    pub(super) status: EventStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_code: Option<BindRefusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl BindCardData {
    fn new(
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

/// The name for a noname card, and printed on it.
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
    fn replaced(bind: &Bind, card: &ReplacedCard) -> Self {
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
    /// Creates the data about a card issued for this item of a bulk. It uses only constants and facts that never
    /// change, because the card may have been bound since.
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

/// The stored outcome and the card's marks contradict each other: there is a bug, or a row was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored outcome contradicts the card's marks")]
pub struct Contradiction;

/// Returns the events of a bind. They derive from the stored outcome, the marks and facts that never change, so that
/// they are always the same.
///
/// # Errors
/// Returns [`Contradiction`] if `outcome` cannot result from `effect`.
pub fn bind_events(
    context: &EventContext,
    bind: &Bind,
    facts: &CardFacts,
    outcome: &BindOutcome,
    effect: &BindEffect,
) -> Result<Vec<Event>, Contradiction> {
    let (status, previous, failure, replaced) = match (outcome, effect) {
        (BindOutcome::Success { .. }, BindEffect::Bound { replaced, .. }) => {
            (CardStatus::Created, Some(CardStatus::Unbound), None, replaced.as_ref())
        }
        (BindOutcome::Failure { code, card_status, .. }, BindEffect::Refused { .. }) => {
            (*card_status, None, Some(*code), None)
        }
        _ => return Err(Contradiction),
    };
    let data = BindCardData::new(bind, facts, status, previous, failure);
    let mut events = vec![context.event(outcome.at(), bind.card_id, EventData::BindCard(data))];
    if let Some(replaced) = replaced {
        let data = CardUpdateData::replaced(bind, replaced);
        events.push(context.event(outcome.at(), replaced.card_id, EventData::Update(data)));
    }
    Ok(events)
}

/// Returns the event about the item's card, if the operation of this context issued it.
#[must_use]
pub fn create_event(
    context: &EventContext,
    bulk: &Bulk,
    item: &BulkItem,
    issuing_date: Date,
    expiration_date: Date,
) -> Option<Event> {
    let (card_id, mark) = item.card_id.zip(item.issued.as_ref())?;
    if !mark.is_of(Acceptance { operation_id: context.operation_id, accepted_at: context.accepted_at }) {
        return None;
    }
    let (bulk_id, external_id) = (bulk.bulk_id.clone(), item.external_id.clone());
    let data = CardCreateData::new(card_id, bulk_id, external_id, &bulk.settings, issuing_date, expiration_date);
    Some(context.event(mark.at, &item.external_id, EventData::Create(data)))
}
