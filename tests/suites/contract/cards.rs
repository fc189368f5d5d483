//! Binds in the API, with the functions, queue, worker and bus that are deployed in the local stack.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::seed::{bound, new_card_id};
use tests::stack::{ACCOUNT, CUSTOMER, Tenant, bind_path, parts};
use tests::{token, variable};

#[tokio::test]
async fn a_bind_changes_the_card_and_publishes_an_event() {
    let tenant = Tenant::new().await;
    let card = tenant.new_card().await;
    let before = tenant.card(card).await;
    assert_eq!((&before["status"], &before["account_id"]), (&json!("UNBOUND"), &Value::Null));

    let response = tenant.bind(card).header("x-correlation-id", "c 1").send().await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "c 1");
    assert_eq!(response.headers()["content-type"], "application/json");
    let (status, location, body) = parts(response).await;
    assert_eq!(status, 202);
    let id = body["operation_id"].as_str().unwrap();
    assert_eq!(body, json!({ "operation_id": id, "status": "PENDING" }));
    assert_eq!(location, format!("/operations/{id}"));

    let operation = tenant.ended(&location).await;
    assert_eq!(operation["status"], "SUCCEEDED");
    assert_eq!(operation["counts"], json!({ "total": 1, "done": 1, "succeeded": 1, "failed": 0 }));
    assert_eq!(operation["results"], json!([{ "card_id": card, "status": "SUCCESS" }]));
    let after = tenant.card(card).await;
    assert_eq!(after["status"], "CREATED");
    assert_eq!((&after["account_id"], &after["customer_id"]), (&json!(ACCOUNT), &json!(CUSTOMER)));

    let events = tenant.events(1).await;
    let event = events.values().next().unwrap();
    let mut envelope = event.clone();
    let data = envelope.as_object_mut().unwrap().remove("data").unwrap();
    assert_eq!(
        envelope,
        json!({
            "event_id": event["event_id"], "schema_version": 1, "domain": "cards", "event_type": "bind_card",
            "org_id": tenant.org, "cid": "c 1", "timestamp": operation["ended_at"],
        })
    );
    assert_eq!(
        data,
        json!({
            "account_id": ACCOUNT, "customer_id": CUSTOMER, "card_id": card, "card_status": "CREATED",
            "card_previous_status": "UNBOUND", "card_name": "", "card_printed_name": "", "program_id": 5,
            "issuing_date": "2026-01-31T00:00:00Z", "expiration_date": "2032-01-31T00:00:00Z", "bulk_id": "a bulk",
            "external_id": format!("ä#/\"😀\u{ffff}-{card}"), "operation_type": "BIND_NONAME", "status": "SUCCESS",
        })
    );
}

#[rstest]
#[case(CardStatus::Normal, "NORMAL", "REISSUED")]
#[case(CardStatus::Created, "CREATED", "REISSUED")]
#[case(CardStatus::Blocked, "BLOCKED", "BLOCKED")]
#[tokio::test]
async fn a_reissue_changes_both_cards(#[case] status: CardStatus, #[case] before: &str, #[case] after: &str) {
    let tenant = Tenant::new().await;
    let (old, new) = (new_card_id(), tenant.new_card().await);
    tenant.put(&bound(old, status, ACCOUNT, CUSTOMER)).await;

    let response = tenant.bind(new).json(&json!({ "reissued_card_id": old })).send().await.unwrap();
    let (status, location, _) = parts(response).await;
    assert_eq!(status, 202);
    assert_eq!(tenant.ended(&location).await["status"], "SUCCEEDED");
    assert_eq!(tenant.card(new).await["status"], "CREATED");
    let old_card = tenant.card(old).await;
    assert_eq!((&old_card["status"], &old_card["new_card_id"]), (&json!(after), &json!(new)));

    let events = tenant.events(2).await;
    let of_type = |name: &str| events.values().find(|event| event["event_type"] == name).unwrap()["data"].clone();
    assert_eq!(of_type("bind_card")["operation_type"], "BIND_REISSUE");
    assert_eq!(
        of_type("update"),
        json!({
            "account_id": ACCOUNT, "card_id": old, "card_status": after, "card_previous_status": before,
            "card_type": "PLASTIC", "card_name": "", "card_printed_name": null, "card_hash": null,
            "card_last_four_numbers": null, "activation_date": null, "contactless_enabled": true,
            "operation_type": "BIND_REISSUE", "new_card_id": new, "program_id": 5, "status": "SUCCESS",
            "issuing_date": "2026-01-31T00:00:00Z", "expiration_date": "2032-01-31T00:00:00Z",
        })
    );
}

