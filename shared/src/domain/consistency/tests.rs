use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const MINE: &str = "0192d1c0-0000-7000-8000-000000000001";
const ANOTHER: &str = "0192d1c0-0000-7000-8000-000000000002";
const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";
/// A time long before `ACCEPTED`.
const BEFORE: &str = "2026-07-01T00:00:00.000Z";

fn now() -> Timestamp {
    serde_json::from_value(json!("2026-11-23T00:00:00.000Z")).unwrap()
}

fn mark(by: &str) -> Value {
    json!({ "by": by, "accepted_at": ACCEPTED, "at": ACCEPTED })
}

fn bound(by: &str) -> Value {
    json!({ "by": by, "accepted_at": ACCEPTED, "at": ACCEPTED, "account_id": 8, "customer_id": 9 })
}

fn replaced(by: &str, previous: &str) -> Value {
    json!({ "by": by, "accepted_at": ACCEPTED, "at": ACCEPTED, "new_card_id": 7, "previous_status": previous })
}

/// Returns card 7, item `e` of bulk `b`.
fn card(status: &str, marks: Value) -> Card {
    let mut card = json!({
        "card_id": 7, "status": status, "program_id": 1, "bulk_id": "b", "external_id": "e",
        "contactless_enabled": true, "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z",
    });
    card.as_object_mut().unwrap().extend(marks.as_object().unwrap().clone());
    serde_json::from_value(card).unwrap()
}

/// Returns item `e`.
fn item(state: &str, card: Option<u64>, marks: Value) -> BulkItem {
    let mut item = json!({ "external_id": "e", "batch": 1, "state": state, "card_id": card });
    item.as_object_mut().unwrap().extend(marks.as_object().unwrap().clone());
    serde_json::from_value(item).unwrap()
}

fn issued() -> BulkItem {
    item("ISSUED", Some(7), json!({ "issued": mark(MINE) }))
}

fn operation(state: &str, subject: Value) -> Operation {
    let mut operation = json!({
        "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", "operation_id": MINE, "state": state,
        "fingerprint": "f", "cid": "c", "created_at": ACCEPTED,
    });
    operation.as_object_mut().unwrap().extend(subject.as_object().unwrap().clone());
    serde_json::from_value(operation).unwrap()
}

fn start(state: &str) -> Operation {
    let subject = json!({
        "kind": "START_BULK", "bulk_id": "b", "issuing_date": "2026-11-22T00:00:00Z",
        "expiration_date": "2032-11-22T00:00:00Z",
    });
    operation(state, subject)
}

fn bulk(canceling: &[&str], items: u32, issued: u32, canceled: u32, blank: u32) -> Bulk {
    let bulk = json!({
        "bulk_id": "b", "canceling": canceling, "batches": [1], "last_batch": 1, "sealed_by": MINE,
        "settings": { "program_id": 1, "pin_length": 4, "contactless_enabled": true },
        "items": items, "issued": issued, "canceled": canceled, "canceled_blank": blank,
    });
    serde_json::from_value(bulk).unwrap()
}

fn id(number: u64) -> CardId {
    CardId::new(number).unwrap()
}

fn names(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| serde_json::to_value(finding).unwrap()["finding"].as_str().unwrap().into()).collect()
}

#[rstest]
#[case::blank("UNBOUND", json!({}), true)]
#[case::bound("CREATED", json!({ "bound": bound(MINE) }), true)]
#[case::activated_elsewhere("NORMAL", json!({ "bound": bound(MINE) }), true)]
#[case::canceled_elsewhere("CANCELED", json!({ "bound": bound(MINE) }), true)]
#[case::lost_while_blank("LOST", json!({}), true)]
#[case::canceled("CANCELED", json!({ "canceled": mark(MINE) }), true)]
#[case::replaced("REISSUED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "NORMAL") }), true)]
#[case::replaced_when_blocked(
    "BLOCKED",
    json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "BLOCKED") }),
    true
)]
#[case::ended_after("CANCELED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "NORMAL") }), true)]
#[case::blank_again("UNBOUND", json!({ "bound": bound(MINE) }), false)]
#[case::bound_without_a_mark("CREATED", json!({}), false)]
#[case::both("CANCELED", json!({ "bound": bound(MINE), "canceled": mark(ANOTHER) }), false)]
#[case::not_canceled("UNBOUND", json!({ "canceled": mark(MINE) }), false)]
#[case::not_final("NORMAL", json!({ "canceled": mark(MINE) }), false)]
#[case::replaced_unbound("REISSUED", json!({ "replaced": replaced(MINE, "NORMAL") }), false)]
#[case::replaced_when_lost("REISSUED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "LOST") }), false)]
#[case::not_replaced("CREATED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "CREATED") }), false)]
fn a_cards_status_follows_from_its_marks(#[case] status: &str, #[case] marks: Value, #[case] fits: bool) {
    let expected = (!fits).then_some(Finding::CardMarks);
    assert_eq!(super::card(&card(status, marks)), expected);
}

