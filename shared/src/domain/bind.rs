//! Binding a noname card to a customer, optionally reissuing a card that they have.
//!
//! The endpoint applies these rules before it accepts an instruction. The worker applies them again to the rows that
//! it finds. Refusals are stable, because cards only move forward: a card that is no longer UNBOUND, or that was
//! replaced or terminated, stays so. A message redelivered after a refusal is therefore refused again.

use serde::{Deserialize, Serialize};

use super::acceptance::{Acceptance, RETENTION_DAYS};
use super::card::{Bound, Card, CardFacts, CardStatus};
use super::ids::{AccountId, CardId, CustomerId, OperationId};
use super::time::Timestamp;

/// The type of a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationType {
    /// A bind that replaces no card.
    BindNoname,
    /// A bind that replaces another card.
    BindReissue,
}

/// An instruction to bind a card to an account and a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The noname card to bind.
    pub card_id: CardId,
    /// The account to bind it to.
    pub account_id: AccountId,
    /// The customer to bind it to.
    pub customer_id: CustomerId,
    /// The card to replace: another card of the same account and customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reissued_card_id: Option<CardId>,
}

impl Bind {
    /// Returns whether the bind replaces a card.
    #[must_use]
    pub const fn operation_type(&self) -> OperationType {
        match self.reissued_card_id {
            None => OperationType::BindNoname,
            Some(_) => OperationType::BindReissue,
        }
    }

    /// Returns the mark that this operation leaves on the card at `now`.
    #[must_use]
    pub const fn mark(&self, Acceptance { operation_id, accepted_at }: Acceptance, now: Timestamp) -> Bound {
        let Self { account_id, customer_id, reissued_card_id, .. } = *self;
        Bound { by: operation_id, accepted_at, at: now, account_id, customer_id, reissued_card_id }
    }
}

/// The reasons why a bind is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BindRefusal {
    /// There is no such card in the organization.
    #[error("The card was not found.")]
    CardNotFound,
    /// The card is bound already, or terminated.
    #[error("The card is not UNBOUND.")]
    CardNotUnbound,
    /// The account and customer have no such card.
    #[error("The card to be reissued was not found.")]
    ReissuedCardNotFound,
    /// The card to be reissued is terminated.
    #[error("The card to be reissued is in a final status.")]
    ReissuedCardNotEligible,
    /// The card to be reissued has been replaced by another card.
    #[error("The card to be reissued was already replaced.")]
    ReissuedCardAlreadyReplaced,
}

/// Checks that this card may be bound.
///
/// # Errors
/// Returns [`BindRefusal::CardNotFound`] or [`BindRefusal::CardNotUnbound`].
pub fn check_card(card: Option<&Card>) -> Result<&Card, BindRefusal> {
    match card {
        None => Err(BindRefusal::CardNotFound),
        Some(card) if card.status == CardStatus::Unbound && card.bound.is_none() => Ok(card),
        Some(_) => Err(BindRefusal::CardNotUnbound),
    }
}

/// Checks that the bind may replace this card. Returns the card and its status after the replacement.
///
/// # Errors
/// Returns one of the refusals about the reissued card.
pub fn check_reissued<'a>(card: Option<&'a Card>, bind: &Bind) -> Result<(&'a Card, CardStatus), BindRefusal> {
    let card = card
        .filter(|card| card.is_bound_to(bind.account_id, bind.customer_id))
        .ok_or(BindRefusal::ReissuedCardNotFound)?;
    if card.replaced.is_some() || card.status == CardStatus::Reissued {
        return Err(BindRefusal::ReissuedCardAlreadyReplaced);
    }
    let status = status_after_reissue(card.status).ok_or(BindRefusal::ReissuedCardNotEligible)?;
    Ok((card, status))
}

/// Returns the status of a card after a reissue, or `None` if a card with the status `previous` cannot be reissued.
#[must_use]
pub const fn status_after_reissue(previous: CardStatus) -> Option<CardStatus> {
    match previous {
        CardStatus::Created | CardStatus::Normal => Some(CardStatus::Reissued),
        CardStatus::Blocked | CardStatus::Pending | CardStatus::Warning => Some(previous),
        CardStatus::Unbound
        | CardStatus::Reissued
        | CardStatus::Canceled
        | CardStatus::Lost
        | CardStatus::Robbed
        | CardStatus::Fraud
        | CardStatus::Damaged
        | CardStatus::Expired
        | CardStatus::Deleted
        | CardStatus::Broken
        | CardStatus::Theft
        | CardStatus::Defect
        | CardStatus::Inoperative => None,
    }
}

/// The replaced card, according to its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedCard {
    /// The card's ID.
    pub card_id: CardId,
    /// The card's status before the replacement.
    pub previous_status: CardStatus,
    /// The facts that never change.
    pub facts: CardFacts,
}

