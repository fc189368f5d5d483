//! Checks that the enumerations in the API documents are the code's.

use std::collections::{BTreeMap, BTreeSet};

use cancel_orders::entry_status;
use cancel_orders::wire::format::Format;
use cancel_orders::wire::{Charset, EntryResult, read, results};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::domain::bind::BindRefusal;
use shared::domain::bulk::{BulkStatus, CancellationState, ItemState, ModeType, PinLength};
use shared::domain::cancel::{CancelCode, CancelType};
use shared::domain::card::CardStatus;
use shared::domain::operation::{OperationState, Subject};
use shared::domain::order::{CancellationCode, OrderStatus};
use shared::http::ProblemCode;
use tests::contract::DOCUMENT;

use crate::{at, file, schema_names};

/// Returns the values of an enumeration, read from serde's error for an unknown value.
fn words<T: DeserializeOwned>(value: Value) -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(value) else { panic!("the type accepts an unknown value") };
    error.to_string().split('`').skip(3).step_by(2).map(ToOwned::to_owned).collect()
}

fn of<T: DeserializeOwned>() -> BTreeSet<String> {
    words::<T>(json!("?"))
}

fn json_schema(name: &str) -> Value {
    serde_json::from_str(&file(&format!("infra/schemas/{name}.schema.json"))).unwrap()
}

/// Finds all enumerations of a document, by place. Places leave out `properties`, and examples are skipped.
fn enumerations(node: &Value, place: &str, found: &mut Enumerations) {
    if let Some(words) = node["enum"].as_array() {
        let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), ToOwned::to_owned);
        found.insert(place.to_owned(), words.iter().map(word).collect());
    }
    let members = node.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
    let entries = node.as_array().into_iter().flatten().enumerate().map(|(at, value)| (at.to_string(), value));
    for (name, value) in members.chain(entries) {
        match name.as_str() {
            "example" | "examples" => {}
            "properties" => enumerations(value, place, found),
            _ => enumerations(value, &format!("{place}/{name}"), found),
        }
    }
}

type Enumerations = BTreeMap<String, BTreeSet<String>>;

fn by_place<const N: usize>(expected: [(&str, BTreeSet<String>); N]) -> Enumerations {
    expected.map(|(place, words)| (place.to_owned(), words)).into()
}

