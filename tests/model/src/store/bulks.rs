//! The bulk: its header, its items, and the cards that are issued to them.

use std::collections::BTreeSet;

use shared::domain::bulk::{Bulk, BulkItem, ItemState, Range};
use shared::domain::cancel::CancelType;
use shared::domain::card::{Card, CardFacts, CardStatus, Mark};
use shared::domain::ids::{CardId, ExternalId, OperationId};
use shared::domain::operation::{Operation, Subject};

use super::{Changed, Conflict, progress};
use crate::hashed::{Hashed, Tracked, Transition};
use crate::transaction::Key;
use crate::world::{ItemRow, World};

/// The outcome of committing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Committed {
    /// The batch's items count.
    Yes,
    /// Another request has aborted the batch.
    Aborted,
    /// The bulk accepts no more items.
    Closed,
}

fn is_start(operation: &Operation) -> bool {
    matches!(operation.subject, Subject::StartBulk { .. })
}

/// Writes to the bulk's header.
impl World {
    /// `UpdateItem` bulk open: hands out a new batch number, unless the bulk is sealed. Returns it with the batches
    /// that are committed.
    pub(crate) fn open_batch(&mut self) -> Option<(u32, BTreeSet<u32>)> {
        if self.bulk.sealed_by.is_some() {
            return None;
        }
        self.bulk.edit(|bulk| bulk.last_batch += 1);
        Some((self.bulk.last_batch, self.bulk.batches.clone()))
    }

    /// `UpdateItem` bulk commit: makes a batch's items visible, unless the bulk is sealed or the batch aborted.
    pub(crate) fn commit_batch(&mut self, batch: u32, added: u32) -> Committed {
        let is_open = self.bulk.sealed_by.is_none() && !self.aborted.contains(&batch);
        if is_open && !self.bulk.batches.contains(&batch) {
            self.bulk.edit(|bulk| {
                bulk.batches.insert(batch);
                bulk.items += added;
            });
        }
        match (self.bulk.batches.contains(&batch), self.aborted.contains(&batch)) {
            (true, _) => Committed::Yes,
            (false, true) => Committed::Aborted,
            (false, false) => Committed::Closed,
        }
    }

    /// `UpdateItem` bulk abort: prevents a batch from ever being committed. Returns false if it is committed.
    pub(crate) fn abort_batch(&mut self, batch: u32) -> bool {
        let is_open = !self.bulk.batches.contains(&batch);
        if is_open {
            self.aborted.insert(batch);
        }
        is_open
    }

    /// `UpdateItem` bulk seal, unless it is sealed. Returns the current header.
    pub(crate) fn seal(&mut self, operation: OperationId) -> Hashed<Bulk> {
        if self.bulk.sealed_by.is_none() {
            self.bulk.edit(|bulk| bulk.sealed_by = Some(operation));
        }
        self.bulk.clone()
    }

    /// Adds an operation that begins to the header.
    pub(crate) fn note_under_way(&mut self, operation: OperationId) {
        let is_start = self.operations.get(&operation).is_some_and(|row| is_start(row));
        self.bulk.edit(|bulk| {
            if is_start {
                bulk.starting.insert(operation)
            } else {
                bulk.canceling.insert(operation)
            };
        });
    }

    /// Adds the result of a start that ends to the header.
    pub(crate) fn count_issued(&mut self, operation: OperationId, issued: u32) {
        let batches = self.operations.get(&operation).map(|row| progress(row).batches.clone()).unwrap_or_default();
        self.bulk.edit(|bulk| {
            bulk.settled.extend(batches);
            bulk.issued += issued;
            bulk.starting.remove(&operation);
        });
    }

    /// Adds the result of a cancel that ends to the header, as in `after`.
    pub(crate) fn count_canceled(&mut self, operation: OperationId, after: &Bulk) {
        self.bulk.edit(|bulk| {
            (bulk.extent, bulk.canceled, bulk.canceled_blank) = (after.extent, after.canceled, after.canceled_blank);
            bulk.canceling.remove(&operation);
            if after.extent == Some(CancelType::Full) {
                bulk.sealed_by.get_or_insert(operation);
            }
        });
    }
}

/// Reads and writes of items.
impl World {
    /// `INSERT` item: leaves an existing item unchanged. Returns whether it added the item.
    pub(crate) fn add_item(&mut self, id: &ExternalId, batch: u32) -> bool {
        let Err(at) = self.items.binary_search_by(|item| item.row.external_id.cmp(id)) else { return false };
        let (external_id, state) = (id.clone(), ItemState::Pending);
        let row = BulkItem { external_id, batch, state, card_id: None, issued: None, canceled: None };
        self.items.insert(at, Hashed::new(Tracked { row, history: Vec::new() }));
        true
    }

