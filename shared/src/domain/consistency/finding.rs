//! Findings of the consistency rules, as text, and their remedies.

use serde::Serialize;

use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId};

/// An inconsistency between rows, or within a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Finding {
    /// A row that cannot be read.
    #[error("The row cannot be read.")]
    UnreadableRow,
    /// A card whose own data is inconsistent.
    #[error("The card has marks that no card can have together, or a status that they do not lead to.")]
    CardMarks,
    /// An item whose own data is inconsistent.
    #[error("The item's state, card and marks do not fit together.")]
    ItemMarks,
    /// An item of a batch that is not committed must still be pending.
    #[error("The item was issued or canceled, and its batch {batch} is not one of the bulk's.")]
    ItemOfNoBatch {
        /// The item's batch.
        batch: u32,
    },
    /// Half of an issue: the item's link is there, but not the card.
    #[error("The item has card {card_id}, which has no row.")]
    CardMissing {
        /// The missing card.
        card_id: CardId,
    },
    /// A card that two items claim.
    #[error("The item has card {card_id}, which names another item.")]
    CardOfAnotherItem {
        /// The card's ID.
        card_id: CardId,
    },
    /// Half of an issue: the card is there, but not the item's link.
    #[error(
        "The card says that it is item \"{external_id}\" of bulk \"{bulk_id}\", which is not there or has no card."
    )]
    ItemNotIssued {
        /// The bulk that the card names.
        bulk_id: BulkId,
        /// The item that the card names.
        external_id: ExternalId,
    },
    /// An item that two cards claim.
    #[error("The card says that it is item \"{external_id}\" of bulk \"{bulk_id}\", which has card {card_id}.")]
    ItemHasAnotherCard {
        /// The bulk that both cards name.
        bulk_id: BulkId,
        /// The item that both cards name.
        external_id: ExternalId,
        /// The item's own card.
        card_id: CardId,
    },
    /// Half of a reissue: the old card is replaced, but the new one is not bound.
    #[error("The card was replaced by card {new_card_id}, which operation {operation_id} has not bound.")]
    NewCardNotBound {
        /// The new card's ID.
        new_card_id: CardId,
        /// The operation of the reissue.
        operation_id: OperationId,
    },
    /// Half of a reissue: the new card is bound, but the old one is not replaced.
    #[error("The operation bound card {card_id} and has not replaced card {reissued_card_id}.")]
    OldCardNotReplaced {
        /// The new card's ID.
        card_id: CardId,
        /// The old card's ID.
        reissued_card_id: CardId,
    },
    /// An outcome without its effect.
    #[error("The operation SUCCEEDED, but has not bound card {card_id}.")]
    SucceededWithoutBind {
        /// The card's ID.
        card_id: CardId,
    },
    /// An effect that contradicts the outcome.
    #[error("The operation FAILED, but has bound card {card_id}.")]
    FailedWithBind {
        /// The card's ID.
        card_id: CardId,
    },
    /// An effect without its operation.
    #[error("The row has a mark of operation {operation_id}, which has no row.")]
    OperationGone {
        /// The missing operation.
        operation_id: OperationId,
    },
    /// An increment whose items are not all there, or not all counted.
    #[error("The bulk counts {counted} items, but its batches have {found}.")]
    ItemCount {
        /// The header's count.
        counted: u32,
        /// The number of items found.
        found: u32,
    },
    /// Half of a start's end: the counts differ.
    #[error("The bulk counts {counted} issued items, but starts that have ended issued {found}.")]
    IssuedCount {
        /// The header's count.
        counted: u32,
        /// The number of marks found on items.
        found: u32,
    },
    /// Half of a cancel's end: the counts differ.
    #[error("The bulk counts {counted} canceled items, but cancels that have ended canceled {found}.")]
    CanceledCount {
        /// The header's count.
        counted: u32,
        /// The number of marks found on items and cards.
        found: u32,
    },
    /// Half of a cancel's end: the counts of items without a card differ.
    #[error(
        "The bulk counts {counted} items that were canceled before they had a card, but cancels that have ended \
         canceled {found}."
    )]
    BlankCount {
        /// The header's count.
        counted: u32,
        /// The number of marks found on items.
        found: u32,
    },
    /// Half of an operation's end: the header still lists the operation.
    #[error("The bulk lists operation {operation_id} as running, which has ended.")]
    UnderWayEnded {
        /// The start or cancel.
        operation_id: OperationId,
    },
    /// An operation listed on the header that has no row.
    #[error("The bulk lists operation {operation_id} as running, which has no row.")]
    UnderWayGone {
        /// The start or cancel.
        operation_id: OperationId,
    },
    /// Half of an operation's beginning: the header does not list the operation.
    #[error("The operation is RUNNING, but bulk \"{bulk_id}\" does not list it as running.")]
    UnderWayNotNoted {
        /// The operation's bulk.
        bulk_id: BulkId,
    },
    /// A counter of card IDs that is behind the cards.
    #[error("Card {card_id} was issued, but the counter of card IDs stands at {last}.")]
    CounterBehind {
        /// The highest card found.
        card_id: CardId,
        /// The counter's value.
        last: u64,
    },
}

