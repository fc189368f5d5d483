//! Checks that the limits in the API documents are the code's constants.

use std::collections::{BTreeMap, BTreeSet};

use cancel_orders::entry_status;
use cancel_orders::wire::{MAX_DEPTH, MAX_NODES, MAX_VALUES as MAX_ORDERS_VALUES};
use cancel_orders::{MAX_ENTRIES, MAX_PINS};
use create_bulk::settings::{
    MAX_CUSTOM_FIELD_CHARS, MAX_GROUP_CHARS, MAX_METADATA_BYTES, MAX_TEMPLATE_ID_CHARS, MIN_GROUP_CHARS,
};
use serde_json::Value;
use shared::domain::acceptance::RETENTION_DAYS;
use shared::domain::bulk::{CHUNK_ITEMS, MAX_BATCHES, MAX_ITEMS, MAX_ITEMS_PER_REQUEST};
use shared::domain::ids::{MAX_BULK_ID_CHARS, MAX_CORRELATION_ID_BYTES, MAX_EXTERNAL_ID_CHARS, MAX_INTEGER_ID};
use shared::domain::order::{MAX_AUTHORIZED, MAX_VERSION};
use shared::domain::person::{LOCK_SECONDS, MAX_LOCK_SECONDS, MAX_TRIES, MAX_WRONG_AN_HOUR};
use shared::http::bulk::MAX_BULK_BODY_BYTES;
use shared::http::{DEFAULT_LIMIT, MAX_KEY_BYTES, MAX_LIMIT, MAX_VALUES, RETRY_AFTER_SECONDS};
use tests::contract::DOCUMENT;
use tests::requests::Endpoint;

use crate::{at, file, registry, schema, schema_names};

/// The maximum values, lengths and numbers of entries in a document, by the name of the member and the keyword.
type Largest = BTreeMap<(String, String), BTreeSet<u64>>;

fn largest(node: &Value, name: &str, found: &mut Largest) {
    for keyword in ["maximum", "maxLength", "maxItems"] {
        if let Some(limit) = node[keyword].as_u64() {
            found.entry((name.to_owned(), keyword.to_owned())).or_default().insert(limit);
        }
    }
    for (member, value) in node.as_object().into_iter().flatten() {
        let names = ["properties", "schemas", "parameters", "headers", "$defs"];
        match member.as_str() {
            "example" | "examples" => {}
            of if names.contains(&of) && value.is_object() => {
                value.as_object().unwrap().iter().for_each(|(name, value)| largest(value, name, found));
            }
            _ => largest(value, name, found),
        }
    }
    node.as_array().into_iter().flatten().for_each(|value| largest(value, name, found));
}

/// Returns the code's limits in the same form. They must be exactly the document's.
fn by_name<const N: usize>(expected: [(&str, &str, u64); N]) -> Largest {
    expected.map(|(name, keyword, limit)| ((name.to_owned(), keyword.to_owned()), BTreeSet::from([limit]))).into()
}

fn wide(number: usize) -> u64 {
    number.try_into().unwrap()
}

const MAX_INT32: u64 = i32::MAX.unsigned_abs() as u64;

