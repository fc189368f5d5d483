//! Checks one entry against its order.

use std::collections::BTreeSet;

use shared::domain::acceptance::RETENTION_DAYS;
use shared::domain::ids::OperationId;
use shared::domain::order::{NotCancelable, Order, OrderRef, PersonId};
use shared::domain::time::Timestamp;

use crate::entry_status::EntryStatus;
use crate::wire::Entry;

/// An order, and the persons that a cancellation of it involves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acting {
    pub order: OrderRef,
    /// The person who created the order. Only their row determines whether a PIN is required, so naming another
    /// person or no one does not avoid it.
    pub creator: PersonId,
    /// The person for whom the cancellation is requested. The PIN is theirs.
    pub actor: PersonId,
}

/// Returns when the operation with this ID was accepted, from its note on the order, unless the operation has expired.
pub(crate) fn accepted_before(order: &Order, operation: OperationId, now: Timestamp) -> Option<Timestamp> {
    let note = order.cancellations.get(&operation)?;
    (note.accepted_at.plus_days(RETENTION_DAYS) > now).then_some(note.accepted_at)
}

/// Returns the order that an entry names, if no earlier entry of the request names it.
pub(crate) fn order_of(entry: Option<&Entry>, named: &mut BTreeSet<OrderRef>) -> Result<OrderRef, EntryStatus> {
    let entry = entry.ok_or(EntryStatus::Missing)?;
    let order = if entry.is_international {
        match (entry.international_order_uid, entry.creator_id) {
            (Some(uid), Some(_)) => OrderRef::International(uid),
            (None, Some(_)) => return Err(EntryStatus::UidRequired),
            (Some(_), None) => return Err(EntryStatus::CreatorRequired),
            (None, None) => return Err(EntryStatus::UidAndCreatorRequired),
        }
    } else {
        OrderRef::Domestic(entry.order_id.ok_or(EntryStatus::OrderIdRequired)?)
    };
    if named.insert(order) { Ok(order) } else { Err(EntryStatus::Repeated) }
}