/// Returns words for which the code has no type of exactly these values.
fn these(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns the statuses of an instruction in results and events.
fn statuses() -> BTreeSet<String> {
    let codes = of::<CancelCode>().into_iter().map(|word| serde_json::from_value::<CancelCode>(json!(word)).unwrap());
    codes.map(|code| json!(code.status()).as_str().unwrap().to_owned()).collect()
}

/// Returns the reasons for which an order is not canceled.
fn refusals() -> BTreeSet<String> {
    let mut codes = of::<CancellationCode>();
    assert!(codes.remove("CANCELED"));
    codes
}

#[test]
fn enumerations_of_the_api_are_those_of_the_code() {
    // The API shows an issued item by its card's status.
    let item = &of::<ItemState>() - &these(&["ISSUED"]);
    // Only requests about orders get these two, and their errors have no type.
    let problems = &of::<ProblemCode>() - &these(&["too-many", "unsupported-media-type"]);
    let errors = entry_status::ALL.iter().flat_map(|status| status.errors()).map(|text| (*text).to_owned());
    let lengths = [PinLength::Four, PinLength::Six].map(|length| json!(length).to_string());
    let mut found = Enumerations::new();
    enumerations(&DOCUMENT["components"], "", &mut found);
    enumerations(&DOCUMENT["paths"], "/paths", &mut found);
    let expected = by_place([
        ("/headers/IdempotentReplayed/schema", these(&["true"])),
        ("/schemas/BindResult/message_code", of::<BindRefusal>()),
        ("/schemas/BindResult/status", statuses()),
        ("/schemas/BulkCancellation/state", of::<CancellationState>()),
        ("/schemas/BulkItem/state/anyOf/0", item),
        ("/schemas/BulkStatus", of::<BulkStatus>()),
        ("/schemas/CancelBulkRequest/cancel_type", of::<CancelType>()),
        ("/schemas/CancellationCreationResult/Errors/items", errors.collect()),
        ("/schemas/CancellationResult/message_code", of::<CancelCode>()),
        ("/schemas/CancellationResult/status", statuses()),
        ("/schemas/CardStatus", of::<CardStatus>()),
        ("/schemas/ModeType", of::<ModeType>()),
        ("/schemas/Operation/cancel_type", of::<CancelType>()),
        ("/schemas/Operation/kind", words::<Subject>(json!({ "kind": "?" }))),
        ("/schemas/Operation/status", of::<OperationState>()),
        ("/schemas/OrderResult/message_code", of::<CancellationCode>()),
        ("/schemas/OrderResult/status", &statuses() | &these(&["PENDING", "REQUESTED"])),
        ("/schemas/PinLength", lengths.into()),
        ("/schemas/Problem/type", problems.iter().map(|code| format!("urn:bindery:problem:{code}")).collect()),
    ]);
    assert_eq!(found, expected, "left: enumerations in infra/api/openapi.yaml; right: in the code");
}

#[test]
fn enumerations_of_events_and_messages_are_those_of_the_code() {
    let mut found = Enumerations::new();
    for name in schema_names("schemas") {
        enumerations(&json_schema(&name), &name, &mut found);
    }
    for name in schema_names("schemas/events") {
        enumerations(&json_schema(&format!("events/{name}"))["properties"]["data"], &name, &mut found);
    }
    let of_items = |status: &str| {
        let is_it = |word: &String| {
            let code: CancelCode = serde_json::from_value(json!(word)).unwrap();
            json!(code.status()) == status
        };
        of::<CancelCode>().into_iter().filter(is_it).collect::<BTreeSet<_>>()
    };
    let expected = by_place([
        ("bind_card/message_code", of::<BindRefusal>()),
        ("bind_card/operation_type", these(&["BIND_NONAME", "BIND_REISSUE"])),
        ("bind_card/status", statuses()),
        ("cancellation/allOf/1/oneOf/1/message_code", refusals()),
        ("cancellation/status", statuses()),
        ("common/$defs/card_status", of::<CardStatus>()),
        ("common/$defs/event/domain", these(&["cards", "orders"])),
        ("noname_bulk_cancellation/bulk_status", of::<BulkStatus>()),
        ("noname_bulk_cancellation/cancel_type", of::<CancelType>()),
        ("noname_bulk_cancellation/cancellation/state", of::<CancellationState>()),
        ("noname_bulk_start/oneOf/1/message_code", these(&["BULK_CANCELED"])),
        ("noname_cancellation/oneOf/0/message_code", of_items("SUCCESS")),
        ("noname_cancellation/oneOf/1/message_code", of_items("FAILURE")),
        ("noname_cancellation/status", statuses()),
        ("order-feed/cancel_rejected/code", refusals()),
        ("order-feed/status", of::<OrderStatus>()),
        // A replaced card was in use. It becomes REISSUED, or keeps its status if that is BLOCKED, PENDING or WARNING.
        ("update/card_previous_status", these(&["CREATED", "NORMAL", "BLOCKED", "PENDING", "WARNING"])),
        ("update/card_status", these(&["REISSUED", "BLOCKED", "PENDING", "WARNING"])),
    ]);
    assert_eq!(found, expected, "left: enumerations in infra/schemas; right: in the code");
    for (status, place) in [("SUCCESS", "0"), ("FAILURE", "1")] {
        let choice =
            &json_schema("events/noname_cancellation")["properties"]["data"]["oneOf"][place.parse::<usize>().unwrap()];
        assert_eq!(choice["properties"]["status"]["const"], status);
    }
}

/// The XML examples mean the same as the JSON ones, and have exactly the form in which the code writes them.
#[test]
fn examples_of_orders_are_read_and_written_exactly() {
    let example = |name: &str| at(&format!("/components/examples/{name}"))["value"].clone();
    let json = read(Format::Json, Charset::Utf8, example("CancellationCreations").to_string().as_bytes()).unwrap();
    let xml = file("infra/api/examples/cancellations.xml");
    let xml = read(Format::Xml, Charset::Utf8, xml.trim_end().as_bytes()).unwrap();
    assert_eq!((json.len(), &json), (2, &xml));
    let result = |order_id, uid: Option<&str>, errors: &[&'static str]| EntryResult {
        order_id,
        international_order_uid: uid.map(|uid| uid.parse().unwrap()),
        errors: errors.to_vec(),
    };
    let written = [
        result(Some(1234), None, &[]),
        result(None, Some("03024a3c-8682-4951-8729-44f2df6f2f8b"), &[]),
        result(Some(2200), None, &["Order is not active."]),
    ];
    let as_json: Value = serde_json::from_str(&results(Format::Json, &written)).unwrap();
    assert_eq!(as_json, example("CancellationCreationResults"));
    assert_eq!(results(Format::Xml, &written[2..]), file("infra/api/examples/cancellation-results.xml").trim_end());
}
