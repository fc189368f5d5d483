//! The document's limits are the code's constants.

use cancel_orders::wire::{MAX_DEPTH, MAX_NODES, MAX_VALUES as MAX_ORDERS_VALUES};
use cancel_orders::{MAX_ENTRIES, MAX_PINS};
use create_bulk::settings::{
    MAX_CUSTOM_FIELD_CHARS, MAX_GROUP_CHARS, MAX_METADATA_BYTES, MAX_TEMPLATE_ID_CHARS, MIN_GROUP_CHARS,
};
use serde_json::{Value, json};
use shared::domain::acceptance::RETENTION_DAYS;
use shared::domain::bulk::{CHUNK_ITEMS, MAX_BATCHES, MAX_ITEMS, MAX_ITEMS_PER_REQUEST};
use shared::domain::ids::{MAX_BULK_ID_CHARS, MAX_CORRELATION_ID_BYTES, MAX_EXTERNAL_ID_CHARS, MAX_INTEGER_ID};
use shared::domain::person::{LOCK_SECONDS, MAX_LOCK_SECONDS, MAX_TRIES, MAX_WRONG_AN_HOUR};
use shared::http::bulk::MAX_BULK_BODY_BYTES;
use shared::http::{DEFAULT_LIMIT, MAX_KEY_BYTES, MAX_LIMIT, MAX_VALUES, RETRY_AFTER_SECONDS};
use tests::contract::{DOCUMENT, operations};

use crate::{at, file, registry, schema};

/// What stands there in a schema of infra/schemas.
fn of_form(name: &str, pointer: &str) -> Value {
    let form: Value = serde_json::from_str(&file(&format!("infra/schemas/{name}.schema.json"))).unwrap();
    form.pointer(pointer).unwrap_or_else(|| panic!("{name}: nothing is at {pointer}")).clone()
}

#[test]
fn limits_in_schemas_are_those_of_the_code() {
    let ids = schema("ExternalIds");
    assert_eq!((&ids["minItems"], &ids["maxItems"]), (&json!(1), &json!(MAX_ITEMS_PER_REQUEST)));
    assert_eq!(schema("ExternalId")["maxLength"], MAX_EXTERNAL_ID_CHARS);
    assert_eq!(schema("IntegerId")["maximum"], MAX_INTEGER_ID);
    for member in ["account_id", "customer_id"] {
        assert_eq!(schema("Card")["properties"][member]["maximum"], MAX_INTEGER_ID, "{member}");
    }
    assert_eq!(schema("BulkCounts")["properties"]["items"]["maximum"], MAX_ITEMS);
    assert_eq!(schema("Bulk")["properties"]["size"]["maximum"], MAX_ITEMS);
    for of in ["CreateBulkRequest", "Bulk"] {
        let longest = |member: &str| &schema(of)["properties"][member]["maxLength"];
        assert_eq!(longest("template_id"), MAX_TEMPLATE_ID_CHARS, "{of}");
        assert_eq!(longest("embossing_custom_field"), MAX_CUSTOM_FIELD_CHARS, "{of}");
        assert_eq!(longest("embossing_group"), MAX_GROUP_CHARS, "{of}");
        assert_eq!(schema(of)["properties"]["embossing_group"]["minLength"], MIN_GROUP_CHARS, "{of}");
    }
    let page = &schema("BulkPage")["allOf"][1]["properties"];
    for list in [&page["items"], &schema("Operation")["properties"]["results"]] {
        assert_eq!(list["maxItems"], MAX_LIMIT);
    }
    for name in ["ArrayOfCancellationCreation", "ArrayOfCancellationCreationResult"] {
        assert_eq!(schema(name)["maxItems"], MAX_ENTRIES, "{name}");
    }
}

#[test]
fn limits_of_parameters_and_headers_are_those_of_the_code() {
    let parameter = |name: &str| &at(&format!("/components/parameters/{name}"))["schema"];
    let limit = parameter("limit");
    assert_eq!((&limit["default"], &limit["maximum"]), (&json!(DEFAULT_LIMIT), &json!(MAX_LIMIT)));
    assert_eq!(parameter("bulkID")["maxLength"], MAX_BULK_ID_CHARS);
    assert_eq!(parameter("CorrelationId")["maxLength"], MAX_CORRELATION_ID_BYTES);
    assert_eq!(at("/components/headers/CorrelationId")["schema"]["maxLength"], MAX_CORRELATION_ID_BYTES);
    let pattern = parameter("IdempotencyKey")["pattern"].as_str().unwrap();
    assert_eq!(pattern.matches(&format!("{{1,{MAX_KEY_BYTES}}}")).count(), 2, "{pattern}");
    assert_eq!(at("/components/headers/RetryAfter")["example"].to_string(), RETRY_AFTER_SECONDS);
    // As many digits as the largest has.
    let digits = format!("^0*[1-9][0-9]{{0,{}}}$", MAX_INTEGER_ID.to_string().len() - 1);
    for name in ["cardId", "x-account-id"] {
        assert_eq!(parameter(name)["pattern"], digits, "{name}");
    }
}

