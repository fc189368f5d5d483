//! Functions killed between any two of their calls, and messages delivered again in any order.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{ACCOUNT, CUSTOMER, Delivery, ORG, accept, arena_with, batch, bind_event, deliver_with_deaths};
use fastrand::Rng;
use rstest::rstest;
use serde_json::Value;
use shared::domain::card::CardStatus;
use tests::arena::Arena;
use tests::function::{Function, Invocation};
use tests::proxy::{self, Moment, Step};
use tests::seed;

/// The facts of the events, by type and card. (When the instructions were accepted, and so the events' IDs, differs between
/// runs.)
fn facts(events: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let count = events.len();
    let key = |event: &Value| format!("{} {}", event["event_type"], event["data"]["card_id"]);
    let facts: BTreeMap<_, _> = events.values().map(|event| (key(event), event["data"].clone())).collect();
    assert_eq!(facts.len(), count, "one fact has two events");
    facts
}

/// The rows without their times.
fn states(rows: BTreeMap<(String, String), Value>) -> BTreeMap<(String, String), Value> {
    fn without_times(value: &mut Value) {
        if let Value::Object(members) = value {
            members.retain(|name, _| {
                !matches!(name.as_str(), "at" | "accepted_at" | "created_at" | "ended_at" | "expires_at")
            });
            members.values_mut().for_each(without_times);
        }
    }
    rows.into_iter()
        .map(|(key, mut row)| {
            without_times(&mut row);
            (key, row)
        })
        .collect()
}

const PLAIN: std::ops::RangeInclusive<u64> = 1..=10;
const REISSUED: std::ops::RangeInclusive<u64> = 11..=16;

/// Ten plain binds; six reissues of cards in several states; two binds that lose, because others come
/// before them in every order: their cards are bound by hand once they are accepted.
async fn scenario() -> (Arena, Vec<String>) {
    let mut cards: Vec<_> = PLAIN.map(seed::unbound).collect();
    let mut binds: Vec<_> = PLAIN.map(|card| (card, None)).collect();
    for (card, status) in REISSUED.zip([CardStatus::Normal, CardStatus::Created, CardStatus::Warning].iter().cycle()) {
        cards.push(seed::unbound(card));
        cards.push(seed::bound(card + 100, *status, ACCOUNT, CUSTOMER));
        binds.push((card, Some(card + 100)));
    }
    cards.extend([seed::unbound(21), seed::unbound(22), seed::bound(122, CardStatus::Normal, ACCOUNT, CUSTOMER)]);
    binds.extend([(21, None), (22, Some(122))]);
    let arena = arena_with(&cards).await;
    let messages = accept(&arena, &binds).await;
    for card in [21, 22] {
        let mut taken = seed::bound(card, CardStatus::Created, 1, 1);
        taken.bound.as_mut().unwrap().by = "00000000-0000-7000-8000-000000000000".parse().unwrap();
        seed::put(&arena.dynamodb, &arena.table, ORG, &taken).await;
    }
    (arena, messages)
}

/// What the scenario comes to when every message is delivered once and nothing goes wrong.
async fn clean_run() -> (BTreeMap<(String, String), Value>, BTreeMap<String, Value>) {
    let (arena, messages) = scenario().await;
    let worker = Function::new("bind-card-worker", arena.environment()).await;
    for chunk in messages.chunks(10) {
        let deliveries: Vec<_> = chunk.iter().map(|body| (body.clone(), 1)).collect();
        worker.invoke(batch(&deliveries)).await.acknowledged();
    }
    let events = facts(arena.events().await);
    assert_eq!(events.len(), 18 + 6);
    // The cards that were replaced keep the marks of their binds, which are made anew for each run.
    (states(arena.rows().await), events)
}

/// The marks of the seeded binds differ between runs.
fn without_seeded_marks(mut rows: BTreeMap<(String, String), Value>) -> BTreeMap<(String, String), Value> {
    for row in rows.values_mut().filter(|row| row["card_id"].as_u64().is_some_and(|card| card > 100)) {
        row["bound"]["by"] = Value::Null;
    }
    rows
}

/// Rules 2, 3 and 5: whatever is delivered again, whenever the worker dies, rows and events come to the
/// same as if nothing had happened.
#[rstest]
#[tokio::test]
async fn deaths_and_redeliveries_change_nothing(#[values(1, 2, 3, 4, 5, 6, 7, 8)] number: u64) {
    let (expected_rows, expected_events) = clean_run().await;
    let (arena, messages) = scenario().await;

    let count = messages.len();
    let thrice = messages.into_iter().flat_map(|body| vec![body; 3]).collect();
    // A plain bind passes four moments alone, and two with the others of its batch.
    let how = Delivery { batch: 10, moments: 4, death: 0.75, ..Delivery::default() };
    let run = deliver_with_deaths(&arena, &["bind-card-worker"], thrice, how, Rng::with_seed(number)).await;
    println!("seed {number}: {} deliveries of {count} messages, {} deaths", run.deliveries, run.deaths);
    assert!(run.deaths > 0);
    assert_eq!(facts(arena.events().await), expected_events);
    assert_eq!(without_seeded_marks(states(arena.rows().await)), without_seeded_marks(expected_rows));
}

/// The endpoint dies between its row and its message: no 202 was given, and the repetition sends it.
#[tokio::test]
async fn a_request_that_died_halfway_is_completed_by_its_repetition() {
    let arena = arena_with(&[seed::unbound(1)]).await;
    let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
    let (kill, mut alive) = (Arc::clone(&killer), true);
    let url = proxy::start(move |call, moment| {
        if alive && moment == Moment::After && call.target.ends_with("PutItem") {
            alive = false;
            kill.get().unwrap()();
            return Step::Cut;
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("bind-card", arena.environment_behind(&url)).await;
    killer.set(Box::new(endpoint.killer())).ok().unwrap();
    assert_eq!(endpoint.invoke(bind_event(1, None, "k")).await, Invocation::Died);
    assert_eq!(arena.rows().await.len(), 2);
    assert!(arena.take_messages().await.is_empty());

    let answer = endpoint.invoke(bind_event(1, None, "k")).await.answer();
    assert_eq!(answer["statusCode"], 202);
    assert_eq!(arena.rows().await.len(), 2);
    assert_eq!(arena.take_messages().await.len(), 1);
}
