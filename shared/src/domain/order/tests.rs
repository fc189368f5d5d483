use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::domain::ids::OrgId;

const OPERATION: &str = "0192d1c0-0000-7000-8000-000000000001";
const ANOTHER: &str = "0192d1c0-0000-7000-8000-000000000002";
const LIVE: [OrderStatus; 3] = [OrderStatus::Active, OrderStatus::PartiallyFilled, OrderStatus::PendingCancel];
const FINAL: [OrderStatus; 4] =
    [OrderStatus::Filled, OrderStatus::Canceled, OrderStatus::Rejected, OrderStatus::Expired];

fn now() -> Timestamp {
    serde_json::from_value(json!("2026-11-22T03:04:05.678Z")).unwrap()
}

fn change(version: u64, status: OrderStatus) -> OrderChange {
    let order = OrderRef::Domestic(7);
    OrderChange { order, creator_id: 9, authorized_ids: None, status, version, updated_at: now(), rejected: None }
}

fn refusal(version: u64, operation: &str) -> OrderChange {
    let rejected = Some((operation.parse().unwrap(), CancellationCode::Other));
    OrderChange { rejected, ..change(version, OrderStatus::Active) }
}

/// Returns version 1 of an order, with a cancellation pending.
fn pending() -> Order {
    let operation: OperationId = OPERATION.parse().unwrap();
    let cid = "c".parse().unwrap();
    let cancellation = OrderCancellation { cid, accepted_at: now(), requested_at: Some(now()), outcome: None };
    Order {
        pending: Some(operation),
        cancellations: BTreeMap::from([(operation, cancellation)]),
        ..Order::new(&change(1, OrderStatus::Active))
    }
}

fn outcome(order: &Order) -> Option<(CancellationCode, Option<u64>)> {
    let outcome = order.cancellations.values().next()?.outcome.as_ref()?;
    Some((outcome.code, outcome.version))
}

fn after(order: &Order, changes: &[OrderChange]) -> Order {
    changes.iter().fold(order.clone(), |order, change| order.after(change, now()))
}

#[rstest]
#[case::lives_on(change(2, OrderStatus::PartiallyFilled), None)]
#[case::pending(change(2, OrderStatus::PendingCancel), None)]
#[case::canceled(change(2, OrderStatus::Canceled), Some((CancellationCode::Canceled, Some(2))))]
#[case::filled(change(2, OrderStatus::Filled), Some((CancellationCode::TooLateToCancel, Some(2))))]
#[case::older(change(1, OrderStatus::Canceled), None)]
#[case::refused(refusal(2, OPERATION), Some((CancellationCode::Other, Some(2))))]
#[case::refused_late(refusal(1, OPERATION), Some((CancellationCode::Other, Some(1))))]
#[case::another_refused(refusal(2, ANOTHER), None)]
fn a_change_may_end_a_pending_cancellation(
    #[case] change: OrderChange,
    #[case] expected: Option<(CancellationCode, Option<u64>)>,
) {
    let order = pending().after(&change, now());
    assert_eq!((outcome(&order), order.pending.is_some()), (expected, expected.is_none()));
}

/// Person 9 created the order. Version 1 authorizes person 8 too.
#[rstest]
#[case::not_set(None, 2, &[8, 9])]
#[case::only_the_creator(Some(vec![]), 2, &[9])]
#[case::others(Some(vec![6, 7]), 2, &[6, 7, 9])]
#[case::same_version(Some(vec![7]), 1, &[8, 9])]
#[case::older(Some(vec![]), 0, &[8, 9])]
fn the_newest_change_determines_who_may_act(
    #[case] ids: Option<Vec<PersonId>>,
    #[case] version: u64,
    #[case] may: &[PersonId],
) {
    let authorized = |version, ids: Option<Vec<PersonId>>| OrderChange {
        authorized_ids: ids.map(|ids| ids.into_iter().collect()),
        ..change(version, OrderStatus::Active)
    };
    let order = Order::new(&authorized(1, Some(vec![8]))).after(&authorized(version, ids), now());
    let found: Vec<PersonId> = (0..10).filter(|person| order.may_be_acted_on_by(*person)).collect();
    assert_eq!(found, may);
    let row = serde_json::to_value(&order).unwrap();
    assert_eq!(serde_json::from_value::<Order>(row).unwrap(), order);
    assert!(Order::new(&change(1, OrderStatus::Active)).authorized_ids.is_empty());
}

