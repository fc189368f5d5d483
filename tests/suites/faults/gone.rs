//! Operations whose row is missing, as after a restore of the table, and starts that come too late.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::Function;
use tests::seed;
use tests::test_env::TestEnv;

use super::cancels::{CANCELER, row, row_of};
use super::contention::planned;
use super::rows::{operation_of, reasons_of_dead_letters, row_at, take};
use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, accept, batch, bind_event, env_with, failed};

const NEW_CARD: u64 = 1;
const OLD_CARD: u64 = 2;

/// Creates an environment with two pairs of an unbound card and a bound card that it may replace.
async fn cards() -> TestEnv {
    let old = |card| seed::bound(card, CardStatus::Normal, ACCOUNT, CUSTOMER);
    env_with(&[seed::unbound(NEW_CARD), old(OLD_CARD), seed::unbound(3), old(4)]).await
}

/// Delivers the message until the worker acknowledges it, at the latest in the last delivery.
async fn deliver(env: &TestEnv, worker: &str, message: &str) {
    let worker = Function::new(worker, env.environment()).await;
    for receive_count in 1..=5 {
        let response = worker.invoke(batch(&[(message.to_owned(), receive_count)])).await;
        let response = response.payload();
        if failed(&response).is_empty() {
            return;
        }
    }
    panic!("the worker never acknowledges the message");
}

/// Deletes the row of the message's operation, and delivers the message. Asserts that no row changes, no event or
/// message is sent, and the message is dead-lettered with the reason.
async fn assert_does_nothing(env: &TestEnv, worker: &str, message: &str) {
    take(env, &operation_of(message), "OP").await;
    let before = env.rows().await;
    deliver(env, worker, message).await;
    let (events, rows) = (env.events().await, env.rows().await);
    let changed: Vec<_> = rows.iter().filter(|(key, row)| before.get(*key) != Some(*row)).collect();
    assert!(changed.is_empty() && rows.len() == before.len(), "{changed:#?}");
    assert!(events.is_empty(), "{events:#?}");
    assert_eq!(env.take_messages().await, Vec::<String>::new());
    let reasons = reasons_of_dead_letters(env).await;
    assert!(reasons.len() == 1 && reasons[0].contains("has no row"), "{reasons:?}");
}

#[rstest]
#[case::bind(None)]
#[case::reissue(Some(OLD_CARD))]
#[tokio::test]
async fn a_bind_whose_operation_is_gone_changes_no_card(#[case] reissued: Option<u64>) {
    let env = cards().await;
    let message = accept(&env, &[(NEW_CARD, reissued)]).await.remove(0);
    assert_does_nothing(&env, "bind-card-worker", &message).await;
}

#[tokio::test]
async fn a_full_cancel_whose_operation_is_gone_does_not_seal() {
    let bulks = BulkFixture::new().await;
    let bulk = bulks.create(3).await;
    let plan = bulks.cancel(&bulk, None).await;
    assert_does_nothing(&bulks.env, CANCELER, &plan).await;
}

/// The chunk has items with a card, and items without.
#[tokio::test]
async fn a_chunk_of_a_cancel_whose_operation_is_gone_cancels_nothing() {
    let bulks = BulkFixture::new().await;
    let bulk = bulks.create(2).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker"], vec![start]).await;
    bulks.grow(&bulk, 2..4).await;
    let (_, chunk) = planned(&bulks, &bulk).await;
    bulks.env.events().await;
    assert_does_nothing(&bulks.env, CANCELER, &chunk).await;
}

/// The worker receives the plan's message, or the chunk's.
#[rstest]
#[tokio::test]
async fn a_start_whose_operation_is_gone_issues_nothing(#[values(false, true)] is_planned: bool) {
    let bulks = BulkFixture::new().await;
    let bulk = bulks.create(3).await;
    let mut message = bulks.start(&bulk).await;
    if is_planned {
        let worker = Function::new("start-bulk-worker", bulks.env.environment()).await;
        worker.invoke(batch(&[(message, 1)])).await;
        message = bulks.env.take_messages().await.remove(0);
    }
    assert_does_nothing(&bulks.env, "start-bulk-worker", &message).await;
}

/// Returns the data of these events, by their IDs.
fn facts(events: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    events.into_iter().map(|(id, event)| (id, event["data"].clone())).collect()
}

