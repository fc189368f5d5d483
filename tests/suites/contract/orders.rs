//! Cancellations of orders, from the view of .NET clients and the broker's order system.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use rstest::rstest;
use serde_json::{Value, json};
use tests::orders::{CREATOR, Orders, domestic, feed, international, new_order_id};
use tests::stack::{ACCOUNT, Tenant, parts};
use tests::{token, variable};
use uuid::Uuid;

const PATH: &str = "/api/orders/cancellations";

fn post(tenant: &Tenant) -> RequestBuilder {
    tenant.request(Method::POST, PATH, &tenant.token(ACCOUNT))
}

/// Sends entries, and returns the errors of each and the operation's location.
async fn cancel(tenant: &Tenant, entries: &Value) -> (Vec<Value>, String) {
    let (status, location, body) = parts(post(tenant).json(entries).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    let results = body.as_array().unwrap();
    assert_eq!(results.len(), entries.as_array().unwrap().len());
    for result in results {
        assert_eq!(result["Success"], result["Errors"].is_null());
    }
    (results.iter().map(|result| result["Errors"].clone()).collect(), location)
}

fn entry(order: i32, creator: Option<i32>, pin: Option<&str>) -> Value {
    json!({ "OrderID": order, "CreatorID": creator, "PIN": pin, "IsInternationalOrder": false })
}

#[tokio::test]
async fn results_have_the_order_of_the_entries() {
    let tenant = Tenant::new().await;
    let other = Tenant::new().await;
    let [active, filled, partly, asked, foreign, of_others, joint] = [(); 7].map(|()| new_order_id());
    let uid = Uuid::new_v4();
    tenant.feed(&feed(&domestic(active), "ACTIVE", 1)).await;
    tenant.feed(&feed(&domestic(filled), "FILLED", 1)).await;
    tenant.feed(&feed(&domestic(partly), "PARTIALLY_FILLED", 1)).await;
    tenant.feed(&feed(&domestic(asked), "PENDING_CANCEL", 1)).await;
    tenant.feed(&feed(&international(uid), "ACTIVE", 1)).await;
    let mut of_another = domestic(of_others);
    of_another["creator_id"] = json!(CREATOR + 1);
    tenant.feed(&feed(&of_another, "ACTIVE", 1)).await;
    (of_another["order_id"], of_another["authorized_ids"]) = (json!(joint), json!([CREATOR]));
    tenant.feed(&feed(&of_another, "ACTIVE", 1)).await;
    other.feed(&feed(&domestic(foreign), "ACTIVE", 1)).await;

    let entries = json!([
        entry(active, None, None),
        null,
        {},
        { "IsInternationalOrder": true, "OrderID": active },
        { "IsInternationalOrder": true, "InternationalOrderUID": uid },
        { "IsInternationalOrder": true, "CreatorID": CREATOR },
        { "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": CREATOR },
        entry(filled, None, None),
        entry(partly, Some(CREATOR), None),
        entry(asked, None, None),
        entry(foreign, None, None),
        entry(of_others, Some(CREATOR), None),
        entry(joint, Some(CREATOR), None),
        entry(active, None, None),
        { "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": CREATOR + 1 },
    ]);
    let (errors, location) = cancel(&tenant, &entries).await;
    let one = |text: &str| json!([text]);
    assert_eq!(
        errors,
        [
            Value::Null,
            one("Cancellation instruction is missing."),
            one("OrderID is required."),
            json!(["InternationalOrderUID is required.", "CreatorID is required."]),
            one("CreatorID is required."),
            one("InternationalOrderUID is required."),
            Value::Null,
            one("Order is not active."),
            Value::Null,
            one("Order already has a pending cancellation."),
            one("Order was not found."),
            one("Order was not found."),
            Value::Null,
            one("Order is repeated in this request."),
            one("Order is repeated in this request."),
        ]
    );
    assert!(location.starts_with("/operations/"));
    tenant.events(4).await;
}

/// Follows a cancellation from the request through the order system's messages to the operation's end.
#[tokio::test]
async fn the_order_system_decides_the_outcome_of_a_cancellation() {
    let tenant = Tenant::new().await;
    let (active, partly, uid) = (new_order_id(), new_order_id(), Uuid::new_v4());
    tenant.feed(&feed(&domestic(active), "ACTIVE", 1)).await;
    tenant.feed(&feed(&domestic(partly), "PARTIALLY_FILLED", 1)).await;
    tenant.feed(&feed(&international(uid), "ACTIVE", 1)).await;
    let uid_entry = json!({ "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": CREATOR });
    let entries = json!([entry(active, None, None), entry(partly, None, None), uid_entry]);
    let (errors, location) = cancel(&tenant, &entries).await;
    assert!(errors.iter().all(Value::is_null), "{errors:?}");
    let events = tenant.events(3).await;
    assert!(
        events.values().all(|event| event["event_type"] == "cancellation_requested" && event["domain"] == "orders")
    );
    let (status, operation) = tenant.get(&location).await;
    assert_eq!(
        (status.as_u16(), &operation["status"], &operation["counts"]["total"]),
        (200, &json!("RUNNING"), &json!(3))
    );
    let statuses: Vec<_> = operation["results"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, ["REQUESTED"; 3]);
    let (again, nowhere) = cancel(&tenant, &json!([entry(active, None, None)])).await;
    assert_eq!((again, nowhere.as_str()), (vec![json!(["Order already has a pending cancellation."])], ""));

    tenant.feed(&feed(&domestic(active), "CANCELED", 2)).await;
    tenant.feed(&feed(&domestic(partly), "FILLED", 2)).await;
    let operation_id = operation["operation_id"].as_str().unwrap();
    let mut refused = feed(&international(uid), "ACTIVE", 2);
    refused["cancel_rejected"] = json!({ "operation_id": operation_id, "code": "UNKNOWN_ORDER" });
    tenant.feed(&refused).await;
    let events = tenant.events(3).await;
    let codes: BTreeSet<(&str, &str)> = events
        .values()
        .map(|event| &event["data"])
        .map(|data| (data["status"].as_str().unwrap(), data["message_code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        codes,
        BTreeSet::from([("SUCCESS", "CANCELED"), ("FAILURE", "TOO_LATE_TO_CANCEL"), ("FAILURE", "UNKNOWN_ORDER")])
    );
    let operation = tenant.ended(&location).await;
    assert_eq!(operation["counts"], json!({ "total": 3, "done": 3, "succeeded": 1, "failed": 2 }));
    // The market refused the cancellation, so the order is still active and can be canceled again.
    assert_eq!(cancel(&tenant, &json!([uid_entry])).await.0, [Value::Null]);
    tenant.events(1).await;
}

#[tokio::test]
async fn an_xml_request_gets_exactly_this_xml_response() {
    let tenant = Tenant::new().await;
    let order = new_order_id();
    tenant.feed(&feed(&domestic(order), "ACTIVE", 1)).await;
    let body = format!(
        "<ArrayOfCancellationCreation xmlns=\"http://schemas.datacontract.org/2004/07/\"><CancellationCreation>\
         <OrderID>{order}</OrderID></CancellationCreation></ArrayOfCancellationCreation>"
    );
    let request =
        post(&tenant).header("content-type", "text/xml; charset=utf-8").header("accept", "text/html").body(body);
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/xml; charset=utf-8".parse().unwrap())
    );
    assert_eq!(
        response.text().await.unwrap(),
        format!(
            "<ArrayOfCancellationCreationResult xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xmlns=\"http://schemas.datacontract.org/2004/07/TPP.Contracts.Services.Order\">\
             <CancellationCreationResult><Errors xmlns:d3p1=\"http://schemas.microsoft.com/2003/10/Serialization/Arrays\" \
             i:nil=\"true\" /><InternationalOrderUID i:nil=\"true\" /><OrderID>{order}</OrderID><Success>true</Success>\
             </CancellationCreationResult></ArrayOfCancellationCreationResult>"
        )
    );
}

#[rstest]
#[case::not_json("application/json", None, "{".into(), 400, "application/json; charset=utf-8", true)]
#[case::not_xml("text/xml", Some("text/html"), "<".into(), 400, "text/xml; charset=utf-8", false)]
#[case::other_type("text/plain", None, "[]".into(), 415, "application/json; charset=utf-8", true)]
#[case::other_type_to_xml("text/plain", Some("text/xml"), "[]".into(), 415, "text/xml; charset=utf-8", false)]
#[case::too_large("application/json", None, " ".repeat(1024 * 1024 + 1), 413, "application/json; charset=utf-8", true)]
#[case::too_many(
    "application/json", None, json!(vec![json!({}); 1001]).to_string(), 413, "application/json; charset=utf-8", true
)]
#[case::no_body("application/json", None, String::new(), 400, "application/json; charset=utf-8", true)]
#[case::null("application/json", None, "null".into(), 400, "application/json; charset=utf-8", true)]
#[tokio::test]
async fn an_error_is_a_bare_string(
    #[case] content_type: &str,
    #[case] accept: Option<&str>,
    #[case] body: String,
    #[case] status: u16,
    #[case] expected_type: &str,
    #[case] is_json: bool,
) {
    let tenant = Tenant::new().await;
    let mut request = post(&tenant).header("content-type", content_type).body(body);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], expected_type);
    let text = response.text().await.unwrap();
    if is_json {
        assert!(serde_json::from_str::<String>(&text).is_ok(), "{text}");
    } else {
        assert!(text.starts_with("<string xmlns=\"http://schemas.microsoft.com/2003/10/Serialization/\">"), "{text}");
    }
}

