//! The functions' own binaries, run by the test between a Runtime API and a proxy to the emulator: killed
//! between any two of their calls, handed messages again and out of order, and lied to by AWS.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use fastrand::Rng;
use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::{Card, CardStatus};
use tests::arena::Arena;
use tests::function::{Function, Invocation};
use tests::proxy::{self, Moment, Step};
use tests::{seed, variable};

const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
const ACCOUNT: u64 = 4001;
const CUSTOMER: u64 = 7001;

/// An API Gateway event for a bind, from a caller that the gateway let in.
fn bind_event(card: u64, reissued: Option<u64>, key: &str) -> Value {
    let body = reissued.map(|card| json!({ "reissued_card_id": card }).to_string());
    json!({
        "version": "2.0", "routeKey": "PUT /wallet/v2/cards/{cardId}/noname/bind",
        "rawPath": format!("/wallet/v2/cards/{card}/noname/bind"), "rawQueryString": "",
        "headers": {
            "host": "api.test", "content-type": "application/json", "idempotency-key": key,
            "x-account-id": ACCOUNT.to_string(), "x-customer-id": CUSTOMER.to_string(), "x-correlation-id": key,
        },
        "requestContext": {
            "accountId": "0", "apiId": "test", "stage": "$default", "requestId": "r", "routeKey": "$default",
            "http": { "method": "PUT", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t" },
            "authorizer": { "jwt": { "claims": {
                "tenant_id": ORG, "account_id": ACCOUNT.to_string(), "scope": "cards:write",
            } } },
        },
        "pathParameters": { "cardId": card.to_string() }, "body": body, "isBase64Encoded": false,
    })
}

/// An SQS event of these messages; the IDs are their positions.
fn batch(messages: &[(String, u32)]) -> Value {
    let record = |(position, (body, receives)): (usize, &(String, u32))| {
        json!({
            "messageId": position.to_string(), "receiptHandle": "r", "body": body,
            "attributes": { "ApproximateReceiveCount": receives.to_string() },
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
        })
    };
    json!({ "Records": messages.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The positions that the worker named as failed.
fn failed(answer: &Value) -> BTreeSet<usize> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().parse().unwrap()).collect()
}

/// An arena with these cards.
async fn arena_with(cards: &[Card]) -> Arena {
    let arena = Arena::new().await;
    for card in cards {
        seed::put(&arena.dynamodb, &arena.table, ORG, card).await;
    }
    arena
}

/// Has the real endpoint accept these binds; answers the messages that it sent.
async fn accept(arena: &Arena, binds: &[(u64, Option<u64>)]) -> Vec<String> {
    let endpoint = Function::new("bind-card", arena.environment(&variable("AWS_ENDPOINT_URL"))).await;
    for (number, (card, reissued)) in binds.iter().enumerate() {
        let answer = endpoint.invoke(bind_event(*card, *reissued, &format!("key-{number}"))).await;
        let Invocation::Answered(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer["statusCode"], 202, "{answer}");
    }
    let messages = arena.take_messages().await;
    assert_eq!(messages.len(), binds.len());
    messages
}

/// The facts of an event that do not depend on when it was delivered.
fn facts(events: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    events.into_iter().map(|(id, event)| (id, event["data"].clone())).collect()
}

/// The rows without their times.
fn states(rows: BTreeMap<(String, String), Value>) -> BTreeMap<(String, String), Value> {
    fn without_times(value: &mut Value) {
        if let Value::Object(members) = value {
            members.retain(|name, _| !matches!(name.as_str(), "at" | "created_at" | "ended_at" | "expires_at"));
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
    let worker = Function::new("bind-card-worker", arena.environment(&variable("AWS_ENDPOINT_URL"))).await;
    for chunk in messages.chunks(10) {
        let deliveries: Vec<_> = chunk.iter().map(|body| (body.clone(), 1)).collect();
        assert_eq!(worker.invoke(batch(&deliveries)).await, Invocation::Answered(json!({ "batchItemFailures": [] })));
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
    let mut rng = Rng::with_seed(number);
    let (expected_rows, expected_events) = clean_run().await;
    let (arena, messages) = scenario().await;

    // The worker is killed when the countdown ends, at a call or at its answer.
    let countdown = Arc::new(Mutex::new(None::<u32>));
    let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
    let (count, kill) = (Arc::clone(&countdown), Arc::clone(&killer));
    let url = proxy::start(move |_, _| {
        let mut count = count.lock().unwrap();
        match *count {
            Some(0) => {
                kill.get().unwrap()();
                Step::Cut
            }
            Some(left) => {
                *count = Some(left - 1);
                Step::Pass
            }
            None => Step::Pass,
        }
    })
    .await;
    let worker = Function::new("bind-card-worker", arena.environment(&url)).await;
    killer.set(Box::new(worker.killer())).ok().unwrap();

    let mut waiting: Vec<(String, u32)> = messages.iter().flat_map(|body| vec![(body.clone(), 0); 3]).collect();
    let (mut deaths, mut deliveries) = (0, 0);
    while !waiting.is_empty() {
        rng.shuffle(&mut waiting);
        let taken = waiting.split_off(waiting.len() - waiting.len().min(rng.usize(1..=10)));
        let taken: Vec<_> = taken.into_iter().map(|(body, receives)| (body, receives + 1)).collect();
        deliveries += taken.len();
        // A plain bind passes four moments alone, and two with the others of its batch.
        let moments = 4 * u32::try_from(taken.len()).unwrap() + 2;
        *countdown.lock().unwrap() = (rng.u8(0..4) > 0).then(|| rng.u32(0..moments));
        match worker.invoke(batch(&taken)).await {
            Invocation::Answered(answer) => {
                let failed = failed(&answer);
                let back = taken.into_iter().enumerate().filter(|(position, _)| failed.contains(position));
                waiting.extend(back.map(|(_, message)| message));
            }
            Invocation::Died => {
                deaths += 1;
                // A dead letter only ever comes of five real tries; here deaths alone use them up.
                waiting.extend(taken.into_iter().map(|(body, _)| (body, 0)));
            }
            Invocation::Failed(error) => panic!("{error}"),
        }
    }
    println!("seed {number}: {deliveries} deliveries of {} messages, {deaths} deaths", messages.len());
    assert!(deaths > 0);
    assert_eq!(facts(arena.events().await), expected_events);
    assert_eq!(without_seeded_marks(states(arena.rows().await)), without_seeded_marks(expected_rows));
    assert!(tests::arena::drain(&arena.sqs, &arena.dlq_url).await.is_empty());
}

/// A call answered with 200 can carry entries that failed: their messages, and no others, come back.
#[tokio::test]
async fn an_event_that_was_not_taken_holds_its_message_alone() {
    let arena = arena_with(&[seed::unbound(1), seed::unbound(2), seed::unbound(3)]).await;
    let messages = accept(&arena, &[(1, None), (2, None), (3, None)]).await;
    let refuse = Arc::new(Mutex::new(true));
    let refusing = Arc::clone(&refuse);
    let url = proxy::start(move |call, moment| {
        if !*refusing.lock().unwrap() || moment != Moment::Before || call.target != "AWSEvents.PutEvents" {
            return Step::Pass;
        }
        let request: Value = serde_json::from_slice(call.body).unwrap();
        let entries = request["Entries"].as_array().unwrap();
        let answers: Vec<_> = entries
            .iter()
            .map(|entry| {
                let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
                if detail["data"]["card_id"] == 2 {
                    json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "try again" })
                } else {
                    json!({ "EventId": "e" })
                }
            })
            .collect();
        let answer = json!({ "FailedEntryCount": 1, "Entries": answers });
        Step::Answer(200, answer.to_string())
    })
    .await;
    let worker = Function::new("bind-card-worker", arena.environment(&url)).await;
    let position = messages.iter().position(|body| body.contains(r#""card_id":2,"#)).unwrap();
    let deliveries: Vec<_> = messages.iter().map(|body| (body.clone(), 1)).collect();
    let Invocation::Answered(answer) = worker.invoke(batch(&deliveries)).await else { panic!() };
    assert_eq!(failed(&answer), BTreeSet::from([position]));

    *refuse.lock().unwrap() = false;
    let again = worker.invoke(batch(&[(messages[position].clone(), 2)])).await;
    assert_eq!(again, Invocation::Answered(json!({ "batchItemFailures": [] })));
    let events = arena.events().await;
    assert_eq!(events.values().map(|event| event["data"]["card_id"].clone()).collect::<Vec<_>>(), [json!(2)]);
}

/// What `DynamoDB` answers when a transaction holds the row, or it is too busy, is tried again at once.
#[rstest]
#[case::conflict(400, "TransactionConflictException")]
#[case::throttled(400, "ThrottlingException")]
#[case::throughput(400, "ProvisionedThroughputExceededException")]
#[case::internal(500, "InternalServerError")]
#[tokio::test]
async fn a_passing_fault_of_the_table_is_survived(#[case] status: u16, #[case] code: &'static str) {
    let arena = arena_with(&[seed::unbound(1)]).await;
    let messages = accept(&arena, &[(1, None)]).await;
    let mut faults = 2;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("UpdateItem") && faults > 0 {
            faults -= 1;
            let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "m" });
            return Step::Answer(status, body.to_string());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", arena.environment(&url)).await;
    let answer = worker.invoke(batch(&[(messages[0].clone(), 1)])).await;
    assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
    assert_eq!(arena.events().await.len(), 1);
}

/// A transaction is canceled as a whole for a conflict on one of its rows; both cards change in the end.
#[tokio::test]
async fn a_reissue_survives_conflicts() {
    let arena = arena_with(&[seed::unbound(1), seed::bound(2, CardStatus::Normal, ACCOUNT, CUSTOMER)]).await;
    let messages = accept(&arena, &[(1, Some(2))]).await;
    let mut faults = 2;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("TransactWriteItems") && faults > 0 {
            faults -= 1;
            let body = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "message": "m",
                "CancellationReasons": [{ "Code": "None" }, { "Code": "TransactionConflict", "Message": "m" }],
            });
            return Step::Answer(400, body.to_string());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", arena.environment(&url)).await;
    let answer = worker.invoke(batch(&[(messages[0].clone(), 1)])).await;
    assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
    assert_eq!(arena.events().await.len(), 2);
}

/// Tries that never succeed come back to the queue, and the last of them buries the message.
#[tokio::test]
async fn a_fault_that_does_not_pass_ends_with_its_reason() {
    let arena = arena_with(&[seed::unbound(1)]).await;
    let messages = accept(&arena, &[(1, None)]).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::Before && call.target.ends_with("UpdateItem") {
            return Step::Answer(500, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", arena.environment(&url)).await;
    let Invocation::Answered(answer) = worker.invoke(batch(&[(messages[0].clone(), 4)])).await else { panic!() };
    assert_eq!(failed(&answer), BTreeSet::from([0]));
    assert!(tests::arena::drain(&arena.sqs, &arena.dlq_url).await.is_empty());
    let Invocation::Answered(answer) = worker.invoke(batch(&[(messages[0].clone(), 5)])).await else { panic!() };
    assert_eq!(failed(&answer), BTreeSet::new());
    assert_eq!(tests::arena::drain(&arena.sqs, &arena.dlq_url).await, messages);
}

/// An empty batch is a success, and no message is named.
#[tokio::test]
async fn an_empty_batch_is_done() {
    let arena = Arena::new().await;
    let worker = Function::new("bind-card-worker", arena.environment(&variable("AWS_ENDPOINT_URL"))).await;
    assert_eq!(worker.invoke(batch(&[])).await, Invocation::Answered(json!({ "batchItemFailures": [] })));
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
    let endpoint = Function::new("bind-card", arena.environment(&url)).await;
    killer.set(Box::new(endpoint.killer())).ok().unwrap();
    assert_eq!(endpoint.invoke(bind_event(1, None, "k")).await, Invocation::Died);
    assert_eq!(arena.rows().await.len(), 2);
    assert!(arena.take_messages().await.is_empty());

    let Invocation::Answered(answer) = endpoint.invoke(bind_event(1, None, "k")).await else { panic!() };
    assert_eq!(answer["statusCode"], 202);
    assert_eq!(arena.rows().await.len(), 2);
    assert_eq!(arena.take_messages().await.len(), 1);
}

/// What we depend on does not answer: 503, in time, and the client is told to repeat.
#[tokio::test]
async fn a_dependency_that_fails_is_a_503() {
    let arena = arena_with(&[seed::unbound(1)]).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::Before && call.target == "AmazonSQS.SendMessage" {
            return Step::Answer(503, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("bind-card", arena.environment(&url)).await;
    let Invocation::Answered(answer) = endpoint.invoke(bind_event(1, None, "k")).await else { panic!() };
    assert_eq!(answer["statusCode"], 503);
    assert_eq!(answer["headers"]["retry-after"], "1");
}

/// Where no gateway has checked the token, the function does, by the same rules; without keys to check
/// against it lets nobody in.
#[rstest]
#[case::with_keys(true)]
#[case::without_keys(false)]
#[tokio::test]
async fn a_function_without_a_gateway_checks_the_token_itself(#[case] keys: bool) {
    use tests::token;
    let arena = arena_with(&[seed::unbound(1)]).await;
    let mut environment = arena.environment(&variable("AWS_ENDPOINT_URL"));
    if keys {
        for name in ["AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS_URL"] {
            environment.push((name.to_owned(), variable(name)));
        }
    }
    let endpoint = Function::new("bind-card", environment).await;
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token::sign(&claims)
    };
    let mut tokens = vec![
        ("expired", with("exp", json!(now - 1)), 401),
        ("issued later", with("iat", json!(now + 600)), 401),
        ("not yet valid", with("nbf", json!(now + 600)), 401),
        ("no expiry", with("exp", Value::Null), 401),
        ("wrong audience", with("aud", json!("other")), 401),
        ("wrong issuer", with("iss", json!("http://127.0.0.1:1")), 401),
        ("alg none", token::sign_with_nothing(&good), 401),
        ("HS256 with the public key", token::sign_with_public_key(&good), 401),
        ("unknown key", token::sign_with(&json!({ "alg": "RS256", "kid": "x" }), &good), 401),
        ("no key ID", token::sign_with(&json!({ "alg": "RS256" }), &good), 401),
        ("no scope", with("scope", json!("cards:read")), 403),
        ("tenant of another type", with("tenant_id", json!(7)), 403),
        ("another account", with("account_id", json!(4002)), 403),
        ("account as a number", with("account_id", json!(ACCOUNT)), 202),
    ];
    if !keys {
        tokens = vec![("good", token::sign(&good), 401)];
    }
    for (name, token, status) in tokens {
        let mut event = bind_event(1, None, name);
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
        let Invocation::Answered(answer) = endpoint.invoke(event).await else { panic!("{name}") };
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
    }
}
