//! Cancellations of orders, while workers crash, messages are repeated in any order, and the market acts.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};
use shared::domain::order::MAX_CANCELLATIONS;
use tests::function::Function;
use tests::orders::{domestic, feed};
use tests::payloads::ORG;
use tests::proxy::{self, Moment, Step};
use tests::requests::{Request, cancel_domestic_orders};
use tests::test_env::{TestEnv, drain};

use super::{Delivery, batch, deliver_with_crashes};

const ORDERS: i32 = 40;
const WORKERS: [&str; 4] = ["order-feed-worker", "cancel-orders-worker", "order-feed-worker", "cancel-orders-worker"];

fn change(order: i32, status: &str, version: u64) -> String {
    let mut change = feed(&domestic(order), status, version);
    change["org_id"] = json!(ORG);
    change.to_string()
}

pub async fn feed_orders(env: &TestEnv, orders: std::ops::RangeInclusive<i32>) {
    let how = Delivery::default();
    let orders = orders.map(|order| change(order, "ACTIVE", 1)).collect();
    deliver_with_crashes(env, &["order-feed-worker"], orders, how, Rng::with_seed(1)).await;
}

/// Returns a request to cancel these orders, with a key.
pub fn request(orders: std::ops::RangeInclusive<i32>) -> Value {
    cancel_domestic_orders(orders).key("k").event()
}

/// Feeds orders, and requests the cancellation of all of them. Returns the messages that the endpoint sent.
async fn accepted(env: &TestEnv) -> Vec<String> {
    feed_orders(env, 1..=ORDERS).await;
    let endpoint = Function::new("cancel-orders", env.environment()).await;
    let results = endpoint.invoke(request(1..=ORDERS)).await.response(200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
    let messages = env.take_messages().await;
    assert_eq!(messages.len(), ORDERS as usize);
    messages
}

/// The cancellation of each order races a FILLED or CANCELED of the market. In any order it has one outcome, which the
/// order's row, its events and its operation agree on.
#[tokio::test]
async fn a_cancellation_and_the_market_come_to_one_outcome() {
    let env = TestEnv::new().await;
    let messages = accepted(&env).await;
    let market = (1..=ORDERS).map(|order| change(order, if order % 2 == 0 { "FILLED" } else { "CANCELED" }, 2));
    let all: Vec<String> = messages.into_iter().chain(market).flat_map(|body| vec![body; 3]).collect();
    let how = Delivery { batch: 5, moments: 6, crash: 0.3, ..Delivery::default() };
    let run = deliver_with_crashes(&env, &WORKERS, all, how, Rng::with_seed(2)).await;
    let rows = env.rows().await;
    let events = env.events().await;
    let mut requested = BTreeMap::new();
    let mut outcomes = BTreeMap::new();
    for event in events.values() {
        let order = event["data"]["order_id"].as_i64().unwrap();
        let before = match event["event_type"].as_str().unwrap() {
            "cancellation_requested" => requested.insert(order, event.clone()),
            _ => outcomes.insert(order, event["data"]["message_code"].clone()),
        };
        assert_eq!(before, None, "an order has two events of this type, one is {event}");
    }
    println!("{} deliveries, {} crashes, {} of {ORDERS} requested", run.deliveries, run.crashes, requested.len());
    assert!(run.crashes > 0, "no worker crashed: {run:?}");
    for order in 1..=i64::from(ORDERS) {
        let row = &rows[&(format!("{ORG}#ORDER#{order}"), "ORDER".to_owned())];
        let noted = row["cancellations"].as_object().unwrap().values().next().unwrap();
        assert_eq!((&noted["outcome"]["code"], &row["pending"]), (&outcomes[&order], &Value::Null));
        assert_eq!(noted["requested_at"].is_string(), requested.contains_key(&order));
        // If the cancellation was requested in time, the market decides. Otherwise it was refused as too late.
        let expected = if order % 2 == 1 && requested.contains_key(&order) { "CANCELED" } else { "TOO_LATE_TO_CANCEL" };
        assert_eq!((&outcomes[&order], &row["version"]), (&json!(expected), &json!(2)));
    }
    let operation = events.values().next().unwrap()["data"]["operation_id"].as_str().unwrap();
    let shown = read_operation(&env, operation).await;
    let canceled = outcomes.values().filter(|code| **code == "CANCELED").count();
    let counts =
        json!({ "total": ORDERS, "done": ORDERS, "succeeded": canceled, "failed": ORDERS as usize - canceled });
    assert_eq!((&shown["status"], &shown["counts"]), (&json!("SUCCEEDED"), &counts));
    for result in shown["results"].as_array().unwrap() {
        assert_eq!(&result["message_code"], &outcomes[&result["order_id"].as_i64().unwrap()]);
    }
}

async fn read_operation(env: &TestEnv, operation: &str) -> Value {
    let get = Request::to("get-operation").at(operation).event();
    let reader = Function::new("get-operation", env.environment()).await;
    reader.invoke(get).await.response(200)
}

/// An entry whose message SQS rejects is reported as failed, and has no effect. A retry gets the same response.
#[tokio::test]
async fn an_entry_that_was_not_sent_has_no_effect() {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=12).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::Before && call.target == "AmazonSQS.SendMessageBatch" {
            let request: Value = serde_json::from_slice(call.body).unwrap();
            let mut bodies = request["Entries"].as_array().unwrap().iter();
            if bodies.any(|entry| entry["MessageBody"].as_str().unwrap().contains(r#"{"order_id":3}"#)) {
                let failed =
                    |entry: &Value| json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false });
                let failed: Vec<_> = request["Entries"].as_array().unwrap().iter().map(failed).collect();
                return Step::Respond(200, json!({ "Successful": [], "Failed": failed }).to_string());
            }
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    let results = endpoint.invoke(request(1..=12)).await.response(200);
    let accepted = |results: &Value| -> Vec<bool> {
        results.as_array().unwrap().iter().map(|result| result["Success"].as_bool().unwrap()).collect()
    };
    // The first ten went in one call.
    assert_eq!(accepted(&results), [[false; 10].as_slice(), &[true; 2]].concat());
    assert_eq!(results[0]["Errors"], json!(["Cancellation could not be accepted, try again."]));
    assert_eq!(env.take_messages().await.len(), 2);
    let healthy = Function::new("cancel-orders", env.environment()).await;
    assert_eq!(healthy.invoke(request(1..=12)).await.response(200), results);
    assert!(env.take_messages().await.is_empty());
}