#[rstest]
#[case::pending(item("PENDING", None, json!({})), true)]
#[case::issued(issued(), true)]
#[case::canceled(item("CANCELED", None, json!({ "canceled": mark(MINE) })), true)]
#[case::a_card_too_early(item("PENDING", Some(7), json!({})), false)]
#[case::issued_without_card(item("ISSUED", None, json!({ "issued": mark(MINE) })), false)]
#[case::issued_without_a_mark(item("ISSUED", Some(7), json!({})), false)]
#[case::canceled_without_a_mark(item("CANCELED", None, json!({})), false)]
#[case::canceled_with_a_card(item("CANCELED", Some(7), json!({ "canceled": mark(MINE) })), false)]
fn an_item_has_the_card_and_marks_of_its_state(#[case] item: BulkItem, #[case] fits: bool) {
    assert_eq!(super::item(&item), (!fits).then_some(Finding::ItemMarks));
}

#[test]
fn an_item_of_no_batch_is_pending() {
    let of = |batch, item| batch_of_item(&bulk(&[], 1, 1, 0, 0), &BulkItem { batch, ..item });
    let pending = item("PENDING", None, json!({}));
    assert_eq!((of(1, pending.clone()), of(2, pending), of(1, issued())), (None, None, None));
    assert_eq!(of(2, issued()), Some(Finding::ItemOfNoBatch { batch: 2 }));
}

#[test]
fn a_card_and_its_item_name_each_other() {
    let (of, blank) = ("b".parse().unwrap(), card("UNBOUND", json!({})));
    assert_eq!(card_of_item(&of, &issued(), Some(&blank)), None);
    assert_eq!(item_of_card(&blank, Some(&issued())), None);
    let missing = Finding::CardMissing { card_id: id(7) };
    assert_eq!(card_of_item(&of, &issued(), None), Some(missing));
    let anothers = Some(Finding::CardOfAnotherItem { card_id: id(7) });
    assert_eq!(card_of_item(&"another".parse().unwrap(), &issued(), Some(&blank)), anothers);
    let other = BulkItem { external_id: "other".parse().unwrap(), ..issued() };
    assert_eq!(card_of_item(&of, &other, Some(&blank)), anothers);

    let pending = item("PENDING", None, json!({}));
    assert_eq!(card_of_item(&of, &pending, None), None);
    let (bulk_id, external_id) = (of, "e".parse().unwrap());
    let not_issued = Some(Finding::ItemNotIssued { bulk_id, external_id });
    assert_eq!((item_of_card(&blank, Some(&pending)), item_of_card(&blank, None)), (not_issued.clone(), not_issued));
    let second = BulkItem { card_id: Some(id(8)), ..issued() };
    let found = item_of_card(&blank, Some(&second));
    assert!(matches!(found, Some(Finding::ItemHasAnotherCard { card_id, .. }) if card_id == id(8)), "{found:?}");
    let mut of_no_bulk = blank;
    of_no_bulk.facts.bulk_id = None;
    assert_eq!(item_of_card(&of_no_bulk, None), None);
}

