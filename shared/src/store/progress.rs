//! Operations on a whole bulk: planned once, counted off chunk by chunk, ended once.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::bulks::{number, number_set};
use super::change::{Change, Changed, reserved};
use super::{GONE, Store, StoreError, attribute, bulk_key, operation_key, read};
use crate::domain::ids::{BulkId, OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::time::Timestamp;

impl Store {
    /// Fixes the batches that the operation is about, unless they are fixed already. Answers the
    /// operation with those that count.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn begin(
        &self,
        org: &OrgId,
        operation: OperationId,
        batches: &BTreeSet<u32>,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation begin";
        let batches = batches.iter().map(ToString::to_string).collect();
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET #state = :running, batches = :batches",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":running", attribute(CALL, OperationState::Running)?),
                (":batches", AttributeValue::Ns(batches)),
            ],
        };
        as_it_is(CALL, self.change(change).await?)
    }

    /// Notes how many chunks there are, with how many items; all their messages are sent.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn set_chunks(
        &self,
        org: &OrgId,
        operation: OperationId,
        chunks: u32,
        items: u32,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation chunks";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET chunks = :chunks, items_total = :items",
            condition: "attribute_exists(pk) AND attribute_not_exists(chunks)",
            names: Vec::new(),
            values: vec![(":chunks", number(chunks)), (":items", number(items))],
        };
        as_it_is(CALL, self.change(change).await?)
    }

    /// Counts a chunk off, once: its items, how many of them the operation changed, and how many it was
    /// refused.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn count_off(
        &self,
        org: &OrgId,
        operation: OperationId,
        chunk: u32,
        items: u32,
        changed: u32,
        failed: u32,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation count off";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "ADD done :set, items_done :items, items_changed :changed, items_failed :failed",
            condition: "attribute_exists(pk) AND NOT contains(done, :chunk)",
            names: Vec::new(),
            values: vec![
                (":set", number_set(chunk)),
                (":chunk", number(chunk)),
                (":items", number(items)),
                (":changed", number(changed)),
                (":failed", number(failed)),
            ],
        };
        as_it_is(CALL, self.change(change).await?)
    }

    /// Ends a start that is complete, and counts its cards on the bulk's header, together and once.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_start(
        &self,
        org: &OrgId,
        operation: OperationId,
        bulk: &BulkId,
        issued: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const CALL: &str = "TransactWriteItems end start";
        let header = Change {
            call: CALL,
            key: bulk_key(org, bulk),
            update: "ADD issued :issued",
            condition: "attribute_exists(pk)",
            names: Vec::new(),
            values: vec![(":issued", number(issued))],
        };
        let writes = vec![end_running(CALL, org, operation, now)?.in_transaction(self)?, header.in_transaction(self)?];
        self.transact(CALL, writes).await
    }

    /// Ends an operation that found its bulk sealed before it could begin.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refuse(&self, org: &OrgId, operation: OperationId, now: Timestamp) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation refuse";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET #state = :failed, ended_at = :now",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":failed", attribute(CALL, OperationState::Failed)?),
                (":now", attribute(CALL, now)?),
            ],
        };
        as_it_is(CALL, self.change(change).await?)
    }
}

/// RUNNING → SUCCEEDED.
pub(super) fn end_running(
    call: &'static str,
    org: &OrgId,
    operation: OperationId,
    now: Timestamp,
) -> Result<Change, StoreError> {
    Ok(Change {
        call,
        key: operation_key(org, operation),
        update: "SET #state = :ended, ended_at = :now",
        condition: "#state = :running",
        names: reserved(&["state"]),
        values: vec![
            (":running", attribute(call, OperationState::Running)?),
            (":ended", attribute(call, OperationState::Succeeded)?),
            (":now", attribute(call, now)?),
        ],
    })
}

/// The operation as it is now, whether or not the change was (still) to be done.
fn as_it_is(call: &'static str, changed: Changed) -> Result<Operation, StoreError> {
    match changed {
        Changed::Yes(item) | Changed::No(Some(item)) => read(call, item),
        Changed::No(None) => Err(StoreError::broken(call, GONE)),
    }
}
