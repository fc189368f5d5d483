//! Checks each flow's DynamoDB cost against the figures in infra/README.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod routes;

use rstest::rstest;
use serde_json::json;
use shared::domain::card::CardStatus;
use shared::domain::person::MAX_WRONG_AN_HOUR;
use shared::domain::time::Timestamp;
use tests::capacity::{CapacityMeter, Consumed};
use tests::function::Function;
use tests::orders::{CREATOR, domestic, feed};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch};
use tests::requests::Request;
use tests::test_env::TestEnv;
use tests::{requests, seed};
use time::OffsetDateTime;

struct Measured {
    meter: CapacityMeter,
    env: TestEnv,
    proxy: String,
}

impl Measured {
    async fn new() -> Self {
        let (meter, proxy) = CapacityMeter::start().await;
        Self { meter, env: TestEnv::with_table_at(&proxy).await, proxy }
    }

    async fn function(&self, name: &str) -> Function {
        Function::new(name, self.env.environment_behind(&self.proxy)).await.patient()
    }
}

#[track_caller]
fn assert_cost(flow: &str, cost: &Consumed, items: f64, writes: f64, reads: f64) {
    println!(
        "{flow}: {:.3} write units, {:.3} read units; {:?}",
        cost.writes / items,
        cost.reads / items,
        cost.dynamodb
    );
    assert!(cost.writes / items <= writes, "{flow} takes more than {writes} write units: {cost:?}");
    assert!(cost.reads / items <= reads, "{flow} takes more than {reads} read units: {cost:?}");
}

#[tokio::test]
async fn a_bind_and_a_reissue() {
    let measured = Measured::new().await;
    let put = async |card| seed::put(&measured.env.dynamodb, &measured.env.table, ORG, &card).await;
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
        let request = requests::bind(card, reissued).header("x-correlation-id", flow);
        let request = if keyed { request.key(flow) } else { request };
        endpoint.invoke(request.event()).await.response(202);
        measured.env.drain(&worker, 1).await;
        assert_cost(flow, &measured.meter.take(), 1.0, writes, reads);
    }
}

#[tokio::test]
async fn a_thousand_cards_issued() {
    const CARDS: u16 = 1000;
    let measured = Measured::new().await;
    // 36 characters, like a UUID.
    let ids: Vec<_> = (0..CARDS).map(|number| format!("{number:036}")).collect();
    let event = requests::create_bulk(&ids).event();
    measured.meter.take();
    let bulk = measured.function("create-bulk").await.invoke(event).await.response(201)["id"].clone();
    assert_cost("create, an item", &measured.meter.take(), f64::from(CARDS), 1.01, 0.0);

    let event = requests::start_bulk(bulk.as_str().unwrap()).event();
    measured.function("start-bulk").await.invoke(event).await.response(202);
    measured.env.drain(&measured.function("start-bulk-worker").await, 1).await;
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
    let event = requests::create_bulk(&ids).event();
    let bulk = measured.function("create-bulk").await.invoke(event).await.response(201)["id"].clone();
    let bulk = bulk.as_str().unwrap();
    let event = requests::start_bulk(bulk).event();
    measured.function("start-bulk").await.invoke(event).await.response(202);
    measured.env.drain(&measured.function("start-bulk-worker").await, 1).await;
    measured.env.events().await;
    measured.meter.take();

    let event = requests::cancel_bulk(bulk, partial.map(|()| ids.as_slice())).key("k").event();
    measured.function("cancel-bulk").await.invoke(event).await.response(202);
    measured.env.drain(&measured.function("cancel-bulk-worker").await, 1).await;
    let cost = measured.meter.take();
    let flow = if partial.is_some() { "cancel PARTIAL, a card" } else { "cancel FULL, a card" };
    assert_cost(flow, &cost, f64::from(CARDS), 1.15, 0.6);
    println!("{:?}", cost.others);
    assert!(cost.dynamodb_calls() <= most_calls, "{:?}", cost.dynamodb);
    assert!((1..=120).contains(&cost.other_calls("PutEvents")), "{:?}", cost.others);
    assert_eq!(measured.env.events().await.len(), usize::from(CARDS) + 1);
}

/// The deny list costs every process one read in 30 seconds, and the limit of each tenant one write a request.
#[tokio::test]
async fn admission() {
    let measured = Measured::new().await;
    seed::put(&measured.env.dynamodb, &measured.env.table, ORG, &seed::unbound(1)).await;
    let request = Request::to("get-card").at(1).event();
    let mut environment = measured.env.environment_behind(&measured.proxy);
    environment.extend([("TENANT_RATE", "10"), ("TENANT_BURST", "5")].map(|(name, value)| (name.into(), value.into())));
    for (flow, environment, writes) in [
        ("read a card", measured.env.environment_behind(&measured.proxy), 0.0),
        ("read a card, with a limit of each tenant", environment, 1.0),
    ] {
        let function = Function::new("get-card", environment).await.patient();
        measured.meter.take();
        for _ in 0..4 {
            function.invoke(request.clone()).await.response(200);
        }
        let cost = measured.meter.take();
        assert_cost(flow, &cost, 4.0, writes, 1.0);
        assert!(cost.writes >= 4.0 * writes, "{cost:?}");
        assert_eq!(cost.deny_list_reads, 1, "{cost:?}");
    }
}

/// A PIN costs two reads (the order and the person) and two writes (the hour's count and the person's row).
#[tokio::test]
async fn a_pin() {
    let measured = Measured::new().await;
    let mut change = feed(&domestic(1), "ACTIVE", 1);
    change["org_id"] = json!(ORG);
    measured.function("order-feed-worker").await.invoke(batch(&[(change.to_string(), 1)])).await;
    seed::person(&measured.env.dynamodb, &measured.env.table, ORG, CREATOR).await;
    let endpoint = measured.function("cancel-orders").await;
    let entries = json!([{ "OrderID": 1, "PIN": "0000" }]);
    let event = requests::cancel_orders(&entries).event();
    measured.meter.take();
    endpoint.invoke(event.clone()).await.response(200);
    assert_cost("cancel orders, a PIN", &measured.meter.take(), 1.0, 2.0, 2.0);
    // The hour's row is largest when the hour's limit is nearly reached.
    let now = Timestamp::new(OffsetDateTime::now_utc());
    let tries = (0..MAX_WRONG_AN_HOUR - 2).map(|number| format!("{number:022}")).collect();
    let org = ORG.parse().unwrap();
    assert!(measured.env.store().count_tries(&org, tries, now).await.is_ok());
    measured.meter.take();
    endpoint.invoke(event).await.response(200);
    assert_cost("cancel orders, a PIN in a full hour", &measured.meter.take(), 1.0, 8.0, 2.0);
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
    measured.meter.take();
    let event = requests::cancel_domestic_orders(orders.into_iter().map(i32::from)).key("k").event();
    let results = measured.function("cancel-orders").await.invoke(event).await.response(200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true));
    let cost = measured.meter.take();
    assert_cost("cancel orders, an order, the request", &cost, f64::from(ORDERS), 0.04, 1.1);
    println!("{:?}", cost.others);
    assert!(cost.dynamodb_calls() <= 14, "{:?}", cost.dynamodb);
    assert!((1..=100).contains(&cost.other_calls("SendMessageBatch")), "{:?}", cost.others);
    measured.env.drain(&measured.function("cancel-orders-worker").await, 10).await;
    let cost = measured.meter.take();
    assert_cost("cancel orders, an order, the worker", &cost, f64::from(ORDERS), 2.1, 0.0);
    assert_eq!(measured.env.events().await.len(), usize::from(ORDERS));
}
