//! Transactions whose rows become visible one by one. DynamoDB applies all writes of a transaction or none, but a
//! reader can see one row new and another old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::{Function, Invocation};
use tests::payloads::external_id;
use tests::proxy::{self, Moment, Step};
use tests::requests::Request;
use tests::seed;
use tests::test_env::{TestEnv, drain};
use tokio::sync::watch;

use super::cancels::{CANCELER, codes, row_of};
use super::contention::{backdate_held_since, conflicting, planned};
use super::rows::{current_response, is_about, operation_of, put_back, row_at, take};
use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, accept, batch, env_with, failed};

fn handled() -> Invocation {
    Invocation::Responded(json!({ "batchItemFailures": [] }))
}

/// Two deliveries of a reissue of card 2 by card 1, and the signals between them.
struct Reissue {
    env: TestEnv,
    message: String,
    /// True once the second delivery has reached the point where it waits for the first.
    reached: watch::Sender<bool>,
    /// True once the transaction of the first delivery is done.
    done: watch::Sender<bool>,
    /// True once the first delivery may receive the response to its transaction.
    released: watch::Sender<bool>,
}

impl Reissue {
    async fn accepted() -> Self {
        let env = env_with(&[seed::unbound(1), seed::bound(2, CardStatus::Normal, ACCOUNT, CUSTOMER)]).await;
        let message = accept(&env, &[(1, Some(2))]).await.remove(0);
        let new = || watch::Sender::new(false);
        Self { env, message, reached: new(), done: new(), released: new() }
    }

    /// Creates the worker that commits the reissue. Its transaction waits until the second worker is blocked. The
    /// response to the transaction waits for `released`.
    async fn first(&self) -> Function {
        let (reached, done, released) = (self.reached.subscribe(), self.done.clone(), self.released.subscribe());
        let url = proxy::start(move |call, moment| match moment {
            _ if !call.target.ends_with("TransactWriteItems") => Step::Pass,
            Moment::Before => Step::Until(reached.clone()),
            Moment::After => {
                done.send_replace(true);
                Step::Until(released.clone())
            }
        })
        .await;
        Function::new("bind-card-worker", self.env.environment_behind(&url)).await
    }

    /// Creates another worker, which is blocked at its first call of the API action `waits_at` until the first worker's
    /// transaction is done. From then on, the proxy responds with `response` to the worker's next reads of the card.
    /// `left` is the number of such responses that are still to come.
    async fn second(&self, waits_at: &'static str, card: u64, response: String, left: Arc<Mutex<usize>>) -> Function {
        let (reached, done, pk) = (self.reached.clone(), self.done.subscribe(), format!("CARD#{card}"));
        let url = proxy::start(move |call, moment| {
            if moment == Moment::After {
                return Step::Pass;
            }
            if !*done.borrow() && call.target.ends_with(waits_at) {
                reached.send_replace(true);
                return Step::Until(done.clone());
            }
            let mut left = left.lock().unwrap();
            if *done.borrow() && *left > 0 && is_about(call, "GetItem", &pk) {
                *left -= 1;
                return Step::Respond(200, response.clone());
            }
            Step::Pass
        })
        .await;
        Function::new("bind-card-worker", self.env.environment_behind(&url)).await
    }

    /// Delivers the message again, and asserts that all deliveries together made one reissue. `before` has the events
    /// that the test has received so far, by ID.
    async fn assert_is_one(&self, before: BTreeMap<String, Value>) {
        let worker = Function::new("bind-card-worker", self.env.environment()).await;
        let again = worker.invoke(batch(&[(self.message.clone(), 2)])).await;
        let mut events = before;
        for (id, event) in self.env.events().await {
            let before = events.insert(id, event.clone());
            let is_same = before.is_none_or(|before| before == event);
            assert!(is_same, "the event was published before with other content: {event:#}");
        }
        let statuses: BTreeMap<_, _> = events
            .values()
            .map(|event| (event["event_type"].as_str().unwrap(), event["data"]["status"].clone()))
            .collect();
        assert_eq!(statuses.keys().collect::<Vec<_>>(), [&"bind_card", &"update"], "{events:#?}");
        assert_eq!((events.len(), &statuses["bind_card"]), (2, &json!("SUCCESS")), "{events:#?}");
        assert_eq!(again, handled());
        assert!(drain(&self.env.sqs, &self.env.dlq_url).await.is_empty());
        let state = async |pk: &str, sk: &str, name: &str| row_at(&self.env, pk, sk).await.unwrap()[name].clone();
        assert_eq!(state("CARD#1", "CARD", "status").await, "CREATED");
        assert_eq!(state("CARD#2", "CARD", "status").await, "REISSUED");
        assert_eq!(state(&operation_of(&self.message), "OP", "state").await, "SUCCEEDED");
    }
}

