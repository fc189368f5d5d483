//! Many rows in few calls: what was left unprocessed is asked for again, a few times.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum as Code, BatchStatementRequest, KeysAndAttributes, PutRequest, WriteRequest,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Item, Store, StoreError, wait_at_random};

/// Keys of one BatchGetItem call (AWS limit).
const MAX_KEYS: usize = 100;
/// Rows of one `BatchWriteItem` call (AWS limit; 16 MiB in all, far more than ours have).
const MAX_PUTS: usize = 25;
/// Statements of one BatchExecuteStatement call (AWS limit).
pub(super) const MAX_STATEMENTS: usize = 25;
/// Calls that read rows at the same time, of one request: a thousand orders are ten.
const CONCURRENT_GETS: usize = 4;
/// Calls for the same rows: the first, and those for what was left over.
const MAX_ATTEMPTS: u32 = 6;
/// Longest wait before the second call; doubled for each further one, and drawn at random below that.
const WAIT: Duration = Duration::from_millis(50);

/// What became of one statement of many.
#[derive(Debug)]
pub(super) enum Executed {
    /// It was done.
    Done,
    /// A row stands there already, or its condition does not hold. The row as it is, if there is one and
    /// the statement asked for it.
    Refused(Option<Item>),
    /// A transaction held the row at every try.
    Busy,
}

impl Store {
    /// The rows of these keys that are there, read consistently, in any order.
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

    /// Puts the rows, over those that may be there.
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

    /// Runs at most [`MAX_STATEMENTS`] statements, each for itself. Answers what became of each, in their
    /// order.
    pub(super) async fn batch_execute(
        &self,
        call: &'static str,
        statements: &[BatchStatementRequest],
    ) -> Result<Vec<Executed>, StoreError> {
        let mut executed: Vec<Option<Executed>> = statements.iter().map(|_| None).collect();
        // Why one of them was not done, the last time.
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
            let answers = output.responses.unwrap_or_default();
            for (index, answer) in open.into_iter().zip(answers) {
                executed[index] = match answer.error.map(|error| (error.code, error.message, error.item)) {
                    None => Some(Executed::Done),
                    Some((Some(Code::DuplicateItem | Code::ConditionalCheckFailed), _, row)) => {
                        Some(Executed::Refused(row))
                    }
                    Some((Some(Code::ValidationError), message, _)) => {
                        return Err(StoreError::broken(call, message.unwrap_or_default()));
                    }
                    Some((Some(Code::TransactionConflict), ..)) => Some(Executed::Busy),
                    // Throttled, refused by IAM, or an error of DynamoDB's own: again.
                    Some((code, ..)) => {
                        cause = code;
                        None
                    }
                };
            }
        }
        let executed: Option<Vec<Executed>> = executed.into_iter().collect();
        executed.ok_or_else(|| {
            let cause = cause.as_ref().map_or("no answer", Code::as_str);
            StoreError::Retry { call, reason: format!("statements were left undone: {cause}") }
        })
    }
}
