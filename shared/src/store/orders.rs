//! Orders, and what came of their cancellations.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::bulks::number;
use super::change::{Change, Changed, reserved};
use super::progress::updated_or_current;
use super::{Item, Store, StoreError, attribute, key, operation_key, read, write};
use crate::domain::ids::{OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::order::{
    CancellationCode, CancellationOutcome, MAX_CANCELLATIONS, NotCancelable, Order, OrderCancellation, OrderChange,
    OrderRef, OrderStatus,
};
use crate::domain::time::Timestamp;

impl Store {
    /// The orders of these that are there, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn orders(&self, org: &OrgId, orders: &[OrderRef]) -> Result<HashMap<OrderRef, Order>, StoreError> {
        const CALL: &str = "BatchGetItem orders";
        let keys = orders.iter().map(|order| order_key(org, order)).collect();
        let rows = self.batch_get(CALL, keys).await?;
        let orders = rows.into_iter().map(|row| read(CALL, row).map(|order: Order| (order.order, order)));
        orders.collect()
    }

    async fn order(&self, org: &OrgId, order: &OrderRef) -> Result<Option<Order>, StoreError> {
        Ok(self.orders(org, std::slice::from_ref(order)).await?.remove(order))
    }

    /// Has the order's cancellation pending for this operation, if it can be canceled, and notes what came of it;
    /// or finds what came of it before. Answers the order with that note; an order that has too many gets none.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such order: one that was found once never goes away.
    pub async fn request_cancellation(
        &self,
        org: &OrgId,
        order: &OrderRef,
        operation: OperationId,
        note: OrderCancellation,
        now: Timestamp,
    ) -> Result<Order, StoreError> {
        const CALL: &str = "UpdateItem order";
        let requested = OrderCancellation { requested_at: Some(now), ..note.clone() };
        let mut request = note_change(CALL, org, order, operation, &requested)?;
        request.update = "SET cancellations.#by = :note, pending = :by";
        request.condition = "(attribute_not_exists(cancellations.#by) OR cancellations.#by.accepted_at < :accepted_at) \
                             AND size(cancellations) < :most AND attribute_not_exists(pending) \
                             AND #status IN (:active, :partially_filled)";
        request.names.extend(reserved(&["status"]));
        request.values.extend([
            (":by", attribute(CALL, operation)?),
            (":active", attribute(CALL, OrderStatus::Active)?),
            (":partially_filled", attribute(CALL, OrderStatus::PartiallyFilled)?),
        ]);
        let found: Order = match self.change(request).await? {
            Changed::Yes(row) => return read(CALL, row),
            Changed::No(Some(row)) => read(CALL, row)?,
            Changed::No(None) => return Err(StoreError::broken(CALL, "the order has no row")),
        };
        if found.is_pending_for_another_of(operation, note.accepted_at) {
            // What becomes of this one depends on that one's end, and a note of it would take that one's place.
            let reason = "a cancellation that the key asked for before it expired is pending".to_owned();
            return Err(StoreError::Retry { call: CALL, reason });
        }
        let is_noted = found.cancellation(operation, note.accepted_at).is_some();
        if is_noted || found.outcome_without_note(note.accepted_at).is_some() {
            return Ok(found);
        }
        let code = found.check_cancelable().err().map_or(CancellationCode::Other, NotCancelable::into);
        let outcome = Some(CancellationOutcome { code, at: now, version: None });
        let refusal = note_change(CALL, org, order, operation, &OrderCancellation { outcome, ..note })?;
        match self.change(refusal).await? {
            Changed::Yes(row) | Changed::No(Some(row)) => read(CALL, row),
            Changed::No(None) => Err(StoreError::broken(CALL, "the order has no row")),
        }
    }

    /// Notes that a repetition of a request to cancel orders may send its messages, too, if they are not known to be sent.
    /// From then on nobody can say that one of them was not. Answers the operation as it is then.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn note_repeated(&self, org: &OrgId, operation: OperationId) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation repeated";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET repeated = :true",
            condition: "#state = :pending",
            names: reserved(&["state"]),
            values: vec![
                (":true", AttributeValue::Bool(true)),
                (":pending", attribute(CALL, OperationState::Pending)?),
            ],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Records that the messages of a request to cancel orders are sent, what the client is told, and which orders
    /// it is about; unless another copy of the request did so before, or, if any was not sent, may be sending it. Answers
    /// what is recorded then.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such operation.
    pub async fn set_told(
        &self,
        org: &OrgId,
        operation: OperationId,
        orders: &[OrderRef],
        told: &str,
        all_sent: bool,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation told";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET orders = :orders, told = :told, #state = :running",
            condition: if all_sent {
                "#state = :pending"
            } else {
                "#state = :pending AND attribute_not_exists(repeated)"
            },
            names: reserved(&["state"]),
            values: vec![
                (":orders", attribute(CALL, orders)?),
                (":told", attribute(CALL, told)?),
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":running", attribute(CALL, OperationState::Running)?),
            ],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Applies a change of the order system's. Answers the order after it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the order changed in between.
    pub async fn apply_change(&self, org: &OrgId, change: &OrderChange, now: Timestamp) -> Result<Order, StoreError> {
        const CALL: &str = "PutItem order";
        let before = self.order(org, &change.order).await?;
        let after = before.as_ref().map_or_else(|| Order::new(change), |order| order.after(change, now));
        if before.as_ref() == Some(&after) {
            return Ok(after);
        }
        let mut row = write(CALL, &after)?;
        row.extend(order_key(org, &change.order));
        // Only if it is as it was read: what it was pending for, and every entry, count too.
        let (condition, values) = match &before {
            None => ("attribute_not_exists(pk)", Vec::new()),
            Some(before) => (
                "version = :version AND cancellations = :cancellations",
                vec![
                    (":version", AttributeValue::N(before.version.to_string())),
                    (":cancellations", attribute(CALL, &before.cancellations)?),
                ],
            ),
        };
        match self.put_unless(CALL, row, condition, &values).await? {
            None => Ok(after),
            Some(_) => Err(StoreError::Conflict { call: CALL }),
        }
    }
}

/// Notes what came of an operation's cancellation, unless that is noted, or the order has too many notes.
fn note_change(
    call: &'static str,
    org: &OrgId,
    order: &OrderRef,
    operation: OperationId,
    note: &OrderCancellation,
) -> Result<Change, StoreError> {
    Ok(Change {
        call,
        key: order_key(org, order),
        update: "SET cancellations.#by = :note",
        condition: "(attribute_not_exists(cancellations.#by) OR cancellations.#by.accepted_at < :accepted_at) \
                    AND size(cancellations) < :most",
        names: vec![("#by".to_owned(), operation.to_string())],
        values: vec![
            (":note", attribute(call, note)?),
            (":accepted_at", attribute(call, note.accepted_at)?),
            (":most", number(MAX_CANCELLATIONS)),
        ],
    })
}

fn order_key(org: &OrgId, order: &OrderRef) -> Item {
    match order {
        OrderRef::Domestic(id) => key(format!("{org}#ORDER#{id}"), "ORDER"),
        OrderRef::International(uid) => key(format!("{org}#INTL#{uid}"), "ORDER"),
    }
}
