//! Orders, and the outcomes of their cancellations.

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
    /// Returns the existing orders among these, read consistently.
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

    /// Makes this operation the order's pending cancellation, if the order can be canceled, and stores the outcome
    /// unless one is stored already. Returns the order with the outcome. An order that already holds the maximum
    /// number of outcomes stores none.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the order does not exist. An order that was found once never disappears.
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
            // This operation's outcome depends on the end of the pending one, and a note about it would overwrite
            // that one's note.
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

    /// Records that a duplicate of a cancel request may also send its messages, if they are not known to be sent.
    /// From then on, no copy of the request can report that a message was not sent. Returns the operation's new
    /// state.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
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

    /// Records that the messages of a request to cancel orders are sent, with the entries' statuses for the response,
    /// and the orders. Does nothing if another copy of the request has recorded this before. If any message was not
    /// sent, also does nothing if another copy may be sending it. Returns the operation's current state.
    ///
    /// # Errors
    /// Returns [`StoreError::Broken`] if the operation does not exist.
    pub async fn set_entry_statuses(
        &self,
        org: &OrgId,
        operation: OperationId,
        orders: &[OrderRef],
        entry_statuses: &str,
        all_sent: bool,
    ) -> Result<Operation, StoreError> {
        const CALL: &str = "UpdateItem operation entry statuses";
        let change = Change {
            call: CALL,
            key: operation_key(org, operation),
            update: "SET orders = :orders, statuses = :statuses, #state = :running",
            condition: if all_sent {
                "#state = :pending"
            } else {
                "#state = :pending AND attribute_not_exists(repeated)"
            },
            names: reserved(&["state"]),
            values: vec![
                (":orders", attribute(CALL, orders)?),
                (":statuses", attribute(CALL, entry_statuses)?),
                (":pending", attribute(CALL, OperationState::Pending)?),
                (":running", attribute(CALL, OperationState::Running)?),
            ],
        };
        updated_or_current(CALL, self.change(change).await?)
    }

    /// Applies a change from the order system. Returns the order after the change.
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if the order changed in the meantime.
    pub async fn apply_change(&self, org: &OrgId, change: &OrderChange, now: Timestamp) -> Result<Order, StoreError> {
        const CALL: &str = "PutItem order";
        let before = self.order(org, &change.order).await?;
        let after = before.as_ref().map_or_else(|| Order::new(change), |order| order.after(change, now));
        if before.as_ref() == Some(&after) {
            return Ok(after);
        }
        let mut row = write(CALL, &after)?;
        row.extend(order_key(org, &change.order));
        // The row must be the one that was read: its pending cancellation and all its entries count too.
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

/// Returns the change that stores the outcome of an operation's cancellation, unless it is stored already or the
/// order holds the maximum number.
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