/// A bind took effect, and then its operation's row is lost. The client, which got 202, retries with its key.
#[rstest]
#[case::bind(None)]
#[case::reissue(Some(OLD_CARD))]
#[tokio::test]
async fn a_bind_that_took_effect_is_accepted_again_after_its_operation_is_lost(#[case] reissued: Option<u64>) {
    let env = cards().await;
    let message = accept(&env, &[(NEW_CARD, reissued)]).await.remove(0);
    deliver(&env, "bind-card-worker", &message).await;
    let before = facts(env.events().await);
    let rows = env.rows().await;
    take(&env, &operation_of(&message), "OP").await;

    let again = accept(&env, &[(NEW_CARD, reissued)]).await.remove(0);
    assert_eq!(operation_of(&again), operation_of(&message));
    deliver(&env, "bind-card-worker", &again).await;
    let events = env.events().await;
    assert_eq!(row_of(&events, "bind_card")["status"], "SUCCESS");
    assert_eq!(facts(events), before);
    assert_eq!(reasons_of_dead_letters(&env).await, Vec::<String>::new());
    let cards = |rows: BTreeMap<(String, String), Value>| -> BTreeMap<_, _> {
        rows.into_iter().filter(|((_, sk), _)| sk == "CARD").collect()
    };
    assert_eq!(row_at(&env, &operation_of(&message), "OP").await.unwrap()["state"], "SUCCEEDED");
    assert_eq!(cards(env.rows().await), cards(rows));
}

/// A bind took effect, and then its operation's row is lost. Another request with its key is not a retry.
#[rstest]
#[case::another_customer(None, None, CUSTOMER + 1)]
#[case::another_customers_reissue(Some(OLD_CARD), Some(OLD_CARD), CUSTOMER + 1)]
#[case::a_reissue_after_a_bind(None, Some(OLD_CARD), CUSTOMER)]
#[case::another_reissue(Some(OLD_CARD), Some(4), CUSTOMER)]
#[tokio::test]
async fn another_request_with_the_key_of_a_lost_bind_is_refused(
    #[case] reissued: Option<u64>,
    #[case] then: Option<u64>,
    #[case] customer: u64,
) {
    let env = cards().await;
    let message = accept(&env, &[(NEW_CARD, reissued)]).await.remove(0);
    deliver(&env, "bind-card-worker", &message).await;
    take(&env, &operation_of(&message), "OP").await;
    let rows = env.rows().await;

    let mut other = bind_event(NEW_CARD, then, "key-0");
    other["headers"]["x-customer-id"] = json!(customer.to_string());
    let endpoint = Function::new("bind-card", env.environment()).await;
    let response = endpoint.invoke(other).await.payload();
    assert!(response["statusCode"] == 409 || response["statusCode"] == 422, "{response}");
    assert_eq!(env.rows().await, rows, "the refused request changed rows");
    assert_eq!(env.take_messages().await, Vec::<String>::new());
}

/// A start was accepted, but its worker finds the bulk sealed. Consumers of events learn that it failed.
#[tokio::test]
async fn a_start_that_comes_too_late_is_refused_in_an_event() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(3).await;
    let start = bulks.start(&bulk).await;
    let cancel = bulks.cancel(&bulk, None).await;
    bulks.work(&[CANCELER], vec![cancel]).await;
    env.events().await;

    deliver(env, "start-bulk-worker", &start).await;
    let events = env.events().await;
    let operation = row(&env.rows().await, |row| row["kind"] == "START_BULK");
    assert_eq!(operation["state"], "FAILED");
    let expected = json!({
        "status": "FAILURE", "message_code": "BULK_CANCELED", "operation_id": operation["operation_id"],
        "bulk_id": bulk, "program_id": 5, "requested": 3, "issued": 0,
    });
    assert_includes(&row_of(&events, "noname_bulk_start"), &expected);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(env.take_messages().await, Vec::<String>::new());

    deliver(env, "start-bulk-worker", &start).await;
    assert_eq!(env.events().await, events);
}

/// The event that a start has ended is published once, after all its cards are issued.
#[tokio::test]
async fn a_start_is_published_as_ended_once_all_cards_are_issued() {
    const ITEMS: usize = 150;
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(ITEMS).await;
    let plan = bulks.start(&bulk).await;
    deliver(env, "start-bulk-worker", &plan).await;
    let mut chunks = env.take_messages().await;
    let of_end = |events: &BTreeMap<String, Value>| -> Vec<(String, Value)> {
        let ends = events.iter().filter(|(_, event)| event["event_type"] == "noname_bulk_start");
        ends.map(|(id, event)| (id.clone(), event.clone())).collect()
    };
    assert_eq!(of_end(&env.events().await), []);
    deliver(env, "start-bulk-worker", &chunks.pop().unwrap()).await;
    assert_eq!(of_end(&env.events().await), []);
    let last = chunks.pop().unwrap();
    deliver(env, "start-bulk-worker", &last).await;
    let ended = of_end(&env.events().await);
    let operation = row(&env.rows().await, |row| row["kind"] == "START_BULK");
    assert_eq!((&operation["state"], ended.len()), (&json!("SUCCEEDED"), 1), "{ended:#?}");
    let expected = json!({
        "status": "SUCCESS", "operation_id": operation["operation_id"], "bulk_id": bulk, "program_id": 5,
        "requested": ITEMS, "issued": ITEMS,
    });
    assert_includes(&ended[0].1["data"], &expected);

    deliver(env, "start-bulk-worker", &last).await;
    assert_eq!(of_end(&env.events().await), ended);
}

/// Asserts that `data` has all members of `expected`. It may have others.
#[track_caller]
fn assert_includes(data: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&data[name], value, "{name} of {data:#}");
    }
}