#[tokio::test]
async fn an_empty_list_is_accepted_but_needs_the_scope() {
    let tenant = Tenant::new().await;
    let (status, location, body) = parts(post(&tenant).json(&json!([])).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), location.as_str(), body), (200, "", json!([])));
    let mut claims = token::claims(&tenant.org, ACCOUNT);
    claims["scope"] = json!("cards:write");
    let request = tenant.request(Method::POST, PATH, &token::sign(&claims)).json(&json!([]));
    let (status, _, body) = parts(request.send().await.unwrap()).await;
    assert_eq!(status, 403);
    assert!(body.is_string(), "{body}");
}

const UNAUTHORIZED: &str = "The access token is missing or invalid.";

/// A client without access gets the error in its own format: API Gateway does not refuse it earlier with its own JSON.
#[rstest]
#[case::none(None, 401, UNAUTHORIZED)]
#[case::garbled(Some(json!("x")), 401, UNAUTHORIZED)]
#[case::expired(Some(json!({ "exp": 1_700_000_000 })), 401, UNAUTHORIZED)]
#[case::other_audience(Some(json!({ "aud": "other" })), 401, UNAUTHORIZED)]
#[case::other_issuer(Some(json!({ "iss": "http://127.0.0.1:1" })), 401, UNAUTHORIZED)]
#[case::scope(Some(json!({ "scope": "cards:write" })), 403, "The access token lacks the scope for this request.")]
#[case::tenant(Some(json!({ "tenant_id": null })), 403, "The access token names no organization.")]
#[tokio::test]
async fn a_refused_client_gets_the_error_in_its_own_format(
    #[case] bearing: Option<Value>,
    #[case] status: u16,
    #[case] why: &str,
) {
    let tenant = Tenant::new().await;
    let bearing = bearing.map(|changes| match changes {
        Value::Object(changes) => {
            let mut claims = token::claims(&tenant.org, ACCOUNT);
            claims.as_object_mut().unwrap().extend(changes);
            token::sign(&claims)
        }
        other => other.as_str().unwrap().to_owned(),
    });
    let xml = format!("<string xmlns=\"http://schemas.microsoft.com/2003/10/Serialization/\">{why}</string>");
    let json = json!(why).to_string();
    for (accept, content_type, expected_type, expected) in [
        ("text/html", "application/json", "application/json", &json),
        ("text/html", "text/xml", "text/xml", &xml),
        ("application/xml", "application/json", "application/xml", &xml),
        ("text/json", "text/xml", "text/json", &json),
        // The type and size of the body are not checked before the token.
        ("*/*", "text/plain", "application/json", &json),
    ] {
        let mut request =
            reqwest::Client::new().post(variable("BINDERY_URL") + PATH).header("content-type", content_type);
        if let Some(token) = &bearing {
            request = request.bearer_auth(token);
        }
        let response = request.header("accept", accept).body(" ".repeat(1024 * 1024 + 1)).send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.status().as_u16(), status, "{accept} {content_type}");
        assert_eq!(header("content-type"), Some(format!("{expected_type}; charset=utf-8")));
        assert_eq!(header("www-authenticate").as_deref(), (status == 401).then_some("Bearer"));
        assert_eq!(&response.text().await.unwrap(), expected, "{accept} {content_type}");
    }
}

