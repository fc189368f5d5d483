//! Failures of AWS: throttling, refusals, partial failures and missing responses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cancels::CANCELER;
use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, accept, batch, bind_event, env_with, failed};
use rstest::rstest;
use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::{FUNCTION_TIMEOUT, Function};
use tests::proxy::{self, Moment, Step};
use tests::seed;
use tests::test_env::{TestEnv, drain};

/// A response with status 200 can report failed entries. Only their messages are retried.
#[tokio::test]
async fn only_the_message_of_a_rejected_event_is_retried() {
    let env = env_with(&[seed::unbound(1), seed::unbound(2), seed::unbound(3)]).await;
    let messages = accept(&env, &[(1, None), (2, None), (3, None)]).await;
    let refuse = Arc::new(Mutex::new(true));
    let refusing = Arc::clone(&refuse);
    let url = proxy::start(move |call, moment| {
        if !*refusing.lock().unwrap() || moment != Moment::Before || call.target != "AWSEvents.PutEvents" {
            return Step::Pass;
        }
        let request: Value = serde_json::from_slice(call.body).unwrap();
        let entries = request["Entries"].as_array().unwrap();
        let responses: Vec<_> = entries
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
        let response = json!({ "FailedEntryCount": 1, "Entries": responses });
        Step::Respond(200, response.to_string())
    })
    .await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    let position = messages.iter().position(|body| body.contains(r#""card_id":2,"#)).unwrap();
    let deliveries: Vec<_> = messages.iter().map(|body| (body.clone(), 1)).collect();
    let response = worker.invoke(batch(&deliveries)).await.payload();
    assert_eq!(failed(&response), BTreeSet::from([position]));

    *refuse.lock().unwrap() = false;
    worker.invoke(batch(&[(messages[position].clone(), 2)])).await.acknowledged();
    let events = env.events().await;
    assert_eq!(events.values().map(|event| event["data"]["card_id"].clone()).collect::<Vec<_>>(), [json!(2)]);
}

/// The worker retries at once when DynamoDB reports a conflicting transaction, throttling or an internal error.
#[rstest]
#[case::conflict(400, "TransactionConflictException")]
#[case::throttled(400, "ThrottlingException")]
#[case::throughput(400, "ProvisionedThroughputExceededException")]
#[case::internal(500, "InternalServerError")]
#[tokio::test]
async fn a_transient_fault_of_the_table_is_retried(#[case] status: u16, #[case] code: &'static str) {
    let env = env_with(&[seed::unbound(1)]).await;
    let messages = accept(&env, &[(1, None)]).await;
    let mut faults = 2;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("UpdateItem") && faults > 0 {
            faults -= 1;
            let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "m" });
            return Step::Respond(status, body.to_string());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    worker.invoke(batch(&[(messages[0].clone(), 1)])).await.acknowledged();
    assert_eq!(env.events().await.len(), 1);
}

/// A conflict on one row, or throttling, cancels a whole transaction. In the end both cards change.
#[rstest]
#[tokio::test]
async fn a_reissue_survives_conflicts(
    #[values("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")] code: &'static str,
) {
    let env = env_with(&[seed::unbound(1), seed::bound(2, CardStatus::Normal, ACCOUNT, CUSTOMER)]).await;
    let messages = accept(&env, &[(1, Some(2))]).await;
    let mut faults = 2;
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && call.target.ends_with("TransactWriteItems") && faults > 0 {
            faults -= 1;
            let body = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "message": "m",
                "CancellationReasons": [{ "Code": "None" }, { "Code": code, "Message": "m" }],
            });
            return Step::Respond(400, body.to_string());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    worker.invoke(batch(&[(messages[0].clone(), 1)])).await.acknowledged();
    assert_eq!(env.events().await.len(), 2);
}

