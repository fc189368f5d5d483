//! Cancellations of orders with lost responses: an unknown outcome is not reported as known, and a PIN that is tried
//! twice for one request counts once.

use std::collections::BTreeSet;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::orders::CREATOR;
use tests::payloads::ORG;
use tests::proxy::{self, Moment, Step};
use tests::requests::cancel_orders;
use tests::seed;
use tests::test_env::TestEnv;

use super::orders::{feed_orders, request};
use super::rows::is_about;

/// Returns SQS's response when it accepts all messages but that of order 2.
fn all_but_the_second(body: &[u8]) -> String {
    let request: Value = serde_json::from_slice(body).unwrap();
    let (mut taken, mut failed) = (Vec::new(), Vec::new());
    for entry in request["Entries"].as_array().unwrap() {
        if entry["MessageBody"].as_str().unwrap().contains(r#"{"order_id":2}"#) {
            failed.push(json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false }));
        } else {
            taken.push(json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" }));
        }
    }
    json!({ "Successful": taken, "Failed": failed }).to_string()
}

/// SQS accepts the first attempt, but its response is lost. It rejects order 2 in every later attempt, although that
/// message is in the queue.
#[rstest]
#[tokio::test]
async fn an_entry_that_may_have_been_sent_is_not_reported_as_failed(#[values(true, false)] keyed: bool) {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=3).await;
    let mut tries = 0;
    let url = proxy::start(move |call, moment| {
        if call.target != "AmazonSQS.SendMessageBatch" {
            return Step::Pass;
        }
        tries += usize::from(moment == Moment::Before);
        match (tries, moment) {
            (1, Moment::Before) => Step::Pass,
            (1, Moment::After) => Step::Respond(500, "{}".to_owned()),
            _ => Step::Respond(200, all_but_the_second(call.body)),
        }
    })
    .await;
    let mut event = request(1..=3);
    if !keyed {
        event["headers"].as_object_mut().unwrap().remove("idempotency-key");
    }
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    let response = endpoint.invoke(event.clone()).await.payload();
    let sent = env.take_messages().await;
    assert!(sent.iter().any(|message| message.contains(r#"{"order_id":2}"#)), "{sent:?}");
    assert_eq!(
        (&response["statusCode"], &response["body"]),
        (&json!(500), &json!("\"Internal server error.\"")),
        "{response:#}"
    );
    if keyed {
        let healthy = Function::new("cancel-orders", env.environment()).await;
        let results = healthy.invoke(event).await.response(200);
        assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
        let operation = env.rows().await.into_values().find(|row| row["kind"] == "CANCEL_ORDERS").unwrap();
        assert_eq!(operation["orders"].as_array().unwrap().len(), 3, "{operation}");
    }
}

/// Creates an order of a person who requires a PIN. No PIN tried here is right.
async fn protected() -> TestEnv {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=1).await;
    seed::person(&env.dynamodb, &env.table, ORG, CREATOR).await;
    env
}

/// Returns a request to cancel the order with this PIN.
fn guess(pin: &str, key: Option<&str>) -> Value {
    let request = cancel_orders(&json!([{ "OrderID": 1, "CreatorID": CREATOR, "PIN": pin }]));
    if let Some(key) = key { request.key(key).event() } else { request.event() }
}

const WRONG: &str = "PIN is invalid.";
const LOCKED: &str = "PIN is locked.";

/// Returns the error that the client gets.
fn error_of(invocation: Invocation) -> String {
    let results = invocation.response(200);
    assert_eq!(results[0]["Success"], false, "{results}");
    results[0]["Errors"][0].as_str().unwrap().to_owned()
}

/// Returns how many more wrong PINs, each in its own request, are reported as wrong before the PIN is locked.
async fn wrong_before_the_lock(env: &TestEnv) -> usize {
    let endpoint = Function::new("cancel-orders", env.environment()).await;
    for wrong in 0..10 {
        let error = error_of(endpoint.invoke(guess(&format!("9{wrong:03}"), None)).await);
        if error == LOCKED {
            return wrong;
        }
        assert_eq!(error, WRONG);
    }
    panic!("the PIN is never locked");
}

/// The response to the write that counts a wrong PIN is lost, so the SDK retries it.
#[tokio::test]
async fn a_wrong_pin_whose_response_is_lost_counts_once() {
    let env = protected().await;
    let mut lost = 2;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::After && lost > 0 && is_about(call, "UpdateItem", &format!("PERSON#{CREATOR}")) {
            lost -= 1;
            return Step::Respond(500, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    assert_eq!(error_of(endpoint.invoke(guess("0001", None)).await), WRONG);
    assert_eq!(wrong_before_the_lock(&env).await, 4);
}

/// A client that retries a request without a response has not guessed again.
#[tokio::test]
async fn a_wrong_pin_that_is_repeated_with_its_key_counts_once() {
    let env = protected().await;
    let endpoint = Function::new("cancel-orders", env.environment()).await;
    for _ in 0..7 {
        assert_eq!(error_of(endpoint.invoke(guess("0001", Some("k"))).await), WRONG);
    }
    assert_eq!(wrong_before_the_lock(&env).await, 4);
}

/// A client that tries another PIN with the same key has guessed again.
#[tokio::test]
async fn another_wrong_pin_with_the_same_key_counts_again() {
    let env = protected().await;
    let endpoint = Function::new("cancel-orders", env.environment()).await;
    let pins = ["0001", "0001", "0002", "0003", "0004", "0005"];
    let mut all = Vec::new();
    for pin in pins {
        all.push(error_of(endpoint.invoke(guess(pin, Some("k"))).await));
    }
    assert_eq!(all, [WRONG; 6]);
    assert_eq!(error_of(endpoint.invoke(guess("0006", Some("k"))).await), LOCKED);
}

/// Both copies verify their PIN before either writes its verdict.
#[rstest]
#[case::of_the_same_pin("0001", 4)]
#[case::of_two_pins("0002", 3)]
#[tokio::test]
async fn two_copies_at_once_count_their_pins(#[case] other: &str, #[case] left: usize) {
    let env = protected().await;
    let url = proxy::start(move |call, moment| {
        let is_verdict = moment == Moment::Before && is_about(call, "UpdateItem", &format!("PERSON#{CREATOR}"));
        if is_verdict { Step::Wait(Duration::from_millis(300)) } else { Step::Pass }
    })
    .await;
    let new = || Function::new("cancel-orders", env.environment_behind(&url));
    let (one, two) = (new().await, new().await);
    futures_util::future::join(one.start(), two.start()).await;
    let copies = futures_util::future::join(one.invoke(guess("0001", Some("k"))), two.invoke(guess(other, Some("k"))));
    let (one, two) = copies.await;
    assert_eq!(BTreeSet::from([error_of(one), error_of(two)]), BTreeSet::from([WRONG.to_owned()]));
    assert_eq!(wrong_before_the_lock(&env).await, left);
}
