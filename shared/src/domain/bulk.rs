//! A bulk of noname cards: its settings, its items, and its division into chunks.
//!
//! Items arrive in **batches** (the IDs of one request). A batch counts only once the bulk's header lists it as
//! committed. Until then, its items are invisible to clients. If a request died and left a batch behind, the batch
//! can be **aborted**. It can then never be committed, and other batches can take over its items. So of two batches
//! that name the same ID, exactly one adds it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::card::{CardFacts, Mark};
use super::ids::{BulkId, CardId, ExternalId, OperationId};
use super::time::Date;

mod settings;

pub use settings::{BulkSettings, ModeType, PinLength};

/// The batch of the items that a bulk is created with.
pub const FIRST_BATCH: u32 = 1;

/// Maximum items in a request (contract).
pub const MAX_ITEMS_PER_REQUEST: usize = 1000;

/// Maximum items in a bulk (contract).
pub const MAX_ITEMS: u32 = 100_000;

/// Maximum batches in a bulk. Our limit: the committed ones are a set in the header's row, about five bytes each, and
/// a row is limited to 400 KB.
pub const MAX_BATCHES: u32 = 10_000;

/// Maximum items in a chunk, the unit in which a worker processes a bulk.
pub const CHUNK_ITEMS: usize = 100;

/// The status of a bulk, as clients see it. The published API has only these values, and clients treat them as a
/// closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkStatus {
    /// Some items have no card, and no start is running.
    Created,
    /// A start of the bulk is running.
    Running,
    /// Every item has a card, or was canceled and will never get one.
    Completed,
}

/// The items of its bulk that a cancel is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelType {
    /// All items. From then on, the bulk accepts no increment and no start.
    Full,
    /// The items that are named.
    Partial,
}

/// The cancellation of a bulk, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BulkCancellation {
    /// The state of the bulk's cancels.
    pub state: CancellationState,
}

/// The state of a bulk's cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancellationState {
    /// A cancel is running.
    Running,
    /// All cancels are done, and some items are not canceled.
    Partial,
    /// Every item is canceled.
    Full,
}

/// A bulk's header as stored in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The bulk's ID.
    pub bulk_id: BulkId,
    /// The client's settings.
    pub settings: BulkSettings,
    /// The committed batches.
    pub batches: BTreeSet<u32>,
    /// The last batch number that was assigned.
    pub last_batch: u32,
    /// Items in committed batches.
    pub items: u32,
    /// Items whose card was issued by a completed start.
    pub issued: u32,
    /// Items canceled by a completed cancel.
    pub canceled: u32,
    /// Canceled items that never had a card, and will never get one. (This counter is not about blank cards.)
    pub canceled_blank: u32,
    /// The batches in which completed starts left no item pending. Each item has a card or was canceled, although its
    /// cancel may not have counted it yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settled: BTreeSet<u32>,
    /// The running starts: those whose operation is RUNNING.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub starting: BTreeSet<OperationId>,
    /// The running cancels: those whose operation is RUNNING.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub canceling: BTreeSet<OperationId>,
    /// The extent of the completed cancels. `None` before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent: Option<CancelType>,
    /// The cancel that prohibits any further increment and start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_by: Option<OperationId>,
}

impl Bulk {
    /// Returns the facts of the card that a start issues for one of the bulk's items.
    #[must_use]
    pub fn card_facts(&self, item: &BulkItem, issuing_date: Date, expiration_date: Date) -> CardFacts {
        CardFacts {
            program_id: self.settings.program_id,
            bulk_id: Some(self.bulk_id.clone()),
            external_id: Some(item.external_id.clone()),
            contactless_enabled: self.settings.contactless_enabled,
            issuing_date,
            expiration_date,
        }
    }

    /// Creates a bulk with one batch of this number of items.
    #[must_use]
    pub fn new(bulk_id: BulkId, settings: BulkSettings, items: u32) -> Self {
        Self {
            bulk_id,
            settings,
            batches: BTreeSet::from([FIRST_BATCH]),
            last_batch: FIRST_BATCH,
            items,
            issued: 0,
            canceled: 0,
            canceled_blank: 0,
            settled: BTreeSet::new(),
            starting: BTreeSet::new(),
            canceling: BTreeSet::new(),
            extent: None,
            sealed_by: None,
        }
    }

    /// Returns whether the bulk is sealed, so that it accepts no increment and no start. A FULL cancel seals the bulk
    /// before it is RUNNING. A PARTIAL cancel seals the bulk when it ends and has left no item uncanceled.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed_by.is_some()
    }

    /// Returns the bulk's status. The effects of an operation count only once the operation is done.
    #[must_use]
    pub fn status(&self) -> BulkStatus {
        let counted = self.issued.saturating_add(self.canceled_blank);
        if !self.starting.is_empty() {
            BulkStatus::Running
        } else if counted >= self.items || self.settled.is_superset(&self.batches) {
            BulkStatus::Completed
        } else {
            BulkStatus::Created
        }
    }

    /// Returns the state of the bulk's cancellation, or `None` before the first cancel.
    #[must_use]
    pub fn cancellation(&self) -> Option<BulkCancellation> {
        let state = match self.extent {
            _ if !self.canceling.is_empty() => CancellationState::Running,
            Some(CancelType::Full) => CancellationState::Full,
            Some(CancelType::Partial) => CancellationState::Partial,
            None => return None,
        };
        Some(BulkCancellation { state })
    }
}

