//! The DynamoDB table: its rows, keys, and the conditional writes that make each effect happen once.
//!
//! There is one table. Every partition key starts with the organization, which comes from the token and has a fixed
//! form. (The one exception is the row of the organizations that are shut out.) Text from clients is only ever the end
//! of a key. So no ID, whatever its characters, can address another tenant's row or imitate another kind of row.
//!
//! This module defines what each write does. [`crate::domain`] decides whether it is allowed.

mod batch;
mod bulks;
mod cancel;
mod cards;
mod change;
mod items;
mod operations;
mod order_progress;
mod orders;
mod persons;
mod progress;
mod rows;
mod tenants;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId, OrgId};

pub use bulks::{Committed, Opened};
pub use cancel::{ItemCancelResult, Target};
pub use items::{CARDS_PER_TRANSACTION, ItemPage};
pub use operations::Recorded;
pub use progress::Counts;
pub use rows::{Row, RowKey, RowPage, keyed};
pub use tenants::Bucket;

/// A row in DynamoDB's form.
pub type Item = HashMap<String, AttributeValue>;

/// The table and its client.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
}

/// The reasons why a call to the table failed. A condition that does not hold is not an error but a result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction holds the rows, they changed between read and write, or they are throttled. Retry at once.
    #[error("DynamoDB {call}: the rows are busy")]
    Conflict {
        /// The name of the call.
        call: &'static str,
    },
    /// A retry may succeed later: the call was throttled, timed out, or did not reach DynamoDB.
    #[error("DynamoDB {call}: {reason}")]
    Retry {
        /// The name of the call.
        call: &'static str,
        /// The message of DynamoDB or the SDK.
        reason: String,
    },
    /// The rows contradict each other, unless some were not visible yet.
    #[error("DynamoDB {call}: {reason}")]
    Unexpected {
        /// The name of the call.
        call: &'static str,
        /// The contradiction that was found.
        reason: &'static str,
    },
    /// A retry can never succeed: there is a bug, or a row is unreadable.
    #[error("DynamoDB {call}: {reason}")]
    Broken {
        /// The name of the call.
        call: &'static str,
        /// The message of DynamoDB, the SDK or the row's deserializer.
        reason: String,
    },
}

/// Codes that mean that the request itself is wrong. Every other error is retried, even a missing permission or
/// table: an operator can fix those, and until then no message may be dead-lettered at its first delivery.
const FINAL_CODES: [&str; 4] = [
    "ItemCollectionSizeLimitExceeded",
    "ItemCollectionSizeLimitExceededException",
    "ValidationError",
    "ValidationException",
];

/// Codes of calls that DynamoDB throttled.
const THROTTLING_CODES: [&str; 3] =
    ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"];

impl StoreError {
    /// Returns whether DynamoDB throttled the call.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Retry { reason, .. } if THROTTLING_CODES.iter().any(|code| reason.starts_with(code)))
    }

    fn of<E: ProvideErrorMetadata, R>(call: &'static str, error: &SdkError<E, R>) -> Self {
        match error {
            SdkError::ServiceError(error) => Self::of_service(call, error.err()),
            SdkError::ConstructionFailure(_) => Self::broken(call, "the request could not be made"),
            other => Self::Retry { call, reason: crate::aws::transport_reason(other) },
        }
    }

    fn of_service(call: &'static str, error: &impl ProvideErrorMetadata) -> Self {
        let code = error.code().unwrap_or("unknown error");
        if code == "TransactionConflictException" {
            return Self::Conflict { call };
        }
        let reason = format!("{code}: {}", error.message().unwrap_or_default());
        if FINAL_CODES.contains(&code) { Self::broken(call, reason) } else { Self::Retry { call, reason } }
    }

    /// Returns the error for a transaction that was canceled for reasons other than a condition or a conflict.
    fn canceled(call: &'static str, codes: &[&str]) -> Self {
        let reason = format!("canceled: {}", codes.join(", "));
        if codes.iter().any(|code| FINAL_CODES.contains(code)) {
            Self::broken(call, reason)
        } else {
            Self::Retry { call, reason }
        }
    }

    fn broken(call: &'static str, reason: impl ToString) -> Self {
        Self::Broken { call, reason: reason.to_string() }
    }
}

