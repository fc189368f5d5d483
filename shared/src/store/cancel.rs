//! Cancels of a bulk: their items' and cards' conditional writes, the rows of their chunks, their end.

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

/// Calls that cancel items at the same time, of one chunk.
const CONCURRENT_CALLS: usize = 4;

/// What is to be canceled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An item, if it is pending.
    Item(ExternalId),
    /// A card, if it is unbound.
    Card(CardId),
}

/// What came of canceling it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemCancelResult {
    /// It is canceled, by this call.
    Done,
    /// The item is not pending; as it is now.
    Item(BulkItem),
    /// The card is not unbound; as it is now.
    Card(Card),
    /// There is no row of the card.
    NoCard,
    /// Other transactions held it at every try.
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
    /// Cancels each of these that may be, on its own; answers what came of each, in their order.
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
        let mut cancellations = Vec::with_capacity(targets.len());
        for (target, executed) in targets.iter().zip(executed) {
            cancellations.push(match (target, executed) {
                (_, Executed::Done) => ItemCancelResult::Done,
                (_, Executed::Busy) => ItemCancelResult::Busy,
                (Target::Item(_), Executed::Refused(Some(row))) => ItemCancelResult::Item(read(CALL, row)?),
                (Target::Card(_), Executed::Refused(Some(row))) => ItemCancelResult::Card(read(CALL, row)?),
                // That there is no row is said for good, so it is not taken from an answer's silence.
                (target, Executed::Refused(None)) => self.read_current(org, bulk, target).await?,
            });
        }
        Ok(cancellations)
    }

    /// The item or the card as it is now, read consistently.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such item: one that was found once never goes away.
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

    /// One write of one row on a condition: one unit, where a transaction's would be two.
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

    /// Puts the chunks of named items beside their operation. Put again, they are the same.
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

    /// The chunks of named items, of which there must be so many, read consistently.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there are fewer.
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

    /// Returns how many chunks of named items are stored with the operation, read consistently.
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
        struct Kept {
            expires_at: i64,
        }
        let range = (chunk_sort_key(0), chunk_sort_key(u32::MAX));
        let rows: Vec<Kept> = self.operation_rows(CALL, org, operation, range, None).await?;
        // An older row is of an operation that expired, whose idempotency key was used again.
        let count = rows.iter().filter(|row| row.expires_at >= expires_at(accepted_at)).count();
        u32::try_from(count).map_err(|error| StoreError::broken(CALL, error))
    }

    /// How far a chunk has come, read consistently, if that is stored.
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
        // An older row is of an operation that expired, whose idempotency key was used again.
        Ok(row.filter(|row| row.expires_at >= expires_at(accepted_at)).map(|row| row.state))
    }

    /// Stores that items of a chunk are held, unless it has come as far as that already.
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

    /// Stores what a chunk came to, unless that is stored already. Answers what is stored: the first one,
    /// for ever.
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
        // See `chunk_state` about an older row.
        self.put_unless(call, item, condition, &[(":mine", expiry(accepted_at))]).await
    }

    /// What at most `limit` chunks came to, from this one on; the operation has so many.
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

/// Numbers of chunks are padded, so that their rows come in order: a bulk has at most 1,000.
fn chunk_sort_key(number: u32) -> String {
    format!("CHUNK#{number:05}")
}

fn result_sort_key(number: impl std::fmt::Display) -> String {
    format!("RESULT#{number:05}")
}

pub(super) fn expiry(accepted_at: Timestamp) -> AttributeValue {
    AttributeValue::N(expires_at(accepted_at).to_string())
}
