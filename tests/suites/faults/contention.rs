//! Items and cards of a cancel that other transactions lock, briefly or permanently.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::Function;
use tests::payloads::ORG;
use tests::payloads::external_id;
use tests::proxy::{self, Moment, Step};
use tests::seed;
use tests::test_env::{TestEnv, drain};

use super::cancels::{CANCELER, cid, codes, row, row_of};
use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, batch, failed};

/// Starts a proxy that refuses the statement about this item, as a transaction on it would, `left` times. Returns its
/// URL.
pub async fn conflicting(item: &str, left: Arc<Mutex<usize>>, code: &'static str) -> String {
    let item = format!("I#{item}");
    proxy::start(move |call, moment| {
        let mut left = left.lock().unwrap();
        if *left == 0 || moment == Moment::After || !call.target.ends_with("BatchExecuteStatement") {
            return Step::Pass;
        }
        let request: Value = serde_json::from_slice(call.body).unwrap();
        let statements = request["Statements"].as_array().unwrap();
        if !statements.iter().any(|statement| statement["Parameters"][3]["S"] == *item) {
            return Step::Pass;
        }
        *left -= 1;
        // The call's other statements are refused, too. Each has its own response.
        let refused = json!({ "Error": { "Code": code, "Message": "m" } });
        Step::Respond(200, json!({ "Responses": vec![refused; statements.len()] }).to_string())
    })
    .await
}

/// Requests a FULL cancel of the bulk and plans it. Returns the correlation ID and the message of the first chunk.
pub async fn planned(bulks: &BulkFixture, bulk: &str) -> (Value, String) {
    let plan = bulks.cancel(bulk, None).await;
    let worker = Function::new(CANCELER, bulks.env.environment()).await;
    worker.invoke(batch(&[(plan.clone(), 1)])).await;
    (cid(&plan), bulks.env.take_messages().await.remove(0))
}

#[rstest::rstest]
#[case::held("TransactionConflict")]
#[case::throttled("ThrottlingError")]
#[case::internal("InternalServerError")]
#[tokio::test]
async fn an_item_that_is_held_for_a_moment_is_canceled(#[case] code: &'static str) {
    let bulks = BulkFixture::new().await;
    let bulk = bulks.create(30).await;
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let url = conflicting(&external_id(3), Arc::new(Mutex::new(2)), code).await;
    let worker = Function::new(CANCELER, bulks.env.environment_behind(&url)).await;
    worker.invoke(batch(&[(chunk, 1)])).await.acknowledged();
    let codes = codes(&bulks.env.events().await, &cid);
    assert!(codes.len() == 30 && codes.values().all(|code| code == "EXTERNAL_ID_CANCELED"), "{codes:?}");
}

/// Moves `held_since` into the past, as if all invocations that started earlier had ended.
pub async fn backdate_held_since(env: &TestEnv) {
    let rows = env.rows().await;
    let ((pk, sk), _) = rows.iter().find(|(_, row)| row.get("held_since").is_some()).expect("no chunk was given up");
    let pk = pk.strip_prefix(&format!("{ORG}#")).unwrap();
    env.set(pk, sk, "held_since", &json!("2026-11-25T00:00:00.000Z")).await;
}

/// An item that is locked on every attempt is retried until one delivery remains. Then the chunk is given up: no later
/// delivery retries it, and once earlier invocations have ended, the item is refused.
#[tokio::test]
async fn an_item_locked_on_every_attempt_is_refused_in_the_end() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let url = conflicting(&external_id(0), Arc::new(Mutex::new(usize::MAX)), "TransactionConflict").await;
    let worker = Function::new(CANCELER, env.environment_behind(&url)).await;
    let comes_back = async |worker: &Function, receive_count: u32| {
        let response = worker.invoke(batch(&[(chunk.clone(), receive_count)])).await.payload();
        assert_eq!(failed(&response), BTreeSet::from([0]));
        assert!(env.events().await.is_empty());
    };
    let is_given_up = async || env.rows().await.values().any(|row| row.get("held_since").is_some());
    comes_back(&worker, 3).await;
    assert!(!is_given_up().await);
    comes_back(&worker, 4).await;
    assert!(is_given_up().await);

    // The item is free now. But an invocation that started before the chunk was given up may still be canceling it.
    let worker = Function::new(CANCELER, env.environment()).await;
    comes_back(&worker, 1).await;
    backdate_held_since(env).await;
    worker.invoke(batch(&[(chunk.clone(), 5)])).await.acknowledged();
    let events = env.events().await;
    assert_eq!(codes(&events, &cid), BTreeMap::from([(external_id(0), "INVALID_BULK_ITEM_STATUS".to_owned())]));
    assert_eq!(row_of(&events, "noname_bulk_cancellation")["failed"], 1);
    assert!(drain(&env.sqs, &env.dlq_url).await.is_empty());

    // A repeated delivery changes neither events nor rows.
    let rows = env.rows().await;
    worker.invoke(batch(&[(chunk, 1)])).await;
    assert_eq!(env.events().await, events);
    assert_eq!(env.rows().await, rows);
    assert_eq!(row(&rows, |row| row["sk"].as_str().unwrap().starts_with("I#"))["state"], "PENDING");
}

