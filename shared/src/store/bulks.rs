//! Bulk headers, which are created once, and their batches, which are opened, aborted and committed.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;

use super::change::{Change, Changed, reserved};
use super::{Store, StoreError, attribute, bulk_key, read, write};
use crate::domain::bulk::{Bulk, MAX_BATCHES, MAX_ITEMS};
use crate::domain::ids::{BulkId, OperationId, OrgId};

/// The result of opening a batch.
#[derive(Debug)]
pub enum Opened {
    /// The batch is open. Its number is the header's `last_batch`.
    Yes {
        /// The bulk after the batch was opened.
        bulk: Box<Bulk>,
        /// The numbers of the aborted batches.
        aborted: BTreeSet<u32>,
    },
    /// The bulk does not exist.
    Unknown,
    /// The bulk accepts no more batches: it is being canceled, or has reached the maximum number.
    Closed,
}

/// The result of committing a batch.
#[derive(Debug)]
pub enum Committed {
    /// The batch is committed, and its items count.
    Yes(Box<Bulk>),
    /// Another request has aborted the batch. Try again under another number.
    Aborted,
    /// The bulk accepts no more items: it is being canceled, or would exceed the maximum.
    Closed,
}

#[derive(Deserialize)]
struct HeaderRow {
    #[serde(flatten)]
    bulk: Bulk,
    #[serde(default)]
    aborted: BTreeSet<u32>,
}

/// Maximum attempts to abort batches while others are being committed. Our limit.
const MAX_ABORTS: usize = 10;

impl Store {
    /// Returns the bulk's header, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn bulk(&self, org: &OrgId, bulk: &BulkId) -> Result<Option<Bulk>, StoreError> {
        const CALL: &str = "GetItem bulk";
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(bulk_key(org, bulk)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::of(CALL, &error))?;
        output.item.map(|item| read(CALL, item)).transpose()
    }

    /// Puts a new bulk's header, which makes its items visible, unless the header exists already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_bulk(&self, org: &OrgId, bulk: &Bulk) -> Result<(), StoreError> {
        const CALL: &str = "PutItem bulk";
        let mut item = write(CALL, bulk)?;
        item.insert("batches".to_owned(), numbers(&bulk.batches));
        item.extend(bulk_key(org, &bulk.bulk_id));
        self.put_unless(CALL, item, "attribute_not_exists(pk)", &[]).await.map(|_| ())
    }

    /// Assigns a new batch number.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_batch(&self, org: &OrgId, bulk: &BulkId) -> Result<Opened, StoreError> {
        const CALL: &str = "UpdateItem bulk open";
        let change = Change {
            call: CALL,
            key: bulk_key(org, bulk),
            update: "SET last_batch = last_batch + :one",
            condition: "attribute_not_exists(sealed_by) AND last_batch < :most",
            names: Vec::new(),
            values: vec![(":one", number(1)), (":most", number(MAX_BATCHES))],
        };
        match self.change(change).await? {
            Changed::Yes(item) => {
                let HeaderRow { bulk, aborted } = read(CALL, item)?;
                Ok(Opened::Yes { bulk: Box::new(bulk), aborted })
            }
            Changed::No(Some(_)) => Ok(Opened::Closed),
            Changed::No(None) => Ok(Opened::Unknown),
        }
    }

    /// Ensures that these batches are never committed from now on, with one write for all. Returns the batches for
    /// which this holds: all but those that have been committed since the bulk was read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn abort_batches(
        &self,
        org: &OrgId,
        bulk: &Bulk,
        batches: BTreeSet<u32>,
    ) -> Result<BTreeSet<u32>, StoreError> {
        const CALL: &str = "UpdateItem bulk abort";
        let (mut committed, mut open) = (bulk.batches.clone(), batches);
        for _ in 0..MAX_ABORTS {
            open.retain(|batch| !committed.contains(batch));
            if open.is_empty() {
                return Ok(open);
            }
            let change = Change {
                call: CALL,
                key: bulk_key(org, &bulk.bulk_id),
                update: "ADD aborted :set",
                // If no batch at all has been committed since, none of these has.
                condition: "attribute_exists(pk) AND batches = :committed",
                names: Vec::new(),
                values: vec![(":set", numbers(&open)), (":committed", numbers(&committed))],
            };
            match self.change(change).await? {
                Changed::Yes(_) => return Ok(open),
                Changed::No(Some(item)) => committed = read::<Bulk>(CALL, item)?.batches,
                Changed::No(None) => return Err(StoreError::broken(CALL, "the bulk has no row")),
            }
        }
        Err(StoreError::Conflict { call: CALL })
    }

    /// Makes a batch's items visible. `added` is the number of items that no other batch added.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn commit_batch(
        &self,
        org: &OrgId,
        bulk: &BulkId,
        batch: u32,
        added: u32,
    ) -> Result<Committed, StoreError> {
        const CALL: &str = "UpdateItem bulk commit";
        let change = Change {
            call: CALL,
            key: bulk_key(org, bulk),
            update: "ADD batches :set, #items :added",
            condition: "attribute_exists(pk) AND attribute_not_exists(sealed_by) AND #items <= :room \
                        AND NOT contains(batches, :batch) AND NOT contains(aborted, :batch)",
            names: reserved(&["items"]),
            values: vec![
                (":set", number_set(batch)),
                (":batch", number(batch)),
                (":added", number(added)),
                (":room", number(MAX_ITEMS.saturating_sub(added))),
            ],
        };
        let item = match self.change(change).await? {
            Changed::Yes(item) => return Ok(Committed::Yes(Box::new(read(CALL, item)?))),
            Changed::No(Some(item)) => item,
            Changed::No(None) => return Err(StoreError::broken(CALL, "the bulk has no row")),
        };
        let HeaderRow { bulk, aborted } = read(CALL, item)?;
        Ok(if bulk.batches.contains(&batch) {
            // The SDK retried a call whose response was lost.
            Committed::Yes(Box::new(bulk))
        } else if aborted.contains(&batch) {
            Committed::Aborted
        } else {
            Committed::Closed
        })
    }

    /// Seals the bulk, unless it is sealed already. From then on, no batch is committed. Returns the bulk's current
    /// state.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn seal(&self, org: &OrgId, bulk: &BulkId, operation: OperationId) -> Result<Bulk, StoreError> {
        const CALL: &str = "UpdateItem bulk seal";
        let change = Change {
            call: CALL,
            key: bulk_key(org, bulk),
            update: "SET sealed_by = :by",
            condition: "attribute_exists(pk) AND attribute_not_exists(sealed_by)",
            names: Vec::new(),
            values: vec![(":by", attribute(CALL, operation)?)],
        };
        match self.change(change).await? {
            Changed::Yes(item) | Changed::No(Some(item)) => read(CALL, item),
            Changed::No(None) => Err(StoreError::broken(CALL, "the bulk has no row")),
        }
    }
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn number_set(value: u32) -> AttributeValue {
    AttributeValue::Ns(vec![value.to_string()])
}

pub(super) fn numbers(values: &BTreeSet<u32>) -> AttributeValue {
    AttributeValue::Ns(values.iter().map(ToString::to_string).collect())
}

pub(super) fn text_set(operation: impl ToString) -> AttributeValue {
    AttributeValue::Ss(vec![operation.to_string()])
}
