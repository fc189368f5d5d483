//! A bulk of noname cards: its settings, its items, and how it is cut into chunks.
//!
//! Items come in **batches** (the IDs of one request). A batch counts only once the bulk's header names
//! it as committed; until then none of its items is visible to anybody. A batch that was left behind by
//! a request that died can be **aborted**, after which it can never be committed, and its items be taken
//! over by another batch. So of two batches that name the same ID, exactly one brings it in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::card::{CardFacts, Mark};
use super::ids::{BulkId, CardId, ExternalId, OperationId};
use super::time::Date;

mod settings;

pub use settings::{BulkSettings, ModeType, PinLength};

/// The batch of the items that a bulk is created with.
pub const FIRST_BATCH: u32 = 1;

/// Most items of one request (contract).
pub const MAX_ITEMS_PER_REQUEST: usize = 1000;

/// Most items of a bulk (contract).
pub const MAX_ITEMS: u32 = 100_000;

/// Most batches of a bulk. Ours: the committed ones are a set in the header's row, some five bytes each,
/// and a row holds 400 KB.
pub const MAX_BATCHES: u32 = 10_000;

/// Most items of one chunk, the unit in which a worker goes through a bulk.
pub const CHUNK_ITEMS: usize = 100;

/// How far a bulk has come, as clients are told. The published API has these and no others: its clients know them as a
/// closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkStatus {
    /// It has items without a card, and no start is under way.
    Created,
    /// A start is under way.
    Running,
    /// Every item has a card, or was canceled and will never get one.
    Completed,
}

/// Which items of its bulk a cancel is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelType {
    /// All of them. The bulk takes no increment and no start from then on.
    Full,
    /// Those that are named.
    Partial,
}

/// What cancels made of a bulk, as clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BulkCancellation {
    /// How far they have come.
    pub state: CancellationState,
}

/// How far the cancels of a bulk have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancellationState {
    /// A cancel is under way.
    Running,
    /// Cancels are done; not every item is canceled.
    Partial,
    /// Every item is canceled.
    Full,
}

/// A bulk's header as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The bulk.
    pub bulk_id: BulkId,
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
    /// Those of them that had no card, and never get one.
    pub canceled_blank: u32,
    /// The batches of which a start that is done left no item pending: each has a card, or was canceled, though its cancel
    /// may not have counted it yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settled: BTreeSet<u32>,
    /// The starts that are under way: those whose operation is RUNNING.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub starting: BTreeSet<OperationId>,
    /// The cancels that are under way: those whose operation is RUNNING.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub canceling: BTreeSet<OperationId>,
    /// How much of it the cancels that are done canceled; none, if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent: Option<CancelType>,
    /// The cancel that forbids any further increment and start.
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

    /// Returns a new one, of one batch with so many items.
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

    /// Returns whether it is being canceled or was, as a whole, so that it takes no increment and no start.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed_by.is_some()
    }

    /// Returns how far it has come. Operations count when they are done; until then what they did is not in it.
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

    /// Returns what cancels made of it; nothing before the first.
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
    pub issued: Option<Mark>,
    /// Set once canceled without a card. If it has one, the card's mark says who canceled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled: Option<Mark>,
}

/// An item as a plan found it. Its names are short because messages hold hundreds of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedItem {
    /// The item.
    pub id: ExternalId,
    /// Its batch.
    pub batch: u32,
    /// Its card, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardId>,
}

impl From<BulkItem> for PlannedItem {
    fn from(item: BulkItem) -> Self {
        Self { id: item.external_id, batch: item.batch, card: item.card_id }
    }
}

/// How far a bulk has been cut into chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanCursor {
    /// The chunks so far.
    pub chunks: u32,
    /// The items in them.
    pub items: u32,
    /// The items since, too few for a chunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<PlannedItem>,
    /// The last item that was looked at, of whatever batch; none at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ExternalId>,
}

impl PlanCursor {
    /// Goes on over the next items, of which those in `batches` count. Answers the chunks of [`CHUNK_ITEMS`]
    /// that they fill, each with its number from 0 on; of the last items, also the chunk that they do not.
    ///
    /// Only the items count, not the pages that they are read in, so a plan can be made again.
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

    /// Returns how far these chunks, which [`Self::advance`] answered with this cursor, take the plan: to the end of the
    /// last of them. `None` if there are none.
    #[must_use]
    pub fn planned(&self, chunks: &[(u32, Vec<PlannedItem>)]) -> Option<Planned> {
        let last = chunks.last()?.1.last()?;
        Some(Planned { chunks: self.chunks, items: self.items, after: last.id.clone() })
    }

    /// Returns where a plan goes on whose operation is planned so far, as its row has it: there, or here, if no chunk lies
    /// between.
    ///
    /// The row is right, whatever this cursor's message says. That it is behind the message happens if the table was
    /// restored; then what was sent since may be lost, and is sent again.
    #[must_use]
    pub fn go_on(self, planned: Option<&Planned>) -> Self {
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

/// How far an operation's plan has come, as its row has it: to the end of a chunk, so that it is short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The chunks so far. SQS has the messages of all of them.
    pub chunks: u32,
    /// The items in them.
    pub items: u32,
    /// The last item of the last of them.
    pub after: ExternalId,
}

/// A run of consecutive items, by their external IDs, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first item.
    pub first: ExternalId,
    /// The last item.
    pub last: ExternalId,
    /// How many of the items between them belong to it: the others' batches do not count.
    pub items: usize,
    /// The batches of those that do.
    pub batches: BTreeSet<u32>,
}

impl Range {
    /// The run of these items, which are in order; `None` if there are none.
    #[must_use]
    pub fn of(items: &[PlannedItem]) -> Option<Self> {
        let (first, last) = items.first().zip(items.last())?;
        let batches = items.iter().map(|item| item.batch).collect();
        Some(Self { first: first.id.clone(), last: last.id.clone(), items: items.len(), batches })
    }
}

#[cfg(test)]
mod tests;
