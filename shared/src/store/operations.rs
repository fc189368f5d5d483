//! Rows of operations: put if absent, and ended once.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;

use super::change::{Change, Changed, reserved};
use super::{EXPIRES_AT, GONE, Store, StoreError, attribute, operation_key, read, write};
use crate::domain::bind::BindOutcome;
use crate::domain::ids::{OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::time::Timestamp;

/// The result of recording an operation.
#[derive(Debug)]
pub enum Recorded {
    /// The operation is new.
    New,
    /// An operation with the same ID exists: from an earlier request, or from an earlier attempt of this call.
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
    /// Returns the operation, read consistently, or `None` if it does not exist or has expired by `now`.
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

    /// Records the operation unless one with its ID exists that has not expired by `now`.
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

    /// Ends a bind operation with this outcome, unless it has ended already. Returns the stored outcome, which never
    /// changes.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist. This method updates it and never creates it.
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

    /// Ends an operation that was completed within its request. Only its idempotency key needs this.
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
        // A condition that does not hold means that the operation has ended already.
        self.change(change).await.map(|_| ())
    }
}