    /// `UpdateItem` item: takes over a pending item of this aborted batch. Returns whether it could.
    pub(crate) fn take_over(&mut self, id: &ExternalId, aborted: u32, batch: u32) -> bool {
        let is_so = |item: &BulkItem| item.batch == aborted && item.state == ItemState::Pending;
        match self.item_mut(id) {
            Some(item) if is_so(&item.row) => {
                item.edit(|item| item.row.batch = batch);
                true
            }
            _ => false,
        }
    }

    /// `BatchGetItem` items, for one item.
    pub(crate) fn item(&self, id: &ExternalId) -> Option<ItemRow> {
        self.items.iter().find(|item| item.row.external_id == *id).cloned()
    }

    fn item_mut(&mut self, id: &ExternalId) -> Option<&mut ItemRow> {
        self.items.iter_mut().find(|item| item.row.external_id == *id)
    }

    /// Returns the item if it is in one of these batches.
    pub(crate) fn item_named(&self, name: &ExternalId, batches: &BTreeSet<u32>) -> Option<ItemRow> {
        self.item(name).filter(|item| batches.contains(&item.row.batch))
    }

    /// `Query` items: returns at most `limit` after this one, and whether more follow.
    pub(crate) fn items_after(&self, after: Option<&ExternalId>, limit: usize) -> (Vec<ItemRow>, bool) {
        let mut rest = self.items.iter().filter(|item| after.is_none_or(|after| item.row.external_id > *after));
        let page = rest.by_ref().take(limit).cloned().collect();
        (page, rest.next().is_some())
    }

    /// `Query` range: returns the items of a range.
    pub(crate) fn items_of(&self, range: &Range) -> Vec<ItemRow> {
        let between = &range.first..=&range.last;
        let is_in = |item: &BulkItem| range.batches.contains(&item.batch) && between.contains(&&item.external_id);
        self.items.iter().filter(|item| is_in(&item.row)).cloned().collect()
    }

    /// `TransactWriteItems` issue, for one card: puts its row and links the item to it, if the item is pending.
    /// Returns the current item.
    pub(crate) fn issue(&mut self, id: &ExternalId, facts: &CardFacts, mark: &Mark) -> Result<ItemRow, Conflict> {
        let pending = self.item(id).filter(|item| item.row.state == ItemState::Pending);
        pending.and_then(|_| self.put_card(id, facts, mark)).ok_or(Conflict)
    }

    /// Issues a card in any state of the item, and overwrites the card that it has.
    pub(crate) fn put_card(&mut self, id: &ExternalId, facts: &CardFacts, mark: &Mark) -> Option<ItemRow> {
        let card_id = self.item(id)?.row.card_id.or_else(|| self.new_card_id())?;
        let (status, facts) = (CardStatus::Unbound, facts.clone());
        let row = Card { card_id, status, facts, bound: None, replaced: None, canceled: None };
        let mut history = self.cards.get(&card_id).map(|card| card.history.clone()).unwrap_or_default();
        history.push((Transition::Issued, mark.by));
        self.cards.insert(card_id, Hashed::new(Tracked { row, history }));
        let item = self.item_mut(id)?;
        item.apply(Transition::Issued, mark.by, |item| {
            (item.state, item.card_id, item.issued) = (ItemState::Issued, Some(card_id), Some(mark.clone()));
        });
        Some(item.clone())
    }

    /// Returns an ID that no card has. In the code, an earlier call gets it from a counter. No process can tell when,
    /// so that call is not a step here.
    fn new_card_id(&self) -> Option<CardId> {
        let unseen = self.prepared.keys().filter_map(|key| if let Key::Card(card) = key { Some(card) } else { None });
        CardId::new(self.cards.keys().chain(unseen).max().map_or(1, |last| last.get() + 1))
    }

    /// `BatchExecuteStatement` cancel: PENDING → CANCELED, with the mark. With `unguarded`, from any state.
    pub(crate) fn cancel_item(&mut self, id: &ExternalId, mark: &Mark, unguarded: bool) -> Changed<ItemRow> {
        let row = self.item_mut(id).ok_or(None)?;
        if row.row.state != ItemState::Pending && !unguarded {
            return Err(Some(row.clone()));
        }
        row.apply(Transition::Canceled, mark.by, |item| {
            (item.state, item.canceled) = (ItemState::Canceled, Some(mark.clone()));
        });
        Ok(())
    }
}
