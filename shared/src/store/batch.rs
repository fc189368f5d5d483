//! Operations on many rows in few calls. Unprocessed rows are requested again, a few times.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum as Code, BatchStatementRequest, KeysAndAttributes, PutRequest, WriteRequest,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Item, Store, StoreError, wait_at_random};

/// Maximum keys in a BatchGetItem call (AWS limit).
const MAX_KEYS: usize = 100;
/// Maximum rows in a `BatchWriteItem` call (AWS limit). The limit of 16 MiB in total is far more than our rows need.
const MAX_PUTS: usize = 25;
/// Maximum statements in a BatchExecuteStatement call (AWS limit).
pub(super) const MAX_STATEMENTS: usize = 25;
/// Maximum concurrent calls that read rows for one request. A thousand orders take ten calls.
const CONCURRENT_GETS: usize = 4;
/// Maximum calls for the same rows. Calls after the first request only unprocessed rows.
const MAX_ATTEMPTS: u32 = 6;
/// Maximum wait before the second call. It doubles with each call, and the actual wait is random.
const WAIT: Duration = Duration::from_millis(50);

/// The result of a statement in a batch.
#[derive(Debug)]
pub(super) enum Executed {
    /// The statement was executed.
    Done,
    /// The row exists already, or the condition does not hold. Holds the row's current state, if it exists and the
    /// statement requested it.
    Refused(Option<Item>),
    /// A transaction locked the row on every attempt.
    Busy,
}

impl Store {
    /// Returns the existing rows with these keys, read consistently, in any order.
    pub(super) async fn batch_get(&self, call: &'static str, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let calls: Vec<_> = keys.chunks(MAX_KEYS).map(|keys| self.batch_get_some(call, keys)).collect();
        let found: Vec<Vec<Item>> = stream::iter(calls).buffered(CONCURRENT_GETS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn batch_get_some(&self, call: &'static str, keys: &[Item]) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut open = keys.to_vec();
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                wait_at_random(WAIT, attempt).await;
            }
            let request = KeysAndAttributes::builder().set_keys(Some(open)).consistent_read(true).build();
            let request = request.map_err(|error| StoreError::broken(call, error))?;
            let output = self.client.batch_get_item().request_items(&self.table, request).send().await;
            let output = output.map_err(|error| StoreError::of(call, &error))?;
            found.extend(output.responses.into_iter().flat_map(HashMap::into_values).flatten());
            open =
                output.unprocessed_keys.into_iter().flat_map(HashMap::into_values).flat_map(|keys| keys.keys).collect();
            if open.is_empty() {
                return Ok(found);
            }
        }
        Err(StoreError::Retry { call, reason: "rows were left unread".to_owned() })
    }

    /// Puts the rows, and replaces those that exist.
    pub(super) async fn batch_put(&self, call: &'static str, rows: Vec<Item>) -> Result<(), StoreError> {
        for rows in rows.chunks(MAX_PUTS) {
            let put = |row: &Item| PutRequest::builder().set_item(Some(row.clone())).build();
            let puts: Result<Vec<_>, _> = rows.iter().map(put).collect();
            let puts = puts.map_err(|error| StoreError::broken(call, error))?;
            let mut open: Vec<_> =
                puts.into_iter().map(|put| WriteRequest::builder().put_request(put).build()).collect();
            for attempt in 0..MAX_ATTEMPTS {
                if open.is_empty() {
                    break;
                }
                if attempt > 0 {
                    wait_at_random(WAIT, attempt).await;
                }
                let output = self.client.batch_write_item().request_items(&self.table, open).send().await;
                let output = output.map_err(|error| StoreError::of(call, &error))?;
                open = output.unprocessed_items.into_iter().flat_map(HashMap::into_values).flatten().collect();
            }
            if !open.is_empty() {
                return Err(StoreError::Retry { call, reason: "rows were left unwritten".to_owned() });
            }
        }
        Ok(())
    }

    /// Runs at most [`MAX_STATEMENTS`] statements independently. Returns a result for each, in their order.
    pub(super) async fn batch_execute(
        &self,
        call: &'static str,
        statements: &[BatchStatementRequest],
    ) -> Result<Vec<Executed>, StoreError> {
        let mut executed: Vec<Option<Executed>> = statements.iter().map(|_| None).collect();
        // The error code of a statement that the last call did not execute.
        let mut cause = None;
        for attempt in 0..MAX_ATTEMPTS {
            let unsettled = |executed: &Option<Executed>| matches!(executed, None | Some(Executed::Busy));
            let open: Vec<usize> = (0..statements.len()).filter(|index| unsettled(&executed[*index])).collect();
            if open.is_empty() {
                break;
            }
            if attempt > 0 {
                wait_at_random(WAIT, attempt).await;
            }
            let request = open.iter().map(|index| statements[*index].clone()).collect();
            let output = self.client.batch_execute_statement().set_statements(Some(request)).send().await;
            let output = output.map_err(|error| StoreError::of(call, &error))?;
            let responses = output.responses.unwrap_or_default();
            for (index, response) in open.into_iter().zip(responses) {
                executed[index] = match response.error.map(|error| (error.code, error.message, error.item)) {
                    None => Some(Executed::Done),
                    Some((Some(Code::DuplicateItem | Code::ConditionalCheckFailed), _, row)) => {
                        Some(Executed::Refused(row))
                    }
                    Some((Some(Code::ValidationError), message, _)) => {
                        return Err(StoreError::broken(call, message.unwrap_or_default()));
                    }
                    Some((Some(Code::TransactionConflict), ..)) => Some(Executed::Busy),
                    // Throttled, denied by IAM, or an error of DynamoDB's own: retry.
                    Some((code, ..)) => {
                        cause = code;
                        None
                    }
                };
            }
        }
        let executed: Option<Vec<Executed>> = executed.into_iter().collect();
        executed.ok_or_else(|| {
            let cause = cause.as_ref().map_or("no response", Code::as_str);
            StoreError::Retry { call, reason: format!("statements were left undone: {cause}") }
        })
    }
}