/// A slow delivery, which started before another gave the chunk up, still cancels the item and reports it.
#[tokio::test]
async fn a_delivery_that_cancels_what_another_gave_up_reports_it() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let (given_up, when) = tokio::sync::watch::channel(false);
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("BatchExecuteStatement") {
            return Step::Until(when.clone());
        }
        Step::Pass
    })
    .await;
    let slow = Function::new(CANCELER, env.environment_behind(&url)).await;
    let url = conflicting(&external_id(0), Arc::new(Mutex::new(usize::MAX)), "TransactionConflict").await;
    let giving_up = Function::new(CANCELER, env.environment_behind(&url)).await;
    let (response, ()) = futures_util::future::join(slow.invoke(batch(&[(chunk.clone(), 1)])), async {
        giving_up.invoke(batch(&[(chunk.clone(), 4)])).await;
        assert!(env.rows().await.values().any(|row| row.get("held_since").is_some()));
        given_up.send(true).unwrap();
    })
    .await;
    response.acknowledged();
    let codes = codes(&env.events().await, &cid);
    assert_eq!(codes, BTreeMap::from([(external_id(0), "EXTERNAL_ID_CANCELED".to_owned())]));
}

/// An attempt cancels the item, but its response is lost. Afterwards the item is locked on every attempt.
#[tokio::test]
async fn an_item_that_was_canceled_before_it_was_held_is_canceled() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let mut tries = 0;
    let url = proxy::start(move |call, moment| {
        if !call.target.ends_with("BatchExecuteStatement") {
            return Step::Pass;
        }
        tries += usize::from(moment == Moment::Before);
        match (tries, moment) {
            (1, Moment::Before) => Step::Pass,
            (1, Moment::After) => Step::Respond(500, "{}".to_owned()),
            _ => {
                let held = json!({ "Error": { "Code": "TransactionConflict", "Message": "m" } });
                Step::Respond(200, json!({ "Responses": [held] }).to_string())
            }
        }
    })
    .await;
    let worker = Function::new(CANCELER, env.environment_behind(&url)).await;
    worker.invoke(batch(&[(chunk.clone(), 4)])).await;
    backdate_held_since(env).await;
    worker.invoke(batch(&[(chunk, 5)])).await.acknowledged();
    let codes = codes(&env.events().await, &cid);
    assert_eq!(codes, BTreeMap::from([(external_id(0), "EXTERNAL_ID_CANCELED".to_owned())]));
}

/// A card is issued after the plan, and canceled by a delivery that fails. Afterwards its item is locked on every
/// attempt.
#[tokio::test]
async fn a_card_that_was_canceled_before_its_item_was_held_is_canceled() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let starter = Function::new("start-bulk-worker", env.environment()).await;
    let start = bulks.start(&bulk).await;
    starter.invoke(batch(&[(start, 1)])).await;
    let start_chunk = env.take_messages().await.remove(0);
    let (cid, chunk) = planned(&bulks, &bulk).await;
    starter.invoke(batch(&[(start_chunk, 1)])).await;
    let card = BulkFixture::card_of(&env.rows().await, 0);

    // This delivery does everything but store its result.
    let url = proxy::start(|call, moment| {
        let is_result = moment == Moment::Before && call.target.ends_with("PutItem");
        if is_result { Step::Respond(500, "{}".to_owned()) } else { Step::Pass }
    })
    .await;
    let dying = Function::new(CANCELER, env.environment_behind(&url)).await;
    let response = dying.invoke(batch(&[(chunk.clone(), 1)])).await.payload();
    assert_eq!(failed(&response), BTreeSet::from([0]));
    assert_eq!(row(&env.rows().await, |row| row["sk"] == "CARD" && row["card_id"] == card)["status"], "CANCELED");

    let url = conflicting(&external_id(0), Arc::new(Mutex::new(usize::MAX)), "TransactionConflict").await;
    let last = Function::new(CANCELER, env.environment_behind(&url)).await;
    last.invoke(batch(&[(chunk.clone(), 4)])).await;
    backdate_held_since(env).await;
    last.invoke(batch(&[(chunk, 5)])).await.acknowledged();
    let events = env.events().await;
    assert_eq!(codes(&events, &cid), BTreeMap::from([(external_id(0), "EXTERNAL_ID_AND_CARD_CANCELED".to_owned())]));
    assert_eq!(row_of(&events, "noname_cancellation")["card_id"], card);
    let ended = row_of(&events, "noname_bulk_cancellation");
    assert_eq!((&ended["failed"], &ended["cancellation"]["state"]), (&json!(0), &json!("FULL")));
    assert_eq!(row(&env.rows().await, |row| row["sk"] == "BULK")["canceled"], 1);
}

/// A refused statement whose response lacks the row does not prove that the row does not exist.
#[tokio::test]
async fn a_card_missing_from_a_response_is_read_again() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(2).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker"], vec![start]).await;
    env.events().await;
    let card = BulkFixture::card_of(&env.rows().await, 1);
    let bound = seed::bound(card, CardStatus::Created, ACCOUNT, CUSTOMER);
    seed::put(&env.dynamodb, &env.table, ORG, &bound).await;
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("BatchExecuteStatement") {
            // Items are in the order of external IDs, so the bound card's is the first statement.
            let refused = json!({ "Error": { "Code": "ConditionalCheckFailed", "Message": "m" } });
            return Step::Respond(200, json!({ "Responses": [refused, {}] }).to_string());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new(CANCELER, env.environment_behind(&url)).await;
    worker.invoke(batch(&[(chunk, 1)])).await;
    let codes = codes(&env.events().await, &cid);
    assert_eq!(codes[&external_id(1)], "INVALID_CARD_STATUS_FOR_CANCELLATION");
}
