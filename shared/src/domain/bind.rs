//! Binding a noname card to a customer, and letting it replace (reissue) a card they have.
//!
//! The endpoint asks these rules before it accepts; the worker asks them again with the rows it
//! finds. Refusals are stable: what refuses once (a card that is not UNBOUND any more, one that was
//! replaced or terminated) never becomes possible later, because cards only move forward. So a
//! message delivered again after a refusal is refused again.

use serde::{Deserialize, Serialize};

use super::acceptance::{Acceptance, RETENTION_DAYS};
use super::card::{Bound, Card, CardFacts, CardStatus};
use super::ids::{AccountId, CardId, CustomerId, OperationId};
use super::time::Timestamp;

/// What a bind was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationType {
    /// A plain bind.
    BindNoname,
    /// A bind that replaces another card.
    BindReissue,
}

/// The instruction: bind this card to this account and customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The noname card.
    pub card_id: CardId,
    /// The account that it is bound to.
    pub account_id: AccountId,
    /// The customer that it is bound to.
    pub customer_id: CustomerId,
    /// The card that it replaces: one of the same account and customer, and another card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reissued_card_id: Option<CardId>,
}

impl Bind {
    /// Whether it replaces a card.
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

/// Why a bind cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BindRefusal {
    /// There is no such card in the organisation.
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

/// Whether this card may be bound.
///
/// # Errors
/// [`BindRefusal::CardNotFound`] or [`BindRefusal::CardNotUnbound`].
pub fn check_card(card: Option<&Card>) -> Result<&Card, BindRefusal> {
    match card {
        None => Err(BindRefusal::CardNotFound),
        Some(card) if card.status == CardStatus::Unbound && card.bound.is_none() => Ok(card),
        Some(_) => Err(BindRefusal::CardNotUnbound),
    }
}

/// Whether this card may be replaced by the bind; if so, the card and the status it is left in.
///
/// # Errors
/// The refusals that speak of the reissued card.
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

/// The status that a reissue leaves a card in that had `previous`; `None` if it cannot be reissued.
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

/// The reissued card, as its mark remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedCard {
    /// The card.
    pub card_id: CardId,
    /// What it was before.
    pub previous_status: CardStatus,
    /// What never changes of it.
    pub facts: CardFacts,
}

/// What the conditional write came to. For an operation that had its way, now or in an earlier
/// delivery, this is always the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindEffect {
    /// The card carries this operation's mark.
    Bound {
        /// The mark's time.
        at: Timestamp,
        /// The card that was replaced with it.
        replaced: Option<ReplacedCard>,
    },
    /// The card does not, and never will.
    Refused {
        /// Why.
        code: BindRefusal,
        /// The card's status when it was refused; `None` if there is no such card.
        card_status: Option<CardStatus>,
    },
}

impl BindEffect {
    /// Returns the refusal of a bind of this card, as it was read.
    #[must_use]
    pub fn refused(code: BindRefusal, card: Option<&Card>) -> Self {
        Self::Refused { code, card_status: card.map(|card| card.status) }
    }
}

/// One of a reissue's two marks was seen, and the other not. Both were written by one transaction, whose rows `DynamoDB`
/// shows one by one: the other is about to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfSeen;

/// Returns what this reissue did before, if it did; both cards are asked.
///
/// # Errors
/// [`HalfSeen`] if a reissue by the one card of the other, this one or another, is seen on one of them alone.
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

/// Returns when this operation bound the card, if it did.
#[must_use]
pub fn bound_by(acceptance: Acceptance, card: Option<&Card>) -> Option<Timestamp> {
    let mark = card?.bound.as_ref()?;
    (mark.by == acceptance.operation_id && mark.accepted_at == acceptance.accepted_at).then_some(mark.at)
}

/// Returns the card as this operation replaced it, if it did.
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

/// Returns when the operation was accepted that carried out this very bind of the card under this ID, unless that was so
/// long ago that its row has expired.
///
/// Asked when the operation has no row: if it did not expire, it went away with a restore of the table, say. Recorded anew
/// as it was accepted then, it is the same operation again, and its events are the same.
#[must_use]
pub fn carried_out_by(operation: OperationId, bind: &Bind, card: Option<&Card>, now: Timestamp) -> Option<Timestamp> {
    let card = card?;
    let mark = card.bound.as_ref().filter(|mark| mark.by == operation)?;
    let is_this = card.is_bound_to(bind.account_id, bind.customer_id) && mark.reissued_card_id == bind.reissued_card_id;
    (is_this && mark.accepted_at.plus_days(RETENTION_DAYS) > now).then_some(mark.accepted_at)
}

/// What became of a bind, as it is stored on the operation before it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BindOutcome {
    /// The card is bound.
    Success {
        /// The mark's time.
        at: Timestamp,
    },
    /// The bind was refused.
    Failure {
        /// When it was refused.
        at: Timestamp,
        /// Why.
        code: BindRefusal,
        /// The card's status then. A card that is gone was last known UNBOUND.
        card_status: CardStatus,
    },
}

impl BindOutcome {
    /// The outcome of `effect`, seen at `now`.
    #[must_use]
    pub fn of(effect: &BindEffect, now: Timestamp) -> Self {
        match effect {
            BindEffect::Bound { at, .. } => Self::Success { at: *at },
            BindEffect::Refused { code, card_status } => {
                Self::Failure { at: now, code: *code, card_status: card_status.unwrap_or(CardStatus::Unbound) }
            }
        }
    }

    /// Its name in events and answers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Success { .. } => "SUCCESS",
            Self::Failure { .. } => "FAILURE",
        }
    }

    /// When it was decided: the timestamp of its events.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Success { at } | Self::Failure { at, .. } => *at,
        }
    }
}

#[cfg(test)]
mod tests;
