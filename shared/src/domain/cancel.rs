//! Canceling items of a bulk: what it means for an item and its card, and for the bulk.
//!
//! An item that has no card is canceled itself, and never gets one. If its card was issued, the card is
//! canceled: the item derives its state from it. Either leaves this operation's mark.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bulk::{Bulk, BulkItem, BulkState, ItemState};
use super::card::{Card, CardStatus, Mark};
use super::event::EventStatus;
use super::ids::{CardId, ExternalId, OperationId};
use super::operation::Progress;
use super::time::Timestamp;

/// Which items of its bulk a cancel is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelType {
    /// All of them. The bulk takes no increment and no start from then on.
    Full,
    /// Those that are named.
    Partial,
}

/// What became of an item, in the contract's own spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelCode {
    /// It had an unbound card; both are canceled.
    ExternalIdAndCardCanceled,
    /// It had no card yet, and will never get one.
    ExternalIdCanceled,
    /// An earlier operation canceled it.
    AlreadyCanceled,
    /// It is none of the bulk's.
    ExternalIdNotFound,
    /// Its card was being issued whenever it was tried.
    InvalidBulkItemStatus,
    /// Its card does not exist.
    CardNotFoundForCancellation,
    /// Its card is bound, or in any other state but unbound and canceled.
    InvalidCardStatusForCancellation,
}

impl CancelCode {
    /// Whether the item is canceled now.
    #[must_use]
    pub const fn status(self) -> EventStatus {
        match self {
            Self::ExternalIdAndCardCanceled | Self::ExternalIdCanceled | Self::AlreadyCanceled => EventStatus::Success,
            Self::ExternalIdNotFound
            | Self::InvalidBulkItemStatus
            | Self::CardNotFoundForCancellation
            | Self::InvalidCardStatusForCancellation => EventStatus::Failure,
        }
    }

    /// Whether this operation changed something.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::ExternalIdAndCardCanceled | Self::ExternalIdCanceled)
    }

    /// The same in words, for clients' logs.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::ExternalIdAndCardCanceled => "The external ID and its card were canceled.",
            Self::ExternalIdCanceled => "The external ID was canceled; it had no card yet.",
            Self::AlreadyCanceled => "The external ID was canceled before.",
            Self::ExternalIdNotFound => "The bulk has no such external ID.",
            Self::InvalidBulkItemStatus => "The external ID's card is being issued.",
            Self::CardNotFoundForCancellation => "The external ID's card was not found.",
            Self::InvalidCardStatusForCancellation => "The external ID's card is not UNBOUND.",
        }
    }
}

/// Who cancels: what its marks are known by.
#[derive(Debug, Clone, Copy)]
pub struct Canceler {
    /// The operation.
    pub operation_id: OperationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl Canceler {
    fn left(&self, mark: Option<&Mark>) -> bool {
        mark.is_some_and(|mark| mark.is_of(self.operation_id, self.accepted_at))
    }
}

/// What is left to do about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Cancel it, if it still has no card.
    CancelItem,
    /// Cancel its card, if that is still unbound.
    CancelCard(CardId),
    /// Nothing any more.
    Done(CancelCode),
}

/// What is left to do about an item as it was read, be that reading old: items only move forward.
#[must_use]
pub fn step(item: &BulkItem, canceler: &Canceler) -> Step {
    match (item.state, item.card_id) {
        (ItemState::Pending, _) => Step::CancelItem,
        (ItemState::Issued, Some(card_id)) => Step::CancelCard(card_id),
        (ItemState::Issued, None) => Step::Done(CancelCode::CardNotFoundForCancellation),
        (ItemState::Canceled, _) if canceler.left(item.canceled.as_ref()) => Step::Done(CancelCode::ExternalIdCanceled),
        (ItemState::Canceled, _) => Step::Done(CancelCode::AlreadyCanceled),
    }
}

/// What a card that was not unbound means for its item; `None` if it is.
#[must_use]
pub fn of_card(card: Option<&Card>, canceler: &Canceler) -> Option<CancelCode> {
    match card {
        None => Some(CancelCode::CardNotFoundForCancellation),
        Some(card) if canceler.left(card.canceled.as_ref()) => Some(CancelCode::ExternalIdAndCardCanceled),
        Some(card) => match card.status {
            CardStatus::Unbound => None,
            CardStatus::Canceled => Some(CancelCode::AlreadyCanceled),
            CardStatus::Created
            | CardStatus::Normal
            | CardStatus::Blocked
            | CardStatus::Pending
            | CardStatus::Warning
            | CardStatus::Reissued
            | CardStatus::Lost
            | CardStatus::Robbed
            | CardStatus::Fraud
            | CardStatus::Damaged
            | CardStatus::Expired
            | CardStatus::Deleted
            | CardStatus::Broken
            | CardStatus::Theft
            | CardStatus::Defect
            | CardStatus::Inoperative => Some(CancelCode::InvalidCardStatusForCancellation),
        },
    }
}

/// An item that a cancel named or found. Its names are short because rows hold thousands of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRef {
    /// The item.
    #[serde(rename = "id")]
    pub external_id: ExternalId,
    /// Its card, if it has one.
    #[serde(rename = "card", default, skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CardId>,
}

/// What a chunk of a cancel came to. Once stored, it is what all its events are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// When it was stored first.
    pub at: Timestamp,
    /// The chunk's items, by what became of them.
    pub items: BTreeMap<CancelCode, Vec<ItemRef>>,
}

impl ChunkResult {
    /// Every item, and what became of it, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (CancelCode, &ItemRef)> {
        self.items.iter().flat_map(|(code, items)| items.iter().map(|item| (*code, item)))
    }

    /// How many items have a code of this kind.
    #[must_use]
    pub fn count(&self, kind: impl Fn(CancelCode) -> bool) -> usize {
        self.items.iter().filter(|(code, _)| kind(**code)).map(|(_, items)| items.len()).sum()
    }
}

/// The state of a bulk, as it was read, once a cancel of it is done: all its chunks are.
#[must_use]
pub fn state_after(bulk: &Bulk, operation: OperationId, cancel_type: CancelType, progress: &Progress) -> BulkState {
    let all = match cancel_type {
        CancelType::Full => progress.items_failed == 0,
        CancelType::Partial => false,
    };
    let another_is_at_it = bulk.state == BulkState::Canceling && bulk.sealed_by != Some(operation);
    if all || bulk.state == BulkState::Canceled || bulk.canceled + progress.items_changed >= bulk.items {
        BulkState::Canceled
    } else if another_is_at_it {
        BulkState::Canceling
    } else {
        BulkState::PartiallyCanceled
    }
}
