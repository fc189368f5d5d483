//! Many rows in few calls: what was left unprocessed is asked for again, a few times.

use std::time::Duration;

use aws_sdk_dynamodb::types::{BatchStatementErrorCodeEnum as Code, BatchStatementRequest, KeysAndAttributes};

use super::{Item, Store, StoreError, wait_at_random};

/// Keys of one BatchGetItem call (AWS limit).
const MAX_KEYS: usize = 100;
/// Statements of one BatchExecuteStatement call (AWS limit).
pub(super) const MAX_STATEMENTS: usize = 25;
/// Calls for the same rows: the first, and those for what was left over.
const MAX_ATTEMPTS: u32 = 4;
/// Longest wait before the second call; doubled for each further one, and drawn at random below that.
const WAIT: Duration = Duration::from_millis(50);

impl Store {
    /// The rows of these keys that are there, read consistently, in any order.
    pub(super) async fn batch_get(&self, call: &'static str, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            let mut open = keys.to_vec();
            let mut attempt = 0;
            while !open.is_empty() {
                if attempt == MAX_ATTEMPTS {
                    return Err(StoreError::Retry { call, reason: "rows were left unread".to_owned() });
                }
                if attempt > 0 {
                    wait_at_random(WAIT, attempt).await;
                }
                attempt += 1;
                let request = KeysAndAttributes::builder().set_keys(Some(open)).consistent_read(true).build();
                let request = request.map_err(|error| StoreError::broken(call, error))?;
                let output = self.client.batch_get_item().request_items(&self.table, request).send().await;
                let output = output.map_err(|error| StoreError::of(call, &error))?;
                found.extend(output.responses.into_iter().flat_map(std::collections::HashMap::into_values).flatten());
                open = output
                    .unprocessed_keys
                    .into_iter()
                    .flat_map(std::collections::HashMap::into_values)
                    .flat_map(|keys| keys.keys)
                    .collect();
            }
        }
        Ok(found)
    }

    /// Runs at most [`MAX_STATEMENTS`] statements, each for itself. Answers, in their order, whether each
    /// was done; `false` says that a row stands there already or a condition does not hold.
    pub(super) async fn batch_execute(
        &self,
        call: &'static str,
        statements: &[BatchStatementRequest],
    ) -> Result<Vec<bool>, StoreError> {
        let mut done: Vec<Option<bool>> = vec![None; statements.len()];
        for attempt in 0..MAX_ATTEMPTS {
            let open: Vec<usize> = (0..statements.len()).filter(|index| done[*index].is_none()).collect();
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
                done[index] = match answer.error.map(|error| (error.code, error.message)) {
                    None => Some(true),
                    Some((Some(Code::DuplicateItem | Code::ConditionalCheckFailed), _)) => Some(false),
                    Some((Some(Code::ValidationError), message)) => {
                        return Err(StoreError::broken(call, message.unwrap_or_default()));
                    }
                    // Throttled, in conflict, an error of DynamoDB's own: again.
                    Some(_) => None,
                };
            }
        }
        let done: Option<Vec<bool>> = done.into_iter().collect();
        done.ok_or_else(|| StoreError::Retry { call, reason: "statements were left undone".to_owned() })
    }
}
