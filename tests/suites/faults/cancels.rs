//! Cancels of bulks, while workers crash, messages are repeated, and other instructions bind, issue and cancel the same
//! cards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use futures_util::future::join;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::Function;
use tests::payloads::ORG;
use tests::payloads::external_id;
use tests::proxy::{self, Moment, Step};
use tests::requests::{cancel_bulk, increment_bulk};
use tests::seed;
use tests::test_env::TestEnv;

use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, Delivery, batch, bind_event, deliver_with_crashes};

pub const CANCELER: &str = "cancel-bulk-worker";

/// Returns the codes of the operation's events by external ID. Panics if an external ID occurs twice.
pub fn codes(events: &BTreeMap<String, Value>, cid: &Value) -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    for event in events.values().filter(|event| event["event_type"] == "noname_cancellation" && event["cid"] == *cid) {
        let text = |name: &str| event["data"][name].as_str().unwrap().to_owned();
        assert_eq!(
            codes.insert(text("external_id"), text("message_code")),
            None,
            "an external ID has two events, one is {event}"
        );
    }
    codes
}

pub fn row(env_rows: &BTreeMap<(String, String), Value>, is_it: impl Fn(&Value) -> bool) -> Value {
    env_rows.values().find(|row| is_it(row)).unwrap().clone()
}

pub fn cid(message: &str) -> Value {
    serde_json::from_str::<Value>(message).unwrap()["cid"].clone()
}

/// Asserts that the operation's stored results, code by external ID, are those of its events.
fn assert_results_agree(rows: &BTreeMap<(String, String), Value>, operation: &Value, codes: &BTreeMap<String, String>) {
    let of_operation = |(key, _): &(&(String, String), &Value)| {
        key.1.starts_with("RESULT#") && key.0.ends_with(operation["operation_id"].as_str().unwrap())
    };
    let mut stored = BTreeMap::new();
    for (_, row) in rows.iter().filter(of_operation) {
        for (code, items) in row["items"].as_object().unwrap() {
            let ids = items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
            stored.extend(ids.map(|id| (id, code.clone())));
        }
    }
    assert_eq!(&stored, codes);
}