#[tokio::test]
async fn a_key_makes_one_cancellation_and_one_pin_try() {
    let tenant = Tenant::new().await;
    let orders = Orders::of_one_creator(&tenant, 3).await;
    tenant.set_pin(CREATOR, "7295").await;
    let send = |key: &str, pin: &str| {
        let entries = json!([entry(orders.ids[0], None, Some("7295")), entry(orders.ids[1], None, Some(pin))]);
        let request = post(&tenant).header("idempotency-key", key.to_owned()).json(&entries);
        async move { parts(request.send().await.unwrap()).await }
    };
    let first = send("k", "0000").await;
    assert_eq!(first.2[1]["Errors"], json!(["PIN is invalid."]));
    let tries = tenant.tries(CREATOR).await;
    for pin in ["0000", "7295"] {
        // The PIN is not part of the request's fingerprint, because a hash of a short PIN could be searched.
        assert_eq!(send("k", pin).await, first);
    }
    assert_eq!(tenant.tries(CREATOR).await, tries);
    let other = post(&tenant).header("idempotency-key", "k").json(&json!([entry(orders.ids[2], None, None)]));
    let (status, _, body) = parts(other.send().await.unwrap()).await;
    assert_eq!(status, 422);
    assert!(body.is_string());
    tenant.events(1).await;
}

