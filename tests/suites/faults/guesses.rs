//! PINs guessed over many persons, and over many locks, through an endpoint whose clock the test sets.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, runner};
use tests::orders::{CREATOR, domestic, feed};
use tests::payloads::{ORG, batch};
use tests::requests::cancel_orders;
use tests::seed;
use tests::test_env::TestEnv;
use time::OffsetDateTime;

const OTHER: &str = "TN-99999999-2222-4333-8444-555555555555";
const WRONG: &str = "PIN is invalid.";
const LOCKED: &str = "PIN is locked.";
const PIN: &str = "7295";
const HOUR: i64 = 3600;

/// Feeds an order for each of these persons. An order has the number of its person.
async fn feed_orders(env: &TestEnv, org: &str, persons: std::ops::Range<i32>) {
    feed_orders_of(env, org, persons, |person| person).await;
}

/// Feeds these orders, each with its creator.
async fn feed_orders_of(env: &TestEnv, org: &str, orders: std::ops::Range<i32>, creator: fn(i32) -> i32) {
    let feeder = Function::new("order-feed-worker", env.environment()).await.patient();
    let change = |order: i32| {
        let mut change = feed(&domestic(order), "ACTIVE", 1);
        (change["org_id"], change["creator_id"]) = (json!(org), json!(creator(order)));
        (change.to_string(), 1)
    };
    let messages: Vec<_> = orders.map(change).collect();
    for messages in messages.chunks(10) {
        feeder.invoke(batch(messages)).await.acknowledged();
    }
}

/// Sets the person's PIN, and requires it.
async fn set_pin(env: &TestEnv, org: &str, person: i32) {
    let mut command = tokio::process::Command::new(runner());
    command.args(["set-pin", org, &person.to_string(), PIN]).envs(env.environment());
    assert!(command.status().await.unwrap().success());
}

/// Tries these persons' PINs in one request. Returns each entry's error, or `None` for a right PIN.
async fn guess(endpoint: &Function, org: &str, guesses: &[(i32, String)], key: Option<&str>) -> Vec<Option<String>> {
    let entry = |(person, pin): &(i32, String)| json!({ "OrderID": person, "CreatorID": person, "PIN": pin });
    ask(endpoint, org, guesses.iter().map(entry).collect(), key).await
}

/// Sends a request with these entries. Returns each entry's error, or `None` if it was accepted.
async fn ask(endpoint: &Function, org: &str, entries: Vec<Value>, key: Option<&str>) -> Vec<Option<String>> {
    let request = cancel_orders(&json!(entries)).claim("tenant_id", org);
    let request = if let Some(key) = key { request.key(key) } else { request };
    let results = endpoint.invoke(request.event()).await.response(200);
    let error = |result: &Value| result["Errors"][0].as_str().map(str::to_owned);
    results.as_array().unwrap().iter().map(error).collect()
}

async fn one(endpoint: &Function, org: &str, person: i32, pin: &str) -> Option<String> {
    guess(endpoint, org, &[(person, pin.to_owned())], None).await.remove(0)
}

/// An attacker tries the most common PINs on all persons. The endpoint reports 300 as wrong, then reveals nothing more.
#[tokio::test]
async fn spraying_over_many_persons_ends_at_the_hourly_limit() {
    const PERSONS: i32 = 80;
    let env = TestEnv::new().await;
    feed_orders(&env, ORG, 1..PERSONS + 3).await;
    for person in 1..=PERSONS {
        seed::person(&env.dynamodb, &env.table, ORG, person).await;
    }
    for person in [PERSONS + 1, PERSONS + 2] {
        set_pin(&env, ORG, person).await;
    }
    feed_orders(&env, OTHER, 1..2).await;
    set_pin(&env, OTHER, 1).await;
    // The clock is early in an hour, so that the hour does not end during the test.
    let early = HOUR / 10 - OffsetDateTime::now_utc().unix_timestamp().rem_euclid(HOUR);
    let endpoint = Function::new("cancel-orders", env.environment()).await.skewed(early).patient();

    let mut errors = Vec::new();
    assert_eq!(one(&endpoint, ORG, PERSONS + 1, PIN).await, None);
    for pin in 0..5 {
        for persons in [1..41, 41..PERSONS + 1] {
            let guesses: Vec<_> = persons.map(|person| (person, format!("{pin}{pin}{pin}x"))).collect();
            errors.extend(guess(&endpoint, ORG, &guesses, None).await);
        }
    }
    // 300 is not a multiple of 40, the number of guesses in a request.
    for person in 1..=PERSONS {
        errors.push(one(&endpoint, ORG, person, "last").await);
    }
    let count = |text: &str| errors.iter().filter(|error| error.as_deref() == Some(text)).count();
    assert_eq!((count(WRONG), count(LOCKED)), (300, 480 - 300));

    // The next person gets the same error for a right and a wrong PIN, and no attempt is counted for them.
    let last = PERSONS + 2;
    for pin in [PIN, "0000"] {
        assert_eq!(one(&endpoint, ORG, last, pin).await.as_deref(), Some(LOCKED));
    }
    let rows = env.rows().await;
    assert_eq!(rows[&(format!("{ORG}#PERSON#{last}"), "PERSON".to_owned())].get("wrong"), None);
    assert_eq!(one(&endpoint, OTHER, 1, PIN).await, None);
    let later = Function::new("cancel-orders", env.environment()).await.skewed(early + HOUR).patient();
    assert_eq!(one(&later, ORG, last, PIN).await, None);
}

