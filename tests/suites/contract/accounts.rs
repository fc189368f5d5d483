//! Accounts of one organization: the rights of their tokens, and what one account can learn about another.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::bulks::BULKS;
use tests::seed::{bound, new_card_id};
use tests::stack::{ACCOUNT, CUSTOMER, Tenant, bind_path, parts};
use tests::token;

const OTHER: u64 = ACCOUNT + 1;

fn limited_to(tenant: &Tenant, scope: &str) -> String {
    let mut claims = token::claims(&tenant.org, ACCOUNT);
    claims["scope"] = json!(scope);
    token::sign(&claims)
}

async fn create(tenant: &Tenant, token: &str, key: &str) -> (StatusCode, Value) {
    let request = tenant.request(Method::POST, BULKS, token).header("idempotency-key", key);
    let response = request.json(&json!({ "program_id": 1, "external_ids": ["a"] })).send().await.unwrap();
    let (status, _, body) = parts(response).await;
    (status, body)
}

/// This scope is all that an account's token needs in an app or at a point of sale.
#[rstest]
#[case::text(json!("cards:bind"))]
#[case::list(json!(["x", "cards:bind", "y"]))]
#[tokio::test]
async fn a_token_with_only_the_bind_scope_can_only_bind(#[case] scope: Value) {
    let tenant = Tenant::new().await;
    let (card, bulk) = (tenant.new_card().await, create(&tenant, &token::of_org(&tenant.org), "k").await.1);
    let mut claims = token::claims(&tenant.org, ACCOUNT);
    claims["scope"] = scope;
    let token = token::sign(&claims);
    let of_bulk = format!("{BULKS}/{}", bulk["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::POST, BULKS.to_owned(), json!({ "program_id": 1, "external_ids": ["b"] })),
        (Method::PUT, of_bulk.clone(), json!({ "external_ids": ["b"] })),
        (Method::POST, format!("{of_bulk}/start"), json!({})),
        (Method::POST, format!("{of_bulk}/cancel"), json!({ "cancel_type": "FULL" })),
        (Method::POST, "/api/orders/cancellations".to_owned(), json!([{ "OrderID": 1 }])),
        (Method::GET, of_bulk.clone(), json!({})),
        (Method::GET, format!("/cards/v1/cards/{card}"), json!({})),
    ] {
        let response = tenant.request(method.clone(), &path, &token).json(&body).send().await.unwrap();
        let (status, _, body) = parts(response).await;
        assert_eq!(status, 403, "{method} {path}: {body}");
    }
    let after = tenant.get(&of_bulk).await.1;
    assert_eq!((&after["status"], &after["size"]), (&json!("CREATED"), &json!(1)));
    assert_eq!(after.get("cancellation"), None);

    let bind = tenant.request(Method::PUT, &bind_path(card), &token);
    let response = bind.header("x-account-id", ACCOUNT).header("x-customer-id", CUSTOMER).send().await.unwrap();
    let (status, location, body) = parts(response).await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(tenant.ended(&location).await["status"], "SUCCEEDED");
    tenant.events(1).await;
}

#[tokio::test]
async fn accounts_do_not_share_idempotency_keys() {
    let tenant = Tenant::new().await;
    let bind = async |card: u64, account: u64| {
        let response = tenant.bind_for(card, account).header("idempotency-key", "order-1001").send().await.unwrap();
        parts(response).await
    };
    let (early, card, other) = (tenant.new_card().await, tenant.new_card().await, tenant.new_card().await);
    let before = bind(early, OTHER).await;
    let mine = bind(card, ACCOUNT).await;
    assert_eq!(
        (before.0, mine.0),
        (StatusCode::ACCEPTED, StatusCode::ACCEPTED),
        "a key of another account must not count"
    );
    assert_ne!(before.1, mine.1);
    assert_eq!(bind(other, ACCOUNT).await.0, 422, "the account's own key must still count");
    for location in [&before.1, &mine.1] {
        assert_eq!(tenant.ended(location).await["status"], "SUCCEEDED");
    }
    assert_eq!(bind(card, ACCOUNT).await, mine);

    let (status, unknown) =
        tenant.get_by(&tenant.token(OTHER), "/operations/00000000-0000-7000-8000-000000000000").await;
    assert_eq!(status, 404);
    let alike = |(status, mut problem): (StatusCode, Value)| {
        problem["instance"] = unknown["instance"].clone();
        (status, problem)
    };
    assert_eq!(alike(tenant.get_by(&tenant.token(OTHER), &mine.1).await), (status, unknown.clone()));
    let own = tenant.get_by(&tenant.token(ACCOUNT), &mine.1).await;
    assert_eq!((own.0, &own.1["results"][0]["card_id"]), (StatusCode::OK, &json!(card)));
    assert_eq!(tenant.get(&mine.1).await, own);
    tenant.events(2).await;
}

/// The namespaces of keys are separate for every kind of request.
#[tokio::test]
async fn a_key_of_two_accounts_and_their_organization_makes_three_bulks() {
    let tenant = Tenant::new().await;
    let mut made = Vec::new();
    for token in [tenant.token(ACCOUNT), tenant.token(OTHER), token::of_org(&tenant.org)] {
        let first = create(&tenant, &token, "k").await;
        assert_eq!(first.0, 201);
        assert_eq!(create(&tenant, &token, "k").await, first);
        made.push(first.1["id"].clone());
    }
    assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2], "{made:?}");
    // The operation of an account's start is not visible to another account. Only the bulk shows the start.
    let start = format!("{BULKS}/{}/start", made[0].as_str().unwrap());
    let response = tenant.request(Method::POST, &start, &tenant.token(ACCOUNT)).send().await.unwrap();
    let (_, location, _) = parts(response).await;
    tenant.ended(&location).await;
    assert_eq!(tenant.get_by(&tenant.token(ACCOUNT), &location).await.0, 200);
    assert_eq!(tenant.get_by(&tenant.token(OTHER), &location).await.0, 404);
}

