//! What the flows cost in DynamoDB, held to the figures in the README.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::arena::Arena;
use tests::capacity::{Cost, Meter};
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, bind_event, http_event};
use tests::{seed, variable};

struct Measured {
    meter: Meter,
    arena: Arena,
}

impl Measured {
    async fn new() -> Self {
        let meter = Meter::new().await;
        let arena = Arena::with_table_at(meter.client()).await;
        Self { meter, arena }
    }

    async fn function(&self, name: &str) -> Function {
        let mut environment = self.arena.environment(&variable("AWS_ENDPOINT_URL"));
        environment.push(("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), self.meter.url.clone()));
        Function::new(name, environment).await
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
        ("bind-with-a-key", 1, None, true, 3.0, 2.0),
        ("bind-without-a-key", 2, None, false, 3.0, 1.0),
        ("reissue-with-a-key", 3, Some(4), true, 6.0, 5.0),
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
