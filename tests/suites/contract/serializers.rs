//! Requests as client libraries serialize them: null for absent members, fractions of zero, byte order marks. The
//! client's numbers are returned digit for digit.

use reqwest::{RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};
use tests::bulks::{BULKS, counts, create, ids, post, put};
use tests::orders::{domestic, feed, new_order_id};
use tests::seed::{bound, new_card_id};
use tests::stack::{ACCOUNT, CUSTOMER, Tenant, parts};

const MARK: &str = "\u{feff}";

fn with(request: RequestBuilder, body: impl Into<String>) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.into())
}

async fn sent(request: RequestBuilder, body: impl Into<String>) -> Response {
    with(request, body).send().await.unwrap()
}

#[rstest]
#[case::null("null")]
#[case::null_member(r#"{"reissued_card_id":null}"#)]
#[case::mark("\u{feff}{}")]
#[case::mark_alone(MARK)]
#[case::mark_and_null("\u{feff}null")]
#[tokio::test]
async fn a_bind_accepts_null_and_a_byte_order_mark(#[case] body: &str) {
    let tenant = Tenant::new().await;
    let (status, location, response) = parts(sent(tenant.bind(tenant.new_card().await), body).await).await;
    assert_eq!(status, 202, "{response}");
    assert_eq!(tenant.ended(&location).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_card_id_may_have_a_fraction_of_zero() {
    let tenant = Tenant::new().await;
    let old = new_card_id();
    tenant.put(&bound(old, shared::domain::card::CardStatus::Created, ACCOUNT, CUSTOMER)).await;
    let bind = tenant.bind(tenant.new_card().await);
    let (status, location, _) = parts(sent(bind, format!(r#"{{"reissued_card_id":{old}.0}}"#)).await).await;
    assert_eq!(status, 202);
    assert_eq!(tenant.ended(&location).await["results"][0]["reissued_card_id"], old);
}

/// A response leaves out absent members, and returns the client's own numbers digit for digit.
#[tokio::test]
async fn a_bulk_is_returned_exactly_as_sent() {
    let tenant = Tenant::new().await;
    let metadata = r#"{"price": 1.10, "big":123456789012345678901234567890, "list" : [1e2, -0.0]}"#;
    let absent = r#""template_id":null,"pin_length":null,"contactless_enabled":null,"abu_enabled":null,"mode_type":null,
        "embossing_custom_field":null,"embossing_group":null"#;
    let body = format!(
        r#"{MARK}{{"program_id":5.0,"external_ids":["a"],"validity_period_hours":24.0,{absent},"metadata": {metadata} }}"#
    );
    let keyed = || post(&tenant, BULKS).header("idempotency-key", "k");
    let created = sent(keyed(), body.clone()).await;
    assert_eq!((created.status().as_u16(), created.headers().get("idempotent-replayed")), (201, None));
    let created = created.text().await.unwrap();
    assert!(created.contains(metadata), "{created}");
    let bulk: Value = serde_json::from_str(&created).unwrap();
    let mut members: Vec<_> = bulk.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "contactless_enabled",
            "counts",
            "id",
            "metadata",
            "pin_length",
            "program_id",
            "size",
            "status",
            "validity_period_hours",
        ]
    );
    let read = tenant.request(
        reqwest::Method::GET,
        &format!("{BULKS}/{}", bulk["id"].as_str().unwrap()),
        &tenant.token(ACCOUNT),
    );
    assert!(read.send().await.unwrap().text().await.unwrap().contains(metadata));

    let again = sent(keyed(), body.clone()).await;
    assert_eq!((again.status().as_u16(), &again.headers()["idempotent-replayed"]), (201, &"true".parse().unwrap()));
    assert_eq!(again.json::<Value>().await.unwrap()["id"], bulk["id"]);
    // With another spelling of the same number, it is another request.
    assert_eq!(sent(keyed(), body.replace("1.10", "1.1")).await.status(), 422);
}

/// A client can create a bulk from the response about another one, by adding names.
#[tokio::test]
async fn a_bulks_response_is_a_valid_request() {
    let tenant = Tenant::new().await;
    let settings = json!({
        "program_id": 5, "external_ids": ["a", "b"], "template_id": "t", "pin_length": 6, "contactless_enabled": false,
        "abu_enabled": false, "embossing_custom_field": "e".repeat(1000), "embossing_group": "g".repeat(32),
        "mode_type": "SINGLE", "validity_period_hours": 1, "metadata": { "m": "x".repeat(3192) },
    });
    let (status, _, first) = parts(post(&tenant, BULKS).json(&settings).send().await.unwrap()).await;
    assert_eq!(status, 201, "{first}");
    let mut copy = first.clone();
    copy["external_ids"] = settings["external_ids"].clone();
    let (status, _, mut second) = parts(post(&tenant, BULKS).json(&copy).send().await.unwrap()).await;
    assert_eq!(status, 201, "{second}");
    assert_ne!(first["id"], second["id"]);
    second["id"] = first["id"].clone();
    assert_eq!(first, second);
}

#[rstest]
#[case("program_id", json!(1.5))]
#[case("template_id", json!("t".repeat(256)))]
#[case("pin_length", json!(6.5))]
#[case("abu_enabled", json!("true"))]
#[case("embossing_custom_field", json!("e".repeat(1001)))]
#[case("embossing_group", json!("g"))]
#[case("embossing_group", json!("g".repeat(33)))]
#[case("mode_type", json!("single"))]
#[case("validity_period_hours", json!(0))]
#[case("validity_period_hours", json!(-1.0))]
#[case("metadata", json!({ "m": "x".repeat(3193) }))]
#[tokio::test]
async fn an_invalid_setting_is_named(#[case] member: &str, #[case] value: Value) {
    let tenant = Tenant::new().await;
    let mut body = json!({ "program_id": 5, "external_ids": ["a"] });
    body[member] = value;
    let (status, _, problem) = parts(post(&tenant, BULKS).json(&body).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &problem["errors"][0]["pointer"]), (400, &json!(format!("/{member}"))), "{problem}");
}

/// Metadata may have numbers beyond any machine type, and any characters. Only its size in bytes is limited.
#[rstest]
#[case::larger_than_any(r#"{"metadata":{"a":1e400}}"#, 201)]
#[case::four_hundred_digits(&format!(r#"{{"metadata":{{"a":{}}}}}"#, "9".repeat(400)), 201)]
#[case::deep(&format!(r#"{{"metadata":{{"a":{}{}}}}}"#, "[".repeat(126), "]".repeat(126)), 201)]
#[case::too_deep(&format!(r#"{{"metadata":{{"a":{}{}}}}}"#, "[".repeat(127), "]".repeat(127)), 400)]
#[case::as_many_bytes(&format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "é".repeat(1596)), 201)]
#[case::too_many_bytes(&format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "é".repeat(1597)), 400)]
#[case::twice(r#"{"metadata":{"a":1,"a":1}}"#, 400)]
#[case::unknown(r#"{"unknown":1e400}"#, 201)]
#[case::code_points(&format!(r#"{{"embossing_custom_field":"{}"}}"#, "😀".repeat(1000)), 201)]
#[case::rounded_away(r#"{"validity_period_hours":4503599627370497.3}"#, 400)]
#[tokio::test]
async fn metadata_is_not_interpreted(#[case] more: &str, #[case] expected: u16) {
    let tenant = Tenant::new().await;
    let body = more.replacen('{', r#"{"program_id":5,"external_ids":["a"],"#, 1);
    assert_eq!(sent(post(&tenant, BULKS), body).await.status(), expected);
}

#[tokio::test]
async fn a_fractional_card_id_is_refused() {
    let tenant = Tenant::new().await;
    let body = r#"{"reissued_card_id":4503599627370497.3}"#;
    assert_eq!(sent(tenant.bind(tenant.new_card().await), body).await.status(), 400);
}

/// A response to a repeated request with the same key has the header `Idempotent-Replayed`; a first one does not.
#[tokio::test]
async fn a_replayed_response_is_marked() {
    let tenant = Tenant::new().await;
    let (card, bulk, order) = (tenant.new_card().await, create(&tenant, &ids(0..1)).await, new_order_id());
    tenant.feed(&feed(&domestic(order), "ACTIVE", 1)).await;
    let start = format!("{BULKS}/{bulk}/start");
    let requests: [&dyn Fn() -> RequestBuilder; 4] = [
        &|| with(tenant.bind(card), "{}"),
        &|| with(put(&tenant, &bulk), r#"{"external_ids":["more"]}"#),
        &|| post(&tenant, &start),
        &|| with(post(&tenant, "/api/orders/cancellations"), json!([{ "OrderID": order }]).to_string()),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let mut bodies = Vec::new();
        for is_replayed in [false, true, true] {
            let response = request().header("idempotency-key", "k").send().await.unwrap();
            assert!(response.status().is_success(), "{number}");
            let header = response.headers().get("idempotent-replayed").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header.as_deref(), is_replayed.then_some("true"), "{number}");
            bodies.push(response.json::<Value>().await.unwrap());
        }
        // Only IDs are compared, because a replayed response shows the bulk's current state.
        assert!(bodies.windows(2).all(|two| two[0]["id"] == two[1]["id"]), "{number}");
    }
}

#[tokio::test]
async fn growth_and_cancels_accept_null_and_a_byte_order_mark() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..2)).await;
    assert_eq!(sent(put(&tenant, &bulk), format!(r#"{MARK}{{"external_ids":["more"]}}"#)).await.status(), 201);
    let cancel = || post(&tenant, &format!("{BULKS}/{bulk}/cancel")).header("idempotency-key", "c");
    let partial = r#"{"cancel_type":"PARTIAL","external_ids":null}"#;
    assert_eq!(sent(cancel(), partial).await.status(), 400);
    let full = format!(r#"{MARK}{{"cancel_type":"FULL","external_ids":null}}"#);
    let (status, location, _) = parts(sent(cancel(), full.clone()).await).await;
    assert_eq!(status, 202);
    tenant.ended(&location).await;
    let again = sent(cancel(), full).await;
    assert_eq!((again.status().as_u16(), &again.headers()["idempotent-replayed"]), (202, &"true".parse().unwrap()));
    assert_eq!(counts(&tenant, &bulk).await, json!({ "items": 3, "issued": 0, "canceled": 3 }));
}
