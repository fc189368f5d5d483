//! Transactions. A transaction is decided at once, for all its rows or none. Then each row is committed, in any
//! order.
//!
//! Until a row is committed, reads return its old value, and writes to it conflict. So two reads of rows that one
//! transaction writes can find one row before it and the other after it, in either order: `DynamoDB`'s isolation
//! level for several reads is read-committed ("Amazon `DynamoDB` Transactions: How it works", isolation levels). The
//! process that requested the transaction gets its result once all rows are committed, or dies before.

use std::collections::BTreeMap;

use shared::domain::bulk::Bulk;
use shared::domain::ids::{CardId, ExternalId, OperationId};
use shared::domain::operation::Operation;

use crate::hashed::Hashed;
use crate::store::Conflict;
use crate::world::{CardRow, ItemRow, World};

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The key of a card's row.
    Card(CardId),
    /// The key of the bulk's header.
    Bulk,
    /// The key of an item's row.
    Item(ExternalId),
    /// The key of an operation's row.
    Operation(OperationId),
    /// The key of any row that no transaction writes.
    Alone,
}

/// The new value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A card's new row.
    Card(CardRow),
    /// The header's new row.
    Bulk(Hashed<Bulk>),
    /// An item's new row.
    Item(ItemRow),
    /// An operation's new row.
    Operation(Hashed<Operation>),
}

impl World {
    /// Decides a transaction. If it is possible, prepares its rows and returns them.
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

    /// Makes a prepared row visible.
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

    /// Returns the state once all prepared rows are visible.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut world = self.clone();
        while let Some(key) = world.prepared.keys().next().cloned() {
            world.commit(&key);
        }
        world
    }

    /// Returns whether any of these rows is not visible yet.
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
