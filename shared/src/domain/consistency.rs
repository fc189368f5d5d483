//! Rules for the consistency of rows with each other, and remedies for violations.
//!
//! A restored table may contain some, but not all, of the changes of a recent transaction (AWS). So each rule takes a
//! row and its partner, if that exists, and returns the part of their transaction that is missing. The operator's
//! tool and the simulation's checker both apply these rules.
//!
//! An operation that has not ended may have done a part of its work. That is not a finding: the rules allow for it.

mod finding;

use super::acceptance::RETENTION_DAYS;
use super::bind::{BindOutcome, status_after_reissue};
use super::bulk::{Bulk, BulkItem, ItemState};
use super::card::{Card, CardStatus, Mark};
use super::ids::{BulkId, CardId, OperationId};
use super::operation::{Operation, OperationState, Subject};
use super::time::Timestamp;

pub use finding::Finding;

/// Returns the status that Bindery last gave a card, according to its marks. Returns `None` if the combination of
/// marks is impossible.
#[must_use]
pub fn status_by_marks(card: &Card) -> Option<CardStatus> {
    match (&card.bound, &card.replaced, &card.canceled) {
        (None, None, None) => Some(CardStatus::Unbound),
        (None, None, Some(_)) => Some(CardStatus::Canceled),
        (Some(_), None, None) => Some(CardStatus::Created),
        (Some(_), Some(replaced), None) => status_after_reissue(replaced.previous_status),
        _ => None,
    }
}

/// Checks that a card's status is reachable from its marks. Other systems move the status forward, but never back.
#[must_use]
pub fn card(card: &Card) -> Option<Finding> {
    let made = status_by_marks(card);
    let is_ours = matches!(card.status, CardStatus::Unbound | CardStatus::Created);
    let is_final = made == Some(CardStatus::Canceled);
    let fits = made.is_some() && (made == Some(card.status) || !(is_ours || is_final));
    (!fits).then_some(Finding::CardMarks)
}

/// Checks that an item has the card and the marks that its state implies.
#[must_use]
pub fn item(item: &BulkItem) -> Option<Finding> {
    let has = (item.card_id.is_some(), item.issued.is_some(), item.canceled.is_some());
    let should = match item.state {
        ItemState::Pending => (false, false, false),
        ItemState::Issued => (true, true, false),
        ItemState::Canceled => (false, false, true),
    };
    (has != should).then_some(Finding::ItemMarks)
}

/// Checks that an item that is issued or canceled belongs to a committed batch of the bulk.
#[must_use]
pub fn batch_of_item(bulk: &Bulk, item: &BulkItem) -> Option<Finding> {
    let counts = item.state == ItemState::Pending || bulk.batches.contains(&item.batch);
    (!counts).then_some(Finding::ItemOfNoBatch { batch: item.batch })
}

/// Checks that the card of an item exists and belongs to the item.
#[must_use]
pub fn card_of_item(bulk: &BulkId, item: &BulkItem, card: Option<&Card>) -> Option<Finding> {
    let card_id = item.card_id?;
    match card.map(|card| (card.facts.bulk_id.as_ref(), card.facts.external_id.as_ref())) {
        None => Some(Finding::CardMissing { card_id }),
        Some((of, name)) if of == Some(bulk) && name == Some(&item.external_id) => None,
        Some(_) => Some(Finding::CardOfAnotherItem { card_id }),
    }
}

/// Checks that the item named by a card exists and has this card.
#[must_use]
pub fn item_of_card(card: &Card, item: Option<&BulkItem>) -> Option<Finding> {
    let (bulk_id, external_id) = card.facts.bulk_id.clone().zip(card.facts.external_id.clone())?;
    match item.and_then(|item| item.card_id) {
        None => Some(Finding::ItemNotIssued { bulk_id, external_id }),
        Some(card_id) if card_id == card.card_id => None,
        Some(card_id) => Some(Finding::ItemHasAnotherCard { bulk_id, external_id, card_id }),
    }
}

/// Checks that the card that replaced this one was bound by the same operation.
#[must_use]
pub fn new_card(old: &Card, new: Option<&Card>) -> Option<Finding> {
    let replaced = old.replaced.as_ref()?;
    (!is_bound_by(new, replaced.by))
        .then_some(Finding::NewCardNotBound { new_card_id: replaced.new_card_id, operation_id: replaced.by })
}

/// Checks that a bind's outcome agrees with its card and with the card that it replaces.
#[must_use]
pub fn bind(operation: &Operation, card: Option<&Card>, reissued: Option<&Card>) -> Option<Finding> {
    let Subject::BindCard { card_id, reissued_card_id, outcome } = &operation.subject else { return None };
    let (by, card_id) = (operation.operation_id, *card_id);
    match (outcome, is_bound_by(card, by)) {
        (Some(BindOutcome::Success { .. }), false) => return Some(Finding::SucceededWithoutBind { card_id }),
        (Some(BindOutcome::Failure { .. }), true) => return Some(Finding::FailedWithBind { card_id }),
        (_, false) => return None,
        (_, true) => {}
    }
    let reissued_card_id = (*reissued_card_id)?;
    let is_replaced = reissued.and_then(|card| card.replaced.as_ref()).is_some_and(|replaced| replaced.by == by);
    (!is_replaced).then_some(Finding::OldCardNotReplaced { card_id, reissued_card_id })
}

