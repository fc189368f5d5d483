//! A bulk of noname cards: its settings, its items, and how it is cut into chunks.
//!
//! Items come in **batches** (the IDs of one request). A batch counts only once the bulk's header names
//! it as committed; until then none of its items is visible to anybody. A batch that was left behind by
//! a request that died can be **aborted**, after which it can never be committed, and its items be taken
//! over by another batch. So of two batches that name the same ID, exactly one brings it in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ids::{BulkId, CardId, ExternalId, OperationId, ProgramId};
use super::time::Timestamp;

/// Most items of one request (contract).
pub const MAX_ITEMS_PER_REQUEST: usize = 1000;

/// Most items of a bulk (contract).
pub const MAX_ITEMS: u32 = 100_000;

/// Most batches of a bulk. Ours: the committed ones are a set in the header's row, some five bytes each,
/// and a row holds 400 KB.
pub const MAX_BATCHES: u32 = 10_000;

/// Most items of one chunk, the unit in which a worker goes through a bulk.
pub const CHUNK_ITEMS: usize = 100;

/// How far a bulk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkState {
    /// It has items, and no card was issued.
    Created,
    /// Its cards are being issued, or were.
    Started,
    /// All of it is being canceled.
    Canceling,
    /// A cancel is done; not every item is canceled.
    PartiallyCanceled,
    /// Every item is canceled.
    Canceled,
}

/// What the client set when it created the bulk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkSettings {
    /// The card program.
    pub program_id: ProgramId,
    /// The client's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// Digits of the cards' PINs: 4 or 6.
    pub pin_length: u8,
    /// Whether the cards pay without contact.
    pub contactless_enabled: bool,
    /// What is embossed beside the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embossing_custom_field: Option<String>,
    /// The client's own, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// A bulk's header as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The bulk.
    pub bulk_id: BulkId,
    /// How far it has come.
    pub state: BulkState,
    /// What the client set.
    pub settings: BulkSettings,
    /// The committed batches.
    pub batches: BTreeSet<u32>,
    /// The last batch number that was handed out.
    pub last_batch: u32,
    /// Items in committed batches.
    pub items: u32,
    /// Items whose card was issued by a start that is done.
    pub issued: u32,
    /// Items canceled by a cancel that is done.
    pub canceled: u32,
    /// The cancel that forbids any further increment and start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_by: Option<OperationId>,
}

impl Bulk {
    /// Whether it is being canceled or was, so that it takes no increment and no start.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed_by.is_some() || matches!(self.state, BulkState::Canceling | BulkState::Canceled)
    }
}

/// The mark of an item's transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemMark {
    /// The operation that did it.
    pub by: OperationId,
    /// When it did.
    pub at: Timestamp,
}

/// What an item is by itself. One whose card was issued derives its state from the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ItemState {
    /// It has no card yet.
    Pending,
    /// Its card was issued.
    Issued,
    /// It will never get a card.
    Canceled,
}

/// An item of a bulk as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkItem {
    /// The client's name for it.
    pub external_id: ExternalId,
    /// The batch that brings it in.
    pub batch: u32,
    /// What it is.
    pub state: ItemState,
    /// Set once issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CardId>,
    /// Set once issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<ItemMark>,
}

impl BulkItem {
    /// The card that this operation issued for the item, and when.
    #[must_use]
    pub fn issued_by(&self, operation: OperationId) -> Option<(CardId, Timestamp)> {
        let mark = self.issued.as_ref().filter(|mark| mark.by == operation)?;
        Some((self.card_id?, mark.at))
    }
}

/// A run of consecutive items, by their external IDs, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Its number in the operation, from 0.
    pub number: u32,
    /// The first item.
    pub first: ExternalId,
    /// The last item.
    pub last: ExternalId,
    /// How many of the items between them belong to it: the others' batches do not count.
    pub items: usize,
}

/// Cuts items, in their order, into chunks of [`CHUNK_ITEMS`]: the next ones after `open`, the chunk that
/// those before them did not fill, or after all those before number `next`. Answers the chunks that are
/// full, and the one that is not.
///
/// Only the items count, not the pages that they are read in, so a plan can be made again.
#[must_use]
pub fn cut(
    mut open: Option<Chunk>,
    mut next: u32,
    items: impl IntoIterator<Item = ExternalId>,
) -> (Vec<Chunk>, Option<Chunk>) {
    let mut full = Vec::new();
    for item in items {
        let mut chunk = open.take().unwrap_or_else(|| {
            let number = next;
            next += 1;
            Chunk { number, first: item.clone(), last: item.clone(), items: 0 }
        });
        chunk.last = item;
        chunk.items += 1;
        if chunk.items < CHUNK_ITEMS {
            open = Some(chunk);
        } else {
            full.push(chunk);
        }
    }
    (full, open)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the items come in pages, the cut is the same, and covers every item once.
        #[test]
        fn a_cut_covers_every_item_once_in_order(pages in prop::collection::vec(0_usize..250, 0..8)) {
            let count = pages.iter().sum();
            let ids: Vec<ExternalId> = (0..count).map(|n| format!("{n:06}").parse().unwrap()).collect();
            let (mut chunks, mut open, mut rest) = (Vec::new(), None, ids.clone().into_iter());
            for page in pages {
                let next = u32::try_from(chunks.len()).unwrap() + u32::from(open.is_some());
                let (full, left) = cut(open, next, rest.by_ref().take(page));
                chunks.extend(full);
                open = left;
            }
            chunks.extend(open);
            let (mut at_once, left) = cut(None, 0, ids.clone());
            at_once.extend(left);
            prop_assert_eq!(&chunks, &at_once);
            let mut covered = Vec::new();
            for (number, chunk) in (0..).zip(&chunks) {
                prop_assert_eq!(chunk.number, number);
                let inside: Vec<_> = ids.iter().filter(|id| (&chunk.first..=&chunk.last).contains(id)).cloned().collect();
                prop_assert_eq!(inside.len(), chunk.items);
                covered.extend(inside);
            }
            prop_assert_eq!(covered, ids);
        }
    }
}
