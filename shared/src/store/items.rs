//! Items of a bulk: added, read in order, and linked to their cards.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, Put, TransactWriteItem};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::batch::{Executed, MAX_STATEMENTS};
use super::bulks::number;
use super::change::{Change, Changed, reserved};
use super::{
    ITEM_PREFIX, Item, Store, StoreError, attribute, bulk_partition, card_counter_key, card_key, item_key,
    item_sort_key, read, write,
};
use crate::domain::bulk::{BulkItem, ItemState, Range};
use crate::domain::card::{Card, Mark};
use crate::domain::ids::{BulkId, CardId, ExternalId, OrgId};

/// Maximum concurrent calls that add items for one request.
const CONCURRENT_CALLS: usize = 4;
/// Items read for each requested one, before the rest is read by key.
const READ_FOR_EACH: usize = 4;
/// Cards issued in one transaction. Each takes two of the 100 writes that AWS permits. The number is lower, because
/// one conflict cancels the whole transaction.
pub const CARDS_PER_TRANSACTION: usize = 25;

/// A page of a bulk's items, in the order of their external IDs.
#[derive(Debug)]
pub struct ItemPage {
    /// The items, of any batch.
    pub items: Vec<BulkItem>,
    /// True if more items may follow.
    pub more: bool,
}