/// The second delivery sees the new card bound by its own operation, and the old card not replaced yet. It must not
/// refuse.
#[rstest::rstest]
#[case::at_the_first_read("GetItem")]
#[case::after_a_conflict("TransactWriteItems")]
#[tokio::test]
async fn a_reissue_whose_new_card_is_visible_first_is_one_reissue(#[case] waits_at: &'static str) {
    let reissue = Reissue::accepted().await;
    let old = current_response(&reissue.env, "CARD#2", "CARD").await;
    let left = Arc::new(Mutex::new(1));
    let (first, second) = (reissue.first().await, reissue.second(waits_at, 2, old, Arc::clone(&left)).await);
    let message = batch(&[(reissue.message.clone(), 1)]);
    let (one, other) = futures_util::future::join(first.invoke(message.clone()), async {
        let other = second.invoke(message.clone()).await;
        reissue.released.send_replace(true);
        other
    })
    .await;
    assert_eq!(*left.lock().unwrap(), 0, "the second delivery did not read the old card");
    // Not asserted: either delivery may ask for a retry.
    println!("first {one:?}, second {other:?}");
    let events = reissue.env.events().await;
    reissue.assert_is_one(events).await;
}

/// The second delivery sees the old card replaced by its own operation, and the new card still unbound. No event is
/// published before both are visible.
#[tokio::test]
async fn a_reissue_is_published_only_once_both_cards_are_visible() {
    let reissue = Reissue::accepted().await;
    let unbound = current_response(&reissue.env, "CARD#1", "CARD").await;
    let left = Arc::new(Mutex::new(usize::MAX));
    let (first, second) =
        (reissue.first().await, reissue.second("TransactWriteItems", 1, unbound, Arc::clone(&left)).await);
    let message = batch(&[(reissue.message.clone(), 1)]);
    let (_, before) = futures_util::future::join(first.invoke(message.clone()), async {
        let other = second.invoke(message.clone()).await;
        let before = reissue.env.events().await;
        assert!(before.is_empty(), "events were published before both cards were visible: {before:#?}");
        let response = other.payload();
        assert_eq!(failed(&response), BTreeSet::from([0]));
        let operation = row_at(&reissue.env, &operation_of(&reissue.message), "OP").await.unwrap();
        assert_eq!((&operation["state"], &operation["outcome"]), (&json!("PENDING"), &Value::Null));
        *left.lock().unwrap() = 0;
        reissue.released.send_replace(true);
        before
    })
    .await;
    reissue.assert_is_one(before).await;
}

/// Starts the bulk, and returns the messages of its chunks.
async fn started(bulks: &BulkFixture, bulk: &str) -> Vec<String> {
    let plan = bulks.start(bulk).await;
    let worker = Function::new("start-bulk-worker", bulks.env.environment()).await;
    assert_eq!(worker.invoke(batch(&[(plan, 1)])).await, handled());
    bulks.env.take_messages().await
}

/// Creates a worker whose `GetItem` of this card finds no row. `of_statements`, if given, is the response to its first
/// `BatchExecuteStatement`.
async fn blind(env: &TestEnv, name: &str, card: u64, mut of_statements: Option<Value>) -> Function {
    let pk = format!("CARD#{card}");
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && is_about(call, "GetItem", &pk) {
            return Step::Respond(200, "{}".to_owned());
        }
        if moment == Moment::Before && call.target.ends_with("BatchExecuteStatement") {
            return of_statements.take().map_or(Step::Pass, |response| Step::Respond(200, response.to_string()));
        }
        Step::Pass
    })
    .await;
    Function::new(name, env.environment_behind(&url)).await
}

/// A start commits after the chunk was given up. The final check sees the item issued, but does not see its card. The
/// card is not reported as missing.
#[tokio::test]
async fn a_card_that_is_being_issued_when_its_item_was_given_up_is_not_missing() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let start = started(&bulks, &bulk).await.remove(0);
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let url = conflicting(&external_id(0), Arc::new(Mutex::new(usize::MAX)), "TransactionConflict").await;
    let held = Function::new(CANCELER, env.environment_behind(&url)).await;
    // `MAX_RECEIVES` is 5, so delivery 4 gives the chunk up. The numbers of later deliveries do not matter.
    held.invoke(batch(&[(chunk.clone(), 4)])).await;
    backdate_held_since(env).await;
    let starter = Function::new("start-bulk-worker", env.environment()).await;
    assert_eq!(starter.invoke(batch(&[(start, 1)])).await, handled());
    let card = BulkFixture::card_of(&env.rows().await, 0);
    env.events().await;

    let canceler = blind(env, CANCELER, card, None).await;
    let response = canceler.invoke(batch(&[(chunk.clone(), 3)])).await.payload();
    let mut events = env.events().await;
    if failed(&response).contains(&0) {
        assert!(events.is_empty(), "{events:#?}");
        let canceler = Function::new(CANCELER, env.environment()).await;
        assert_eq!(canceler.invoke(batch(&[(chunk, 4)])).await, handled());
        events = env.events().await;
    }
    assert_eq!(codes(&events, &cid)[&external_id(0)], "INVALID_BULK_ITEM_STATUS");
    assert_eq!(row_of(&events, "noname_bulk_cancellation")["failed"], 1);
    assert_eq!(row_at(env, &format!("CARD#{card}"), "CARD").await.unwrap()["status"], "UNBOUND");
}

