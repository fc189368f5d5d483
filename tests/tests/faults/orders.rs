//! Cancellations of orders, while workers die, messages come again in any order, and the market acts.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};
use tests::arena::Arena;
use tests::function::Function;
use tests::orders::{domestic, feed};
use tests::payloads::ORG;

use super::crew::answered;
use super::{Delivery, deliver_with_deaths, http_event};

const ORDERS: i32 = 40;
const CREW: [&str; 4] = ["order-feed-worker", "cancel-orders-worker", "order-feed-worker", "cancel-orders-worker"];

fn change(order: i32, status: &str, version: u64) -> String {
    let mut change = feed(&domestic(order), status, version);
    change["org_id"] = json!(ORG);
    change.to_string()
}

/// Orders are fed, and the cancellation of all of them is accepted; answers its messages.
async fn accepted(arena: &Arena) -> Vec<String> {
    let how = Delivery { batch: 10, copies: 0, moments: 1, death: 0.0 };
    let orders = (1..=ORDERS).map(|order| change(order, "ACTIVE", 1)).collect();
    deliver_with_deaths(arena, &["order-feed-worker"], orders, how, Rng::with_seed(1)).await;
    let entries: Vec<Value> = (1..=ORDERS).map(|order| json!({ "OrderID": order })).collect();
    let mut event = http_event("POST", "/api/orders/cancellations", &json!({}), &json!({}), Some(&json!(entries)));
    event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = json!("orders:cancel");
    let endpoint = Function::new("cancel-orders", arena.environment()).await;
    let results = answered(endpoint.invoke(event).await, 200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
    let messages = arena.take_messages().await;
    assert_eq!(messages.len(), ORDERS as usize);
    messages
}

/// Each order's cancellation meets a FILLED or a CANCELED of the market's: in whatever order they come, it has one
/// outcome, which the order's row and its events agree on.
#[tokio::test]
async fn a_cancellation_and_the_market_come_to_one_outcome() {
    let arena = Arena::new().await;
    let messages = accepted(&arena).await;
    let market = (1..=ORDERS).map(|order| change(order, if order % 2 == 0 { "FILLED" } else { "CANCELED" }, 2));
    let all: Vec<String> = messages.into_iter().chain(market).flat_map(|body| vec![body; 3]).collect();
    let how = Delivery { batch: 5, copies: 0, moments: 6, death: 0.3 };
    let run = deliver_with_deaths(&arena, &CREW, all, how, Rng::with_seed(2)).await;
    let rows = arena.rows().await;
    let events = arena.events().await;
    let mut requested = BTreeMap::new();
    let mut outcomes = BTreeMap::new();
    for event in events.values() {
        let order = event["data"]["order_id"].as_i64().unwrap();
        let before = match event["event_type"].as_str().unwrap() {
            "cancellation_requested" => requested.insert(order, event.clone()),
            _ => outcomes.insert(order, event["data"]["message_code"].clone()),
        };
        assert_eq!(before, None, "{event} came twice");
    }
    println!("{} deliveries, {} deaths, {} of {ORDERS} requested", run.deliveries, run.deaths, requested.len());
    assert!(run.deaths > 0);
    for order in 1..=i64::from(ORDERS) {
        let row = &rows[&(format!("{ORG}#ORDER#{order}"), "ORDER".to_owned())];
        let noted = row["cancellations"].as_object().unwrap().values().next().unwrap();
        assert_eq!((&noted["outcome"]["code"], &row["pending"]), (&outcomes[&order], &Value::Null));
        assert_eq!(noted["requested_at"].is_string(), requested.contains_key(&order));
        // Asked in time, the market's answer counts; asked too late, it was refused.
        let expected = if order % 2 == 1 && requested.contains_key(&order) { "CANCELED" } else { "TOO_LATE_TO_CANCEL" };
        assert_eq!((&outcomes[&order], &row["version"]), (&json!(expected), &json!(2)));
    }
}