/// 3,000 of a bulk's 5,000 items have cards. 500 of these are bound, and 20 have lost their card's row. A PARTIAL
/// cancel names 300 issued, 200 pending and 100 unknown items. Then a FULL cancel follows, while workers crash and
/// every chunk is delivered twice.
#[tokio::test]
async fn five_thousand_items_are_each_canceled_once_despite_crashes() {
    const ITEMS: usize = 5000;
    let bulks = BulkFixture::of_thousands().await;
    let env = &bulks.env;
    let bulk = bulks.create(3000).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker", "start-bulk-worker"], vec![start]).await;
    bulks.grow(&bulk, 3000..ITEMS).await;
    env.events().await;
    let rows = env.rows().await;
    let card = |number| BulkFixture::card_of(&rows, number);
    for number in 0..500 {
        let bound = seed::bound(card(number), CardStatus::Created, ACCOUNT, CUSTOMER);
        seed::put(&env.dynamodb, &env.table, ORG, &bound).await;
    }
    for number in 500..520 {
        seed::remove(&env.dynamodb, &env.table, ORG, card(number)).await;
        // The issue is long ago, so the card is missing and not just invisible yet.
        let (pk, sk) = (format!("BULK#{bulk}"), format!("I#{}", external_id(number)));
        let mut issued = rows[&(format!("{ORG}#{pk}"), sk.clone())]["issued"].clone();
        issued["at"] = json!("2026-01-01T00:00:00.000Z");
        env.set(&pk, &sk, "issued", &issued).await;
    }
    let named: Vec<String> = (1000..1300).chain(4000..4200).chain(9000..9100).map(external_id).collect();
    let partial = bulks.cancel(&bulk, Some(named)).await;
    let how = || Delivery { batch: 1, copies: 2, moments: 40, crash: 0.25, ..Delivery::default() };
    let run = deliver_with_crashes(env, &[CANCELER, CANCELER], vec![partial.clone()], how(), Rng::with_seed(1)).await;
    println!("PARTIAL: {} deliveries, {} crashes", run.deliveries, run.crashes);
    let events = env.events().await;
    let expected: BTreeMap<String, String> = (1000..1300)
        .map(|number| (number, "EXTERNAL_ID_AND_CARD_CANCELED"))
        .chain((4000..4200).map(|number| (number, "EXTERNAL_ID_CANCELED")))
        .chain((9000..9100).map(|number| (number, "EXTERNAL_ID_NOT_FOUND")))
        .map(|(number, code)| (external_id(number), code.to_owned()))
        .collect();
    assert_eq!(codes(&events, &cid(&partial)), expected);
    let end = events.values().find(|event| event["event_type"] == "noname_bulk_cancellation").unwrap();
    assert_eq!((&end["data"]["canceled"], &end["data"]["failed"]), (&json!(500), &json!(100)));

    let full = bulks.cancel(&bulk, None).await;
    let workers = [CANCELER, CANCELER, CANCELER];
    let run = deliver_with_crashes(env, &workers, vec![full.clone(), full.clone()], how(), Rng::with_seed(2)).await;
    println!("FULL: {} deliveries, {} crashes", run.deliveries, run.crashes);
    assert!(run.crashes > 10, "too few workers crashed: {run:?}");
    let events = env.events().await;
    let expected: BTreeMap<String, String> = (0..ITEMS)
        .map(|number| {
            let code = match number {
                0..500 => "INVALID_CARD_STATUS_FOR_CANCELLATION",
                500..520 => "CARD_NOT_FOUND_FOR_CANCELLATION",
                1000..1300 | 4000..4200 => "ALREADY_CANCELED",
                520..3000 => "EXTERNAL_ID_AND_CARD_CANCELED",
                _ => "EXTERNAL_ID_CANCELED",
            };
            (external_id(number), code.to_owned())
        })
        .collect();
    let codes = codes(&events, &cid(&full));
    assert_eq!(codes, expected);
    assert_eq!(events.len(), ITEMS + 1);
    let end = row_of(&events, "noname_bulk_cancellation");
    assert_eq!(
        (&end["requested"], &end["canceled"], &end["failed"], &end["cancellation"]["state"]),
        (&json!(ITEMS), &json!(ITEMS - 520), &json!(520), &json!("PARTIAL"))
    );
    let rows = env.rows().await;
    let header = row(&rows, |row| row["sk"] == "BULK");
    assert_eq!((&header["extent"], &header["canceled"]), (&json!("PARTIAL"), &json!(ITEMS - 520)));
    assert_eq!(
        header["canceled_blank"].as_u64(),
        Some(u64::try_from(codes.values().filter(|code| *code == "EXTERNAL_ID_CANCELED").count()).unwrap() + 200)
    );
    let operation = row(&rows, |row| row["kind"] == "CANCEL_BULK" && row["cancel_type"] == "FULL");
    assert_eq!((&operation["state"], &operation["items_changed"]), (&json!("SUCCEEDED"), &json!(ITEMS - 1020)));
    assert_results_agree(&rows, &operation, &codes);
    let bound = rows.values().filter(|row| row["sk"] == "CARD" && row["status"] == "CREATED").count();
    assert_eq!(bound, 500);
}

pub fn row_of(events: &BTreeMap<String, Value>, event_type: &str) -> Value {
    let mut of_type = events.values().filter(|event| event["event_type"] == event_type);
    let event = of_type.next().unwrap();
    assert!(of_type.next().is_none(), "there are two events of type {event_type}");
    event["data"].clone()
}

