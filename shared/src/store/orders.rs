//! Orders and the persons who create them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::bulks::number;
use super::change::{Change, Changed, reserved};
use super::progress::as_it_is;
use super::{Item, Store, StoreError, attribute, key, operation_key, read, write};
use crate::domain::ids::{OperationId, OrgId};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::order::{
    Cancellation, CancellationCode, CancellationOutcome, MAX_CANCELLATIONS, NotCancelable, Order, OrderChange,
    OrderRef, OrderStatus, PersonId,
};
use crate::domain::person::{LOCK_SECONDS, MAX_TRIES, Person, Verdict};
use crate::domain::time::Timestamp;

/// As long as fewer wrong PINs came in a row.
const MAY_BE_TOLD: &str = "attribute_exists(pk) AND (attribute_not_exists(wrong) OR size(wrong) < :most)";
/// The same, of a try that has not been written.
const COUNTS: &str = "attribute_exists(pk) AND \
                      (attribute_not_exists(wrong) OR (size(wrong) < :most AND NOT contains(wrong, :id)))";

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
        note: Cancellation,
        now: Timestamp,
    ) -> Result<Order, StoreError> {
        const CALL: &str = "UpdateItem order";
        let requested = Cancellation { requested_at: Some(now), ..note.clone() };
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
        let refusal = note_change(CALL, org, order, operation, &Cancellation { outcome, ..note })?;
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
        as_it_is(CALL, self.change(change).await?)
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
        as_it_is(CALL, self.change(change).await?)
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

    /// The persons of these who have a row, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn persons(&self, org: &OrgId, persons: &[PersonId]) -> Result<HashMap<PersonId, Person>, StoreError> {
        const CALL: &str = "BatchGetItem persons";
        let keys = persons.iter().map(|person| person_key(org, *person)).collect();
        let rows = self.batch_get(CALL, keys).await?;
        rows.into_iter().map(|row| read(CALL, row).map(|person: Person| (person.creator_id, person))).collect()
    }

    /// Puts the person's row, whatever stood there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_person(&self, org: &OrgId, person: &Person) -> Result<(), StoreError> {
        const CALL: &str = "PutItem person";
        let mut row = write(CALL, person)?;
        row.extend(person_key(org, person.creator_id));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row)).send().await;
        put.map(|_| ()).map_err(|error| StoreError::of(CALL, &error))
    }

    /// Writes the verdict on a PIN that was verified already; answers what may be said of it. A wrong one is known by this
    /// ID, and counts once. However many are verified at once, no more than [`MAX_TRIES`] wrong ones are told apart from
    /// right ones.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn judge(
        &self,
        org: &OrgId,
        person: &Person,
        wrong: Option<&str>,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        const CALL: &str = "UpdateItem person";
        let change = |update, condition, mut values: Vec<(&'static str, AttributeValue)>| {
            values.push((":most", AttributeValue::N(MAX_TRIES.to_string())));
            Change { call: CALL, key: person_key(org, person.creator_id), update, condition, names: Vec::new(), values }
        };
        let seconds = |seconds: i64| AttributeValue::N(seconds.to_string());
        if person.lock_has_ended(now) {
            let condition = "size(wrong) >= :most AND locked_until <= :now";
            let values = vec![(":now", seconds(now.epoch_seconds()))];
            self.change(change("REMOVE wrong", condition, values)).await?;
        }
        let Some(id) = wrong else {
            return Ok(match self.change(change("REMOVE wrong", MAY_BE_TOLD, Vec::new())).await? {
                Changed::Yes(_) => Verdict::Right,
                Changed::No(_) => Verdict::Locked,
            });
        };
        let values = vec![
            (":try", AttributeValue::Ss(vec![id.to_owned()])),
            (":id", AttributeValue::S(id.to_owned())),
            (":until", seconds(now.epoch_seconds() + LOCK_SECONDS)),
        ];
        match self.change(change("ADD wrong :try SET locked_until = :until", COUNTS, values)).await? {
            Changed::Yes(_) => Ok(Verdict::Wrong),
            // It was counted before: this call's own earlier try, or the same request sent twice.
            Changed::No(Some(row)) if read::<Person>(CALL, row.clone())?.wrong.contains(id) => Ok(Verdict::Wrong),
            Changed::No(_) => Ok(Verdict::Locked),
        }
    }
}

/// Notes what came of an operation's cancellation, unless that is noted, or the order has too many notes.
fn note_change(
    call: &'static str,
    org: &OrgId,
    order: &OrderRef,
    operation: OperationId,
    note: &Cancellation,
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

fn person_key(org: &OrgId, person: PersonId) -> Item {
    key(format!("{org}#PERSON#{person}"), "PERSON")
}