/// The statement for a card is refused without returning its row, and a read does not find the card either. The chunk
/// is retried.
#[tokio::test]
async fn a_card_that_cannot_be_seen_yet_is_canceled_later() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker"], vec![start]).await;
    env.events().await;
    let card = BulkFixture::card_of(&env.rows().await, 0);
    let (cid, chunk) = planned(&bulks, &bulk).await;
    let refused = json!({ "Responses": [{ "Error": { "Code": "ConditionalCheckFailed", "Message": "m" } }] });
    let worker = blind(env, CANCELER, card, Some(refused)).await;
    let response = worker.invoke(batch(&[(chunk.clone(), 1)])).await.payload();
    let events = env.events().await;
    assert!(events.is_empty(), "{events:#?}");
    assert_eq!(failed(&response), BTreeSet::from([0]));
    assert!(
        !env.rows().await.keys().any(|(_, sk)| sk.starts_with("RESULT#")),
        "a result is stored before the card is visible"
    );

    let worker = Function::new(CANCELER, env.environment()).await;
    assert_eq!(worker.invoke(batch(&[(chunk, 2)])).await, handled());
    let events = env.events().await;
    assert_eq!(codes(&events, &cid)[&external_id(0)], "EXTERNAL_ID_AND_CARD_CANCELED");
    assert_eq!(row_at(env, &format!("CARD#{card}"), "CARD").await.unwrap()["status"], "CANCELED");
}

/// A client that reads after the item's row was committed and before the card's sees the item as it was before.
#[tokio::test]
async fn an_item_whose_card_cannot_be_seen_yet_is_shown_as_it_was() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(2).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker"], vec![start]).await;
    let rows = env.rows().await;
    let (unseen, seen) = (BulkFixture::card_of(&rows, 0), BulkFixture::card_of(&rows, 1));
    let card = take(env, &format!("CARD#{unseen}"), "CARD").await;
    let endpoint = Function::new("get-bulk", env.environment()).await;
    let shown = async || {
        let get = Request::to("get-bulk").at(&bulk).event();
        let items = endpoint.invoke(get).await.response(200)["items"].take();
        let items = items.as_array().unwrap().iter().map(|item| (item["external_id"].to_string(), item.clone()));
        items.collect::<BTreeMap<_, _>>().into_values().collect::<Vec<_>>()
    };
    let item = |number: usize, state: &str, card: Option<u64>| {
        let mut item = json!({ "external_id": external_id(number), "state": state });
        if let Some(card) = card {
            item["card_id"] = json!(card);
        }
        item
    };
    let sorted = |mut items: Vec<Value>| {
        items.sort_by_key(|item| item["external_id"].to_string());
        items
    };
    assert_eq!(shown().await, sorted(vec![item(0, "PENDING", None), item(1, "UNBOUND", Some(seen))]));
    put_back(env, card).await;
    assert_eq!(shown().await, sorted(vec![item(0, "UNBOUND", Some(unseen)), item(1, "UNBOUND", Some(seen))]));
}

/// The worker issued the cards, and fails before it publishes their events. A consumer of a card's event must be able
/// to read the card.
#[tokio::test]
async fn a_card_is_published_only_once_it_is_visible() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(2).await;
    let chunk = started(&bulks, &bulk).await.remove(0);
    let url = proxy::start(|call, _| {
        let is_event = call.target == "AWSEvents.PutEvents";
        if is_event { Step::Respond(500, "{}".to_owned()) } else { Step::Pass }
    })
    .await;
    let dying = Function::new("start-bulk-worker", env.environment_behind(&url)).await;
    let response = dying.invoke(batch(&[(chunk.clone(), 1)])).await.payload();
    assert_eq!(failed(&response), BTreeSet::from([0]));
    let unseen = BulkFixture::card_of(&env.rows().await, 0);
    let card = take(env, &format!("CARD#{unseen}"), "CARD").await;

    let worker = Function::new("start-bulk-worker", env.environment()).await;
    let published = |events: &BTreeMap<String, Value>| -> BTreeSet<u64> {
        let created = events.values().filter(|event| event["event_type"] == "create");
        created.map(|event| event["data"]["card_id"].as_u64().unwrap()).collect()
    };
    let response = worker.invoke(batch(&[(chunk.clone(), 2)])).await.payload();
    let events = env.events().await;
    assert!(!published(&events).contains(&unseen), "published before the card is visible: {events:#?}");
    assert_eq!(failed(&response), BTreeSet::from([0]));

    put_back(env, card).await;
    assert_eq!(worker.invoke(batch(&[(chunk, 3)])).await, handled());
    let events = env.events().await;
    assert!(published(&events).contains(&unseen), "{events:#?}");
    assert_eq!(row_at(env, &format!("BULK#{bulk}"), "BULK").await.unwrap()["issued"], 2);
}