/// Checks whether the order can be canceled for the person that the entry names, or for its creator if the entry
/// names no one. An order of another person has the same result as a missing order, in any state.
pub(crate) fn check(
    entry: Option<&Entry>,
    order: Option<&Order>,
    was_accepted: impl Fn(&Order) -> bool,
) -> Result<Acting, EntryStatus> {
    let order = order.ok_or(EntryStatus::NotFound)?;
    let actor = entry.and_then(|entry| entry.creator_id).unwrap_or(order.creator_id);
    if !order.may_be_acted_on_by(actor) {
        return Err(EntryStatus::NotFound);
    }
    let acting = Acting { order: order.order, creator: order.creator_id, actor };
    match order.check_cancelable() {
        // A change by this same operation must not change its response.
        _ if was_accepted(order) => Ok(acting),
        Ok(()) => Ok(acting),
        Err(NotCancelable::NotActive) => Err(EntryStatus::NotActive),
        Err(NotCancelable::Pending) => Err(EntryStatus::Pending),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const OPERATION: &str = "0192d1c0-0000-7000-8000-000000000001";
    const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(json!(text)).unwrap()
    }

    /// Returns an order of person 9, on which person 8 may act, too.
    fn order(status: &str, pending: Option<&str>) -> Order {
        let note = json!({ "cid": "c", "accepted_at": ACCEPTED });
        let order = json!({
            "order": { "order_id": 7 }, "creator_id": 9, "authorized_ids": [8], "status": status, "version": 1,
            "updated_at": ACCEPTED, "pending": pending, "cancellations": { OPERATION: note },
        });
        serde_json::from_value(order).unwrap()
    }

    fn entry(order_id: Option<i32>, creator_id: Option<i32>, uid: Option<u128>, is_international: bool) -> Entry {
        let international_order_uid = uid.map(Uuid::from_u128);
        Entry { order_id, creator_id, pin: None, is_international, international_order_uid }
    }

    #[rstest]
    #[case::null(None, Err(EntryStatus::Missing))]
    #[case::domestic(Some(entry(Some(7), None, None, false)), Ok(OrderRef::Domestic(7)))]
    #[case::domestic_with_a_uid(Some(entry(Some(7), Some(9), Some(1), false)), Ok(OrderRef::Domestic(7)))]
    #[case::no_number(Some(entry(None, Some(9), Some(1), false)), Err(EntryStatus::OrderIdRequired))]
    #[case::international(
        Some(entry(Some(7), Some(9), Some(1), true)),
        Ok(OrderRef::International(Uuid::from_u128(1)))
    )]
    #[case::no_uid(Some(entry(Some(7), Some(9), None, true)), Err(EntryStatus::UidRequired))]
    #[case::no_creator(Some(entry(Some(7), None, Some(1), true)), Err(EntryStatus::CreatorRequired))]
    #[case::neither(Some(entry(Some(7), None, None, true)), Err(EntryStatus::UidAndCreatorRequired))]
    fn an_entry_names_one_order(#[case] entry: Option<Entry>, #[case] expected: Result<OrderRef, EntryStatus>) {
        let mut named = BTreeSet::new();
        assert_eq!(order_of(entry.as_ref(), &mut named), expected);
        // A second entry for the same order is a repetition. Entries without an order never are.
        assert_eq!(order_of(entry.as_ref(), &mut named), expected.and(Err(EntryStatus::Repeated)));
        assert_eq!(named.len(), usize::from(expected.is_ok()));
    }

    #[rstest]
    #[case::creator(Some(9), Ok(9))]
    #[case::authorized(Some(8), Ok(8))]
    #[case::no_one_is_named(None, Ok(9))]
    #[case::another(Some(7), Err(EntryStatus::NotFound))]
    fn only_the_creator_and_authorized_persons_can_cancel_an_order(
        #[case] creator_id: Option<i32>,
        #[case] expected: Result<PersonId, EntryStatus>,
    ) {
        let entry = entry(Some(7), creator_id, None, false);
        let acting = expected.map(|actor| Acting { order: OrderRef::Domestic(7), creator: 9, actor });
        assert_eq!(check(Some(&entry), Some(&order("ACTIVE", None)), |_| false), acting);
        // A missing order has the same result as another person's.
        assert_eq!(check(Some(&entry), None, |_| false), Err(EntryStatus::NotFound));
        assert_eq!(
            check(Some(&entry), Some(&order("FILLED", None)), |_| false),
            expected.and(Err(EntryStatus::NotActive))
        );
    }

    #[rstest]
    #[case(order("ACTIVE", None), None)]
    #[case(order("ACTIVE", Some(OPERATION)), Some(EntryStatus::Pending))]
    #[case(order("PENDING_CANCEL", None), Some(EntryStatus::Pending))]
    #[case(order("CANCELED", None), Some(EntryStatus::NotActive))]
    fn a_change_by_the_same_operation_does_not_change_its_response(
        #[case] order: Order,
        #[case] refusal: Option<EntryStatus>,
    ) {
        let entry = entry(Some(7), None, None, false);
        assert_eq!(check(Some(&entry), Some(&order), |_| false).err(), refusal);
        assert!(check(Some(&entry), Some(&order), |_| true).is_ok());
    }

    #[rstest]
    #[case::of_late(OPERATION, "2026-11-23T00:00:00.000Z", Some(ACCEPTED))]
    #[case::on_its_last_day(OPERATION, "2027-02-20T03:04:05.677Z", Some(ACCEPTED))]
    #[case::expired(OPERATION, "2027-02-20T03:04:05.678Z", None)]
    #[case::another("0192d1c0-0000-7000-8000-000000000002", "2026-11-23T00:00:00.000Z", None)]
    fn a_note_has_the_time_when_its_operation_was_accepted(
        #[case] operation: &str,
        #[case] now: &str,
        #[case] expected: Option<&str>,
    ) {
        let found = accepted_before(&order("ACTIVE", None), operation.parse().unwrap(), at(now));
        assert_eq!(found.map(|at| json!(at)), expected.map(Value::from));
    }
}
