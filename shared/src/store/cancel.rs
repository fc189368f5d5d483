//! Cancels of a bulk: the conditional writes to items and cards, and the rows of chunks.

use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::batch::{Executed, MAX_STATEMENTS};
use super::items::read_all;
use super::{
    CARD_SORT_KEY, EXPIRES_AT, Item, Store, StoreError, attribute, bulk_partition, card_partition, item_sort_key, key,
    operation_partition, read, write,
};
use crate::domain::acceptance::expires_at;
use crate::domain::bulk::{BulkItem, ItemState};
use crate::domain::cancel::{ChunkResult, ChunkState};
use crate::domain::card::{Card, CardStatus, Mark};
use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId, OrgId};
use crate::domain::time::Timestamp;

/// Maximum concurrent calls that cancel items of one chunk.
const CONCURRENT_CALLS: usize = 4;

/// An item or a card to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An item, which is canceled if it is pending.
    Item(ExternalId),
    /// A card, which is canceled if it is unbound.
    Card(CardId),
}

/// The result of canceling an item or a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemCancelResult {
    /// This call canceled it.
    Done,
    /// The item is not pending. Holds its current state.
    Item(BulkItem),
    /// The card is not unbound. Holds its current state.
    Card(Card),
    /// The card has no row.
    NoCard,
    /// Other transactions locked the row on every attempt.
    Busy,
}

#[derive(Serialize, Deserialize)]
struct ChunkRow {
    ids: Vec<ExternalId>,
}

#[derive(Deserialize)]
struct ResultRow {
    #[serde(flatten)]
    state: ChunkState,
    expires_at: i64,
}