#[test]
fn maximums_of_the_api_are_those_of_the_code() {
    let most_errors = entry_status::ALL.iter().map(|status| status.errors().len()).max().unwrap();
    let mut found = Largest::new();
    largest(&DOCUMENT["components"], "", &mut found);
    largest(&DOCUMENT["paths"], "", &mut found);
    let expected = by_name([
        ("ArrayOfCancellationCreation", "maxItems", wide(MAX_ENTRIES)),
        ("ArrayOfCancellationCreationResult", "maxItems", wide(MAX_ENTRIES)),
        ("CorrelationId", "maxLength", wide(MAX_CORRELATION_ID_BYTES)),
        ("CreatorID", "maximum", MAX_INT32),
        ("Errors", "maxItems", wide(most_errors)),
        ("ExternalId", "maxLength", wide(MAX_EXTERNAL_ID_CHARS)),
        ("ExternalIds", "maxItems", wide(MAX_ITEMS_PER_REQUEST)),
        ("IntegerId", "maximum", MAX_INTEGER_ID),
        ("OrderID", "maximum", MAX_INT32),
        ("account_id", "maximum", MAX_INTEGER_ID),
        ("bulkID", "maxLength", wide(MAX_BULK_ID_CHARS)),
        ("bulk_id", "maxLength", wide(MAX_BULK_ID_CHARS)),
        ("customer_id", "maximum", MAX_INTEGER_ID),
        ("embossing_custom_field", "maxLength", wide(MAX_CUSTOM_FIELD_CHARS)),
        ("embossing_group", "maxLength", wide(MAX_GROUP_CHARS)),
        ("id", "maxLength", wide(MAX_BULK_ID_CHARS)),
        ("items", "maxItems", wide(MAX_LIMIT)),
        ("items", "maximum", u64::from(MAX_ITEMS)),
        ("limit", "maximum", wide(MAX_LIMIT)),
        ("order_id", "maximum", MAX_INT32),
        ("reissued_card_id", "maximum", MAX_INTEGER_ID),
        ("results", "maxItems", wide(MAX_LIMIT)),
        ("size", "maximum", u64::from(MAX_ITEMS)),
        // The largest HTTP status code.
        ("status", "maximum", 599),
        ("template_id", "maxLength", wide(MAX_TEMPLATE_ID_CHARS)),
        ("validity_period_hours", "maximum", MAX_INTEGER_ID),
    ]);
    assert_eq!(found, expected, "left: limits in infra/api/openapi.yaml; right: in the code");
    assert_eq!(schema("ExternalIds")["minItems"], 1);
    for of in ["CreateBulkRequest", "Bulk"] {
        assert_eq!(schema(of)["properties"]["embossing_group"]["minLength"], MIN_GROUP_CHARS, "{of}");
    }
}

#[test]
fn limits_of_parameters_and_headers_are_those_of_the_code() {
    let parameter = |name: &str| &at(&format!("/components/parameters/{name}"))["schema"];
    let limit = parameter("limit");
    assert_eq!(limit["default"], DEFAULT_LIMIT);
    let pattern = parameter("IdempotencyKey")["pattern"].as_str().unwrap();
    assert_eq!(pattern.matches(&format!("{{1,{MAX_KEY_BYTES}}}")).count(), 2, "{pattern}");
    assert_eq!(at("/components/headers/RetryAfter")["example"], RETRY_AFTER_SECONDS);
    // At most as many digits as the largest ID has.
    let digits = format!("^0*[1-9][0-9]{{0,{}}}$", MAX_INTEGER_ID.to_string().len() - 1);
    for name in ["cardId", "x-account-id"] {
        assert_eq!(parameter(name)["pattern"], digits, "{name}");
    }
}

/// Formats a number as the descriptions do: 100,000.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().ok().unwrap().to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(|group| std::str::from_utf8(group).unwrap());
    std::iter::once(&digits[..head]).filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
}

/// Formats a number of bytes as the descriptions do: 64 KiB.
fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / KIB) }
}