fn is_bound_by(card: Option<&Card>, operation: OperationId) -> bool {
    card.and_then(|card| card.bound.as_ref()).is_some_and(|bound| bound.by == operation)
}

/// Returns the marks of a card: the operations that changed it, and the times.
#[must_use]
pub fn marks_of_card(card: &Card) -> Vec<Mark> {
    let bound = card.bound.as_ref().map(|mark| Mark { by: mark.by, accepted_at: mark.accepted_at, at: mark.at });
    let replaced = card.replaced.as_ref();
    let replaced = replaced.map(|mark| Mark { by: mark.by, accepted_at: mark.accepted_at, at: mark.at });
    [bound, replaced, card.canceled.clone()].into_iter().flatten().collect()
}

/// Returns the marks of an item.
#[must_use]
pub fn marks_of_item(item: &BulkItem) -> Vec<Mark> {
    [item.issued.clone(), item.canceled.clone()].into_iter().flatten().collect()
}

/// Checks that the operation that left a mark exists, unless it may have expired by `now`.
#[must_use]
pub fn author(mark: &Mark, operation: Option<&Operation>, now: Timestamp) -> Option<Finding> {
    let is_there = operation.is_some_and(|operation| mark.is_of(operation.acceptance()));
    let is_gone = !is_there && mark.accepted_at.plus_days(RETENTION_DAYS) > now;
    is_gone.then_some(Finding::OperationGone { operation_id: mark.by })
}

/// Checks that the counter of card IDs has reached the highest card in any bulk.
#[must_use]
pub fn counter(highest: CardId, last: Option<u64>) -> Option<Finding> {
    let last = last.unwrap_or(0);
    (highest.get() > last).then_some(Finding::CounterBehind { card_id: highest, last })
}

/// Checks that an operation listed on a bulk's header as running is running.
#[must_use]
pub fn under_way(operation_id: OperationId, operation: Option<&Operation>) -> Option<Finding> {
    match operation {
        None => Some(Finding::UnderWayGone { operation_id }),
        Some(operation) => has_ended(operation).then_some(Finding::UnderWayEnded { operation_id }),
    }
}

/// Checks that a running operation is listed on its bulk's header.
#[must_use]
pub fn noted(operation: &Operation, bulk: Option<&Bulk>) -> Option<Finding> {
    let is_running = operation.state == OperationState::Running;
    let (bulk_id, is_noted) = match &operation.subject {
        Subject::StartBulk { bulk_id, .. } => (bulk_id, bulk?.starting.contains(&operation.operation_id)),
        Subject::CancelBulk { bulk_id, .. } => (bulk_id, bulk?.canceling.contains(&operation.operation_id)),
        _ => return None,
    };
    (is_running && !is_noted).then(|| Finding::UnderWayNotNoted { bulk_id: bulk_id.clone() })
}

fn has_ended(operation: &Operation) -> bool {
    matches!(operation.state, OperationState::Succeeded | OperationState::Failed)
}

/// The counts of a bulk's items, for the items of its committed batches, each added once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemCounts {
    items: u32,
    issued: Count,
    canceled: Count,
    canceled_blank: Count,
}

/// Items changed by operations that have ended, and that have counted them on the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Count {
    items: u32,
    /// True if it is unknown whether some items were counted, because their operation is missing.
    is_unsure: bool,
}

impl Count {
    fn add(&mut self, mark: &Mark, operation: Option<&Operation>, now: Timestamp) {
        let is_open = |operation: &Operation| mark.is_of(operation.acceptance()) && !has_ended(operation);
        self.items += u32::from(!operation.is_some_and(is_open));
        self.is_unsure |= author(mark, operation, now).is_some();
    }

    fn differs(&self, counted: u32) -> bool {
        !self.is_unsure && self.items != counted
    }
}

impl ItemCounts {
    /// Adds an item of a committed batch, with its card if it has one.
    pub fn add<'a>(
        &mut self,
        item: &BulkItem,
        card: Option<&Card>,
        operation: impl Fn(OperationId) -> Option<&'a Operation>,
        now: Timestamp,
    ) {
        self.items += 1;
        if let Some(mark) = &item.issued {
            self.issued.add(mark, operation(mark.by), now);
        }
        if let Some(mark) = item.canceled.as_ref().or_else(|| card?.canceled.as_ref()) {
            self.canceled.add(mark, operation(mark.by), now);
        }
        if let Some(mark) = &item.canceled {
            self.canceled_blank.add(mark, operation(mark.by), now);
        }
    }

    /// Returns the differences from the counts on the bulk's header.
    #[must_use]
    pub fn compare(&self, bulk: &Bulk) -> Vec<Finding> {
        let items = (self.items != bulk.items).then_some(Finding::ItemCount { counted: bulk.items, found: self.items });
        let issued = self
            .issued
            .differs(bulk.issued)
            .then_some(Finding::IssuedCount { counted: bulk.issued, found: self.issued.items });
        let canceled = self
            .canceled
            .differs(bulk.canceled)
            .then_some(Finding::CanceledCount { counted: bulk.canceled, found: self.canceled.items });
        let blank = self
            .canceled_blank
            .differs(bulk.canceled_blank)
            .then_some(Finding::BlankCount { counted: bulk.canceled_blank, found: self.canceled_blank.items });
        [items, issued, canceled, blank].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