/// The attribute by which DynamoDB deletes expired rows (TTL).
const EXPIRES_AT: &str = "expires_at";

/// Error message for an update to an operation without a row. Updates never create one.
const GONE: &str = "the operation has no row";

/// Maximum attempts when another transaction holds the rows, or they changed between read and write. After the last
/// attempt, the message returns to its queue.
const CONFLICT_ATTEMPTS: u32 = 6;
/// Maximum wait before the second attempt. It doubles with each attempt, and the actual wait is random.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// Runs an attempt, and repeats it at once, a few times, while it returns [`StoreError::Conflict`].
///
/// # Errors
/// Returns the error of the last attempt.
pub async fn retrying<T, Try>(mut attempt: impl FnMut() -> Try) -> Result<T, StoreError>
where
    Try: Future<Output = Result<T, StoreError>>,
{
    for number in 1..CONFLICT_ATTEMPTS {
        match attempt().await {
            Err(StoreError::Conflict { .. }) => wait_at_random(CONFLICT_WAIT, number).await,
            result => return result,
        }
    }
    attempt().await
}

/// Waits for a random part of `longest`, which doubles with each attempt after the first.
async fn wait_at_random(longest: Duration, attempt: u32) {
    let longest = longest * 2_u32.pow(attempt - 1);
    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
}

impl Store {
    /// Creates a store for the table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Returns the store with a client that makes one attempt of each call.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        let config = self.client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        Self::new(Client::from_conf(config), self.table.clone())
    }
}

fn card_key(org: &OrgId, card: CardId) -> Item {
    key(card_partition(org, card), CARD_SORT_KEY)
}

const CARD_SORT_KEY: &str = "CARD";

fn card_partition(org: &OrgId, card: CardId) -> String {
    format!("{org}#CARD#{card}")
}

fn operation_key(org: &OrgId, operation: OperationId) -> Item {
    key(operation_partition(org, operation), "OP")
}

/// Returns the partition of the operation's row and of its chunks' rows.
fn operation_partition(org: &OrgId, operation: OperationId) -> String {
    format!("{org}#OP#{operation}")
}

fn bulk_key(org: &OrgId, bulk: &BulkId) -> Item {
    key(bulk_partition(org, bulk), "BULK")
}

fn item_key(org: &OrgId, bulk: &BulkId, item: &ExternalId) -> Item {
    key(bulk_partition(org, bulk), &item_sort_key(item))
}

fn bulk_partition(org: &OrgId, bulk: &BulkId) -> String {
    format!("{org}#BULK#{bulk}")
}

/// The prefix of items' sort keys. The header's sort key does not start with it.
const ITEM_PREFIX: &str = "I#";

fn item_sort_key(item: &ExternalId) -> String {
    format!("{ITEM_PREFIX}{item}")
}

/// Returns the key of the counter that card IDs are taken from.
fn card_counter_key(org: &OrgId) -> Item {
    key(format!("{org}#COUNTER"), "CARD")
}

fn key(pk: String, sk: &str) -> Item {
    Item::from([("pk".to_owned(), AttributeValue::S(pk)), ("sk".to_owned(), AttributeValue::S(sk.to_owned()))])
}

fn read<T: DeserializeOwned>(call: &'static str, item: Item) -> Result<T, StoreError> {
    // The error's own text may quote the row, so it is dropped.
    serde_dynamo::from_item(item).map_err(|_| StoreError::broken(call, "unreadable row"))
}

fn write<T: Serialize>(call: &'static str, value: T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| StoreError::broken(call, format!("unwritable row: {error}")))
}

fn attribute<T: Serialize>(call: &'static str, value: T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|error| StoreError::broken(call, format!("unwritable attribute: {error}")))
}
