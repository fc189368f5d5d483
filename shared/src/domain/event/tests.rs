use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::domain::bulk::Bulk;
use crate::domain::cancel::{CancelCode, ItemRef};
use crate::domain::operation::Operation;
use crate::domain::order::{CancellationCode, CancellationOutcome, Order, OrderCancellation, OrderChange, OrderStatus};

const OPERATION: &str = "0192d1c0-0000-7000-8000-000000000001";
const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";

fn at(text: &str) -> Timestamp {
    serde_json::from_value(json!(text)).unwrap()
}

fn context(operation: &str, accepted_at: &str) -> EventContext {
    EventContext {
        org_id: "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap(),
        operation_id: operation.parse().unwrap(),
        cid: "c".parse().unwrap(),
        accepted_at: at(accepted_at),
    }
}

fn bulk() -> Bulk {
    let settings = json!({ "program_id": 1, "pin_length": 4, "contactless_enabled": true });
    Bulk::new("b".parse().unwrap(), serde_json::from_value(settings).unwrap(), 10)
}

fn cancellation(code: CancelCode) -> EventData {
    let item = ItemRef { external_id: "e".parse().unwrap(), card_id: None };
    let (bulk_id, program_id) = (bulk().bulk_id, bulk().settings.program_id);
    EventData::NonameCancellation(NonameCancellationData::new(bulk_id, program_id, &item, code))
}

fn start(state: &str) -> Operation {
    let start = json!({
        "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", "operation_id": OPERATION, "state": state,
        "fingerprint": "f", "cid": "c", "created_at": ACCEPTED, "kind": "START_BULK", "bulk_id": "b",
        "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z",
        "items_total": 10, "items_done": 9, "items_changed": 8,
    });
    serde_json::from_value(start).unwrap()
}

fn order(code: Option<CancellationCode>) -> Order {
    let change = json!({
        "order": { "order_id": 7 }, "creator_id": 9, "status": "ACTIVE", "version": 1, "updated_at": ACCEPTED,
    });
    let outcome = code.map(|code| CancellationOutcome { code, at: at(ACCEPTED), version: Some(2) });
    let requested_at = Some(at(ACCEPTED));
    let note = OrderCancellation { cid: "c".parse().unwrap(), accepted_at: at(ACCEPTED), requested_at, outcome };
    let change: OrderChange = serde_json::from_value(change).unwrap();
    assert_eq!(change.status, OrderStatus::Active);
    Order { cancellations: [(OPERATION.parse().unwrap(), note)].into(), ..Order::new(&change) }
}

/// A different fact has a different event ID, and the same fact has the same one. Consumers drop duplicates by this
/// ID.
#[test]
fn one_fact_has_one_event_id() {
    let data = || cancellation(CancelCode::AlreadyCanceled);
    let event = |context: EventContext, time, item| context.event(at(time), item, data());
    let one = event(context(OPERATION, ACCEPTED), ACCEPTED, "e");
    assert_eq!(event(context(OPERATION, ACCEPTED), "2026-11-23T00:00:00.000Z", "e").event_id, one.event_id);
    let others = [
        event(context("0192d1c0-0000-7000-8000-000000000002", ACCEPTED), ACCEPTED, "e"),
        event(context(OPERATION, "2026-08-01T00:00:00.000Z"), ACCEPTED, "e"),
        event(context(OPERATION, ACCEPTED), ACCEPTED, "f"),
        context(OPERATION, ACCEPTED).event(
            at(ACCEPTED),
            "e",
            EventData::NonameBulkStart(NonameBulkStartData::of(&start("SUCCEEDED"), &bulk()).unwrap()),
        ),
    ];
    assert!(others.iter().all(|other| other.event_id != one.event_id));
    assert_eq!((one.domain, one.event_type, one.schema_version), ("cards", "noname_cancellation", 1));
}

/// Only a start that has ended has an event. A refused start has issued none of the bulk's cards.
#[rstest]
#[case("PENDING", None)]
#[case("RUNNING", None)]
#[case("SUCCEEDED", Some(json!({ "status": "SUCCESS", "requested": 9, "issued": 8 })))]
#[case("FAILED", Some(json!({
    "status": "FAILURE", "requested": 10, "issued": 0, "message_code": "BULK_CANCELED",
    "message": "The bulk was canceled before its cards could be issued.",
})))]
fn a_start_is_reported_once_it_has_ended(#[case] state: &str, #[case] expected: Option<Value>) {
    let data = NonameBulkStartData::of(&start(state), &bulk()).map(|data| serde_json::to_value(data).unwrap());
    let expected = expected.map(|mut expected| {
        let common = json!({ "bulk_id": "b", "program_id": 1, "operation_id": OPERATION });
        expected.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        expected
    });
    assert_eq!(data, expected);
}

/// The metrics count this effect: whether the instruction was carried out, or the code of its refusal.
#[test]
fn an_event_has_the_effect_of_its_instruction() {
    let refused = |code: &str| Some(Effect::Refused(code.to_owned()));
    assert_eq!(cancellation(CancelCode::AlreadyCanceled).effect(), Some(Effect::Applied));
    assert_eq!(cancellation(CancelCode::ExternalIdNotFound).effect(), refused("EXTERNAL_ID_NOT_FOUND"));
    let of = |state| EventData::NonameBulkStart(NonameBulkStartData::of(&start(state), &bulk()).unwrap()).effect();
    assert_eq!((of("SUCCEEDED"), of("FAILED")), (None, refused("BULK_CANCELED")));

    let (org, id) = (context(OPERATION, ACCEPTED).org_id, OPERATION.parse().unwrap());
    let outcome = |code| order(Some(code)).outcome_event(&org, id).unwrap();
    assert_eq!(outcome(CancellationCode::Canceled).data.effect(), Some(Effect::Applied));
    assert_eq!(outcome(CancellationCode::UnknownOrder).data.effect(), refused("UNKNOWN_ORDER"));
    let request = order(None).request_event(&org, id).unwrap();
    assert_eq!(request.data.effect(), Some(Effect::Applied));
    assert_eq!((request.domain, request.event_type), ("orders", "cancellation_requested"));
    assert_eq!(outcome(CancellationCode::Canceled).event_type, "cancellation");
    assert_eq!(order(None).outcome_event(&org, id), None);
}