/// The result of a bind's conditional write. For an operation that bound the card, now or in an earlier delivery, it
/// is always the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindEffect {
    /// The card has this operation's mark.
    Bound {
        /// The time in the mark.
        at: Timestamp,
        /// The card that this one replaced.
        replaced: Option<ReplacedCard>,
    },
    /// The card does not have this operation's mark, and never will.
    Refused {
        /// The reason of the refusal.
        code: BindRefusal,
        /// The card's status when the bind was refused, or `None` if the card does not exist.
        card_status: Option<CardStatus>,
    },
}

impl BindEffect {
    /// Returns the refusal of a bind of this card, as read.
    #[must_use]
    pub fn refused(code: BindRefusal, card: Option<&Card>) -> Self {
        Self::Refused { code, card_status: card.map(|card| card.status) }
    }
}

/// Only one of a reissue's two marks was visible. One transaction wrote both, and `DynamoDB` makes its rows visible
/// one by one, so the other will be visible soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfSeen;

/// Returns the effect of this reissue if it took place before, according to both cards.
///
/// # Errors
/// Returns [`HalfSeen`] if only one of the cards shows that the one has replaced the other, by this reissue or
/// another.
pub fn reissued_before(
    acceptance: Acceptance,
    card: Option<&Card>,
    reissued: Option<&Card>,
) -> Result<Option<BindEffect>, HalfSeen> {
    match (bound_by(acceptance, card), replaced_by(acceptance, reissued)) {
        (Some(at), Some(replaced)) => Ok(Some(BindEffect::Bound { at, replaced: Some(replaced) })),
        (Some(_), None) | (None, Some(_)) => Err(HalfSeen),
        (None, None) => {
            let new_card = reissued.and_then(|card| card.replaced.as_ref()).map(|mark| mark.new_card_id);
            let is_blank_and_new = card.is_some_and(|card| card.bound.is_none() && Some(card.card_id) == new_card);
            if is_blank_and_new { Err(HalfSeen) } else { Ok(None) }
        }
    }
}

/// Returns the time when this operation bound the card, if it did.
#[must_use]
pub fn bound_by(acceptance: Acceptance, card: Option<&Card>) -> Option<Timestamp> {
    let mark = card?.bound.as_ref()?;
    (mark.by == acceptance.operation_id && mark.accepted_at == acceptance.accepted_at).then_some(mark.at)
}

/// Returns the card that this operation replaced, if it did.
#[must_use]
pub fn replaced_by(acceptance: Acceptance, card: Option<&Card>) -> Option<ReplacedCard> {
    let card = card?;
    let mark = card.replaced.as_ref()?;
    let is_mine = mark.by == acceptance.operation_id && mark.accepted_at == acceptance.accepted_at;
    is_mine.then_some(ReplacedCard {
        card_id: card.card_id,
        previous_status: mark.previous_status,
        facts: card.facts.clone(),
    })
}

/// Returns the time of acceptance of the operation with this ID that carried out exactly this bind, unless it is so
/// old that the operation's row has expired.
///
/// Call this if the operation has no row. If the row has not expired, it may have been lost in a restore of the
/// table. An operation recorded again with its original time of acceptance is the same operation and has the same
/// events.
#[must_use]
pub fn carried_out_by(operation: OperationId, bind: &Bind, card: Option<&Card>, now: Timestamp) -> Option<Timestamp> {
    let card = card?;
    let mark = card.bound.as_ref().filter(|mark| mark.by == operation)?;
    let is_this = card.is_bound_to(bind.account_id, bind.customer_id) && mark.reissued_card_id == bind.reissued_card_id;
    (is_this && mark.accepted_at.plus_days(RETENTION_DAYS) > now).then_some(mark.accepted_at)
}

/// The outcome of a bind, as stored with the operation before it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BindOutcome {
    /// The card is bound.
    Success {
        /// The time in the mark.
        at: Timestamp,
    },
    /// The bind was refused.
    Failure {
        /// The time of the refusal.
        at: Timestamp,
        /// The reason of the refusal.
        code: BindRefusal,
        /// The card's status at that time. For a missing card, UNBOUND, its last known status.
        card_status: CardStatus,
    },
}

impl BindOutcome {
    /// Returns the outcome of `effect`, observed at `now`.
    #[must_use]
    pub fn of(effect: &BindEffect, now: Timestamp) -> Self {
        match effect {
            BindEffect::Bound { at, .. } => Self::Success { at: *at },
            BindEffect::Refused { code, card_status } => {
                Self::Failure { at: now, code: *code, card_status: card_status.unwrap_or(CardStatus::Unbound) }
            }
        }
    }

    /// Returns the outcome's name in events and responses.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Success { .. } => "SUCCESS",
            Self::Failure { .. } => "FAILURE",
        }
    }

    /// Returns the time when the outcome was decided, which is the timestamp of its events.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Success { at } | Self::Failure { at, .. } => *at,
        }
    }
}

#[cfg(test)]
mod tests;