#[test]
fn limits_in_descriptions_are_those_of_the_code() {
    let with_body = Endpoint::all().into_iter().filter(Endpoint::takes_body);
    let documented: BTreeMap<_, _> = with_body.map(|endpoint| (endpoint.function, endpoint.max_body_bytes())).collect();
    let limits = registry::max_body_bytes();
    assert_eq!(documented, limits, "left: limits in infra/api/openapi.yaml; right: `MAX_BODY_BYTES` of endpoints");
    let max_orders_bytes = limits["cancel-orders"];
    let operation = |function: &str| Endpoint::of(function).operation.node;
    let says = |node: &Value, text: String| {
        let description = node["description"].as_str().unwrap().replace('\n', " ");
        assert!(description.contains(&text), "write {text:?} in this description: {description:?}");
    };
    for (function, limit) in limits {
        let body = &operation(function)["requestBody"];
        if limit == MAX_BULK_BODY_BYTES {
            says(body, format!("At most {} names and values", grouped(MAX_VALUES)));
        }
    }
    let values = format!("At most {} values of JSON; {} nodes", grouped(MAX_ORDERS_VALUES), grouped(MAX_NODES));
    says(&operation("cancel-orders")["requestBody"], values);
    let increment = operation("increment-bulk");
    says(increment, format!("at most {} items", grouped(MAX_ITEMS)));
    says(increment, format!("at most {} requests", grouped(MAX_BATCHES)));
    let orders = operation("cancel-orders");
    says(orders, format!("At most {} entries", grouped(MAX_ENTRIES)));
    says(orders, format!("{MAX_PINS} different PINs"));
    says(orders, format!("{MAX_DEPTH} levels"));
    says(orders, format!("{MAX_TRIES} wrong PINs in a row lock a person's PIN for {} minutes", LOCK_SECONDS / 60));
    says(orders, format!("up to {} hours", MAX_LOCK_SECONDS / 3600));
    says(orders, format!("After {MAX_WRONG_AN_HOUR} wrong PINs in an hour"));
    let too_large = at("/components/responses/Orders413TooLarge");
    says(
        too_large,
        format!(
            "larger than {}, or has more than {} entries or {MAX_PINS} PINs",
            size(max_orders_bytes),
            grouped(MAX_ENTRIES)
        ),
    );
    says(
        at("/components/responses/406OutOfRange"),
        format!("no items, or more than {}", grouped(MAX_ITEMS_PER_REQUEST)),
    );
    says(&schema("CreateBulkRequest")["properties"]["metadata"], format!("{} bytes", grouped(MAX_METADATA_BYTES)));
    says(&DOCUMENT["info"], format!("for {RETENTION_DAYS} days"));
    says(operation("get-operation"), format!("for {RETENTION_DAYS} days"));
    for name in ["cardId", "x-account-id"] {
        says(at(&format!("/components/parameters/{name}")), format!("from 1 to {MAX_INTEGER_ID}"));
    }
}

#[test]
fn maximums_of_messages_and_events_are_those_of_the_code() {
    let mut found = Largest::new();
    for name in schema_names("schemas")
        .into_iter()
        .chain(schema_names("schemas/events").into_iter().map(|of| format!("events/{of}")))
    {
        let schema: Value = serde_json::from_str(&file(&format!("infra/schemas/{name}.schema.json"))).unwrap();
        largest(&schema, "", &mut found);
    }
    let expected = by_name([
        ("authorized_ids", "maxItems", wide(MAX_AUTHORIZED)),
        ("authorized_ids", "maximum", MAX_INT32),
        ("bulk_id", "maxLength", wide(MAX_BULK_ID_CHARS)),
        // An operation has at most as many names as a request, so this is the most chunks.
        ("chunks", "maximum", wide(MAX_ITEMS_PER_REQUEST.div_ceil(CHUNK_ITEMS))),
        ("cid", "maxLength", wide(MAX_CORRELATION_ID_BYTES)),
        ("count", "maximum", u64::from(u32::MAX)),
        ("creator_id", "maximum", MAX_INT32),
        ("external_id", "maxLength", wide(MAX_EXTERNAL_ID_CHARS)),
        ("integer_id", "maximum", MAX_INTEGER_ID),
        ("items", "maxItems", wide(CHUNK_ITEMS)),
        ("items", "maximum", wide(CHUNK_ITEMS)),
        ("missing", "maxItems", wide(CHUNK_ITEMS)),
        ("open", "maxItems", wide(CHUNK_ITEMS - 1)),
        ("order_id", "maximum", MAX_INT32),
        ("person_id", "maximum", MAX_INT32),
        ("version", "maximum", MAX_VERSION),
    ]);
    assert_eq!(found, expected, "left: limits in infra/schemas; right: in the code");
}
