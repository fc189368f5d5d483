//! A conditional write, on its own or in a transaction, and what came of it.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::{Item, Store, StoreError, retrying};

/// Reasons for which a transaction is canceled that say: read again, decide again, try again.
const BUSY_CODES: [&str; 5] =
    ["None", "ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// An update of one row that is done only if its condition holds.
#[derive(Clone)]
pub(super) struct Change {
    /// For errors.
    pub call: &'static str,
    /// The row.
    pub key: Item,
    /// What is written.
    pub update: &'static str,
    /// When it is. It must not hold for a row that is not there, unless the update is to make one.
    pub condition: &'static str,
    /// Placeholders in update and condition, and the attributes that they stand for; see [`reserved`].
    pub names: Vec<(String, String)>,
    /// Values of update and condition.
    pub values: Vec<(&'static str, AttributeValue)>,
}

/// What came of a change.
pub(super) enum Changed {
    /// It was done; the row as it is now.
    Yes(Item),
    /// The condition did not hold; the row as it is, if there is one.
    No(Option<Item>),
}

impl Store {
    /// Does the change, or finds that its condition does not hold; tries again at once, a few times, while
    /// a transaction holds the row.
    pub(super) async fn change(&self, change: Change) -> Result<Changed, StoreError> {
        retrying(|| self.try_change(change.clone())).await
    }

    async fn try_change(&self, change: Change) -> Result<Changed, StoreError> {
        let call = change.call;
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_expression_attribute_names(change.owned_names())
            .set_expression_attribute_values(Some(owned(change.values)))
            .set_key(Some(change.key))
            .update_expression(change.update)
            .condition_expression(change.condition)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(output) => Ok(Changed::Yes(output.attributes.unwrap_or_default())),
            Err(SdkError::ServiceError(error)) => match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => Ok(Changed::No(failed.item)),
                error => Err(StoreError::of_service(call, &error)),
            },
            Err(error) => Err(StoreError::of(call, &error)),
        }
    }

    /// Puts the row, unless one stands there for which the condition does not hold: answers that one.
    pub(super) async fn put_unless(
        &self,
        call: &'static str,
        row: Item,
        condition: &'static str,
        values: &[(&'static str, AttributeValue)],
    ) -> Result<Option<Item>, StoreError> {
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then(|| owned(values.iter().cloned())))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(None),
            Err(SdkError::ServiceError(error)) => match error.into_err() {
                PutItemError::ConditionalCheckFailedException(failed) => {
                    failed.item.map(Some).ok_or_else(|| StoreError::broken(call, "no row came with the failure"))
                }
                error => Err(StoreError::of_service(call, &error)),
            },
            Err(error) => Err(StoreError::of(call, &error)),
        }
    }

    /// All or none of these writes (at most 100, AWS limit).
    ///
    /// A condition that does not hold is a [`StoreError::Conflict`], like another transaction on the
    /// same rows: read again, and decide again.
    pub(super) async fn transact(&self, call: &'static str, writes: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let result = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = result else { return Ok(()) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return Err(StoreError::of(call, &error));
        };
        // Every reason counts. A row that is throttled is as busy as one that another transaction holds (a
        // partition takes some 1,000 write units a second, AWS limit); the SDK tries neither again.
        let codes: Vec<_> = canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.iter().all(|code| BUSY_CODES.contains(code)) {
            return Err(StoreError::Conflict { call });
        }
        Err(StoreError::canceled(call, &codes))
    }
}

impl Change {
    fn owned_names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| owned(self.names.iter().cloned()))
    }

    /// This change as a part of a transaction.
    pub(super) fn in_transaction(self, store: &Store) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&store.table)
            .set_expression_attribute_names(self.owned_names())
            .set_expression_attribute_values(Some(owned(self.values)))
            .set_key(Some(self.key))
            .update_expression(self.update)
            .condition_expression(self.condition)
            .build()
            .map_err(|error| StoreError::broken(self.call, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Placeholders for attributes whose names are reserved words: `#state` for `state`.
pub(super) fn reserved(words: &[&str]) -> Vec<(String, String)> {
    words.iter().map(|word| (format!("#{word}"), (*word).to_owned())).collect()
}

fn owned<K: Into<String>, V: Into<T>, T>(pairs: impl IntoIterator<Item = (K, V)>) -> HashMap<String, T> {
    pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}
