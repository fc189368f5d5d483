//! Operations on a whole bulk: planned once, counted off chunk by chunk, ended once.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Get, TransactGetItem};

use super::bulks::{number, number_set};
use super::change::{Change, Changed, reserved};
use super::{GONE, Store, StoreError, attribute, bulk_key, operation_key, read};
use crate::domain::bulk::Planned;
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

    /// Notes how far the operation is planned, unless it is planned as far already. Answers the operation as it is then.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn note_planned(
        &self,
        org: &OrgId,
        operation: OperationId,
        planned: &Planned,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation planned";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET planned = :planned",
            condition: "attribute_exists(pk) AND (attribute_not_exists(planned) OR planned.chunks < :chunks)",
            names: Vec::new(),
            values: vec![(":planned", attribute(CALL, planned)?), (":chunks", number(planned.chunks))],
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

    /// Forgets how far a running operation is planned, so that its plan begins anew. What is done stays done. An operation
    /// that does not run is left alone, and so is one that is complete: somebody may be about to end it. Answers the
    /// operation as it is then.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn forget_plan(&self, org: &OrgId, operation: OperationId) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation forget plan";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "REMOVE planned, chunks, items_total",
            condition: "#state = :running AND (attribute_not_exists(chunks) OR attribute_not_exists(done) OR size(done) < chunks)",
            names: reserved(&["state"]),
            values: vec![(":running", attribute(CALL, OperationState::Running)?)],
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

    /// Makes sure that the end of an operation, as another delivery wrote it, can be seen on the bulk's header as well:
    /// whoever is told of the end may look there. `DynamoDB` shows the rows of a transaction one by one, and refuses to read
    /// them together until all can be seen (API reference of `TransactGetItems`).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it cannot be seen yet.
    pub async fn see_end(&self, org: &OrgId, operation: OperationId, bulk: &BulkId) -> Result<(), StoreError> {
        const CALL: &str = "TransactGetItems end";
        let get = |key| {
            let get = Get::builder().table_name(&self.table).set_key(Some(key)).projection_expression("pk").build();
            get.map(|get| TransactGetItem::builder().get(get).build()).map_err(|error| StoreError::broken(CALL, error))
        };
        let items = vec![get(operation_key(org, operation))?, get(bulk_key(org, bulk))?];
        let result = self.client.transact_get_items().set_transact_items(Some(items)).send().await;
        match result.as_ref().map_err(SdkError::as_service_error) {
            Ok(_) => Ok(()),
            Err(Some(TransactGetItemsError::TransactionCanceledException(_))) => {
                Err(StoreError::Conflict { call: CALL })
            }
            Err(_) => result.map(|_| ()).map_err(|error| StoreError::of(CALL, &error)),
        }
    }

    /// Ends an operation that found its bulk sealed, with so many items, before it could begin.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn refuse(
        &self,
        org: &OrgId,
        operation: OperationId,
        items: u32,
        now: Timestamp,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation refuse";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET #state = :failed, ended_at = :now, items_total = :items",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":failed", attribute(CALL, OperationState::Failed)?),
                (":now", attribute(CALL, now)?),
                (":items", number(items)),
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
pub(super) fn as_it_is(call: &'static str, changed: Changed) -> Result<Operation, StoreError> {
    match changed {
        Changed::Yes(item) | Changed::No(Some(item)) => read(call, item),
        Changed::No(None) => Err(StoreError::broken(call, GONE)),
    }
}
