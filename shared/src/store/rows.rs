//! Rows of all kinds and organizations, read page by page or by their keys, for tools that inspect the whole table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    CARD_SORT_KEY, ITEM_PREFIX, Item, Store, StoreError, bulk_key, bulk_partition, card_counter_key, card_key,
    item_key, operation_key, read,
};
use crate::domain::bulk::{Bulk, BulkItem};
use crate::domain::card::Card;
use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId, OrgId};
use crate::domain::operation::Operation;

/// Maximum rows in a page. Our limit: a page's rows and the rows they refer to are in memory together.
const PAGE_ROWS: i32 = 500;

/// A reference to a row of one of these kinds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// A card of the organization.
    Card(OrgId, CardId),
    /// The header of a bulk.
    Bulk(OrgId, BulkId),
    /// An item of a bulk.
    Item(OrgId, BulkId, ExternalId),
    /// An operation of the organization.
    Operation(OrgId, OperationId),
    /// The counter of card IDs.
    Counter(OrgId),
}

/// A row of one of these kinds.
#[derive(Debug, Clone)]
pub enum Row {
    /// The card in the row.
    Card(Box<Card>),
    /// The header of a bulk.
    Bulk(Box<Bulk>),
    /// An item of a bulk.
    Item(Box<BulkItem>),
    /// The operation in the row.
    Operation(Box<Operation>),
    /// The counter of card IDs.
    Counter(u64),
    /// A row that cannot be read.
    Unreadable,
}

/// A page of the table's rows.
#[derive(Debug)]
pub struct RowPage {
    /// The rows of these kinds, in the table's order.
    pub rows: Vec<(RowKey, Row)>,
    /// The number of rows read, of any kind.
    pub count: usize,
    /// The start of the next page, if there is one.
    pub next: Option<Item>,
}

#[derive(Deserialize)]
struct CounterRow {
    last: u64,
}

impl RowKey {
    /// Returns the partition key and the sort key.
    #[must_use]
    pub fn texts(&self) -> (String, String) {
        let mut key = self.attributes();
        let mut text = |name| match key.remove(name) {
            Some(AttributeValue::S(text)) => text,
            _ => String::new(),
        };
        (text("pk"), text("sk"))
    }

    fn attributes(&self) -> Item {
        match self {
            Self::Card(org, card) => card_key(org, *card),
            Self::Bulk(org, bulk) => bulk_key(org, bulk),
            Self::Item(org, bulk, item) => item_key(org, bulk, item),
            Self::Operation(org, operation) => operation_key(org, *operation),
            Self::Counter(org) => card_counter_key(org),
        }
    }

    /// Returns the key of a row, if the row is of one of the kinds.
    fn of(row: &Item) -> Option<Self> {
        let text = |name: &str| row.get(name)?.as_s().ok();
        let (pk, sk) = text("pk").zip(text("sk"))?;
        let (org, of_org) = pk.split_once('#')?;
        let org: OrgId = org.parse().ok()?;
        match (of_org.split_once('#'), sk.as_str()) {
            (Some(("CARD", id)), CARD_SORT_KEY) => Some(Self::Card(org, id.parse().ok()?)),
            (Some(("BULK", id)), "BULK") => Some(Self::Bulk(org, id.parse().ok()?)),
            (Some(("BULK", id)), sk) => {
                Some(Self::Item(org, id.parse().ok()?, sk.strip_prefix(ITEM_PREFIX)?.parse().ok()?))
            }
            (Some(("OP", id)), "OP") => Some(Self::Operation(org, id.parse().ok()?)),
            (None, CARD_SORT_KEY) if of_org == "COUNTER" => Some(Self::Counter(org)),
            _ => None,
        }
    }

    fn read(&self, row: Item) -> Row {
        fn as_row<T: DeserializeOwned>(row: Item, kind: impl FnOnce(T) -> Row) -> Row {
            read("row", row).map_or(Row::Unreadable, kind)
        }
        match self {
            Self::Card(..) => as_row(row, |card| Row::Card(Box::new(card))),
            Self::Bulk(..) => as_row(row, |bulk| Row::Bulk(Box::new(bulk))),
            Self::Item(..) => as_row(row, |item| Row::Item(Box::new(item))),
            Self::Operation(..) => as_row(row, |operation| Row::Operation(Box::new(operation))),
            Self::Counter(..) => as_row(row, |counter: CounterRow| Row::Counter(counter.last)),
        }
    }
}

/// Returns a row with its key, if it is of one of the kinds.
#[must_use]
pub fn keyed(row: Item) -> Option<(RowKey, Row)> {
    let key = RowKey::of(&row)?;
    let row = key.read(row);
    Some((key, row))
}

impl RowPage {
    fn of(items: Option<Vec<Item>>, next: Option<Item>) -> Self {
        let items = items.unwrap_or_default();
        Self { count: items.len(), rows: items.into_iter().filter_map(keyed).collect(), next }
    }
}

impl Store {
    /// Returns the table's next rows, read consistently. Each page starts where the previous one ended.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn scan(&self, from: Option<Item>) -> Result<RowPage, StoreError> {
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).limit(PAGE_ROWS);
        let output = scan.set_exclusive_start_key(from).send().await;
        let output = output.map_err(|error| StoreError::of("Scan", &error))?;
        Ok(RowPage::of(output.items, output.last_evaluated_key))
    }

    /// Returns the bulk's next items of any batch, read consistently. Each page starts where the previous one ended.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn scan_bulk(&self, org: &OrgId, bulk: &BulkId, from: Option<Item>) -> Result<RowPage, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true).limit(PAGE_ROWS);
        let output = query
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", AttributeValue::S(bulk_partition(org, bulk)))
            .expression_attribute_values(":prefix", AttributeValue::S(ITEM_PREFIX.to_owned()))
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(|error| StoreError::of("Query items", &error))?;
        Ok(RowPage::of(output.items, output.last_evaluated_key))
    }

    /// Returns the existing rows with these keys, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rows(&self, keys: impl IntoIterator<Item = RowKey>) -> Result<HashMap<RowKey, Row>, StoreError> {
        let keys = keys.into_iter().map(|key| key.attributes()).collect();
        Ok(self.batch_get("BatchGetItem rows", keys).await?.into_iter().filter_map(keyed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_key_can_be_read() {
        let org: OrgId = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let (bulk, card): (BulkId, _) = ("a#BULK#😀".parse().unwrap(), CardId::new(7).unwrap());
        let operation = "0192d1c0-0000-7000-8000-000000000001".parse().unwrap();
        for key in [
            RowKey::Card(org.clone(), card),
            RowKey::Bulk(org.clone(), bulk.clone()),
            RowKey::Item(org.clone(), bulk, "I#\u{ffff}#".parse().unwrap()),
            RowKey::Operation(org.clone(), operation),
            RowKey::Counter(org),
        ] {
            assert_eq!(RowKey::of(&key.attributes()), Some(key));
        }
    }

    #[test]
    fn a_row_of_another_kind_has_no_key() {
        for (pk, sk) in [
            ("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#ORDER#7", "ORDER"),
            ("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#OP#0192d1c0-0000-7000-8000-000000000001", "RESULT#00000"),
            ("stranger#CARD#7", "CARD"),
        ] {
            assert_eq!(RowKey::of(&super::super::key(pk.to_owned(), sk)), None);
        }
    }
}