/// The response of SQS is lost, so the endpoint responds 500. What SQS accepted is unknown until the client retries
/// with its key.
#[tokio::test]
async fn a_request_without_a_response_is_completed_by_its_retry() {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=3).await;
    let url = proxy::start(|call, moment| {
        let is_send = call.target == "AmazonSQS.SendMessageBatch";
        if is_send && moment == Moment::After { Step::Respond(500, "{}".to_owned()) } else { Step::Pass }
    })
    .await;
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    let response = endpoint.invoke(request(1..=3)).await.payload();
    assert_eq!((&response["statusCode"], &response["body"]), (&json!(500), &json!("\"Internal server error.\"")));
    let healthy = Function::new("cancel-orders", env.environment()).await;
    let results = healthy.invoke(request(1..=3)).await.response(200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
    let how = Delivery::default();
    let messages = env.take_messages().await;
    assert!(messages.len() > 3);
    deliver_with_crashes(&env, &["cancel-orders-worker"], messages, how, Rng::with_seed(1)).await;
    assert_eq!(env.events().await.len(), 3);
}

/// Timestamps at the limits of their range must not fail the whole batch, as they once did.
#[tokio::test]
async fn a_change_at_the_end_of_time_harms_no_other() {
    let env = TestEnv::new().await;
    let at = |order: i32, updated_at: &str| {
        let mut change: Value = serde_json::from_str(&change(order, "ACTIVE", 1)).unwrap();
        change["updated_at"] = json!(updated_at);
        (change.to_string(), 1)
    };
    let messages = [
        at(1, "9999-12-31T23:59:59-02:00"),
        at(2, "0000-01-01T00:00:00+02:00"),
        at(3, "2026-11-22T03:04:05Z"),
        at(4, "9999-12-31T23:59:59.999Z"),
        at(5, "0001-01-01T00:00:00+02:00"),
    ];
    let worker = Function::new("order-feed-worker", env.environment()).await;
    worker.invoke(batch(&messages)).await.acknowledged();
    assert_eq!(drain(&env.sqs, &env.dlq_url).await.len(), 2);
    assert_eq!(env.rows().await.len(), 3);
    // The stored rows can be read.
    let again: Vec<_> = (3..=5).map(|order| (change(order, "FILLED", 2), 1)).collect();
    worker.invoke(batch(&again)).await.acknowledged();
    assert!(env.rows().await.values().all(|row| row["status"] == "FILLED"));
}

/// An order that stores the largest number of cancellations accepts no other. Event, operation and endpoint report
/// that.
#[tokio::test]
async fn an_order_with_the_most_cancellations_accepts_no_other() {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=1).await;
    let endpoint = Function::new("cancel-orders", env.environment()).await;
    assert_eq!(endpoint.invoke(request(1..=1)).await.response(200)[0]["Success"], true);
    let message = env.take_messages().await.remove(0);
    let note =
        json!({ "cid": "c", "accepted_at": "2026-11-22T00:00:00.000Z", "requested_at": "2026-11-22T00:00:00.000Z" });
    let notes: serde_json::Map<_, _> =
        (0..MAX_CANCELLATIONS).map(|_| (uuid::Uuid::new_v4().to_string(), note.clone())).collect();
    env.set("ORDER#1", "ORDER", "cancellations", &Value::Object(notes)).await;

    let worker = Function::new("cancel-orders-worker", env.environment()).await;
    for receive_count in [1, 2] {
        worker.invoke(batch(&[(message.clone(), receive_count)])).await.acknowledged();
    }
    let events = env.events().await;
    let event = events.values().next().unwrap();
    assert_eq!(
        (events.len(), &event["data"]["status"], &event["data"]["message_code"]),
        (1, &json!("FAILURE"), &json!("OTHER"))
    );
    let operation = event["data"]["operation_id"].as_str().unwrap();
    let shown = read_operation(&env, operation).await;
    assert_eq!((&shown["status"], &shown["results"][0]["status"]), (&json!("SUCCEEDED"), &json!("FAILURE")));
    let mut other = request(1..=1);
    other["headers"]["idempotency-key"] = json!("other");
    let results = endpoint.invoke(other).await.response(200);
    assert_eq!(results[0]["Errors"], json!(["Order already has a pending cancellation."]));
}
