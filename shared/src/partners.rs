//! References between rows, and the findings of the [rules](crate::domain::consistency) about them.

use std::collections::{HashMap, HashSet};

use crate::domain::bulk::{Bulk, BulkItem};
use crate::domain::card::{Card, Mark};
use crate::domain::consistency::{self, Finding, ItemCounts};
use crate::domain::ids::{CardId, OperationId, OrgId};
use crate::domain::operation::{Operation, Subject};
use crate::domain::time::Timestamp;
use crate::store::{Row, RowKey};

/// An unreadable row that others refer to. It has its own finding, and causes none for the others.
struct Unreadable;

type Found<T> = Result<Option<T>, Unreadable>;

/// Returns the rows that a row refers to. For items, see [`of_item`].
#[must_use]
pub fn of_row(key: &RowKey, row: &Row) -> Vec<RowKey> {
    match (key, row) {
        (RowKey::Card(org, _), Row::Card(card)) => {
            let new = card.replaced.as_ref().map(|replaced| RowKey::Card(org.clone(), replaced.new_card_id));
            let authors = consistency::marks_of_card(card).into_iter().map(|mark| author(org, &mark));
            item_key(org, card).into_iter().chain(new).chain(authors).collect()
        }
        (RowKey::Operation(org, _), Row::Operation(operation)) => match &operation.subject {
            Subject::BindCard { card_id, reissued_card_id, .. } => {
                let cards = std::iter::once(*card_id).chain(*reissued_card_id);
                cards.map(|card| RowKey::Card(org.clone(), card)).collect()
            }
            Subject::StartBulk { bulk_id, .. } | Subject::CancelBulk { bulk_id, .. } => {
                vec![RowKey::Bulk(org.clone(), bulk_id.clone())]
            }
            _ => Vec::new(),
        },
        (RowKey::Bulk(org, _), Row::Bulk(bulk)) => {
            under_way(bulk).map(|operation| RowKey::Operation(org.clone(), operation)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the rows that an item refers to.
#[must_use]
pub fn of_item(org: &OrgId, row: &Row) -> Vec<RowKey> {
    let Row::Item(item) = row else { return Vec::new() };
    let card = item.card_id.map(|card| RowKey::Card(org.clone(), card));
    let authors = consistency::marks_of_item(item).into_iter().map(|mark| author(org, &mark));
    card.into_iter().chain(authors).collect()
}

fn author(org: &OrgId, mark: &Mark) -> RowKey {
    RowKey::Operation(org.clone(), mark.by)
}

fn item_key(org: &OrgId, card: &Card) -> Option<RowKey> {
    let (bulk, item) = card.facts.bulk_id.clone().zip(card.facts.external_id.clone())?;
    Some(RowKey::Item(org.clone(), bulk, item))
}

/// Returns the operations that a bulk's header lists as running.
fn under_way(bulk: &Bulk) -> impl Iterator<Item = OperationId> {
    bulk.starting.iter().chain(&bulk.canceling).copied()
}

/// The existing rows that others refer to.
#[derive(Debug)]
pub struct Partners(HashMap<RowKey, Row>);

impl From<HashMap<RowKey, Row>> for Partners {
    fn from(rows: HashMap<RowKey, Row>) -> Self {
        Self(rows)
    }
}

impl Partners {
    /// Adds more rows.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns the operations that canceled the cards among these rows.
    #[must_use]
    pub fn cancels(&self, org: &OrgId) -> HashSet<RowKey> {
        let canceled = self.0.values().filter_map(|row| match row {
            Row::Card(card) => card.canceled.as_ref(),
            _ => None,
        });
        canceled.map(|mark| author(org, mark)).filter(|key| !self.0.contains_key(key)).collect()
    }

    fn get<'a, T>(&'a self, key: &RowKey, as_kind: impl Fn(&'a Row) -> Option<T>) -> Found<T> {
        self.0.get(key).map(|row| as_kind(row).ok_or(Unreadable)).transpose()
    }

    fn card(&self, key: &RowKey) -> Found<&Card> {
        self.get(key, |row| if let Row::Card(card) = row { Some(&**card) } else { None })
    }

    fn item(&self, key: &RowKey) -> Found<&BulkItem> {
        self.get(key, |row| if let Row::Item(item) = row { Some(&**item) } else { None })
    }

    fn bulk(&self, key: &RowKey) -> Found<&Bulk> {
        self.get(key, |row| if let Row::Bulk(bulk) = row { Some(&**bulk) } else { None })
    }

    fn operation(&self, key: &RowKey) -> Found<&Operation> {
        self.get(key, |row| if let Row::Operation(operation) = row { Some(&**operation) } else { None })
    }

    /// Returns the finding about an organization's counter, given the highest card of its bulks.
    #[must_use]
    pub fn findings_of_counter(&self, key: &RowKey, highest: CardId) -> Option<Finding> {
        let last = self.get(key, |row| if let Row::Counter(last) = row { Some(*last) } else { None });
        last.ok().and_then(|last| consistency::counter(highest, last))
    }

    /// Returns the findings about a row. For items, see [`Self::findings_of_item`].
    #[must_use]
    pub fn findings(&self, key: &RowKey, row: &Row, now: Timestamp) -> Vec<Finding> {
        match (key, row) {
            (_, Row::Unreadable) => vec![Finding::UnreadableRow],
            (RowKey::Card(org, _), Row::Card(card)) => self.of_card(org, card, now),
            (RowKey::Operation(org, _), Row::Operation(operation)) => self.of_operation(org, operation),
            (RowKey::Bulk(org, _), Row::Bulk(bulk)) => {
                let rule = |id| {
                    let operation = self.operation(&RowKey::Operation(org.clone(), id)).ok()?;
                    consistency::under_way(id, operation)
                };
                under_way(bulk).filter_map(rule).collect()
            }
            _ => Vec::new(),
        }
    }

    fn of_card(&self, org: &OrgId, card: &Card, now: Timestamp) -> Vec<Finding> {
        let item = item_key(org, card).and_then(|key| self.item(&key).ok());
        let item = item.and_then(|item| consistency::item_of_card(card, item));
        let new = card.replaced.as_ref().map(|replaced| RowKey::Card(org.clone(), replaced.new_card_id));
        let new = new.and_then(|key| self.card(&key).ok()).and_then(|new| consistency::new_card(card, new));
        let found = consistency::card(card).into_iter().chain(item).chain(new);
        found.chain(self.authors(org, &consistency::marks_of_card(card), now)).collect()
    }

    fn of_operation(&self, org: &OrgId, operation: &Operation) -> Vec<Finding> {
        if let Subject::StartBulk { bulk_id, .. } | Subject::CancelBulk { bulk_id, .. } = &operation.subject {
            let bulk = self.bulk(&RowKey::Bulk(org.clone(), bulk_id.clone())).ok();
            return bulk.and_then(|bulk| consistency::noted(operation, bulk)).into_iter().collect();
        }
        let Subject::BindCard { card_id, reissued_card_id, .. } = &operation.subject else { return Vec::new() };
        let card = self.card(&RowKey::Card(org.clone(), *card_id));
        let reissued = reissued_card_id.map_or(Ok(None), |card| self.card(&RowKey::Card(org.clone(), card)));
        let (Ok(card), Ok(reissued)) = (card, reissued) else { return Vec::new() };
        consistency::bind(operation, card, reissued).into_iter().collect()
    }

    /// Returns the findings about an item of this bulk.
    #[must_use]
    pub fn findings_of_item(&self, bulk: &Bulk, key: &RowKey, row: &Row, now: Timestamp) -> Vec<Finding> {
        let (RowKey::Item(org, ..), Row::Item(item)) = (key, row) else { return Vec::new() };
        let card = item.card_id.map_or(Ok(None), |card| self.card(&RowKey::Card(org.clone(), card)));
        let card = card.ok().and_then(|card| consistency::card_of_item(&bulk.bulk_id, item, card));
        let found = consistency::item(item).into_iter().chain(consistency::batch_of_item(bulk, item)).chain(card);
        found.chain(self.authors(org, &consistency::marks_of_item(item), now)).collect()
    }

    fn authors(&self, org: &OrgId, marks: &[Mark], now: Timestamp) -> Vec<Finding> {
        let rule = |mark: &Mark| consistency::author(mark, self.operation(&author(org, mark)).ok()?, now);
        marks.iter().filter_map(rule).collect()
    }

    /// Adds an item to the counts, if it belongs to a committed batch. Returns `None` if a row that this requires is
    /// unreadable.
    #[must_use]
    pub fn add(
        &self,
        mut counts: ItemCounts,
        bulk: &Bulk,
        org: &OrgId,
        row: &Row,
        now: Timestamp,
    ) -> Option<ItemCounts> {
        let Row::Item(item) = row else { return None };
        if !bulk.batches.contains(&item.batch) {
            return Some(counts);
        }
        let card = item.card_id.map_or(Ok(None), |card| self.card(&RowKey::Card(org.clone(), card))).ok()?;
        let marks = consistency::marks_of_item(item).into_iter().chain(card.and_then(|card| card.canceled.clone()));
        let mut operations = Vec::new();
        for mark in marks {
            operations.extend(self.operation(&author(org, &mark)).ok()?);
        }
        let operation = |id| operations.iter().copied().find(|operation: &&Operation| operation.operation_id == id);
        counts.add(item, card, operation, now);
        Some(counts)
    }
}