impl Store {
    /// Adds items to this batch, 25 in a call, and never overwrites an existing item. Returns the IDs that exist
    /// already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn add_items(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        batch: u32,
        ids: &[ExternalId],
    ) -> Result<Vec<ExternalId>, StoreError> {
        let calls: Vec<_> = ids.chunks(MAX_STATEMENTS).map(|ids| self.add_some(org, bulk, batch, ids)).collect();
        let present: Vec<Vec<_>> = stream::iter(calls).buffered(CONCURRENT_CALLS).try_collect().await?;
        Ok(present.concat())
    }

    async fn add_some(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        batch: u32,
        ids: &[ExternalId],
    ) -> Result<Vec<ExternalId>, StoreError> {
        const CALL: &str = "BatchExecuteStatement add items";
        let statements: Result<Vec<_>, _> = ids.iter().map(|id| self.insertion(CALL, org, bulk, batch, id)).collect();
        let done = self.batch_execute(CALL, &statements?).await?;
        let mut present = Vec::new();
        for (id, executed) in ids.iter().zip(done) {
            match executed {
                Executed::Done => {}
                Executed::Refused(_) => present.push(id.clone()),
                Executed::Busy => return Err(StoreError::Conflict { call: CALL }),
            }
        }
        Ok(present)
    }

    /// Returns the statement that adds an item. PartiQL's INSERT rejects a row that exists; a put would overwrite it
    /// and its card.
    fn insertion(
        &self,
        call: &'static str,
        org: &OrgId,
        bulk: &BulkId,
        batch: u32,
        id: &ExternalId,
    ) -> Result<BatchStatementRequest, StoreError> {
        BatchStatementRequest::builder()
            .statement(format!(
                r#"INSERT INTO "{}" VALUE {{'pk': ?, 'sk': ?, 'external_id': ?, 'batch': ?, 'state': ?}}"#,
                self.table
            ))
            .parameters(AttributeValue::S(bulk_partition(org, bulk)))
            .parameters(AttributeValue::S(item_sort_key(id)))
            .parameters(AttributeValue::S(id.as_str().to_owned()))
            .parameters(number(batch))
            .parameters(attribute(call, ItemState::Pending)?)
            .build()
            .map_err(|error| StoreError::broken(call, error))
    }

    /// Returns the existing items with these IDs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn items(&self, org: &OrgId, bulk: &BulkId, ids: &[ExternalId]) -> Result<Vec<BulkItem>, StoreError> {
        const CALL: &str = "BatchGetItem items";
        let keys = ids.iter().map(|id| item_key(org, bulk, id)).collect();
        self.batch_get(CALL, keys).await?.into_iter().map(|item| read(CALL, item)).collect()
    }

    /// Returns the existing cards with these IDs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn cards(&self, org: &OrgId, ids: &[CardId]) -> Result<Vec<Card>, StoreError> {
        const CALL: &str = "BatchGetItem cards";
        let keys = ids.iter().map(|id| card_key(org, *id)).collect();
        self.batch_get(CALL, keys).await?.into_iter().map(|item| read(CALL, item)).collect()
    }

    /// Takes over a pending item from an aborted batch. Returns `false` if the item no longer belongs to that batch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_over(&self, org: &OrgId, bulk: &BulkId, item: &BulkItem, batch: u32) -> Result<bool, StoreError> {
        const CALL: &str = "UpdateItem item";
        let change = Change {
            call: CALL,
            key: item_key(org, bulk, &item.external_id),
            update: "SET #batch = :batch",
            condition: "#batch = :aborted AND #state = :pending",
            names: reserved(&["batch", "state"]),
            values: vec![
                (":batch", number(batch)),
                (":aborted", number(item.batch)),
                (":pending", attribute(CALL, ItemState::Pending)?),
            ],
        };
        Ok(matches!(self.change(change).await?, Changed::Yes(_)))
    }

    /// Returns at most `limit` items that follow `after`, or the first ones, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn items_after(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        after: Option<&ExternalId>,
        limit: usize,
    ) -> Result<ItemPage, StoreError> {
        const CALL: &str = "Query items";
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", AttributeValue::S(bulk_partition(org, bulk)))
            .expression_attribute_values(":prefix", AttributeValue::S(ITEM_PREFIX.to_owned()))
            .set_exclusive_start_key(after.map(|after| item_key(org, bulk, after)))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::of(CALL, &error))?;
        let more = output.last_evaluated_key.is_some();
        Ok(ItemPage { items: read_all(CALL, output.items)?, more })
    }

    /// Returns the range's items, read consistently.
    ///
    /// # Errors
    /// Returns [`StoreError::Unexpected`] if their number differs from the range's, because items never disappear.
    pub async fn items_of(&self, org: &OrgId, bulk: &BulkId, range: &Range) -> Result<Vec<BulkItem>, StoreError> {
        const CALL: &str = "Query range";
        let query = self.query_items(org, bulk, &range.first, &range.last).consistent_read(true);
        let mut pages = query.into_paginator().send();
        // The capacity is not reserved from `range.items`, which is only a message's claim.
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| StoreError::of(CALL, &error))?;
            let page = read_all::<BulkItem>(CALL, page.items)?;
            items.extend(page.into_iter().filter(|item| range.batches.contains(&item.batch)));
        }
        if items.len() == range.items {
            Ok(items)
        } else {
            Err(StoreError::Unexpected { call: CALL, reason: "the range's items changed" })
        }
    }

    /// Returns the items with these IDs that are in these batches. The IDs must be in order.
    ///
    /// First reads the rows between the first and the last ID, up to a small multiple of the number requested. A row
    /// read this way costs a tenth of a row read by its key.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn items_named(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        ids: &[ExternalId],
        batches: &BTreeSet<u32>,
    ) -> Result<BTreeMap<ExternalId, BulkItem>, StoreError> {
        const CALL: &str = "Query named";
        let Some((first, last)) = ids.first().zip(ids.last()) else { return Ok(BTreeMap::new()) };
        let limit = i32::try_from(ids.len().saturating_mul(READ_FOR_EACH)).unwrap_or(i32::MAX);
        let output = self.query_items(org, bulk, first, last).limit(limit).send().await;
        let output = output.map_err(|error| StoreError::of(CALL, &error))?;
        let page: Vec<BulkItem> = read_all(CALL, output.items)?;
        let named = |item: &BulkItem| batches.contains(&item.batch) && ids.binary_search(&item.external_id).is_ok();
        let mut items: BTreeMap<ExternalId, BulkItem> = BTreeMap::new();
        items.extend(page.into_iter().filter(named).map(|item| (item.external_id.clone(), item)));
        // These were not reached, or they may be newer than the read.
        let open: Vec<ExternalId> = ids.iter().filter(|id| !items.contains_key(id)).cloned().collect();
        let others = self.items(org, bulk, &open).await?;
        items.extend(others.into_iter().filter(named).map(|item| (item.external_id.clone(), item)));
        Ok(items)
    }

    fn query_items(&self, org: &OrgId, bulk: &BulkId, first: &ExternalId, last: &ExternalId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(bulk_partition(org, bulk)))
            .expression_attribute_values(":first", AttributeValue::S(item_sort_key(first)))
            .expression_attribute_values(":last", AttributeValue::S(item_sort_key(last)))
    }

    /// Takes `count` card IDs that were never used, and returns the first of them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn new_card_ids(&self, org: &OrgId, count: u32) -> Result<u64, StoreError> {
        const CALL: &str = "UpdateItem counter";
        #[derive(serde::Deserialize)]
        struct Counter {
            last: u64,
        }
        let change = Change {
            call: CALL,
            key: card_counter_key(org),
            update: "ADD #last :count",
            // The counter is created if it is missing. The cap leaves IDs below 2^53 (contract).
            condition: "attribute_not_exists(#last) OR #last < :cap",
            names: reserved(&["last"]),
            values: vec![
                (":count", number(count)),
                (":cap", AttributeValue::N((crate::domain::ids::MAX_INTEGER_ID - u64::from(u32::MAX)).to_string())),
            ],
        };
        match self.change(change).await? {
            Changed::Yes(item) => Ok(read::<Counter>(CALL, item)?.last - u64::from(count) + 1),
            Changed::No(_) => Err(StoreError::broken(CALL, "no card IDs are left")),
        }
    }

    /// Issues these cards: each card's row and its item's link to it, all in one transaction.
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if an item is no longer pending, or a card exists already.
    pub async fn issue(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        cards: &[(&BulkItem, Card)],
        mark: &Mark,
    ) -> Result<(), StoreError> {
        const CALL: &str = "TransactWriteItems issue";
        let mut writes = Vec::with_capacity(cards.len() * 2);
        for (item, card) in cards {
            writes.push(self.put_new_card(CALL, org, card)?);
            let link = Change {
                call: CALL,
                key: item_key(org, bulk, &item.external_id),
                update: "SET #state = :issued, card_id = :card, issued = :mark",
                condition: "#state = :pending",
                names: reserved(&["state"]),
                values: vec![
                    (":pending", attribute(CALL, ItemState::Pending)?),
                    (":issued", attribute(CALL, ItemState::Issued)?),
                    (":card", attribute(CALL, card.card_id)?),
                    (":mark", attribute(CALL, mark)?),
                ],
            };
            writes.push(link.in_transaction(self)?);
        }
        self.transact(CALL, writes).await
    }

    fn put_new_card(&self, call: &'static str, org: &OrgId, card: &Card) -> Result<TransactWriteItem, StoreError> {
        let mut item = write(call, card)?;
        item.extend(card_key(org, card.card_id));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| StoreError::broken(call, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

pub(super) fn read_all<T: serde::de::DeserializeOwned>(
    call: &'static str,
    items: Option<Vec<Item>>,
) -> Result<Vec<T>, StoreError> {
    items.unwrap_or_default().into_iter().map(|item| read(call, item)).collect()
}
