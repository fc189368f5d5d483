//! The table: rows, keys, and the conditional writes that make each effect happen once.
//!
//! One table. Every partition key starts with the organisation, which comes from the token and has a
//! fixed form; text from clients is only ever the tail of a key. So no ID, whatever its characters,
//! can address another tenant's row or imitate another kind of row.
//!
//! What a write means is decided here; whether it is allowed is decided in [`crate::domain`].

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

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
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

/// A row as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// The table, through one client.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
}

/// Why the table did not do as asked. A condition that does not hold is not an error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction holds the rows, they changed between read and write, or they are throttled: try
    /// again at once.
    #[error("DynamoDB {call}: the rows are busy")]
    Conflict {
        /// The call.
        call: &'static str,
    },
    /// It may work later: throttled, out of reach, too slow.
    #[error("DynamoDB {call}: {reason}")]
    Retry {
        /// The call.
        call: &'static str,
        /// What DynamoDB or the SDK said.
        reason: String,
    },
    /// The rows say what cannot be, unless they were not all to be seen yet.
    #[error("DynamoDB {call}: {reason}")]
    Unexpected {
        /// The call.
        call: &'static str,
        /// What cannot be.
        reason: &'static str,
    },
    /// It will never work: a bug, or a row that cannot be read.
    #[error("DynamoDB {call}: {reason}")]
    Broken {
        /// The call.
        call: &'static str,
        /// What DynamoDB, the SDK or the row's reader said.
        reason: String,
    },
}

/// Codes that say the request itself is wrong; every other is worth another try. Even a missing
/// permission or table: an operator mends those, and until then no message may be given up at its first
/// delivery.
const FINAL_CODES: [&str; 4] = [
    "ItemCollectionSizeLimitExceeded",
    "ItemCollectionSizeLimitExceededException",
    "ValidationError",
    "ValidationException",
];

impl StoreError {
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

    /// A transaction that was canceled for other reasons than a condition or a conflict.
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

/// The attribute that DynamoDB deletes expired rows by.
const EXPIRES_AT: &str = "expires_at";

/// What is said of an operation that is updated and has no row: it is never made by an update.
const GONE: &str = "the operation has no row";

/// Tries of something whose rows are held by another transaction, or changed between read and write.
/// After the last the message goes back to its queue.
const CONFLICT_ATTEMPTS: u32 = 6;
/// Longest wait before the second try; doubled for each further one, and drawn at random below that.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// Tries again at once, a few times, what ends in a [`StoreError::Conflict`].
///
/// # Errors
/// Those of the last try.
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

/// Waits for a random part of `longest`, doubled for every attempt after the first.
async fn wait_at_random(longest: Duration, attempt: u32) {
    let longest = longest * 2_u32.pow(attempt - 1);
    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
}

impl Store {
    /// The table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
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

/// Holds the operation's row, and those of its chunks.
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

/// The counter that card IDs are taken from.
fn card_counter_key(org: &OrgId) -> Item {
    key(format!("{org}#COUNTER"), "CARD")
}

fn key(pk: String, sk: &str) -> Item {
    Item::from([("pk".to_owned(), AttributeValue::S(pk)), ("sk".to_owned(), AttributeValue::S(sk.to_owned()))])
}

fn read<T: DeserializeOwned>(call: &'static str, item: Item) -> Result<T, StoreError> {
    // The error's own text may quote the row.
    serde_dynamo::from_item(item).map_err(|_| StoreError::broken(call, "unreadable row"))
}

fn write<T: Serialize>(call: &'static str, value: T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| StoreError::broken(call, format!("unwritable row: {error}")))
}

fn attribute<T: Serialize>(call: &'static str, value: T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|error| StoreError::broken(call, format!("unwritable attribute: {error}")))
}