/// The state of an item itself. The state of an item with a card derives from the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ItemState {
    /// The item has no card yet.
    Pending,
    /// The item's card was issued.
    Issued,
    /// The item will never get a card.
    Canceled,
}

/// An item of a bulk as stored in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkItem {
    /// The client's name for the item.
    pub external_id: ExternalId,
    /// The batch that the item belongs to.
    pub batch: u32,
    /// The state of the item.
    pub state: ItemState,
    /// The card's ID, once issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CardId>,
    /// The mark of the issue, once issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Mark>,
    /// The mark of the cancel, once canceled without a card. If the item has a card, the card has the mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled: Option<Mark>,
}

/// An item as a plan found it. The fields' names are short, because messages contain hundreds of items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedItem {
    /// The item's external ID.
    pub id: ExternalId,
    /// The batch that the item belongs to.
    pub batch: u32,
    /// The item's card, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardId>,
}

impl From<BulkItem> for PlannedItem {
    fn from(item: BulkItem) -> Self {
        Self { id: item.external_id, batch: item.batch, card: item.card_id }
    }
}

/// The position of a plan that divides a bulk into chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanCursor {
    /// The number of chunks so far.
    pub chunks: u32,
    /// The number of items in these chunks.
    pub items: u32,
    /// The items after these chunks, too few for another chunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<PlannedItem>,
    /// The last item that was read, of any batch. `None` at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ExternalId>,
}

impl PlanCursor {
    /// Moves on over the next items, of which only those in `batches` count. Returns the chunks of [`CHUNK_ITEMS`]
    /// that they fill, numbered from 0. If these items are the last ones, also returns the incomplete chunk.
    ///
    /// The result depends only on the items, not on the pages in which they are read. So a plan can be repeated.
    #[must_use]
    pub fn advance(
        mut self,
        items: Vec<BulkItem>,
        batches: &BTreeSet<u32>,
        are_last: bool,
    ) -> (Vec<(u32, Vec<PlannedItem>)>, Self) {
        self.after = items.last().map(|item| item.external_id.clone()).or(self.after);
        self.open.extend(items.into_iter().filter(|item| batches.contains(&item.batch)).map(PlannedItem::from));
        let mut chunks = Vec::new();
        for items in std::mem::take(&mut self.open).chunks(CHUNK_ITEMS) {
            if items.len() < CHUNK_ITEMS && !are_last {
                self.open = items.to_vec();
            } else {
                chunks.push((self.chunks, items.to_vec()));
                self.chunks = self.chunks.saturating_add(1);
                self.items = self.items.saturating_add(u32::try_from(items.len()).unwrap_or(u32::MAX));
            }
        }
        (chunks, self)
    }

    /// Returns the plan's progress at the end of the last of these chunks, which [`Self::advance`] returned with this
    /// cursor. Returns `None` without chunks.
    #[must_use]
    pub fn planned(&self, chunks: &[(u32, Vec<PlannedItem>)]) -> Option<Planned> {
        let last = chunks.last()?.1.last()?;
        Some(Planned { chunks: self.chunks, items: self.items, after: last.id.clone() })
    }

    /// Returns the position at which planning continues, given the progress stored in the operation's row. That is
    /// the stored progress, or this cursor if no chunk lies between the two.
    ///
    /// The row takes precedence over this cursor, which comes from a message. The row can be behind the message after
    /// a restore of the table. Then messages sent since may be lost, and are sent again.
    #[must_use]
    pub fn resume_from(self, planned: Option<&Planned>) -> Self {
        match planned {
            Some(planned) if planned.chunks != self.chunks => Self {
                chunks: planned.chunks,
                items: planned.items,
                open: Vec::new(),
                after: Some(planned.after.clone()),
            },
            None if self.chunks > 0 => Self::default(),
            _ => self,
        }
    }
}

/// The progress of an operation's plan, as stored in its row. It ends with a chunk, so that it is short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The number of chunks so far. SQS has the messages of all of them.
    pub chunks: u32,
    /// The number of items in these chunks.
    pub items: u32,
    /// The last item of the last chunk.
    pub after: ExternalId,
}

/// A range of consecutive items by their external IDs, including both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first item's external ID.
    pub first: ExternalId,
    /// The last item's external ID.
    pub last: ExternalId,
    /// The number of items in the range that belong to its batches.
    pub items: usize,
    /// The batches of these items.
    pub batches: BTreeSet<u32>,
}

impl Range {
    /// Returns the range of these items, which must be in order, or `None` without items.
    #[must_use]
    pub fn of(items: &[PlannedItem]) -> Option<Self> {
        let (first, last) = items.first().zip(items.last())?;
        let batches = items.iter().map(|item| item.batch).collect();
        Some(Self { first: first.id.clone(), last: last.id.clone(), items: items.len(), batches })
    }
}

#[cfg(test)]
mod tests;