/// A message that never succeeds returns to the queue, until its last delivery dead-letters it.
#[tokio::test]
async fn a_permanent_fault_dead_letters_the_message() {
    let env = env_with(&[seed::unbound(1)]).await;
    let messages = accept(&env, &[(1, None)]).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::Before && call.target.ends_with("UpdateItem") {
            return Step::Respond(500, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    let response = worker.invoke(batch(&[(messages[0].clone(), 4)])).await.payload();
    assert_eq!(failed(&response), BTreeSet::from([0]));
    assert!(drain(&env.sqs, &env.dlq_url).await.is_empty());
    let response = worker.invoke(batch(&[(messages[0].clone(), 5)])).await.payload();
    assert_eq!(failed(&response), BTreeSet::new());
    assert_eq!(drain(&env.sqs, &env.dlq_url).await, messages);
}

/// An empty batch succeeds, and no message is reported as failed.
#[tokio::test]
async fn an_empty_batch_is_done() {
    let env = TestEnv::new().await;
    let worker = Function::new("bind-card-worker", env.environment()).await;
    worker.invoke(batch(&[])).await.acknowledged();
}

/// A dependency fails. The endpoint responds 503 with a `Retry-After`.
#[tokio::test]
async fn a_dependency_that_fails_is_a_503() {
    let env = env_with(&[seed::unbound(1)]).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::Before && call.target == "AmazonSQS.SendMessage" {
            return Step::Respond(503, "{}".to_owned());
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("bind-card", env.environment_behind(&url)).await;
    let response = endpoint.invoke(bind_event(1, None, "k")).await.payload();
    assert_eq!(response["statusCode"], 503);
    assert_eq!(response["headers"]["retry-after"], "1");
}

/// A message is delivered twice at once. One copy's transaction commits between the two reads of the other.
#[tokio::test]
async fn a_reissue_delivered_twice_at_once_is_one_reissue() {
    let env = env_with(&[seed::unbound(1), seed::bound(2, CardStatus::Normal, ACCOUNT, CUSTOMER)]).await;
    let messages = accept(&env, &[(1, Some(2))]).await;
    let mut reads_of_the_old_card = 0;
    let url = proxy::start(move |call, moment| {
        let old = call.target.ends_with("GetItem") && String::from_utf8_lossy(call.body).contains("#CARD#2\"");
        if moment == Moment::Before && old {
            reads_of_the_old_card += 1;
            if reads_of_the_old_card == 1 {
                return Step::Wait(Duration::from_millis(700));
            }
        }
        Step::Pass
    })
    .await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    let twice = [(messages[0].clone(), 1), (messages[0].clone(), 1)];
    worker.invoke(batch(&twice)).await.acknowledged();
    assert!(drain(&env.sqs, &env.dlq_url).await.is_empty());
    let events = env.events().await;
    assert_eq!(events.len(), 2);
    assert!(events.values().all(|event| event["data"]["status"] != "FAILURE"), "{events:#?}");
}

/// The bus never responds. Only the messages with events are retried. The batch still gets a response.
#[tokio::test]
async fn a_hanging_bus_delays_only_its_own_messages() {
    let env = env_with(&[seed::unbound(1)]).await;
    let messages = accept(&env, &[(1, None)]).await;
    let url = proxy::start(|call, _| if call.target == "AWSEvents.PutEvents" { Step::Hang } else { Step::Pass }).await;
    let worker = Function::new("bind-card-worker", env.environment_behind(&url)).await;
    let started = Instant::now();
    let both = [(messages[0].clone(), 1), ("junk".to_owned(), 1)];
    let response = worker.invoke(batch(&both)).await.payload();
    assert_eq!(failed(&response), BTreeSet::from([0]));
    assert!(started.elapsed() < FUNCTION_TIMEOUT);
    // The bind is applied but not published, so the last delivery dead-letters the message.
    let response = worker.invoke(batch(&[(messages[0].clone(), 5)])).await.payload();
    assert_eq!(failed(&response), BTreeSet::new());
    assert_eq!(drain(&env.sqs, &env.dlq_url).await, ["junk".to_owned(), messages[0].clone()]);
}

/// The table never responds. The client gets a 503 before the function's timeout.
#[tokio::test]
async fn a_table_that_hangs_is_a_503_in_time() {
    let env = env_with(&[seed::unbound(1)]).await;
    let url = proxy::start(|_, _| Step::Hang).await;
    let endpoint = Function::new("bind-card", env.environment_behind(&url)).await;
    let started = Instant::now();
    let response = endpoint.invoke(bind_event(1, None, "k")).await.payload();
    assert_eq!(response["statusCode"], 503);
    assert!(started.elapsed() < FUNCTION_TIMEOUT);
}

/// The first request with a key takes effect while the second is still reading the card.
#[tokio::test]
async fn a_retry_after_the_card_has_changed_gets_the_first_response() {
    let env = env_with(&[seed::unbound(1)]).await;
    let url = proxy::start(|call, moment| {
        let card = call.target.ends_with("GetItem") && String::from_utf8_lossy(call.body).contains("#CARD#1\"");
        if card && moment == Moment::Before { Step::Wait(Duration::from_millis(1200)) } else { Step::Pass }
    })
    .await;
    let late = Function::new("bind-card", env.environment_behind(&url)).await;
    let second = async { late.invoke(bind_event(1, None, "key-0")).await };
    let first = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let messages = accept(&env, &[(1, None)]).await;
        let worker = Function::new("bind-card-worker", env.environment()).await;
        worker.invoke(batch(&[(messages[0].clone(), 1)])).await
    };
    let (second, _) = tokio::join!(second, first);
    let response = second.payload();
    assert_eq!(response["statusCode"], 202, "{response}");
    assert_eq!(env.rows().await.len(), 2);
}

/// IAM refuses each statement of a batch separately, in a successful response.
#[tokio::test]
async fn the_log_names_why_statements_were_refused() {
    let bulks = BulkFixture::new().await;
    let bulk = bulks.create(3).await;
    let plan = bulks.cancel(&bulk, None).await;
    let url = proxy::start(|call, moment| {
        if moment == Moment::After || !call.target.ends_with(".BatchExecuteStatement") {
            return Step::Pass;
        }
        let request: Value = serde_json::from_slice(call.body).unwrap();
        let refused = |_: &Value| json!({ "TableName": "t", "Error": { "Code": "AccessDenied", "Message": "no" } });
        let responses: Vec<Value> = request["Statements"].as_array().unwrap().iter().map(refused).collect();
        Step::Respond(200, json!({ "Responses": responses }).to_string())
    })
    .await;
    let worker = Function::new(CANCELER, bulks.env.environment_behind(&url)).await.patient();
    worker.invoke(batch(&[(plan, 1)])).await.acknowledged();
    let chunk = bulks.env.take_messages().await.remove(0);
    let response = worker.invoke(batch(&[(chunk, 1)])).await.payload();
    assert_eq!(failed(&response).len(), 1);
    assert!(worker.log().contains("statements were left undone: AccessDenied"), "{}", worker.log());
}