impl Store {
    /// Cancels each of these targets that can be canceled, independently. Returns a result for each, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn cancel(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        targets: &[Target],
        mark: &Mark,
    ) -> Result<Vec<ItemCancelResult>, StoreError> {
        let calls: Vec<_> =
            targets.chunks(MAX_STATEMENTS).map(|targets| self.cancel_some(org, bulk, targets, mark)).collect();
        let canceled: Vec<Vec<_>> = stream::iter(calls).buffered(CONCURRENT_CALLS).try_collect().await?;
        Ok(canceled.into_iter().flatten().collect())
    }

    async fn cancel_some(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        targets: &[Target],
        mark: &Mark,
    ) -> Result<Vec<ItemCancelResult>, StoreError> {
        const CALL: &str = "BatchExecuteStatement cancel";
        let statements: Result<Vec<_>, _> =
            targets.iter().map(|target| self.cancellation(CALL, org, bulk, target, mark)).collect();
        let executed = self.batch_execute(CALL, &statements?).await?;
        let mut results = Vec::with_capacity(targets.len());
        for (target, executed) in targets.iter().zip(executed) {
            results.push(match (target, executed) {
                (_, Executed::Done) => ItemCancelResult::Done,
                (_, Executed::Busy) => ItemCancelResult::Busy,
                (Target::Item(_), Executed::Refused(Some(row))) => ItemCancelResult::Item(read(CALL, row)?),
                (Target::Card(_), Executed::Refused(Some(row))) => ItemCancelResult::Card(read(CALL, row)?),
                // Reporting a missing row is final, so it is not inferred from a response without one.
                (target, Executed::Refused(None)) => self.read_current(org, bulk, target).await?,
            });
        }
        Ok(results)
    }

    /// Returns the current state of the item or the card, read consistently.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the item does not exist. An item that was found once never disappears.
    pub async fn read_current(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        target: &Target,
    ) -> Result<ItemCancelResult, StoreError> {
        match target {
            Target::Card(card) => {
                Ok(self.card(org, *card).await?.map_or(ItemCancelResult::NoCard, ItemCancelResult::Card))
            }
            Target::Item(id) => {
                let item = self.items(org, bulk, std::slice::from_ref(id)).await?.pop();
                item.map(ItemCancelResult::Item)
                    .ok_or_else(|| StoreError::broken("BatchGetItem items", "the item has no row"))
            }
        }
    }

    /// Returns a statement that writes one row on a condition. It takes one write unit; a transaction would take two.
    fn cancellation(
        &self,
        call: &'static str,
        org: &OrgId,
        bulk: &BulkId,
        target: &Target,
        mark: &Mark,
    ) -> Result<BatchStatementRequest, StoreError> {
        let (state, from, to) = match target {
            Target::Item(_) => ("state", attribute(call, ItemState::Pending)?, attribute(call, ItemState::Canceled)?),
            Target::Card(_) => {
                ("status", attribute(call, CardStatus::Unbound)?, attribute(call, CardStatus::Canceled)?)
            }
        };
        let (pk, sk) = match target {
            Target::Item(id) => (bulk_partition(org, bulk), item_sort_key(id)),
            Target::Card(id) => (card_partition(org, *id), CARD_SORT_KEY.to_owned()),
        };
        let (pk, sk) = (AttributeValue::S(pk), AttributeValue::S(sk));
        BatchStatementRequest::builder()
            .statement(format!(
                r#"UPDATE "{}" SET "{state}" = ? SET "canceled" = ? WHERE "pk" = ? AND "sk" = ? AND "{state}" = ?"#,
                self.table
            ))
            .set_parameters(Some(vec![to, attribute(call, mark)?, pk, sk, from]))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| StoreError::broken(call, error))
    }

    /// Puts the chunks of named items in the operation's partition. Putting them again changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_named_chunks(
        &self,
        org: &OrgId,
        operation: OperationId,
        accepted_at: Timestamp,
        chunks: &[Vec<ExternalId>],
    ) -> Result<(), StoreError> {
        const CALL: &str = "BatchWriteItem chunks";
        let row = |(number, ids): (u32, &Vec<ExternalId>)| {
            let mut item = write(CALL, ChunkRow { ids: ids.clone() })?;
            item.extend(key(operation_partition(org, operation), &chunk_sort_key(number)));
            item.insert(EXPIRES_AT.to_owned(), expiry(accepted_at));
            Ok(item)
        };
        let rows: Result<Vec<Item>, StoreError> = (0..).zip(chunks).map(row).collect();
        self.batch_put(CALL, rows?).await
    }

    /// Returns the operation's `count` chunks of named items, read consistently.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if there are fewer.
    pub async fn named_chunks(
        &self,
        org: &OrgId,
        operation: OperationId,
        count: u32,
    ) -> Result<Vec<Vec<ExternalId>>, StoreError> {
        const CALL: &str = "Query chunks";
        let range = (chunk_sort_key(0), chunk_sort_key(count.saturating_sub(1)));
        let rows: Vec<ChunkRow> = self.operation_rows(CALL, org, operation, range, None).await?;
        if rows.len() != count as usize {
            return Err(StoreError::broken(CALL, "chunks are missing"));
        }
        Ok(rows.into_iter().map(|row| row.ids).collect())
    }

    /// Returns the number of chunks of named items stored with the operation, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count_named_chunks(
        &self,
        org: &OrgId,
        operation: OperationId,
        accepted_at: Timestamp,
    ) -> Result<u32, StoreError> {
        const CALL: &str = "Query chunks";
        #[derive(Deserialize)]
        struct StoredRow {
            expires_at: i64,
        }
        let range = (chunk_sort_key(0), chunk_sort_key(u32::MAX));
        let rows: Vec<StoredRow> = self.operation_rows(CALL, org, operation, range, None).await?;
        // An older row belongs to an expired operation, whose idempotency key was used again.
        let count = rows.iter().filter(|row| row.expires_at >= expires_at(accepted_at)).count();
        u32::try_from(count).map_err(|error| StoreError::broken(CALL, error))
    }

    /// Returns the stored state of a chunk, read consistently, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn chunk_state(
        &self,
        org: &OrgId,
        operation: OperationId,
        accepted_at: Timestamp,
        chunk: u32,
    ) -> Result<Option<ChunkState>, StoreError> {
        const CALL: &str = "GetItem result";
        let key = key(operation_partition(org, operation), &result_sort_key(chunk));
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let output = request.send().await.map_err(|error| StoreError::of(CALL, &error))?;
        let row: Option<ResultRow> = output.item.map(|item| read(CALL, item)).transpose()?;
        // An older row belongs to an expired operation, whose idempotency key was used again.
        Ok(row.filter(|row| row.expires_at >= expires_at(accepted_at)).map(|row| row.state))
    }

    /// Records that a chunk is given up because other transactions lock some of its items, unless this or a result is
    /// stored already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_held(
        &self,
        org: &OrgId,
        operation: OperationId,
        accepted_at: Timestamp,
        chunk: u32,
        held_since: Timestamp,
    ) -> Result<(), StoreError> {
        const CALL: &str = "PutItem held";
        let key = key(operation_partition(org, operation), &result_sort_key(chunk));
        let state = ChunkState::Held { held_since };
        self.put_chunk_state(CALL, key, accepted_at, &state, "attribute_not_exists(pk) OR expires_at < :mine").await?;
        Ok(())
    }

    /// Stores the result of a chunk, unless one is stored already. Returns the stored result, which never changes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_result(
        &self,
        org: &OrgId,
        operation: OperationId,
        accepted_at: Timestamp,
        chunk: u32,
        result: ChunkResult,
    ) -> Result<ChunkResult, StoreError> {
        const CALL: &str = "PutItem result";
        const CONDITION: &str = "attribute_not_exists(pk) OR expires_at < :mine OR attribute_exists(held_since)";
        let key = key(operation_partition(org, operation), &result_sort_key(chunk));
        match self.put_chunk_state(CALL, key, accepted_at, &result, CONDITION).await? {
            None => Ok(result),
            Some(stored) => read(CALL, stored),
        }
    }

    async fn put_chunk_state(
        &self,
        call: &'static str,
        key: Item,
        accepted_at: Timestamp,
        state: impl Serialize,
        condition: &'static str,
    ) -> Result<Option<Item>, StoreError> {
        let mut item = write(call, state)?;
        item.extend(key);
        item.insert(EXPIRES_AT.to_owned(), expiry(accepted_at));
        // See `chunk_state` about older rows.
        self.put_unless(call, item, condition, &[(":mine", expiry(accepted_at))]).await
    }

    /// Returns the results of at most `limit` chunks from number `from` on. `chunks` is the operation's number of
    /// chunks.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn results(
        &self,
        org: &OrgId,
        operation: OperationId,
        from: usize,
        chunks: usize,
        limit: usize,
    ) -> Result<Vec<ChunkResult>, StoreError> {
        if from >= chunks {
            return Ok(Vec::new());
        }
        let range = (result_sort_key(from), result_sort_key(chunks - 1));
        self.operation_rows("Query results", org, operation, range, Some(limit)).await
    }

    pub(super) async fn operation_rows<T: serde::de::DeserializeOwned>(
        &self,
        call: &'static str,
        org: &OrgId,
        operation: OperationId,
        (first, last): (String, String),
        limit: Option<usize>,
    ) -> Result<Vec<T>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(operation_partition(org, operation)))
            .expression_attribute_values(":first", AttributeValue::S(first))
            .expression_attribute_values(":last", AttributeValue::S(last))
            .set_limit(limit.and_then(|limit| i32::try_from(limit).ok()))
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut rows = Vec::new();
        while limit.is_none_or(|limit| rows.len() < limit)
            && let Some(page) = pages.next().await
        {
            let page = page.map_err(|error| StoreError::of(call, &error))?;
            rows.extend(read_all::<T>(call, page.items)?);
        }
        Ok(rows)
    }
}

/// Returns the sort key of a chunk's row. The number is padded so that rows sort in order. A bulk has at most 1,000
/// chunks.
fn chunk_sort_key(number: u32) -> String {
    format!("CHUNK#{number:05}")
}

fn result_sort_key(number: impl std::fmt::Display) -> String {
    format!("RESULT#{number:05}")
}

pub(super) fn expiry(accepted_at: Timestamp) -> AttributeValue {
    AttributeValue::N(expires_at(accepted_at).to_string())
}