#[rstest]
#[case::whole(Some(MINE), None)]
#[case::half(None, Some(()))]
#[case::of_another(Some(ANOTHER), Some(()))]
fn a_card_that_was_replaced_has_a_successor(#[case] bound_by: Option<&str>, #[case] found: Option<()>) {
    let old = card("REISSUED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "NORMAL") }));
    let new = bound_by.map_or(card("UNBOUND", json!({})), |by| card("CREATED", json!({ "bound": bound(by) })));
    let expected = found.map(|()| Finding::NewCardNotBound { new_card_id: id(7), operation_id: MINE.parse().unwrap() });
    assert_eq!(new_card(&old, Some(&new)), expected);
    assert_eq!(new_card(&new, None), None);
    assert!(new_card(&old, None).is_some());
}

#[rstest]
#[case::on_its_way("PENDING", None, false, false, None)]
#[case::effect_before_outcome("PENDING", None, true, true, None)]
#[case::half_before_outcome("PENDING", None, true, false, Some("OLD_CARD_NOT_REPLACED"))]
#[case::done("SUCCEEDED", Some("SUCCESS"), true, true, None)]
#[case::half_done("SUCCEEDED", Some("SUCCESS"), true, false, Some("OLD_CARD_NOT_REPLACED"))]
#[case::other_half_done("SUCCEEDED", Some("SUCCESS"), false, true, Some("SUCCEEDED_WITHOUT_BIND"))]
#[case::not_done("SUCCEEDED", Some("SUCCESS"), false, false, Some("SUCCEEDED_WITHOUT_BIND"))]
#[case::refused("FAILED", Some("FAILURE"), false, false, None)]
#[case::done_though_refused("FAILED", Some("FAILURE"), true, true, Some("FAILED_WITH_BIND"))]
fn a_binds_outcome_agrees_with_its_cards(
    #[case] state: &str,
    #[case] status: Option<&str>,
    #[case] is_bound: bool,
    #[case] is_replaced: bool,
    #[case] expected: Option<&str>,
) {
    let outcome = status.map(
        |status| json!({ "status": status, "at": ACCEPTED, "code": "CARD_NOT_UNBOUND", "card_status": "CREATED" }),
    );
    let outcome = json!({ "kind": "BIND_CARD", "card_id": 7, "reissued_card_id": 6, "outcome": outcome });
    let operation = operation(state, outcome);
    let by = |is_mine: bool| if is_mine { MINE } else { ANOTHER };
    let new = card("CREATED", json!({ "bound": bound(by(is_bound)) }));
    let old = card("REISSUED", json!({ "bound": bound(ANOTHER), "replaced": replaced(by(is_replaced), "NORMAL") }));
    let found: Vec<Finding> = bind(&operation, Some(&new), Some(&old)).into_iter().collect();
    assert_eq!(names(&found), expected.into_iter().collect::<Vec<_>>());
    assert_eq!(bind(&start("SUCCEEDED"), None, None), None);
}

#[test]
fn a_young_mark_has_an_operation() {
    let marks = |card: &Card| marks_of_card(card).into_iter().map(|mark| mark.by.to_string()).collect::<Vec<_>>();
    let reissued = card("REISSUED", json!({ "bound": bound(ANOTHER), "replaced": replaced(MINE, "NORMAL") }));
    assert_eq!(marks(&reissued), [ANOTHER, MINE]);
    assert_eq!(marks(&card("CANCELED", json!({ "canceled": mark(MINE) }))), [MINE]);
    let [mark] = marks_of_item(&issued()).try_into().unwrap();
    let gone = Finding::OperationGone { operation_id: MINE.parse().unwrap() };
    assert_eq!(author(&mark, None, now()), Some(gone));
    assert_eq!(author(&mark, Some(&start("RUNNING")), now()), None);
    let of_another = Operation { operation_id: ANOTHER.parse().unwrap(), ..start("RUNNING") };
    assert!(author(&mark, Some(&of_another), now()).is_some());
    // The operation's row exists for ninety days, and may be missing after that.
    let last = serde_json::from_value(json!("2027-02-20T03:04:05.677Z")).unwrap();
    let expired = serde_json::from_value(json!("2027-02-20T03:04:05.678Z")).unwrap();
    assert_eq!((author(&mark, None, last).is_some(), author(&mark, None, expired)), (true, None));
    let old = Mark { accepted_at: serde_json::from_value(json!(BEFORE)).unwrap(), ..mark };
    assert_eq!(author(&old, None, now()), None);
}

#[test]
fn the_counter_is_not_behind() {
    assert_eq!((counter(id(7), Some(7)), counter(id(7), Some(8))), (None, None));
    assert_eq!(counter(id(7), Some(6)), Some(Finding::CounterBehind { card_id: id(7), last: 6 }));
    assert_eq!(counter(id(7), None), Some(Finding::CounterBehind { card_id: id(7), last: 0 }));
}

#[test]
fn a_header_lists_the_running_operations() {
    let cancel = |state| operation(state, json!({ "kind": "CANCEL_BULK", "bulk_id": "b", "cancel_type": "FULL" }));
    let of = |operation: Option<Operation>| {
        names(&under_way(MINE.parse().unwrap(), operation.as_ref()).into_iter().collect::<Vec<_>>())
    };
    assert_eq!(of(Some(cancel("RUNNING"))), Vec::<String>::new());
    assert_eq!(of(Some(cancel("SUCCEEDED"))), ["UNDER_WAY_ENDED"]);
    assert_eq!(of(None), ["UNDER_WAY_GONE"]);
    let of = |operation: Operation, canceling: &[&str]| noted(&operation, Some(&bulk(canceling, 1, 0, 0, 0))).is_none();
    assert!(of(cancel("RUNNING"), &[MINE]) && !of(cancel("RUNNING"), &[]) && !of(cancel("RUNNING"), &[ANOTHER]));
    assert!(of(cancel("PENDING"), &[]) && of(cancel("SUCCEEDED"), &[]));
    assert!(!of(start("RUNNING"), &[MINE]), "a start is not a cancel");
    assert_eq!(noted(&cancel("RUNNING"), None), None);
}

/// Returns the counts of five items: one pending, two issued, one canceled, and one issued whose card was canceled.
fn counts(starts: Option<&Operation>, cancels: Option<&Operation>) -> ItemCounts {
    let mut counts = ItemCounts::default();
    let operation = |id: OperationId| if id.to_string() == MINE { starts } else { cancels };
    let blank = card("UNBOUND", json!({}));
    let canceled = card("CANCELED", json!({ "canceled": mark(ANOTHER) }));
    counts.add(&item("PENDING", None, json!({})), None, operation, now());
    counts.add(&issued(), Some(&blank), operation, now());
    counts.add(&issued(), Some(&blank), operation, now());
    counts.add(&item("CANCELED", None, json!({ "canceled": mark(ANOTHER) })), None, operation, now());
    counts.add(&issued(), Some(&canceled), operation, now());
    counts
}

#[rstest]
#[case::all_ended("SUCCEEDED", "SUCCEEDED", (5, 3, 2, 1), &[])]
#[case::start_runs("RUNNING", "SUCCEEDED", (5, 0, 2, 1), &[])]
#[case::cancel_runs("SUCCEEDED", "RUNNING", (5, 3, 0, 0), &[])]
#[case::an_item_too_many("SUCCEEDED", "SUCCEEDED", (6, 3, 2, 1), &["ITEM_COUNT"])]
#[case::start_not_counted("SUCCEEDED", "SUCCEEDED", (5, 0, 2, 1), &["ISSUED_COUNT"])]
#[case::counted_and_runs("RUNNING", "SUCCEEDED", (5, 3, 2, 1), &["ISSUED_COUNT"])]
#[case::cancel_not_counted("SUCCEEDED", "SUCCEEDED", (5, 3, 0, 0), &["CANCELED_COUNT", "BLANK_COUNT"])]
#[case::blank_not_counted("SUCCEEDED", "SUCCEEDED", (5, 3, 2, 2), &["BLANK_COUNT"])]
#[case::all_wrong(
    "SUCCEEDED",
    "RUNNING",
    (4, 2, 1, 1),
    &["ITEM_COUNT", "ISSUED_COUNT", "CANCELED_COUNT", "BLANK_COUNT"]
)]
fn a_header_counts_ended_operations(
    #[case] starts: &str,
    #[case] cancels: &str,
    #[case] (items, issued, canceled, blank): (u32, u32, u32, u32),
    #[case] expected: &[&str],
) {
    let cancels = Operation { operation_id: ANOTHER.parse().unwrap(), ..start(cancels) };
    let counts = counts(Some(&start(starts)), Some(&cancels));
    assert_eq!(names(&counts.compare(&bulk(&[], items, issued, canceled, blank))), expected);
}

#[test]
fn counts_of_missing_operations_are_not_compared() {
    let counts = counts(None, None);
    assert_eq!(counts.compare(&bulk(&[], 5, 77, 77, 77)), []);
    assert_eq!(names(&counts.compare(&bulk(&[], 4, 77, 77, 77))), ["ITEM_COUNT"]);
    // An expired operation has ended, and so has one whose key was used again since.
    let mut long_ago = ItemCounts::default();
    let old = item("ISSUED", Some(7), json!({ "issued": { "by": MINE, "accepted_at": BEFORE, "at": BEFORE } }));
    long_ago.add(&old, None, |_| None, now());
    let again = start("RUNNING");
    long_ago.add(&old, None, |_| Some(&again), now());
    assert_eq!(long_ago.compare(&bulk(&[], 2, 2, 0, 0)), []);
}

#[test]
fn a_finding_has_a_text_and_a_remedy() {
    let finding = Finding::CardMissing { card_id: id(7) };
    assert_eq!(finding.to_string(), "The item has card 7, which has no row.");
    assert_eq!(serde_json::to_value(&finding).unwrap(), json!({ "finding": "CARD_MISSING", "card_id": 7 }));
    assert!(finding.remedy().starts_with("Put the card's row"));
}
