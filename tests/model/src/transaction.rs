//! Transactions. They are decided at once, for all their rows or none; then each row is committed, in any order.
//!
//! Until a row is committed, whoever reads it gets it as it was, and whoever writes it meets a conflict. So two reads of
//! rows that one transaction writes can find one of them before it and the other after it, in either order: `DynamoDB`'s
//! level for several reads is read-committed ("Amazon `DynamoDB` Transactions: How it works", isolation levels). Whoever
//! asked for the transaction is answered once all its rows are committed, or dies before.

use std::collections::BTreeMap;

use shared::domain::bulk::Bulk;
use shared::domain::ids::{CardId, ExternalId, OperationId};
use shared::domain::operation::Operation;

use crate::hashed::Hashed;
use crate::store::Conflict;
use crate::world::{CardRow, ItemRow, World};

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A card's.
    Card(CardId),
    /// The bulk's header.
    Bulk,
    /// An item's.
    Item(ExternalId),
    /// An operation's.
    Operation(OperationId),
    /// Of a kind that no transaction writes.
    Alone,
}

/// What it will be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A card.
    Card(CardRow),
    /// The header.
    Bulk(Hashed<Bulk>),
    /// An item.
    Item(ItemRow),
    /// An operation.
    Operation(Hashed<Operation>),
}

impl World {
    /// Decides a transaction: if it can be, its rows are prepared, and answered as they will be.
    pub(crate) fn prepare<T>(
        &mut self,
        transaction: impl FnOnce(&mut Self) -> Result<T, Conflict>,
    ) -> Result<(T, BTreeMap<Key, Value>), Conflict> {
        let mut after = self.clone();
        let result = transaction(&mut after)?;
        let rows = self.changed(&after);
        if rows.keys().any(|key| self.prepared.contains_key(key)) {
            return Err(Conflict);
        }
        self.prepared.extend(rows.clone());
        Ok((result, rows))
    }

    /// Lets everybody see a row as it was prepared.
    pub(crate) fn commit(&mut self, key: &Key) {
        match self.prepared.remove(key) {
            Some(Value::Card(card)) => _ = self.cards.insert(card.row.card_id, card),
            Some(Value::Bulk(bulk)) => self.bulk = bulk,
            Some(Value::Item(item)) => {
                let at = self.items.binary_search_by(|other| other.row.external_id.cmp(&item.row.external_id));
                match at {
                    Ok(at) => self.items[at] = item,
                    Err(at) => self.items.insert(at, item),
                }
            }
            Some(Value::Operation(operation)) => _ = self.operations.insert(operation.operation_id, operation),
            None => {}
        }
    }

    /// The world once all that is decided can be seen.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut world = self.clone();
        while let Some(key) = world.prepared.keys().next().cloned() {
            world.commit(&key);
        }
        world
    }

    /// Whether any of these rows is still to be seen.
    pub(crate) fn is_unseen(&self, rows: &BTreeMap<Key, Value>) -> bool {
        rows.iter().any(|(key, value)| self.prepared.get(key) == Some(value))
    }

    fn changed(&self, after: &Self) -> BTreeMap<Key, Value> {
        let cards = after.cards.iter().filter(|(id, card)| self.cards.get(id) != Some(card));
        let mut rows: BTreeMap<_, _> = cards.map(|(id, card)| (Key::Card(*id), Value::Card(card.clone()))).collect();
        let items = after.items.iter().filter(|item| self.item(&item.row.external_id).as_ref() != Some(item));
        rows.extend(items.map(|item| (Key::Item(item.row.external_id.clone()), Value::Item(item.clone()))));
        let operations = after.operations.iter().filter(|(id, operation)| self.operations.get(id) != Some(operation));
        rows.extend(operations.map(|(id, operation)| (Key::Operation(*id), Value::Operation(operation.clone()))));
        if self.bulk != after.bulk {
            rows.insert(Key::Bulk, Value::Bulk(after.bulk.clone()));
        }
        rows
    }
}