#[tokio::test]
async fn a_pin_is_required_whichever_creator_is_named() {
    let tenant = Tenant::new().await;
    let orders = Orders::of_one_creator(&tenant, 8).await;
    tenant.set_pin(CREATOR, "7295").await;
    let invalid = json!(["PIN is invalid."]);
    let locked = json!(["PIN is locked."]);
    let ids = &orders.ids;
    // A missing PIN is not a try. Leaving the creator out, or naming another one, gains nothing.
    let entries = json!([
        entry(ids[0], None, None),
        entry(ids[1], Some(CREATOR), None),
        entry(ids[2], Some(CREATOR + 1), Some("7295"))
    ]);
    let (errors, _) = cancel(&tenant, &entries).await;
    assert_eq!(errors, [invalid.clone(), invalid.clone(), json!(["Order was not found."])]);
    assert_eq!(tenant.tries(CREATOR).await, 0);
    // Four wrong tries, then the right PIN, which resets the count. Two entries with the same PIN are one try.
    for tries in 1..=4 {
        assert_eq!(
            cancel(&tenant, &json!([entry(ids[0], None, Some("0000")), entry(ids[1], None, Some("0000"))])).await.0,
            [invalid.clone(), invalid.clone()]
        );
        assert_eq!(tenant.tries(CREATOR).await, tries);
    }
    assert_eq!(cancel(&tenant, &json!([entry(ids[0], None, Some("7295"))])).await.0, [Value::Null]);
    assert_eq!(tenant.tries(CREATOR).await, 0);
    for _ in 1..=5 {
        assert_eq!(cancel(&tenant, &json!([entry(ids[1], None, Some("0000"))])).await.0[0], invalid);
    }
    for pin in ["0000", "7295"] {
        assert_eq!(cancel(&tenant, &json!([entry(ids[1], None, Some(pin))])).await.0[0], locked);
    }
    // The lock ends, as it would after fifteen minutes.
    tenant.end_lock(CREATOR).await;
    assert_eq!(cancel(&tenant, &json!([entry(ids[1], None, Some("0000"))])).await.0, [invalid]);
    assert_eq!(tenant.tries(CREATOR).await, 1);
    assert_eq!(cancel(&tenant, &json!([entry(ids[1], None, Some("7295"))])).await.0, [Value::Null]);
    tenant.events(2).await;
}

