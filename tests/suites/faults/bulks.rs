//! Bulks of thousands of items, with crashing workers and repeated messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::external_id;
use tests::proxy::{self, Moment, Step};
use tests::requests::increment_bulk;
use tests::test_env::TestEnv;

use super::workers::BulkFixture;
use super::{Delivery, batch, bind_event, deliver_with_crashes};

/// Asserts that every item of the bulk has a card and an event, and that the operation has succeeded.
async fn assert_all_issued(env: &TestEnv, bulk: &str, items: usize) {
    let expected: BTreeSet<String> = (0..items).map(external_id).collect();
    let events = env.events().await;
    let mut of_events = BTreeMap::new();
    for event in events.values().filter(|event| event["event_type"] == "create") {
        let data = &event["data"];
        assert_eq!((&data["bulk_id"], &data["card_status"]), (&json!(bulk), &json!("UNBOUND")));
        let before = of_events.insert(data["external_id"].as_str().unwrap().to_owned(), data["card_id"].clone());
        assert_eq!(before, None);
    }
    assert_eq!(of_events.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(of_events.values().map(|card| card.as_u64().unwrap()).collect::<BTreeSet<_>>().len(), items);

    let rows = env.rows().await;
    let of_items: BTreeMap<String, Value> = rows
        .iter()
        .filter(|((_, sk), _)| sk.starts_with("I#"))
        .map(|(_, row)| (row["external_id"].as_str().unwrap().to_owned(), row["card_id"].clone()))
        .collect();
    assert_eq!(of_items, of_events);
    assert_eq!(rows.keys().filter(|(_, sk)| sk == "CARD").filter(|(pk, _)| pk.contains("#CARD#")).count(), items);
    let header = rows.values().find(|row| row["sk"] == "BULK").unwrap();
    assert_eq!(
        (&header["starting"], &header["items"], &header["issued"]),
        (&Value::Null, &json!(items), &json!(items))
    );
    let operation = rows.values().find(|row| row["kind"] == "START_BULK").unwrap();
    assert_eq!((&operation["state"], &operation["items_changed"]), (&json!("SUCCEEDED"), &json!(items)));
}

/// Every item gets one card and one event, although workers crash and every chunk is delivered twice.
#[tokio::test]
async fn five_thousand_items_get_one_card_each_despite_crashes() {
    const ITEMS: usize = 5000;
    let bulks = BulkFixture::of_thousands().await;
    let bulk = bulks.create(ITEMS).await;
    let plan = bulks.start(&bulk).await;
    let how = Delivery { batch: 1, copies: 2, moments: 40, crash: 0.25, ..Delivery::default() };
    let run = deliver_with_crashes(&bulks.env, &["start-bulk-worker"], vec![plan], how, Rng::with_seed(5)).await;
    println!("{} deliveries, {} crashes", run.deliveries, run.crashes);
    assert!(run.crashes > 10, "too few workers crashed: {run:?}");
    assert_all_issued(&bulks.env, &bulk, ITEMS).await;
}

/// Rule 4: the worker is stuck after half a chunk, one of the cards is bound, and the message is delivered again.
#[tokio::test]
async fn a_card_bound_before_its_issue_is_repeated_stays_bound() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(100).await;
    let plan = bulks.start(&bulk).await;
    let mut transactions = 0;
    let url = proxy::start(move |call, moment| {
        if call.target.ends_with("TransactWriteItems") && moment == Moment::Before {
            transactions += 1;
            // The first transaction begins the operation.
            if transactions >= 4 {
                return Step::Hang;
            }
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("start-bulk-worker", env.environment_behind(&url)).await;
    payload_of(&worker, &plan).await;
    let chunk = env.take_messages().await.remove(0);
    payload_of(&worker, &chunk).await;
    assert!(env.events().await.is_empty());
    let issued: Vec<u64> = env.rows().await.values().filter_map(|row| row["card_id"].as_u64()).collect();
    assert_eq!(issued.len(), 2 * 50);

    let environment = env.environment();
    let bind = Function::new("bind-card", environment.clone()).await;
    bind.invoke(bind_event(issued[0], None, "k")).await.response(202);
    let binder = Function::new("bind-card-worker", environment.clone()).await;
    payload_of(&binder, &env.take_messages().await[0]).await;
    let card = |rows: BTreeMap<(String, String), Value>| {
        let is_card = |row: &&Value| row["card_id"] == issued[0] && row["sk"] == "CARD";
        rows.values().find(is_card).unwrap().clone()
    };
    let bound = card(env.rows().await);
    assert_eq!(bound["status"], "CREATED");

    let worker = Function::new("start-bulk-worker", environment).await;
    worker.invoke(batch(&[(chunk, 2)])).await.acknowledged();
    assert_eq!(card(env.rows().await), bound);
    assert_all_issued(env, &bulk, 100).await;
}

async fn payload_of(function: &Function, message: &str) -> Value {
    function.invoke(batch(&[(message.to_owned(), 1)])).await.payload()
}

/// An increment takes effect, but its endpoint fails before it can respond. Then the bulk is canceled. A retry still
/// reports that the items were added.
#[tokio::test]
async fn an_increment_that_took_effect_is_not_refused_later() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let broken = Arc::new(Mutex::new(true));
    let is_broken = Arc::clone(&broken);
    let url = proxy::start(move |call, moment| {
        let ends_request = String::from_utf8_lossy(call.body).contains("ended_at");
        if moment == Moment::Before && call.target.ends_with("UpdateItem") && ends_request && *is_broken.lock().unwrap()
        {
            return Step::Respond(500, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let increment = Function::new("increment-bulk", env.environment_behind(&url)).await;
    let request = |key: &str, id: &str| increment_bulk(&bulk, &[id]).key(key).event();
    increment.invoke(request("k", "late")).await.response(503);
    *broken.lock().unwrap() = false;
    let cancel = bulks.cancel(&bulk, None).await;
    bulks.work(&["cancel-bulk-worker"], vec![cancel]).await;
    assert_eq!(increment.invoke(request("k", "late")).await.response(201)["counts"]["items"], 2);
    increment.invoke(request("other", "later")).await.response(409);
}