/// Accepted binds race a cancel of their bulk, with concurrent, crashing workers. Each card ends bound or canceled, and
/// every instruction reports which.
#[tokio::test]
async fn of_binds_and_a_cancel_one_wins_each_card() {
    const CARDS: usize = 200;
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(CARDS).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker"], vec![start]).await;
    env.events().await;
    let rows = env.rows().await;
    let bind = Function::new("bind-card", env.environment()).await;
    for number in 0..CARDS {
        let event = bind_event(BulkFixture::card_of(&rows, number), None, &format!("bind-{number}"));
        bind.invoke(event).await.response(202);
    }
    let messages = env.take_messages().await;
    assert_eq!(messages.len(), CARDS);
    // The cancel's chunks have been sent when the binds begin.
    let cancel = bulks.cancel(&bulk, None).await;
    let worker = Function::new(CANCELER, env.environment()).await;
    worker.invoke(batch(&[(cancel.clone(), 1)])).await;
    let chunks = env.take_messages().await;
    let how = || Delivery { batch: 5, moments: 8, crash: 0.1, ..Delivery::default() };
    let binders = ["bind-card-worker", "bind-card-worker"];
    let binding = deliver_with_crashes(env, &binders, messages, how(), Rng::with_seed(3));
    let canceling = async {
        let bound = async || env.rows().await.values().filter(|row| row["status"] == "CREATED").count();
        while bound().await < CARDS / 8 {}
        deliver_with_crashes(env, &[CANCELER, CANCELER], chunks, how(), Rng::with_seed(4)).await
    };
    let (binding, canceling) = join(binding, canceling).await;

    let (events, rows) = (env.events().await, env.rows().await);
    let codes = codes(&events, &cid(&cancel));
    let outcomes: BTreeMap<u64, Value> = events
        .values()
        .filter(|event| event["event_type"] == "bind_card")
        .map(|event| (event["data"]["card_id"].as_u64().unwrap(), event["data"]["status"].clone()))
        .collect();
    let mut bound = 0;
    for card in rows.values().filter(|row| row["sk"] == "CARD" && row["card_id"].is_number()) {
        let code = &codes[card["external_id"].as_str().unwrap()];
        let outcome = &outcomes[&card["card_id"].as_u64().unwrap()];
        match card["status"].as_str().unwrap() {
            "CREATED" => {
                bound += 1;
                assert_eq!((outcome, code.as_str()), (&json!("SUCCESS"), "INVALID_CARD_STATUS_FOR_CANCELLATION"));
                assert_eq!((&card["canceled"], &card["bound"]["account_id"]), (&Value::Null, &json!(ACCOUNT)));
            }
            "CANCELED" => {
                assert_eq!((outcome, code.as_str()), (&json!("FAILURE"), "EXTERNAL_ID_AND_CARD_CANCELED"));
                assert_eq!(card["bound"], Value::Null);
            }
            other => panic!("{other}"),
        }
    }
    println!("{bound} bound, {} canceled, {} crashes", CARDS - bound, binding.crashes + canceling.crashes);
    assert!((1..CARDS).contains(&bound), "one side won every card: there was no race");
    assert_eq!((codes.len(), outcomes.len(), events.len()), (CARDS, CARDS, 2 * CARDS + 1));
    assert_eq!(row(&rows, |row| row["sk"] == "BULK")["canceled"], CARDS - bound);
}