/// Twenty guesses are sent at once, 200 in all. Five are reported as wrong. Then even the right PIN is locked.
#[tokio::test]
async fn guessing_in_parallel_gains_nothing() {
    let tenant = Tenant::new().await;
    let orders = Orders::of_one_creator(&tenant, 50).await;
    tenant.set_pin(CREATOR, "7295").await;
    let mut guesses = Vec::new();
    for wave in 0..10 {
        let requests = (0..4).map(|request| {
            let guess = |guess: usize| entry(orders.ids[guess], None, Some(&format!("x{wave}-{request}-{guess}")));
            let (tenant, entries) = (&tenant, (0..5).map(guess).collect::<Vec<_>>());
            async move { cancel(tenant, &json!(entries)).await.0 }
        });
        guesses.extend(join_all(requests).await);
    }
    let count = |text: &str| guesses.iter().flatten().filter(|errors| **errors == json!([text])).count();
    assert_eq!((count("PIN is invalid."), count("PIN is locked.")), (5, 195));
    assert_eq!(
        cancel(&tenant, &json!([entry(orders.ids[0], None, Some("7295"))])).await.0,
        [json!(["PIN is locked."])]
    );

    // Requests with the right PIN, sent at once, are not locked out.
    tenant.set_pin(CREATOR, "7295").await;
    let honest = join_all(orders.ids[..20].iter().map(|id| {
        let tenant = &tenant;
        async move { cancel(tenant, &json!([entry(*id, None, Some("7295"))])).await.0 }
    }))
    .await;
    assert!(honest.iter().flatten().all(Value::is_null), "{honest:?}");
    tenant.events(20).await;
}

#[tokio::test]
async fn more_than_fifty_pins_are_refused_and_none_is_tried() {
    let tenant = Tenant::new().await;
    let orders = Orders::of_one_creator(&tenant, 51).await;
    tenant.set_pin(CREATOR, "7295").await;
    let entries: Vec<_> = orders.ids.iter().map(|id| entry(*id, None, Some(&id.to_string()))).collect();
    let (status, _, body) = parts(post(&tenant).json(&entries).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), body.is_string()), (413, true));
    assert_eq!(tenant.tries(CREATOR).await, 0);
}

#[tokio::test]
async fn a_malformed_order_feed_message_is_dead_lettered() {
    let tenant = Tenant::new().await;
    let dlq = variable("ORDER_FEED_DLQ_URL");
    let body = format!("{{\"org_id\":\"{}\"}}", tenant.org);
    tenant.sqs.send_message().queue_url(variable("ORDER_FEED_QUEUE_URL")).message_body(&body).send().await.unwrap();
    tests::test_env::eventually("the dead letter", tests::stack::PATIENCE, async || {
        tests::test_env::drain(&tenant.sqs, &dlq).await.contains(&body).then_some(())
    })
    .await;
}
