//! What does not fit together, in words, and what to do about it.

use serde::Serialize;

use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId};

/// What does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Finding {
    /// A row alone.
    #[error("The row cannot be read.")]
    UnreadableRow,
    /// A card alone.
    #[error("The card has marks that no card can have together, or a status that they do not lead to.")]
    CardMarks,
    /// An item alone.
    #[error("The item's state, card and marks do not fit together.")]
    ItemMarks,
    /// An item of a batch that is not committed is nothing yet.
    #[error("The item was issued or canceled, and its batch {batch} is none of the bulk's.")]
    ItemOfNoBatch {
        /// The batch.
        batch: u32,
    },
    /// Half of an issue: the link.
    #[error("The item has card {card_id}, which has no row.")]
    CardMissing {
        /// The card.
        card_id: CardId,
    },
    /// A card has one item.
    #[error("The item has card {card_id}, which says that it is another item's.")]
    CardOfAnotherItem {
        /// The card.
        card_id: CardId,
    },
    /// Half of an issue: the card.
    #[error(
        "The card says that it is item \"{external_id}\" of bulk \"{bulk_id}\", which is not there or has no card."
    )]
    ItemNotIssued {
        /// The bulk.
        bulk_id: BulkId,
        /// The item.
        external_id: ExternalId,
    },
    /// An item has one card.
    #[error("The card says that it is item \"{external_id}\" of bulk \"{bulk_id}\", which has card {card_id}.")]
    ItemHasAnotherCard {
        /// The bulk.
        bulk_id: BulkId,
        /// The item.
        external_id: ExternalId,
        /// The item's card.
        card_id: CardId,
    },
    /// Half of a reissue: the old card.
    #[error("The card was replaced by card {new_card_id}, which operation {operation_id} has not bound.")]
    NewCardNotBound {
        /// The new card.
        new_card_id: CardId,
        /// The reissue.
        operation_id: OperationId,
    },
    /// Half of a reissue: the new card.
    #[error("The operation bound card {card_id} and has not replaced card {reissued_card_id}.")]
    OldCardNotReplaced {
        /// The new card.
        card_id: CardId,
        /// The old one.
        reissued_card_id: CardId,
    },
    /// An outcome without its effect.
    #[error("The operation SUCCEEDED, and has not bound card {card_id}.")]
    SucceededWithoutBind {
        /// The card.
        card_id: CardId,
    },
    /// An effect against its outcome.
    #[error("The operation FAILED, and has bound card {card_id}.")]
    FailedWithBind {
        /// The card.
        card_id: CardId,
    },
    /// An effect without its operation.
    #[error("The row has a mark of operation {operation_id}, which has no row.")]
    OperationGone {
        /// The operation.
        operation_id: OperationId,
    },
    /// A growth and its items.
    #[error("The bulk counts {counted} items, and its batches have {found}.")]
    ItemCount {
        /// By the header.
        counted: u32,
        /// By the items.
        found: u32,
    },
    /// Half of a start's end.
    #[error("The bulk counts {counted} issued items, and starts that have ended issued {found}.")]
    IssuedCount {
        /// By the header.
        counted: u32,
        /// By the marks of items.
        found: u32,
    },
    /// Half of a cancel's end.
    #[error("The bulk counts {counted} canceled items, and cancels that have ended canceled {found}.")]
    CanceledCount {
        /// By the header.
        counted: u32,
        /// By the marks of items and cards.
        found: u32,
    },
    /// Half of a cancel's end.
    #[error(
        "The bulk counts {counted} items that were canceled before they had a card, and cancels that have ended \
         canceled {found}."
    )]
    BlankCount {
        /// By the header.
        counted: u32,
        /// By the marks of items.
        found: u32,
    },
    /// Half of an operation's end.
    #[error("The bulk has operation {operation_id} as under way, which has ended.")]
    UnderWayEnded {
        /// The start or cancel.
        operation_id: OperationId,
    },
    /// An effect without its operation.
    #[error("The bulk has operation {operation_id} as under way, which has no row.")]
    UnderWayGone {
        /// The start or cancel.
        operation_id: OperationId,
    },
    /// Half of an operation's beginning.
    #[error("The operation is RUNNING, and bulk \"{bulk_id}\" does not have it as under way.")]
    UnderWayNotNoted {
        /// The bulk.
        bulk_id: BulkId,
    },
    /// Card IDs.
    #[error("Card {card_id} was issued, and the counter of card IDs stands at {last}.")]
    CounterBehind {
        /// The highest card.
        card_id: CardId,
        /// The counter.
        last: u64,
    },
}

impl Finding {
    /// What to do about it: what the transaction left out is put in, because its events may have told of it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::UnreadableRow
            | Self::CardMarks
            | Self::ItemMarks
            | Self::ItemOfNoBatch { .. }
            | Self::CardOfAnotherItem { .. } => {
                "A restore does not do this: it is a bug, or a row changed by hand. Mend the row by the archive's events."
            }
            Self::CardMissing { .. } => {
                "Put the card's row, UNBOUND: bulk and item, `program_id` and `contactless_enabled` of the bulk's \
                 settings, dates of the operation in the item's mark `issued`."
            }
            Self::ItemNotIssued { .. } => {
                "Set the item ISSUED, with this `card_id`, and the mark `issued` by the card's event `create`; if there \
                 is none, by the start that had not ended."
            }
            Self::ItemHasAnotherCard { .. } => {
                "Two cards were issued for one item. Take `bulk_id` and `external_id` off this one, which the item does \
                 not have. If it is UNBOUND, set it CANCELED; if not, settle it with the card's owner."
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
                "A restore does not do this: it is a bug, or a row changed by hand. The client was told FAILURE: settle \
                 it with the card's owner."
            }
            Self::OperationGone { .. } => {
                "Compare the row with the archive's events. If it is a bind, and its client repeats the request with the \
                 same key, it is recorded anew and this finding goes. A start or a cancel that is repeated is another \
                 operation, whatever its ID, and the finding stays."
            }
            Self::ItemCount { .. } => "Set the header's `items` to what was found.",
            Self::IssuedCount { .. } => "Set the header's `issued` to what was found.",
            Self::CanceledCount { .. } => {
                "Set the header's `canceled` to what was found. If a cancel has ended that was not counted, set `extent` \
                 to what its `cancellation` says, and if that is FULL, `sealed_by` to the cancel, unless it is set."
            }
            Self::BlankCount { .. } => "Set the header's `canceled_blank` to what was found.",
            Self::UnderWayEnded { .. } => "Take the operation out of the header's `starting` or `canceling`.",
            Self::UnderWayGone { .. } => {
                "The client repeats its request with the same key, which records the operation anew and ends it. If it \
                 does not, take the operation out of the header's `starting` or `canceling`."
            }
            Self::UnderWayNotNoted { .. } => {
                "Add the operation to the header's `starting` if it is a start, to `canceling` if it is a cancel."
            }
            Self::CounterBehind { .. } => {
                "Raise the counter's `last` above every card that can have been issued, or IDs are handed out again."
            }
        }
    }
}
