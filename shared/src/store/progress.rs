//! Operations on a whole bulk: planned once, counted off chunk by chunk, ended once.

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

/// What an operation did to the items of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub items: u32,
    /// Those that it changed.
    pub changed: u32,
    /// Those of them that it canceled before they had a card.
    pub blank: u32,
    /// Those that it was refused.
    pub failed: u32,
}

impl Store {
    /// Begins this operation, which was PENDING when it was read: fixes the batches that it is about, and notes on the
    /// bulk's header that it is under way, together. Returns it as it is then; if another delivery has begun it, as that
    /// did.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the rows are held by others; [`StoreError::Broken`] if it is no operation on a bulk.
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
        updated_or_current(CALL, self.change(change).await?)
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
        updated_or_current(CALL, self.change(change).await?)
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
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Counts a chunk off, once.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn complete_chunk(
        &self,
        org: &OrgId,
        operation: OperationId,
        chunk: u32,
        counts: Counts,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation count off";
        let Counts { items, changed, blank, failed } = counts;
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "ADD done :set, items_done :items, items_changed :changed, items_blank :blank, items_failed :failed",
            condition: "attribute_exists(pk) AND NOT contains(done, :chunk)",
            names: Vec::new(),
            values: vec![
                (":set", number_set(chunk)),
                (":chunk", number(chunk)),
                (":items", number(items)),
                (":changed", number(changed)),
                (":blank", number(blank)),
                (":failed", number(failed)),
            ],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Ends a start that is complete, and counts its cards on the bulk's header, together and once. Of the batches that it
    /// was about, no item is pending any more.
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

    /// Ends a cancel that is complete, and writes on the bulk's header what it came to: together, once, and only if what
    /// that was made of is as it was read. `after` is the bulk once the cancel is done.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the header has changed, or the operation has ended.
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
        updated_or_current(CALL, self.change(change).await?)
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
pub(super) fn updated_or_current(call: &'static str, changed: Changed) -> Result<Operation, StoreError> {
    match changed {
        Changed::Yes(item) | Changed::No(Some(item)) => read(call, item),
        Changed::No(None) => Err(StoreError::broken(call, GONE)),
    }
}
