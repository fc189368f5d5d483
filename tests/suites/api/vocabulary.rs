//! The words of the documents are the code's.

use std::collections::BTreeSet;

use cancel_orders::told;
use cancel_orders::wire::format::Format;
use cancel_orders::wire::{Charset, EntryResult, read, results};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::domain::bind::BindRefusal;
use shared::domain::bulk::{BulkStatus, CancellationState, ItemState, ModeType};
use shared::domain::cancel::{CancelCode, CancelType};
use shared::domain::card::CardStatus;
use shared::domain::operation::{OperationState, Subject};
use shared::domain::order::{CancellationCode, OrderStatus};
use shared::http::ProblemCode;

use crate::{at, file, schema};

/// The words of an enumeration: what it says that it expects when it reads another.
fn words<T: DeserializeOwned>(value: Value) -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(value) else { panic!("it reads anything") };
    error.to_string().split('`').skip(3).step_by(2).map(ToOwned::to_owned).collect()
}

fn of<T: DeserializeOwned>() -> BTreeSet<String> {
    words::<T>(json!("?"))
}

fn listed(schema: &Value) -> BTreeSet<String> {
    schema["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn form(name: &str) -> Value {
    serde_json::from_str(&file(&format!("infra/schemas/{name}.schema.json"))).unwrap()
}

#[test]
fn the_api_says_what_the_code_says() {
    let member = |of: &str, name: &str| listed(&schema(of)["properties"][name]);
    assert_eq!(listed(schema("CardStatus")), of::<CardStatus>());
    assert_eq!(listed(schema("BulkStatus")), of::<BulkStatus>());
    assert_eq!(listed(&schema("BulkCancellation")["properties"]["state"]), of::<CancellationState>());
    assert_eq!(listed(schema("ModeType")), of::<ModeType>());
    // An item that is issued is shown by its card's status.
    let own = &of::<ItemState>() - &BTreeSet::from(["ISSUED".to_owned()]);
    assert_eq!(listed(&schema("BulkItem")["properties"]["state"]["anyOf"][0]), own);
    assert_eq!(member("Operation", "status"), of::<OperationState>());
    assert_eq!(member("Operation", "cancel_type"), of::<CancelType>());
    assert_eq!(member("CancelBulkRequest", "cancel_type"), of::<CancelType>());
    assert_eq!(member("Operation", "kind"), words::<Subject>(json!({ "kind": "?" })));
    assert_eq!(member("BindResult", "message_code"), of::<BindRefusal>());
    assert_eq!(member("CancellationResult", "message_code"), of::<CancelCode>());
    assert_eq!(member("OrderResult", "message_code"), of::<CancellationCode>());
    // These two are said of orders alone, whose errors have no type.
    let mut problems = of::<ProblemCode>();
    assert!(problems.remove("too-many") && problems.remove("unsupported-media-type"));
    let types = problems.iter().map(|code| format!("urn:bindery:problem:{code}")).collect();
    assert_eq!(member("Problem", "type"), types);
    let errors = told::ALL.iter().flat_map(|told| told.errors()).map(|text| (*text).to_owned());
    assert_eq!(
        listed(&schema("CancellationCreationResult")["properties"]["Errors"]["items"]),
        errors.collect::<BTreeSet<_>>()
    );
}

#[test]
fn events_and_messages_say_what_the_code_says() {
    let common = form("common");
    assert_eq!(listed(&common["$defs"]["card_status"]), of::<CardStatus>());
    let data = |name: &str| form(&format!("events/{name}"))["properties"]["data"].clone();
    assert_eq!(listed(&data("bind_card")["properties"]["message_code"]), of::<BindRefusal>());
    let bulk = data("noname_bulk_cancellation");
    assert_eq!(listed(&bulk["properties"]["cancel_type"]), of::<CancelType>());
    assert_eq!(listed(&bulk["properties"]["bulk_status"]), of::<BulkStatus>());
    assert_eq!(listed(&bulk["properties"]["cancellation"]["properties"]["state"]), of::<CancellationState>());
    let mut codes = of::<CancelCode>();
    for choice in data("noname_cancellation")["oneOf"].as_array().unwrap() {
        for word in listed(&choice["properties"]["message_code"]) {
            let code: CancelCode = serde_json::from_value(json!(word)).unwrap();
            assert_eq!(json!(code.status()), choice["properties"]["status"]["const"], "{word}");
            assert!(codes.remove(&word), "{word}");
        }
    }
    assert_eq!(codes, BTreeSet::new());
    let feed = form("order-feed");
    assert_eq!(listed(&feed["properties"]["status"]), of::<OrderStatus>());
    let mut refusals = of::<CancellationCode>();
    assert!(refusals.remove("CANCELED"));
    assert_eq!(listed(&feed["properties"]["cancel_rejected"]["properties"]["code"]), refusals);
    assert_eq!(listed(&data("cancellation")["allOf"][1]["oneOf"][1]["properties"]["message_code"]), refusals);
}

/// The examples in XML mean what those in JSON mean, and are written as we write.
#[test]
fn examples_of_orders_are_read_and_written_as_they_are() {
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