/// The key was used three months ago for a cancellation of the same order. A late refusal of that one must not end
/// the current one. Both version and time must indicate the earlier one, because order systems may date a refusal by
/// the order's last change.
#[rstest]
#[case::of_then(1, "2026-08-01T00:00:00.000Z", false)]
#[case::of_a_day_before(1, "2026-11-21T03:04:05.677Z", false)]
#[case::of_less_than_a_day_before(1, "2026-11-21T03:04:05.678Z", true)]
#[case::of_the_same_version(3, "2026-11-21T03:04:05.677Z", true)]
#[case::dated_by_the_last_change(3, "2026-08-01T00:00:00.000Z", true)]
#[case::overtaken(1, "2026-11-22T03:04:05.678Z", true)]
#[case::by_a_clock_behind(1, "2026-11-21T12:00:00.000Z", true)]
fn a_refusal_of_an_earlier_cancellation_ends_no_later_one(
    #[case] version: u64,
    #[case] updated_at: &str,
    #[case] ends: bool,
) {
    let order = Order { version: 3, ..pending() };
    let updated_at = serde_json::from_value(json!(updated_at)).unwrap();
    let after = order.after(&OrderChange { updated_at, ..refusal(version, OPERATION) }, now());
    assert_eq!((after.pending.is_none(), outcome(&after).is_some()), (ends, ends));
}

/// Only an order at the market can be canceled, by one cancellation at a time, and while another outcome can be
/// stored.
#[rstest]
fn an_order_at_the_market_without_a_pending_cancellation_can_be_canceled(
    #[values(0, 1, MAX_CANCELLATIONS - 1, MAX_CANCELLATIONS, MAX_CANCELLATIONS + 1)] notes: u32,
    #[values(false, true)] is_pending: bool,
) {
    let note = OrderCancellation { requested_at: None, ..pending().cancellations.into_values().next().unwrap() };
    let id = |number: u32| OperationId::from_uuid(Uuid::from_u128(number.into()));
    let cancellations: BTreeMap<_, _> = (0..notes).map(|number| (id(number), note.clone())).collect();
    let of = |status| Order {
        pending: is_pending.then(|| id(0)),
        cancellations: cancellations.clone(),
        ..Order::new(&change(1, status))
    };
    let is_open = !is_pending && notes < MAX_CANCELLATIONS;
    let at_the_market = if is_open { Ok(()) } else { Err(NotCancelable::Pending) };
    assert_eq!(of(OrderStatus::Active).check_cancelable(), at_the_market);
    assert_eq!(of(OrderStatus::PartiallyFilled).check_cancelable(), at_the_market);
    assert_eq!(of(OrderStatus::PendingCancel).check_cancelable(), Err(NotCancelable::Pending));
    for status in FINAL {
        assert_eq!(of(status).check_cancelable(), Err(NotCancelable::NotActive));
    }
    // A cancellation after the last one that fits is refused finally, as of its acceptance.
    let code = CancellationCode::Other;
    let refused = (notes >= MAX_CANCELLATIONS).then_some(CancellationOutcome { code, at: now(), version: None });
    assert_eq!(of(OrderStatus::Active).outcome_without_note(now()), refused);
}

#[rstest]
#[case(CancellationCode::Canceled, EventStatus::Success)]
#[case(CancellationCode::TooLateToCancel, EventStatus::Failure)]
#[case(CancellationCode::UnknownOrder, EventStatus::Failure)]
#[case(CancellationCode::AlreadyPendingCancel, EventStatus::Failure)]
#[case(CancellationCode::Other, EventStatus::Failure)]
fn a_code_has_a_status_and_a_message(#[case] code: CancellationCode, #[case] expected: EventStatus) {
    assert_eq!(code.status(), expected);
    assert!(code.message().ends_with('.') && code.message().contains(' '));
}

#[test]
fn a_reason_not_to_cancel_has_its_outcome_code() {
    assert_eq!(CancellationCode::from(NotCancelable::NotActive), CancellationCode::TooLateToCancel);
    assert_eq!(CancellationCode::from(NotCancelable::Pending), CancellationCode::AlreadyPendingCancel);
}

