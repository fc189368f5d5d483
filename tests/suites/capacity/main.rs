//! What the flows cost in DynamoDB, held to the figures in infra/README.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod routes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use shared::domain::person::MAX_WRONG_AN_HOUR;
use shared::domain::time::Timestamp;
use tests::arena::Arena;
use tests::capacity::{Cost, Meter};
use tests::function::{Function, Invocation};
use tests::orders::{CREATOR, domestic, feed};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, bind_event, http_event};
use tests::proxy::{Moment, Step};
use tests::{proxy, seed};
use time::OffsetDateTime;

struct Measured {
    meter: Meter,
    arena: Arena,
    /// Calls of the other services, by their names.
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
    proxy: String,
}

impl Measured {
    async fn new() -> Self {
        let meter = Meter::new().await;
        let arena = Arena::with_table_at(&meter.url).await;
        let calls: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counted = Arc::clone(&calls);
        let proxy = proxy::start(move |call, moment| {
            if moment == Moment::Before {
                let name = call.target.rsplit('.').next().unwrap().to_owned();
                *counted.lock().unwrap().entry(name).or_default() += 1;
            }
            Step::Pass
        })
        .await;
        Self { meter, arena, calls, proxy }
    }

    async fn function(&self, name: &str) -> Function {
        let mut environment = self.arena.environment_behind(&self.proxy);
        environment.push(("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), self.meter.url.clone()));
        Function::new(name, environment).await.patient()
    }

    /// What was spent since this was asked last.
    fn take(&self) -> (Cost, BTreeMap<String, usize>) {
        (self.meter.take(), std::mem::take(&mut self.calls.lock().unwrap()))
    }

    /// Hands the messages of the queue to the worker, ten at a time.
    async fn work_in_batches(&self, worker: &Function) {
        for messages in self.arena.take_messages().await.chunks(10) {
            let messages: Vec<_> = messages.iter().map(|message| (message.clone(), 1)).collect();
            let answer = worker.invoke(batch(&messages)).await;
            assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
        }
    }

    /// Hands every message of the queue to the worker, and those that come of it.
    async fn work(&self, worker: &Function) {
        loop {
            let messages = self.arena.take_messages().await;
            if messages.is_empty() {
                return;
            }
            for message in messages {
                let answer = worker.invoke(batch(&[(message, 1)])).await;
                assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
            }
        }
    }
}

fn answered(invocation: Invocation, status: u16) -> Value {
    let Invocation::Answered(answer) = invocation else { panic!("{invocation:?}") };
    assert_eq!(answer["statusCode"], status, "{answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[track_caller]
fn assert_cost(flow: &str, cost: &Cost, items: f64, writes: f64, reads: f64) {
    println!("{flow}: {:.3} write units, {:.3} read units; {:?}", cost.writes / items, cost.reads / items, cost.calls);
    assert!(cost.writes / items <= writes, "{cost:?}");
    assert!(cost.reads / items <= reads, "{cost:?}");
}

#[tokio::test]
async fn a_bind_and_a_reissue() {
    let measured = Measured::new().await;
    let put = async |card| seed::put(&measured.arena.dynamodb, &measured.arena.table, ORG, &card).await;
    for card in 1..=3 {
        put(seed::unbound(card)).await;
    }
    put(seed::bound(4, CardStatus::Normal, ACCOUNT, CUSTOMER)).await;
    let endpoint = measured.function("bind-card").await;
    let worker = measured.function("bind-card-worker").await;
    measured.meter.take();
    for (flow, card, reissued, keyed, writes, reads) in [
        ("bind-with-a-key", 1, None, true, 3.0, 3.0),
        ("bind-without-a-key", 2, None, false, 3.0, 2.0),
        ("reissue-with-a-key", 3, Some(4), true, 6.0, 6.0),
    ] {
        let mut event = bind_event(card, reissued, flow);
        if !keyed {
            event["headers"].as_object_mut().unwrap().remove("idempotency-key");
        }
        answered(endpoint.invoke(event).await, 202);
        measured.work(&worker).await;
        assert_cost(flow, &measured.meter.take(), 1.0, writes, reads);
    }
}

#[tokio::test]
async fn a_thousand_cards_issued() {
    const CARDS: u16 = 1000;
    let measured = Measured::new().await;
    // 36 characters, like a UUID.
    let ids: Vec<_> = (0..CARDS).map(|number| format!("{number:036}")).collect();
    let body = json!({ "program_id": 5, "external_ids": ids });
    let event = http_event("POST", "/cards/v1/bulks", &json!({}), &json!({}), Some(&body));
    measured.meter.take();
    let bulk = answered(measured.function("create-bulk").await.invoke(event).await, 201)["id"].clone();
    assert_cost("create, an item", &measured.meter.take(), f64::from(CARDS), 1.01, 0.0);

    let path = format!("/cards/v1/bulks/{}/start", bulk.as_str().unwrap());
    let event = http_event("POST", &path, &json!({ "bulkID": bulk }), &json!({}), None);
    answered(measured.function("start-bulk").await.invoke(event).await, 202);
    measured.work(&measured.function("start-bulk-worker").await).await;
    assert_cost("start, a card", &measured.meter.take(), f64::from(CARDS), 4.1, 0.2);
}

#[rstest]
#[case::full(None, 95)]
#[case::partial(Some(()), 95)]
#[tokio::test]
async fn a_thousand_cards_canceled(#[case] partial: Option<()>, #[case] most_calls: usize) {
    const CARDS: u16 = 1000;
    let measured = Measured::new().await;
    let ids: Vec<_> = (0..CARDS).map(|number| format!("{number:036}")).collect();
    let body = json!({ "program_id": 5, "external_ids": ids });
    let event = http_event("POST", "/cards/v1/bulks", &json!({}), &json!({}), Some(&body));
    let bulk = answered(measured.function("create-bulk").await.invoke(event).await, 201)["id"].clone();
    let path = |what: &str| format!("/cards/v1/bulks/{}/{what}", bulk.as_str().unwrap());
    let event = http_event("POST", &path("start"), &json!({ "bulkID": bulk }), &json!({}), None);
    answered(measured.function("start-bulk").await.invoke(event).await, 202);
    measured.work(&measured.function("start-bulk-worker").await).await;
    measured.arena.events().await;
    measured.take();

    let body = match partial {
        None => json!({ "cancel_type": "FULL" }),
        Some(()) => json!({ "cancel_type": "PARTIAL", "external_ids": ids }),
    };
    let headers = json!({ "idempotency-key": "k" });
    let event = http_event("POST", &path("cancel"), &json!({ "bulkID": bulk }), &headers, Some(&body));
    answered(measured.function("cancel-bulk").await.invoke(event).await, 202);
    measured.work(&measured.function("cancel-bulk-worker").await).await;
    let (cost, others) = measured.take();
    let flow = if partial.is_some() { "cancel PARTIAL, a card" } else { "cancel FULL, a card" };
    assert_cost(flow, &cost, f64::from(CARDS), 1.15, 0.6);
    println!("{others:?}");
    let calls: usize = cost.calls.values().sum();
    assert!(calls <= most_calls, "{calls} calls of DynamoDB: {:?}", cost.calls);
    assert!(others["PutEvents"] <= 120, "{others:?}");
    assert_eq!(measured.arena.events().await.len(), usize::from(CARDS) + 1);
}

/// Besides the order and the person, which are read: what is counted in the hour, and in the person's row.
#[tokio::test]
async fn a_pin() {
    let measured = Measured::new().await;
    let mut change = feed(&domestic(1), "ACTIVE", 1);
    change["org_id"] = json!(ORG);
    measured.function("order-feed-worker").await.invoke(batch(&[(change.to_string(), 1)])).await;
    seed::person(&measured.arena.dynamodb, &measured.arena.table, ORG, CREATOR).await;
    let endpoint = measured.function("cancel-orders").await;
    let entries = json!([{ "OrderID": 1, "PIN": "0000" }]);
    let mut event = http_event("POST", "/api/orders/cancellations", &json!({}), &json!({}), Some(&entries));
    event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = json!("orders:cancel");
    measured.take();
    answered(endpoint.invoke(event.clone()).await, 200);
    assert_cost("cancel orders, a PIN", &measured.take().0, 1.0, 2.0, 2.0);
    // The hour's row is largest when its room is used up.
    let now = Timestamp::new(OffsetDateTime::now_utc());
    let tries = (0..MAX_WRONG_AN_HOUR - 2).map(|number| format!("{number:022}")).collect();
    let org = ORG.parse().unwrap();
    assert!(measured.arena.store().count_tries(&org, tries, now).await.is_ok());
    measured.take();
    answered(endpoint.invoke(event).await, 200);
    assert_cost("cancel orders, a PIN in a full hour", &measured.take().0, 1.0, 8.0, 2.0);
}

#[tokio::test]
async fn a_thousand_orders_in_one_request() {
    const ORDERS: u16 = 1000;
    let measured = Measured::new().await;
    let feeder = measured.function("order-feed-worker").await;
    let orders: Vec<u16> = (1..=ORDERS).collect();
    for orders in orders.chunks(10) {
        let change = |order: &u16| {
            let mut change = feed(&domestic(i32::from(*order)), "ACTIVE", 1);
            change["org_id"] = json!(ORG);
            (change.to_string(), 1)
        };
        feeder.invoke(batch(&orders.iter().map(change).collect::<Vec<_>>())).await;
    }
    measured.take();
    let entries: Vec<Value> = orders.iter().map(|order| json!({ "OrderID": order })).collect();
    let key = json!({ "idempotency-key": "k" });
    let mut event = http_event("POST", "/api/orders/cancellations", &json!({}), &key, Some(&json!(entries)));
    event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = json!("orders:cancel");
    let results = answered(measured.function("cancel-orders").await.invoke(event).await, 200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true));
    let (cost, others) = measured.take();
    assert_cost("cancel orders, an order, the request", &cost, f64::from(ORDERS), 0.04, 1.1);
    println!("{others:?}");
    assert!(cost.calls.values().sum::<usize>() <= 14 && others["SendMessageBatch"] <= 100, "{cost:?} {others:?}");
    measured.work_in_batches(&measured.function("cancel-orders-worker").await).await;
    let (cost, _) = measured.take();
    assert_cost("cancel orders, an order, the worker", &cost, f64::from(ORDERS), 2.1, 0.0);
    assert_eq!(measured.arena.events().await.len(), usize::from(ORDERS));
}