/// A number as texts write it: 100,000.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().ok().unwrap().to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(|group| std::str::from_utf8(group).unwrap());
    std::iter::once(&digits[..head]).filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
}

/// Bytes as texts write them: 64 KiB.
fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / KIB) }
}

#[test]
fn limits_in_words_are_those_of_the_code() {
    let operation = |pointer: &str| at(&format!("/paths/{pointer}"));
    let limits = registry::max_body_bytes();
    let max_orders_bytes = limits["cancel-orders"];
    let operations = operations(&DOCUMENT);
    let with_body = operations.iter().filter(|operation| !operation.node["requestBody"].is_null());
    assert_eq!(with_body.count(), limits.len(), "an endpoint takes a body, and has no MAX_BODY_BYTES, or the reverse");
    for (name, limit) in limits {
        // The contract has another ID for one of them.
        let id = if name == "bind-card" { "post-v2-card-bind" } else { name };
        let operation = operations.iter().find(|operation| operation.node["operationId"] == id).expect(name);
        let said = operation.node["requestBody"]["description"].as_str().unwrap();
        assert!(said.starts_with(&format!("At most {}.", size(limit))), "{name}: {said}");
        if limit == MAX_BULK_BODY_BYTES {
            assert!(said.contains(&format!("At most {} names and values", grouped(MAX_VALUES))), "{name}: {said}");
        }
        if limit == max_orders_bytes {
            let values = format!("At most {} values of JSON; {} nodes", grouped(MAX_ORDERS_VALUES), grouped(MAX_NODES));
            assert!(said.contains(&values), "{name}: {said}");
        }
    }
    let says = |node: &Value, text: String| {
        let said = node["description"].as_str().unwrap().replace('\n', " ");
        assert!(said.contains(&text), "{text:?} is not in {said:?}");
    };
    let increment = operation("~1cards~1v1~1bulks~1{bulkID}/put");
    says(increment, format!("at most {} items", grouped(MAX_ITEMS)));
    says(increment, format!("at most {} requests", grouped(MAX_BATCHES)));
    let orders = operation("~1api~1orders~1cancellations/post");
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
    says(operation("~1operations~1{operationId}/get"), format!("for {RETENTION_DAYS} days"));
    for name in ["cardId", "x-account-id"] {
        says(at(&format!("/components/parameters/{name}")), format!("from 1 to {MAX_INTEGER_ID}"));
    }
}

#[test]
fn limits_of_messages_are_those_of_the_code() {
    let common = |pointer: &str| of_form("common", &format!("/$defs/{pointer}"));
    assert_eq!(common("integer_id/maximum"), MAX_INTEGER_ID);
    assert_eq!(common("bulk_id/maxLength"), MAX_BULK_ID_CHARS);
    assert_eq!(common("external_id/maxLength"), MAX_EXTERNAL_ID_CHARS);
    assert_eq!(common("cid/maxLength"), MAX_CORRELATION_ID_BYTES);
    assert_eq!(common("plan/properties/open/maxItems"), CHUNK_ITEMS - 1);
    let step =
        |form: &str, place: &str| of_form(form, &format!("/properties/instruction/properties/step/properties/{place}"));
    assert_eq!(step("start-bulk", "chunk/properties/range/properties/items/maximum"), CHUNK_ITEMS);
    assert_eq!(step("cancel-bulk", "chunk/properties/items/maxItems"), CHUNK_ITEMS);
    assert_eq!(step("cancel-bulk", "chunk/properties/missing/maxItems"), CHUNK_ITEMS);
    let most_chunks = MAX_ITEMS_PER_REQUEST.div_ceil(CHUNK_ITEMS);
    assert_eq!(step("cancel-bulk", "plan_named/properties/chunks/maximum"), most_chunks);
}