impl Finding {
    /// Returns the remedy. It always adds what the transaction left out, because events may already have reported it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::UnreadableRow
            | Self::CardMarks
            | Self::ItemMarks
            | Self::ItemOfNoBatch { .. }
            | Self::CardOfAnotherItem { .. } => {
                "A restore does not cause this: it is a bug, or a row changed by hand. Repair the row according to the \
                 archive's events."
            }
            Self::CardMissing { .. } => {
                "Put the card's row, UNBOUND: bulk and item, `program_id` and `contactless_enabled` of the bulk's \
                 settings, dates of the operation in the item's mark `issued`."
            }
            Self::ItemNotIssued { .. } => {
                "Set the item ISSUED, with this `card_id`. Take the mark `issued` from the card's event `create`. If \
                 there is no such event, take it from the start that had not ended."
            }
            Self::ItemHasAnotherCard { .. } => {
                "Two cards were issued for one item. Remove `bulk_id` and `external_id` from this one, which the item \
                 does not have. If it is UNBOUND, set it CANCELED; if not, settle it with the card's owner."
            }
            Self::NewCardNotBound { .. } => {
                "If the new card is UNBOUND, set it CREATED, with the mark `bound`: operation and time of this card's \
                 mark `replaced`, account and customer of its mark `bound`. If not, settle it with the cards' owner."
            }
            Self::OldCardNotReplaced { .. } => {
                "If the old card has no mark `replaced`, set one: operation and time of the new card's mark `bound`, \
                 `new_card_id`, `previous_status`. If it was CREATED or NORMAL, set it REISSUED. If it has one, settle \
                 it with the cards' owner."
            }
            Self::SucceededWithoutBind { .. } => {
                "If the card is UNBOUND, set it CREATED, with the mark `bound`: the operation and its outcome's time, \
                 account and customer of its event `bind_card`. If not, settle it with the card's owner."
            }
            Self::FailedWithBind { .. } => {
                "A restore does not cause this: it is a bug, or a row changed by hand. The client received FAILURE, so \
                 settle it with the card's owner."
            }
            Self::OperationGone { .. } => {
                "Compare the row with the archive's events. If it is a bind, and its client repeats the request with \
                 the same key, it is recorded again and this finding disappears. A start or a cancel that is repeated \
                 is another operation, whatever its ID, and the finding remains."
            }
            Self::ItemCount { .. } => "Set the header's `items` to the number found.",
            Self::IssuedCount { .. } => "Set the header's `issued` to the number found.",
            Self::CanceledCount { .. } => {
                "Set the header's `canceled` to the number found. If a cancel has ended that was not counted, set \
                 `extent` to the state in its `cancellation`. If that is FULL, set `sealed_by` to the cancel, unless \
                 it is set already."
            }
            Self::BlankCount { .. } => "Set the header's `canceled_blank` to the number found.",
            Self::UnderWayEnded { .. } => "Remove the operation from the header's `starting` or `canceling`.",
            Self::UnderWayGone { .. } => {
                "The client repeats its request with the same key, which records the operation again and ends it. If \
                 it does not, remove the operation from the header's `starting` or `canceling`."
            }
            Self::UnderWayNotNoted { .. } => {
                "Add the operation to the header's `starting` if it is a start, or to `canceling` if it is a cancel."
            }
            Self::CounterBehind { .. } => {
                "Raise the counter's `last` above every card that can have been issued. Otherwise the same IDs are \
                 assigned again."
            }
        }
    }
}