#[tokio::test]
async fn only_the_id_of_another_accounts_card_is_returned() {
    let tenant = Tenant::new().await;
    let (old, new) = (new_card_id(), tenant.new_card().await);
    tenant.put(&bound(old, CardStatus::Normal, ACCOUNT, CUSTOMER)).await;
    let response = tenant.bind(new).json(&json!({ "reissued_card_id": old })).send().await.unwrap();
    let (_, location, _) = parts(response).await;
    assert_eq!(tenant.ended(&location).await["status"], "SUCCEEDED");
    for card in [old, new] {
        let path = format!("/cards/v1/cards/{card}");
        let whole = tenant.get(&path).await;
        assert_eq!((&whole.1["account_id"], &whole.1["customer_id"]), (&json!(ACCOUNT), &json!(CUSTOMER)));
        assert_eq!(whole.1.get("new_card_id").is_some(), card == old);
        assert_eq!(tenant.get_by(&tenant.token(ACCOUNT), &path).await, whole);
        let known = json!({ "card_id": card });
        assert_eq!(tenant.get_by(&tenant.token(OTHER), &path).await, (StatusCode::OK, known));
    }
    let unbound = format!("/cards/v1/cards/{}", tenant.new_card().await);
    assert_eq!(tenant.get_by(&tenant.token(OTHER), &unbound).await, tenant.get(&unbound).await);
    tenant.events(2).await;
}

/// The response says neither why another account's card cannot be bound, nor to whom a card to be reissued belongs.
#[tokio::test]
async fn a_refused_bind_reveals_nothing_about_another_accounts_card() {
    let tenant = Tenant::new().await;
    let held = async |status, account| {
        let card = bound(new_card_id(), status, account, CUSTOMER);
        tenant.put(&card).await;
        card.card_id.get()
    };
    let refused = async |card: u64, body: Value| {
        let response = tenant.bind(card).json(&body).send().await.unwrap();
        let (status, _, mut problem) = parts(response).await;
        problem["instance"] = Value::Null;
        (status, problem)
    };
    let own = refused(held(CardStatus::Created, ACCOUNT).await, json!({})).await;
    assert_eq!(own.0, 409);
    for status in [CardStatus::Created, CardStatus::Lost, CardStatus::Canceled, CardStatus::Reissued] {
        assert_eq!(refused(held(status, OTHER).await, json!({})).await, own, "{status:?}");
    }
    let card = tenant.new_card().await;
    let unknown = refused(card, json!({ "reissued_card_id": new_card_id() })).await;
    assert_eq!(unknown.0, 403);
    for status in [CardStatus::Created, CardStatus::Lost, CardStatus::Reissued] {
        let other = held(status, OTHER).await;
        assert_eq!(refused(card, json!({ "reissued_card_id": other })).await, unknown, "{status:?}");
    }
    tenant.events(0).await;
}

/// `cards:write` includes `cards:bind`: it sufficed before `cards:bind` existed.
#[tokio::test]
async fn the_write_scope_permits_binding() {
    let tenant = Tenant::new().await;
    let bind = tenant.request(Method::PUT, &bind_path(tenant.new_card().await), &limited_to(&tenant, "cards:write"));
    let response = bind.header("x-account-id", ACCOUNT).header("x-customer-id", CUSTOMER).send().await.unwrap();
    assert_eq!(response.status(), 202);
    tenant.events(1).await;
}
