//! A conditional write, alone or in a transaction, and its result.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::{Item, Store, StoreError, retrying};

/// Reasons of a canceled transaction that call for reading, deciding and writing again.
const BUSY_CODES: [&str; 5] =
    ["None", "ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// An update of one row that takes place only if its condition holds.
#[derive(Clone)]
pub(super) struct Change {
    /// The name of the call, for errors.
    pub call: &'static str,
    /// The row's key.
    pub key: Item,
    /// The update expression.
    pub update: &'static str,
    /// The condition expression. It must not hold for a missing row unless the update is meant to create one.
    pub condition: &'static str,
    /// Placeholders in the update and the condition, and the attributes that they represent; see [`reserved`].
    pub names: Vec<(String, String)>,
    /// Values in the update and the condition.
    pub values: Vec<(&'static str, AttributeValue)>,
}

/// The result of a change.
pub(super) enum Changed {
    /// The update took place. Holds the row's new state.
    Yes(Item),
    /// The condition did not hold. Holds the row's current state, if it exists.
    No(Option<Item>),
}

impl Store {
    /// Makes the change if its condition holds. Retries at once, a few times, while a transaction holds the row.
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

    /// Puts the row, unless a row exists for which the condition does not hold. Returns that row.
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

    /// Makes all of these writes or none. AWS permits at most 100.
    ///
    /// A condition that does not hold is a [`StoreError::Conflict`], like another transaction on the same rows. In
    /// both cases, read and decide again.
    pub(super) async fn transact(&self, call: &'static str, writes: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let result = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = result else { return Ok(()) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return Err(StoreError::of(call, &error));
        };
        // Every reason counts. A throttled row is as busy as one that another transaction holds, and the SDK retries
        // neither. (A partition accepts about 1,000 write units a second, an AWS limit.)
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

    /// Returns this change as a part of a transaction.
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

/// Returns placeholders for attributes whose names are reserved words: `#state` for `state`.
pub(super) fn reserved(words: &[&str]) -> Vec<(String, String)> {
    words.iter().map(|word| (format!("#{word}"), (*word).to_owned())).collect()
}

fn owned<K: Into<String>, V: Into<T>, T>(pairs: impl IntoIterator<Item = (K, V)>) -> HashMap<String, T> {
    pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}