#[test]
fn an_order_is_named_by_its_number_or_its_uid() {
    let uid = Uuid::from_u128(7);
    let (domestic, international) = (OrderRef::Domestic(-5), OrderRef::International(uid));
    assert_eq!((domestic.ids(), international.ids()), ((Some(-5), None), (None, Some(uid))));
    assert_eq!((domestic.to_string(), international.to_string()), ("-5".to_owned(), uid.to_string()));
    // JSON represents every integer up to this one exactly.
    assert_eq!(MAX_VERSION, 9_007_199_254_740_991);
}

#[test]
fn a_cancellation_belongs_to_one_acceptance() {
    let (order, operation) = (pending(), OPERATION.parse().unwrap());
    assert!(order.cancellation(operation, now()).is_some());
    assert!(order.cancellation(operation, now().plus_days(91)).is_none());
    assert!(order.cancellation(ANOTHER.parse().unwrap(), now()).is_none());
}

#[test]
fn an_order_pending_for_an_earlier_acceptance_is_not_pending_for_a_later_one() {
    let (order, operation) = (pending(), OPERATION.parse().unwrap());
    assert!(!order.is_pending_for_another_of(operation, now()));
    assert!(order.is_pending_for_another_of(operation, now().plus_days(91)));
    assert!(!order.is_pending_for_another_of(ANOTHER.parse().unwrap(), now()));
}

#[test]
fn events_report_the_stored_outcome_and_are_always_the_same() {
    let org: OrgId = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
    let order = pending().after(&change(2, OrderStatus::Canceled), now());
    let events = order.events_of_version(&org, 2);
    assert_eq!(
        serde_json::to_value(&events[0].data).unwrap(),
        json!({
            "order_id": 7, "international_order_uid": null, "creator_id": 9, "operation_id": OPERATION,
            "status": "SUCCESS", "message_code": "CANCELED", "message": "The order was canceled.",
        })
    );
    let later = after(&order, &[change(3, OrderStatus::Canceled), change(2, OrderStatus::Canceled)]);
    assert_eq!(later.events_of_version(&org, 2), events);
    assert!(later.events_of_version(&org, 3).is_empty());
    let request = later.request_event(&org, OPERATION.parse().unwrap()).unwrap();
    assert_eq!(Some(request), pending().request_event(&org, OPERATION.parse().unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the sequence of changes, and however often each arrives, the result is as if each had arrived once,
    /// in order.
    #[test]
    fn shuffled_and_repeated_changes_have_the_same_result(
        live in prop::collection::vec(select(&LIVE[..]), 0..8),
        last in select(&FINAL[..]),
        ends in any::<bool>(),
        is_refused in any::<bool>(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        shuffle in any::<u64>(),
    ) {
        let mut changes: Vec<OrderChange> = (2..).zip(live).map(|(version, status)| change(version, status)).collect();
        let version = u64::try_from(changes.len()).unwrap() + 2;
        // Either the market refuses and the order stays active, or the order ends.
        if ends {
            changes.push(change(version, last));
        } else if is_refused {
            changes.push(refusal(version, OPERATION));
            changes.push(change(version + 1, OrderStatus::Active));
        }
        let expected = after(&pending(), &changes);
        let mut shuffled = changes.clone();
        if !changes.is_empty() {
            shuffled.extend(order.iter().map(|index| changes[index.index(changes.len())].clone()));
        }
        fastrand::Rng::with_seed(shuffle).shuffle(&mut shuffled);
        let ended = after(&pending(), &shuffled);
        prop_assert_eq!(&ended, &expected);
        prop_assert_eq!(outcome(&ended).is_some(), ends || is_refused);
    }

    /// The market refuses the cancellation, and the order ends later. Whichever change arrives first determines the
    /// outcome, because its event is then published. Either way there is one outcome, and the order has the order
    /// system's state.
    #[test]
    fn a_refusal_and_an_end_lead_to_one_outcome(last in select(&FINAL[..]), shuffle in any::<u64>()) {
        let mut changes = vec![refusal(2, OPERATION), change(3, OrderStatus::Active), change(4, last)];
        changes.extend(changes.clone());
        fastrand::Rng::with_seed(shuffle).shuffle(&mut changes);
        let mut order = pending();
        let mut first = None;
        for change in &changes {
            order = order.after(change, now());
            first = first.or(outcome(&order));
            prop_assert!(first.is_none() || outcome(&order) == first);
        }
        prop_assert_eq!((order.status, order.version, order.pending), (last, 4, None));
        prop_assert!(matches!(first, Some((_, Some(2 | 4)))));
    }
}
