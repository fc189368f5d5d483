//! Operation rows: put if absent, ended once.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;

use super::change::{Change, Changed, reserved};
use super::{EXPIRES_AT, GONE, Store, StoreError, attribute, operation_key, read, write};
use crate::domain::bind::BindOutcome;
use crate::domain::ids::{OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::time::Timestamp;

/// What became of recording an operation.
#[derive(Debug)]
pub enum Recorded {
    /// It is new.
    New,
    /// One of its ID stood there already: a repeated request, or this call's own earlier try.
    Existing(Box<Operation>),
}

#[derive(Deserialize)]
struct OperationRow {
    #[serde(flatten)]
    operation: Operation,
    expires_at: i64,
}

#[derive(Deserialize)]
struct OutcomeRow {
    outcome: BindOutcome,
}

impl Store {
    /// The operation, read consistently; `None` if there is none or it has expired by `now`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn operation(
        &self,
        org: &OrgId,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<Option<Operation>, StoreError> {
        const CALL: &str = "GetItem operation";
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(operation_key(org, operation)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::of(CALL, &error))?;
        let row: Option<OperationRow> = output.item.map(|item| read(CALL, item)).transpose()?;
        Ok(row.filter(|row| row.expires_at > now.epoch_seconds()).map(|row| row.operation))
    }

    /// Records the operation unless one of its ID stands there and has not expired by `now`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record_operation(&self, operation: &Operation, now: Timestamp) -> Result<Recorded, StoreError> {
        const CALL: &str = "PutItem operation";
        let mut item = write(CALL, operation)?;
        item.extend(operation_key(&operation.org_id, operation.operation_id));
        item.insert(EXPIRES_AT.to_owned(), AttributeValue::N(operation.expires_at().to_string()));
        let now = (":now", AttributeValue::N(now.epoch_seconds().to_string()));
        match self.put_unless(CALL, item, "attribute_not_exists(pk) OR expires_at <= :now", &[now]).await? {
            None => Ok(Recorded::New),
            Some(existing) => Ok(Recorded::Existing(Box::new(read(CALL, existing)?))),
        }
    }

    /// Ends a bind operation with this outcome, unless it has one already. Answers the outcome that is
    /// stored: the first one, for ever.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation (it is updated, never made, here).
    pub async fn end_bind(
        &self,
        org: &OrgId,
        operation: OperationId,
        outcome: BindOutcome,
    ) -> Result<BindOutcome, StoreError> {
        const CALL: &str = "UpdateItem operation";
        let state = match outcome {
            BindOutcome::Success { .. } => OperationState::Succeeded,
            BindOutcome::Failure { .. } => OperationState::Failed,
        };
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET #state = :state, outcome = :outcome, ended_at = :at",
            condition: "attribute_exists(pk) AND attribute_not_exists(outcome)",
            names: reserved(&["state"]),
            values: vec![
                (":state", attribute(CALL, state)?),
                (":outcome", attribute(CALL, &outcome)?),
                (":at", attribute(CALL, outcome.at())?),
            ],
        };
        match self.change(change).await? {
            Changed::Yes(_) => Ok(outcome),
            Changed::No(Some(item)) => Ok(read::<OutcomeRow>(CALL, item)?.outcome),
            Changed::No(None) => Err(StoreError::broken(CALL, GONE)),
        }
    }

    /// Ends an operation that was done within its request. Of use to its idempotency key alone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_request(&self, org: &OrgId, operation: OperationId, now: Timestamp) -> Result<(), StoreError> {
        const CALL: &str = "UpdateItem operation";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET #state = :ended, ended_at = :at",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":ended", attribute(CALL, OperationState::Succeeded)?),
                (":at", attribute(CALL, now)?),
            ],
        };
        // One that has ended before is as good.
        self.change(change).await.map(|_| ())
    }
}
