//! Operations on a whole bulk: planned once, completed chunk by chunk, and ended once.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::types::{Get, TransactGetItem};

use super::bulks::{number, number_set, numbers, text_set};
use super::change::{Change, Changed, reserved};
use super::{GONE, Store, StoreError, attribute, bulk_key, operation_key, read, retrying};
use crate::domain::bulk::{Bulk, Planned};
use crate::domain::cancel::CancelType;
use crate::domain::ids::{BulkId, OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState, Progress, Subject};
use crate::domain::time::Timestamp;

/// The number of a chunk's items, by the operation's effect on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All items of the chunk.
    pub items: u32,
    /// Items that the operation changed.
    pub changed: u32,
    /// Changed items that it canceled before they had a card.
    pub without_card: u32,
    /// Items that it could not change.
    pub failed: u32,
}

impl Store {
    /// Marks this operation as running; it was PENDING when it was read. In one transaction, it fixes the operation's
    /// batches and records on the bulk's header that the operation is running. Returns the operation's new state, or
    /// the state that another delivery wrote.
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if other transactions hold the rows, and [`StoreError::Broken`] if the
    /// operation is not about a bulk.
    pub async fn mark_running(
        &self,
        operation: &Operation,
        bulk: &BulkId,
        batches: &BTreeSet<u32>,
        now: Timestamp,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "TransactWriteItems begin";
        let Operation { org_id, operation_id, .. } = operation;
        let mut begun = operation.clone();
        let (update, progress) = match &mut begun.subject {
            Subject::StartBulk { progress, .. } => ("ADD starting :operation", progress),
            Subject::CancelBulk { progress, .. } => ("ADD canceling :operation", progress),
            _ => return Err(StoreError::broken(CALL, "the operation is of another kind")),
        };
        progress.batches.clone_from(batches);
        begun.state = OperationState::Running;
        let running = Change {
            call: CALL,
            key: operation_key(org_id, *operation_id),
            update: "SET #state = :running, batches = :batches",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":running", attribute(CALL, OperationState::Running)?),
                (":batches", numbers(batches)),
            ],
        };
        let header = Change {
            call: CALL,
            key: bulk_key(org_id, bulk),
            update,
            condition: "attribute_exists(pk)",
            names: Vec::new(),
            values: vec![(":operation", text_set(operation_id))],
        };
        let (running, header) = (&running, &header);
        retrying(|| async move {
            let writes = vec![running.clone().in_transaction(self)?, header.clone().in_transaction(self)?];
            match self.transact(CALL, writes).await {
                Err(StoreError::Conflict { call }) => match self.operation(org_id, *operation_id, now).await? {
                    Some(other) if other.state != OperationState::Pending => Ok(Some(other)),
                    _ => Err(StoreError::Conflict { call }),
                },
                written => written.map(|()| None),
            }
        })
        .await
        .map(|other| other.unwrap_or(begun))
    }

    /// Records how far the operation is planned, unless it is planned that far already. Returns the operation's
    /// current state.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
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
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Records the number of chunks and of their items, once all their messages are sent.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
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
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Removes a running operation's plan, so that planning starts again. Completed chunks stay completed. The method
    /// leaves an operation alone that is not running, or whose chunks are all complete, because a delivery may be
    /// about to end it. Returns the operation's current state.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
    pub async fn forget_plan(&self, org: &OrgId, operation: OperationId) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation forget plan";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "REMOVE planned, chunks, items_total",
            condition: "#state = :running AND \
                        (attribute_not_exists(chunks) OR attribute_not_exists(done) OR size(done) < chunks)",
            names: reserved(&["state"]),
            values: vec![(":running", attribute(CALL, OperationState::Running)?)],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Records that a chunk is complete, and adds its counts, once.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
    pub async fn complete_chunk(
        &self,
        org: &OrgId,
        operation: OperationId,
        chunk: u32,
        counts: Counts,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation complete chunk";
        let Counts { items, changed, without_card, failed } = counts;
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "ADD done :set, items_done :items, items_changed :changed, items_blank :blank, \
                     items_failed :failed",
            condition: "attribute_exists(pk) AND NOT contains(done, :chunk)",
            names: Vec::new(),
            values: vec![
                (":set", number_set(chunk)),
                (":chunk", number(chunk)),
                (":items", number(items)),
                (":changed", number(changed)),
                (":blank", number(without_card)),
                (":failed", number(failed)),
            ],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Ends a start that is complete, and counts its cards on the bulk's header, once, in one transaction. From then
    /// on, no item of its batches is pending.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_start(
        &self,
        org: &OrgId,
        operation: OperationId,
        bulk: &BulkId,
        Progress { batches, items_changed: issued, .. }: &Progress,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const CALL: &str = "TransactWriteItems end start";
        let header = Change {
            call: CALL,
            key: bulk_key(org, bulk),
            update: "ADD issued :issued, settled :batches DELETE starting :operation",
            condition: "attribute_exists(pk)",
            names: Vec::new(),
            values: vec![
                (":issued", number(*issued)),
                (":batches", numbers(batches)),
                (":operation", text_set(operation)),
            ],
        };
        let writes = vec![end_running(CALL, org, operation, now)?.in_transaction(self)?, header.in_transaction(self)?];
        self.transact(CALL, writes).await
    }

    /// Ends a cancel that is complete, and writes its result on the bulk's header, once, in one transaction. The
    /// result is written only if the header is still as it was read (`before`). `after` is the bulk once the cancel
    /// is done.
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if the header has changed, or the operation has ended.
    pub async fn end_cancel(
        &self,
        org: &OrgId,
        operation: OperationId,
        (before, after): (&Bulk, &Bulk),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const CALL: &str = "TransactWriteItems end cancel";
        let mut header = Change {
            call: CALL,
            key: bulk_key(org, &before.bulk_id),
            update: "SET extent = :extent, canceled = :after, canceled_blank = :blank DELETE canceling :operation",
            condition: "attribute_not_exists(extent) AND #items = :items AND canceled = :before",
            names: reserved(&["items"]),
            values: vec![
                (":extent", attribute(CALL, after.extent)?),
                (":items", number(before.items)),
                (":before", number(before.canceled)),
                (":after", number(after.canceled)),
                (":blank", number(after.canceled_blank)),
                (":operation", text_set(operation)),
            ],
        };
        if before.extent.is_some() {
            header.condition = "extent = :was AND #items = :items AND canceled = :before";
            header.values.push((":was", attribute(CALL, before.extent)?));
        }
        if after.extent == Some(CancelType::Full) {
            header.update = "SET extent = :extent, canceled = :after, canceled_blank = :blank, \
                             sealed_by = if_not_exists(sealed_by, :by) DELETE canceling :operation";
            header.values.push((":by", attribute(CALL, operation)?));
        }
        let mut end = end_running(CALL, org, operation, now)?;
        end.update = "SET #state = :ended, ended_at = :now, bulk_status = :bulk, cancellation = :cancellation";
        end.values.push((":bulk", attribute(CALL, after.status())?));
        end.values.push((":cancellation", attribute(CALL, after.cancellation())?));
        self.transact(CALL, vec![end.in_transaction(self)?, header.in_transaction(self)?]).await
    }

    /// Ensures that the end of an operation, written by another delivery, is also visible on the bulk's header,
    /// because a subscriber may read the header when it receives the event. `DynamoDB` makes the rows of a
    /// transaction visible one by one. It rejects reading them together until all are visible (API reference of
    /// `TransactGetItems`).
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if the end is not visible yet.
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

    /// Ends an operation that found its bulk sealed before it could start. `items` is the bulk's number of items.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
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
        updated_or_current(CALL, self.change(change).await?)
    }
}

/// Returns the change of an operation's state from RUNNING to SUCCEEDED.
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

/// Returns the operation's current state, whether or not the change was made.
pub(super) fn updated_or_current(call: &'static str, changed: Changed) -> Result<Operation, StoreError> {
    match changed {
        Changed::Yes(item) | Changed::No(Some(item)) => read(call, item),
        Changed::No(None) => Err(StoreError::broken(call, GONE)),
    }
}