/// Sends a request, expects this status, and checks that nothing changed. An error must name `place`, if that is not
/// empty.
async fn refused(tenant: &Tenant, card: u64, request: RequestBuilder, status: u16, place: &str) {
    let response = request.send().await.unwrap();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let (got, location, body) = parts(response).await;
    assert_eq!(got, status, "{body}");
    assert_eq!(location, "");
    assert_eq!(content_type, "application/problem+json");
    assert_eq!(body["status"], status);
    for member in ["type", "title", "detail", "instance"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
    }
    if !place.is_empty() {
        let named = |error: &Value| ["pointer", "header", "parameter"].iter().any(|kind| error[kind] == place);
        assert!(body["errors"].as_array().unwrap().iter().any(named), "{place} in {body}");
    }
    assert_eq!(tenant.card(card).await["status"], "UNBOUND");
    assert!(tenant.events(0).await.is_empty());
}

#[tokio::test]
async fn a_malformed_bind_names_the_invalid_part() {
    let tenant = Tenant::new().await;
    let card = tenant.new_card().await;
    let with =
        |content_type: &str, body: &str| tenant.bind(card).header("content-type", content_type).body(body.to_owned());
    let json_body = |body: &str| with("application/json", body);
    let raw = |path: &str| tenant.request(Method::PUT, path, &tenant.token(ACCOUNT));
    let headers = |account: &str, customer: &str| {
        raw(&bind_path(card)).header("x-account-id", account).header("x-customer-id", customer)
    };
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(64 * 1024));
    let reissued = "/reissued_card_id";
    let not_ascii = HeaderValue::from_bytes("ключ".as_bytes()).unwrap();
    for (request, status, place) in [
        (tenant.bind("abc"), 400, "cardId"),
        (tenant.bind("0"), 400, "cardId"),
        (tenant.bind("-1"), 400, "cardId"),
        (tenant.bind("1.0"), 400, "cardId"),
        (tenant.bind("9007199254740992"), 400, "cardId"),
        (tenant.bind("%20"), 400, "cardId"),
        (tenant.bind("1%23CARD"), 400, "cardId"),
        (raw(&bind_path(card)).header("x-account-id", ACCOUNT), 400, "x-customer-id"),
        (raw(&bind_path(card)).header("x-customer-id", CUSTOMER), 400, "x-account-id"),
        (headers("abc", "1"), 400, "x-account-id"),
        (headers("", "1"), 400, "x-account-id"),
        (headers("4001", "1.5"), 400, "x-customer-id"),
        (headers("4001", "-1"), 400, "x-customer-id"),
        (headers("4001, 4001", "1"), 400, "x-account-id"),
        (json_body("{"), 400, ""),
        (json_body("[]"), 400, ""),
        (json_body(r#"{"a":1,"a":2}"#), 400, ""),
        (json_body(r#"{"reissued_card_id":"7"}"#), 400, reissued),
        (json_body(r#"{"reissued_card_id":7.5}"#), 400, reissued),
        (json_body(r#"{"reissued_card_id":0}"#), 400, reissued),
        (json_body(&format!(r#"{{"reissued_card_id":{card}}}"#)), 400, reissued),
        (with("text/plain", "{}"), 400, "content-type"),
        (json_body(&large), 413, ""),
        (tenant.bind(card).header("idempotency-key", "\"open"), 400, "idempotency-key"),
        (tenant.bind(card).header("idempotency-key", not_ascii.clone()), 400, "idempotency-key"),
        (tenant.bind(card).header("x-correlation-id", "x".repeat(256)), 400, "x-correlation-id"),
        (headers("4002", "1"), 403, ""),
        (tenant.bind(new_card_id()), 403, ""),
    ] {
        refused(&tenant, card, request, status, place).await;
    }
}

#[tokio::test]
async fn unusual_but_valid_requests_are_accepted() {
    let tenant = Tenant::new().await;
    for body in ["", "{}", r#"{"unknown":[{"member":1}]}"#] {
        let card = tenant.new_card().await;
        let request = tenant.bind(card).header("content-type", "Application/JSON; charset=utf-8").body(body);
        assert_eq!(request.send().await.unwrap().status(), 202, "{body}");
    }
    let (status, body) =
        tenant.get(&format!("/cards/v1/cards/{card}?a=<b>&c=%3Cd%3E&e=\"", card = tenant.new_card().await)).await;
    assert_eq!(status, 200, "{body}");
    let card = tenant.new_card().await;
    let unusual = tenant.bind(card).header("x-unusual", HeaderValue::from_bytes(b"\xe4").unwrap());
    assert_eq!(unusual.send().await.unwrap().status(), 202);
    tenant.events(4).await;
}

#[tokio::test]
async fn a_bind_that_a_cards_state_forbids_is_refused() {
    let tenant = Tenant::new().await;
    let card = tenant.new_card().await;
    let reissue = async |reissued: u64| {
        let request = tenant.bind(card).json(&json!({ "reissued_card_id": reissued }));
        let (status, _, body) = parts(request.send().await.unwrap()).await;
        let code = body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        (status.as_u16(), code)
    };
    let held = async |status, account, customer| {
        let held = bound(new_card_id(), status, account, customer);
        tenant.put(&held).await;
        held.card_id.get()
    };
    let expected = |status: u16, code: &str| (status, code.to_owned());
    let not_found = expected(403, "reissued-card-not-found");
    assert_eq!(reissue(new_card_id()).await, not_found);
    assert_eq!(reissue(tenant.new_card().await).await, not_found);
    assert_eq!(reissue(held(CardStatus::Normal, ACCOUNT + 1, CUSTOMER).await).await, not_found);
    assert_eq!(reissue(held(CardStatus::Normal, ACCOUNT, CUSTOMER + 1).await).await, not_found);
    let lost = held(CardStatus::Lost, ACCOUNT, CUSTOMER).await;
    assert_eq!(reissue(lost).await, expected(409, "reissued-card-not-eligible"));
    let reissued = held(CardStatus::Reissued, ACCOUNT, CUSTOMER).await;
    assert_eq!(reissue(reissued).await, expected(409, "reissued-card-already-replaced"));
    for status in [CardStatus::Created, CardStatus::Canceled, CardStatus::Normal] {
        let taken = held(status, ACCOUNT, CUSTOMER).await;
        assert_eq!(tenant.bind(taken).send().await.unwrap().status(), 409);
    }
    assert!(tenant.events(0).await.is_empty());
}

#[tokio::test]
async fn an_invalid_token_permits_no_bind() {
    let tenant = Tenant::new().await;
    let card = tenant.new_card().await;
    let good = token::claims(&tenant.org, ACCOUNT);
    let but = |changes: Value| {
        let mut claims = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    };
    let signed = |changes: Value| token::sign(&but(changes));
    let now = good["iat"].as_i64().unwrap();
    let other_tenant = "TN-99999999-2222-4333-8444-555555555555";
    for (name, token, status) in [
        ("expired", signed(json!({ "iat": now - 60, "exp": now - 1 })), 401),
        ("not yet", signed(json!({ "nbf": now + 600 })), 401),
        ("wrong audience", signed(json!({ "aud": "other" })), 401),
        ("wrong issuer", signed(json!({ "iss": "http://127.0.0.1:1" })), 401),
        ("alg none", token::sign_with_nothing(&good), 401),
        ("HS256 with the public key", token::sign_with_public_key(&good), 401),
        ("unknown key", token::sign_with(&json!({ "alg": "RS256", "kid": "other" }), &good), 401),
        ("changed after signing", format!("{}x", token::sign(&good)), 401),
        ("no JWT", "token".to_owned(), 401),
        ("no scope", signed(json!({ "scope": null })), 403),
        ("other scope", signed(json!({ "scope": "cards:read" })), 403),
        ("no tenant", signed(json!({ "tenant_id": null })), 403),
        ("malformed tenant", signed(json!({ "tenant_id": "TN-1" })), 403),
        ("tenant with a separator", signed(json!({ "tenant_id": format!("{}#CARD", tenant.org) })), 403),
        ("other tenant", signed(json!({ "tenant_id": other_tenant })), 403),
        ("no account", signed(json!({ "account_id": null })), 403),
        ("other account", signed(json!({ "account_id": "4002" })), 403),
    ] {
        let request = tenant.request(Method::PUT, &bind_path(card), &token);
        let request = request.header("x-account-id", ACCOUNT).header("x-customer-id", CUSTOMER);
        assert_eq!(request.send().await.unwrap().status(), status, "{name}");
    }
    let request = reqwest::Client::new().put(variable("BINDERY_URL") + &bind_path(card)).send();
    assert_eq!(request.await.unwrap().status(), 401, "no token");
    assert_eq!(tenant.card(card).await["status"], "UNBOUND");
    assert!(tenant.events(0).await.is_empty());
}

#[tokio::test]
async fn unknown_and_foreign_resources_are_not_found() {
    let (tenant, other) = (Tenant::new().await, Tenant::new().await);
    let card = tenant.new_card().await;
    let (_, location, _) = parts(tenant.bind(card).send().await.unwrap()).await;
    tenant.ended(&location).await;
    let unknown = "/operations/00000000-0000-7000-8000-000000000000";
    for path in [&format!("/cards/v1/cards/{card}"), &location, unknown, "/operations/x", "/cards/v1/cards/1"] {
        let (status, body) = other.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(body["type"], "urn:bindery:problem:not-found");
    }
    assert_eq!(other.get("/cards/v1/cards/x").await.0, 400);
}

#[tokio::test]
async fn one_key_is_one_operation() {
    let tenant = Tenant::new().await;
    let (card, other) = (tenant.new_card().await, tenant.new_card().await);
    let keyed = |card: u64| tenant.bind(card).header("idempotency-key", "\"k-1\"");

    // Requests with the same key at once, and again after the operation has ended.
    let responses = join_all((0..8).map(|_| async { parts(keyed(card).send().await.unwrap()).await })).await;
    let first = responses[0].clone();
    assert_eq!(first.0, 202);
    assert_eq!(tenant.ended(&first.1).await["status"], "SUCCEEDED");
    for response in responses {
        assert_eq!(response, first);
    }
    assert_eq!(parts(keyed(card).send().await.unwrap()).await, first);
    // Without quotes it is the same key. Another card with the key is an error, and another key is another operation.
    assert_eq!(parts(tenant.bind(card).header("idempotency-key", "k-1").send().await.unwrap()).await, first);
    assert_eq!(keyed(other).send().await.unwrap().status(), 422);
    assert_eq!(tenant.bind(card).header("idempotency-key", "k-2").send().await.unwrap().status(), 409);
    assert_eq!(tenant.card(other).await["status"], "UNBOUND");
    tenant.events(1).await;
}

#[tokio::test]
async fn one_of_many_binds_of_a_card_wins() {
    const BINDERS: u64 = 32;
    // A few rounds suffice: one takes seconds in the emulator, and the model covers every order of these calls.
    let rounds: usize = std::env::var("BINDERY_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    let tenant = Tenant::new().await;
    let mut accepted = 0;
    for _ in 0..rounds {
        let card = tenant.new_card().await;
        let responses = join_all((1..=BINDERS).map(|account| {
            let request = tenant.bind_for(card, account);
            async move { (account, parts(request.send().await.unwrap()).await) }
        }))
        .await;
        let mut winners = Vec::new();
        for (account, (status, location, body)) in responses {
            match status.as_u16() {
                202 => {
                    accepted += 1;
                    let operation = tenant.ended(&location).await;
                    match operation["status"].as_str() {
                        Some("SUCCEEDED") => winners.push(account),
                        _ => assert_eq!(operation["results"][0]["message_code"], "CARD_NOT_UNBOUND"),
                    }
                }
                409 => {}
                _ => panic!("{status} {body}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(tenant.card(card).await["account_id"], winners[0]);
    }
    // More binds than winners must be accepted. Otherwise the endpoint's check alone decided, without a race.
    assert!(accepted > 2 * rounds, "only {accepted} binds were accepted, so the workers had no race to decide");
    // Each accepted bind has one event, and each card one SUCCESS.
    let events = tenant.events(accepted).await;
    let successes = events.values().filter(|event| event["data"]["status"] == "SUCCESS").count();
    assert_eq!(successes, rounds);
    println!("{accepted} of {} binds were accepted", rounds as u64 * BINDERS);
}

#[tokio::test]
async fn an_invalid_message_is_dead_lettered_with_its_reason() {
    let tenant = Tenant::new().await;
    let (queue, dlq) = (variable("BIND_CARD_QUEUE_URL"), variable("BIND_CARD_DLQ_URL"));
    let marker = tenant.org.clone();
    let message = |version: u64, kind: &str, extra: &str| {
        format!(
            r#"{{"version":{version},"kind":"{kind}","org_id":"{marker}","operation_id":"00000000-0000-7000-8000-000000000000",
            "cid":"c","accepted_at":"2026-11-22T00:00:00.000Z"{extra},"instruction":{{
            "bind":{{"card_id":1,"account_id":1,"customer_id":1}},"card":{{"program_id":1,
            "contactless_enabled":true,"issuing_date":"2026-01-01T00:00:00Z","expiration_date":"2030-01-01T00:00:00Z"}}}}}}"#
        )
    };
    let bad = [
        (format!("not JSON {marker}"), "unreadable message: not JSON at line 1 column 2"),
        (message(2, "bind-card", ""), "unreadable message: not of the known form"),
        (message(1, "bind-card", r#","surprise":1"#), "unreadable message: not of the known form"),
        (message(1, "bind-card", ""), "the operation has no row"),
        (message(1, "cancel-bulk", ""), "a cancel-bulk message in the queue of bind-card-worker"),
        // At SQS's maximum size there is no room for the reason, so SQS itself dead-letters the message.
        (format!("{marker}{}", "x".repeat(1024 * 1024 - marker.len())), ""),
    ];
    let mut good = Vec::new();
    for (body, _) in &bad {
        let card = tenant.new_card().await;
        let (status, location, _) = parts(tenant.bind(card).send().await.unwrap()).await;
        assert_eq!(status, 202);
        good.push(location);
        tenant.sqs.send_message().queue_url(&queue).message_body(body).send().await.unwrap();
    }
    for location in good {
        assert_eq!(tenant.ended(&location).await["status"], "SUCCEEDED");
    }
    tenant.events(bad.len()).await;

    // SQS dead-letters the large message after five visibility timeouts.
    let mut missing = bad.to_vec();
    tests::test_env::eventually("the dead letters", Duration::from_secs(180), async || {
        let receive = tenant.sqs.receive_message().queue_url(&dlq).max_number_of_messages(10);
        let response = receive.message_attribute_names("All").visibility_timeout(1).send().await.unwrap();
        for letter in response.messages.unwrap_or_default() {
            let body = letter.body.unwrap();
            let Some(found) = missing.iter().position(|(bad, _)| *bad == body) else { continue };
            let (_, reason) = missing.remove(found);
            let attributes = letter.message_attributes.unwrap_or_default();
            let given = attributes.get("reason").and_then(|reason| reason.string_value.clone()).unwrap_or_default();
            assert!(given.starts_with(reason), "{given}");
            let receipt = letter.receipt_handle.unwrap();
            tenant.sqs.delete_message().queue_url(&dlq).receipt_handle(receipt).send().await.unwrap();
        }
        missing.is_empty().then_some(())
    })
    .await;
}
