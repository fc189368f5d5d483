//! Card rows: read, bound, reissued.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::{Item, Store, StoreError, attribute, card_key, read};
use crate::domain::bind::{Bind, BindEffect, BindRefusal, ReplacedCard, check_card, check_reissued};
use crate::domain::card::{Bound, Card, CardStatus, Replaced};
use crate::domain::ids::{CardId, OperationId, OrgId};
use crate::domain::time::Timestamp;

/// Tries of a bind whose rows are held by another transaction, or changed between read and write.
/// After the last the message goes back to its queue.
const CONFLICT_ATTEMPTS: u32 = 4;
/// Longest wait before the second try; doubled for each further one, and drawn at random below that.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// A conditional update, on its own or in a transaction.
struct Change {
    key: Item,
    update: &'static str,
    condition: &'static str,
    names: &'static [(&'static str, &'static str)],
    values: Vec<(&'static str, AttributeValue)>,
}

impl Store {
    /// The card, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn card(&self, org: &OrgId, card: CardId) -> Result<Option<Card>, StoreError> {
        const CALL: &str = "GetItem card";
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(card_key(org, card)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::of(CALL, &error))?;
        output.item.map(|item| read(CALL, item)).transpose()
    }

    /// Binds the card, and replaces the one that it is to replace, if the rules allow it and this
    /// operation has not done so before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn bind(
        &self,
        org: &OrgId,
        operation: OperationId,
        bind: &Bind,
        now: Timestamp,
    ) -> Result<BindEffect, StoreError> {
        let mark = Bound { by: operation, at: now, account_id: bind.account_id, customer_id: bind.customer_id };
        let mut attempt = 1;
        loop {
            let result = match bind.reissued_card_id {
                None => self.bind_plain(org, bind.card_id, &mark).await,
                Some(reissued) => self.reissue(org, bind, reissued, &mark).await,
            };
            match result {
                Err(StoreError::Conflict { .. }) if attempt < CONFLICT_ATTEMPTS => {
                    let wait = CONFLICT_WAIT * 2_u32.pow(attempt - 1);
                    tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// One conditional write: it does the bind, finds it done by this operation, or finds why not.
    async fn bind_plain(&self, org: &OrgId, card: CardId, mark: &Bound) -> Result<BindEffect, StoreError> {
        const CALL: &str = "UpdateItem card";
        let change = bind_change(CALL, org, card, mark)?;
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(change.key))
            .update_expression(change.update)
            .condition_expression(change.condition)
            .set_expression_attribute_names(Some(owned(change.names.iter().copied())))
            .set_expression_attribute_values(Some(owned(change.values)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let failed = match result {
            Ok(_) => return Ok(BindEffect::Bound { at: mark.at, replaced: None }),
            Err(SdkError::ServiceError(error)) => match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed,
                error => return Err(StoreError::of_service(CALL, &error)),
            },
            Err(error) => return Err(StoreError::of(CALL, &error)),
        };
        let card: Option<Card> = failed.item.map(|item| read(CALL, item)).transpose()?;
        if let Some(at) = marked(card.as_ref(), mark.by) {
            return Ok(BindEffect::Bound { at, replaced: None });
        }
        match check_card(card.as_ref()) {
            Err(code) => Ok(refused(code, card.as_ref())),
            Ok(_) => Err(StoreError::broken(CALL, "refused a card that is UNBOUND")),
        }
    }

    /// Reads both cards, decides, and writes both in one transaction on the condition that they are
    /// as they were read.
    async fn reissue(
        &self,
        org: &OrgId,
        bind: &Bind,
        reissued: CardId,
        mark: &Bound,
    ) -> Result<BindEffect, StoreError> {
        const CALL: &str = "TransactWriteItems reissue";
        let card = self.card(org, bind.card_id).await?;
        let old = self.card(org, reissued).await?;
        // "Mine already" is asked of the card that was read last. Both marks were written at once: were
        // the other card asked, a transaction between the two reads would look like somebody else's.
        if let Some((at, replaced)) = replaced_before(old.as_ref(), mark.by) {
            return Ok(BindEffect::Bound { at, replaced: Some(replaced) });
        }
        let checked = check_card(card.as_ref()).and_then(|_| check_reissued(old.as_ref(), bind));
        let (old, new_status) = match checked {
            Ok(checked) => checked,
            Err(code) => return Ok(refused(code, card.as_ref())),
        };
        let replaced = Replaced { by: mark.by, at: mark.at, new_card_id: bind.card_id, previous_status: old.status };
        self.write_both(
            CALL,
            bind_change(CALL, org, bind.card_id, mark)?,
            replace_change(CALL, org, reissued, bind, new_status, &replaced)?,
        )
        .await?;
        let replaced = ReplacedCard {
            card_id: reissued,
            previous_status: old.status,
            contactless_enabled: old.facts.contactless_enabled,
        };
        Ok(BindEffect::Bound { at: mark.at, replaced: Some(replaced) })
    }

    async fn write_both(&self, call: &'static str, one: Change, other: Change) -> Result<(), StoreError> {
        let result = self
            .client
            .transact_write_items()
            .transact_items(one.in_transaction(call, &self.table)?)
            .transact_items(other.in_transaction(call, &self.table)?)
            .send()
            .await;
        let Err(error) = result else { return Ok(()) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return Err(StoreError::of(call, &error));
        };
        // Every reason counts. A condition that failed and a conflict both say: read again and decide
        // again. Anything else (throttling, say) is for a later delivery.
        let codes: Vec<_> = canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.iter().all(|code| matches!(*code, "None" | "ConditionalCheckFailed" | "TransactionConflict")) {
            return Err(StoreError::Conflict { call });
        }
        Err(StoreError::canceled(call, &codes))
    }
}

impl Change {
    fn in_transaction(self, call: &'static str, table: &str) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(self.key))
            .update_expression(self.update)
            .condition_expression(self.condition)
            .set_expression_attribute_names(Some(owned(self.names.iter().copied())))
            .set_expression_attribute_values(Some(owned(self.values)))
            .build()
            .map_err(|error| StoreError::broken(call, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

fn owned<K: Into<String>, V: Into<T>, T>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> std::collections::HashMap<String, T> {
    pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// UNBOUND → CREATED, with the mark.
fn bind_change(call: &'static str, org: &OrgId, card: CardId, mark: &Bound) -> Result<Change, StoreError> {
    Ok(Change {
        key: card_key(org, card),
        update: "SET #status = :created, #bound = :mark",
        condition: "#status = :unbound AND attribute_not_exists(#bound)",
        names: &[("#status", "status"), ("#bound", "bound")],
        values: vec![
            (":unbound", attribute(call, CardStatus::Unbound)?),
            (":created", attribute(call, CardStatus::Created)?),
            (":mark", attribute(call, mark)?),
        ],
    })
}

/// The card's status as read → its status once replaced, with the mark.
fn replace_change(
    call: &'static str,
    org: &OrgId,
    card: CardId,
    bind: &Bind,
    status: CardStatus,
    mark: &Replaced,
) -> Result<Change, StoreError> {
    Ok(Change {
        key: card_key(org, card),
        update: "SET #status = :status, #replaced = :mark",
        condition: "#status = :previous AND attribute_not_exists(#replaced) \
                    AND #bound.account_id = :account AND #bound.customer_id = :customer",
        names: &[("#status", "status"), ("#bound", "bound"), ("#replaced", "replaced")],
        values: vec![
            (":previous", attribute(call, mark.previous_status)?),
            (":status", attribute(call, status)?),
            (":mark", attribute(call, mark)?),
            (":account", attribute(call, bind.account_id)?),
            (":customer", attribute(call, bind.customer_id)?),
        ],
    })
}

/// When this operation bound the card, if it did.
fn marked(card: Option<&Card>, operation: OperationId) -> Option<Timestamp> {
    card?.bound.as_ref().filter(|bound| bound.by == operation).map(|bound| bound.at)
}

/// The card as this operation replaced it, and when, if it did.
fn replaced_before(card: Option<&Card>, operation: OperationId) -> Option<(Timestamp, ReplacedCard)> {
    let card = card?;
    let mark = card.replaced.as_ref().filter(|mark| mark.by == operation)?;
    let replaced = ReplacedCard {
        card_id: card.card_id,
        previous_status: mark.previous_status,
        contactless_enabled: card.facts.contactless_enabled,
    };
    Some((mark.at, replaced))
}

fn refused(code: BindRefusal, card: Option<&Card>) -> BindEffect {
    BindEffect::Refused { code, card_status: card.map(|card| card.status) }
}