/// A running start races a cancel, with concurrent, crashing workers. Issued items are canceled with their cards, and
/// the other items never get a card.
#[tokio::test]
async fn a_cancel_that_races_a_start_leaves_no_item() {
    const ITEMS: usize = 1000;
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(ITEMS).await;
    let environment = env.environment();
    let (start, cancel) = (bulks.start(&bulk).await, bulks.cancel(&bulk, None).await);
    let mut messages = Vec::new();
    for (worker, plan) in [("start-bulk-worker", start), (CANCELER, cancel.clone())] {
        Function::new(worker, environment.clone()).await.invoke(batch(&[(plan, 1)])).await;
        messages.extend(env.take_messages().await);
    }
    assert_eq!(messages.len(), 20);
    let how = Delivery { batch: 1, moments: 20, crash: 0.1, ..Delivery::default() };
    let workers = ["start-bulk-worker", "start-bulk-worker", CANCELER, CANCELER];
    let run = deliver_with_crashes(env, &workers, messages, how, Rng::with_seed(4)).await;

    let (events, rows) = (env.events().await, env.rows().await);
    let codes = codes(&events, &cid(&cancel));
    let issued: BTreeSet<String> = events
        .values()
        .filter(|event| event["event_type"] == "create")
        .map(|event| event["data"]["external_id"].as_str().unwrap().to_owned())
        .collect();
    println!("{} issued, {} crashes", issued.len(), run.crashes);
    let expected: BTreeMap<String, String> = (0..ITEMS)
        .map(external_id)
        .map(|id| {
            let code = if issued.contains(&id) { "EXTERNAL_ID_AND_CARD_CANCELED" } else { "EXTERNAL_ID_CANCELED" };
            (id, code.to_owned())
        })
        .collect();
    assert_eq!(codes, expected);
    let cards: Vec<_> = rows.values().filter(|row| row["sk"] == "CARD" && row["card_id"].is_number()).collect();
    assert_eq!(cards.len(), issued.len());
    assert!(cards.iter().all(|card| card["status"] == "CANCELED"));
    let header = row(&rows, |row| row["sk"] == "BULK");
    assert_eq!(
        (&header["extent"], &header["issued"], &header["canceled"], &header["canceled_blank"]),
        (&json!("FULL"), &json!(issued.len()), &json!(ITEMS), &json!(ITEMS - issued.len()))
    );
    assert_eq!(row_of(&events, "noname_bulk_cancellation")["cancellation"]["state"], "FULL");
}

/// The endpoint fails between row, chunks and message. Nothing is applied, and a retry completes the request.
#[rstest::rstest]
#[case::before_the_row("PutItem", Moment::Before)]
#[case::before_the_chunks("BatchWriteItem", Moment::Before)]
#[case::after_the_chunks("BatchWriteItem", Moment::After)]
#[case::before_the_message("AmazonSQS.SendMessage", Moment::Before)]
#[tokio::test]
async fn a_cancel_that_failed_halfway_is_completed_by_its_retry(#[case] target: &'static str, #[case] at: Moment) {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(150).await;
    let broken = Arc::new(Mutex::new(true));
    let is_broken = Arc::clone(&broken);
    let url = proxy::start(move |call, moment| {
        if *is_broken.lock().unwrap() && moment == at && call.target.ends_with(target) {
            return Step::Respond(500, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("cancel-bulk", env.environment_behind(&url)).await;
    let names: Vec<String> = (0..150).map(external_id).collect();
    let request = || cancel_bulk(&bulk, Some(&names)).key("k").event();
    endpoint.invoke(request()).await.response(503);
    assert!(env.take_messages().await.is_empty());
    *broken.lock().unwrap() = false;
    endpoint.invoke(request()).await.response(202);
    let messages = env.take_messages().await;
    assert_eq!(messages.len(), 1);
    bulks.work(&[CANCELER], messages).await;
    assert_eq!(env.events().await.len(), 151);
    endpoint.invoke(request()).await.response(202);
    assert!(env.take_messages().await.is_empty());
}

/// The longest external IDs, with the characters that take the most space in all encodings, fit.
#[tokio::test]
async fn a_thousand_of_the_longest_names_fit() {
    let bulks = BulkFixture::of_thousands().await;
    let env: &TestEnv = &bulks.env;
    let bulk = bulks.create(1).await;
    let long = |number: usize| format!("{number:04}{}", ["😀", "\u{ffff}", "\u{10ffff}"][number % 3].repeat(251));
    let names: Vec<String> = (0..1000).map(long).collect();
    let grow = increment_bulk(&bulk, &names).event();
    Function::new("increment-bulk", env.environment()).await.invoke(grow).await.response(201);
    let partial = bulks.cancel(&bulk, Some(names.clone())).await;
    bulks.work(&[CANCELER], vec![partial.clone()]).await;
    let codes = codes(&env.events().await, &cid(&partial));
    assert_eq!(codes.keys().cloned().collect::<BTreeSet<_>>(), names.into_iter().collect());
    assert!(codes.values().all(|code| code == "EXTERNAL_ID_CANCELED"));
    let full = bulks.cancel(&bulk, None).await;
    bulks.work(&[CANCELER], vec![full]).await;
    assert_eq!(env.events().await.len(), 1002);
}