/// A request that is retried with its key gets the same errors, and does not count again against the hourly limit.
#[tokio::test]
async fn a_repeated_request_counts_once_against_the_hourly_limit() {
    let env = TestEnv::new().await;
    feed_orders(&env, ORG, 1..31).await;
    for person in 1..31 {
        seed::person(&env.dynamodb, &env.table, ORG, person).await;
    }
    let endpoint = Function::new("cancel-orders", env.environment()).await.patient();
    let guesses: Vec<_> = (1..31).map(|person| (person, "0000".to_owned())).collect();
    for _ in 0..12 {
        let errors: BTreeSet<_> = guess(&endpoint, ORG, &guesses, Some("k")).await.into_iter().collect();
        assert_eq!(errors, BTreeSet::from([Some(WRONG.to_owned())]));
    }
    let rows = env.rows().await;
    let (_, hour) = rows.iter().find(|((pk, _), _)| pk.contains("#PINS#")).unwrap();
    assert_eq!(hour["tries"].as_array().unwrap().len(), 30);
}

/// Five wrong PINs lock a PIN. Each lock lasts twice as long as the one before, until a right PIN resets that.
#[rstest]
#[case::nothing_between(false, [15, 30, 60])]
#[case::a_right_pin_after_the_second(true, [15, 30, 15])]
#[tokio::test]
async fn each_lock_lasts_longer_until_a_right_pin_comes(#[case] right: bool, #[case] minutes: [i64; 3]) {
    let env = TestEnv::new().await;
    feed_orders(&env, ORG, CREATOR..CREATOR + 1).await;
    set_pin(&env, ORG, CREATOR).await;
    let mut ahead = 0;
    for (number, minutes) in minutes.into_iter().enumerate() {
        let endpoint = Function::new("cancel-orders", env.environment()).await.skewed(ahead).patient();
        if right && number == 2 {
            assert_eq!(one(&endpoint, ORG, CREATOR, PIN).await, None);
        }
        for guess in 0..5 {
            assert_eq!(one(&endpoint, ORG, CREATOR, &format!("x{number}{guess}")).await.as_deref(), Some(WRONG));
        }
        // A minute before the lock's end the PIN is still locked, right or wrong.
        let late = Function::new("cancel-orders", env.environment()).await.skewed(ahead + (minutes - 1) * 60).patient();
        for pin in [PIN, "0000"] {
            assert_eq!(one(&late, ORG, CREATOR, pin).await.as_deref(), Some(LOCKED));
        }
        ahead += (minutes + 1) * 60;
    }
}

/// The response about a locked PIN does not reveal whether it is right, and neither does the rest of the hourly limit.
#[tokio::test]
async fn the_hourly_limit_does_not_reveal_which_pin_is_right() {
    const PINS: i32 = 10;
    let env = TestEnv::new().await;
    let endpoint = Function::new("cancel-orders", env.environment()).await.patient();
    // After five wrong PINs, later ones are only reported as locked. The last is right in one organization, and wrong
    // in the other.
    for (org, last) in [(ORG, PIN), (OTHER, "9999")] {
        feed_orders_of(&env, org, 1..PINS + 1, |_| 1).await;
        set_pin(&env, org, 1).await;
        let pin = |order| if order == PINS { last.to_owned() } else { format!("000{order}") };
        let entry = |order| json!({ "OrderID": order, "CreatorID": 1, "PIN": pin(order) });
        let errors = ask(&endpoint, org, (1..=PINS).map(entry).collect(), None).await;
        let expected = [[WRONG; 5], [LOCKED; 5]].concat();
        assert_eq!(errors.iter().flatten().collect::<Vec<_>>(), expected);
    }
    let rows = env.rows().await;
    let counted = |org: &str| {
        let (_, hour) = rows.iter().find(|((pk, _), _)| pk.starts_with(&format!("{org}#PINS#"))).unwrap();
        hour["tries"].as_array().unwrap().len()
    };
    assert_eq!([counted(ORG), counted(OTHER)], [10, 10]);
}
