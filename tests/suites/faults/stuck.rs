//! Operations that do not end: how workers check for them and report them.

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::batch;
use tests::test_env::TestEnv;

use super::cancels::CANCELER;
use super::rows::{operation_of, take};
use super::workers::BulkFixture;

/// The time of acceptance of an operation that should have ended long ago.
const LONG_AGO: &str = "2026-11-22T03:04:05.678Z";

/// Returns the message that follows `plan`, by which its worker checks whether the operation has ended.
fn watching(plan: &str) -> Value {
    let mut message: Value = serde_json::from_str(plan).unwrap();
    message["instruction"]["step"] = json!({ "watch": {} });
    message
}

/// Returns the number of delayed messages in the queue.
async fn delayed(env: &TestEnv) -> u32 {
    let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessagesDelayed;
    let asked = env.sqs.get_queue_attributes().queue_url(&env.queue_url).attribute_names(name.clone());
    asked.send().await.unwrap().attributes.unwrap()[&name].parse().unwrap()
}

/// Returns how often the function's log reports a stuck operation.
fn counted(worker: &Function) -> usize {
    worker.log().lines().filter(|line| line.contains("\"StuckOperations\":1")).count()
}

async fn done(worker: &Function, message: &Value) {
    worker.invoke(batch(&[(message.to_string(), 1)])).await.acknowledged();
}

#[rstest]
#[case::start("start-bulk-worker")]
#[case::cancel(CANCELER)]
#[tokio::test]
async fn an_operation_is_checked_until_it_has_ended(#[case] name: &str) {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let plan = if name == CANCELER { bulks.cancel(&bulk, None).await } else { bulks.start(&bulk).await };
    let worker = Function::new(name, env.environment()).await.patient();
    done(&worker, &serde_json::from_str(&plan).unwrap()).await;
    assert_eq!(delayed(env).await, 1, "no message will check the operation");
    let chunks = env.take_messages().await;

    let mut watch = watching(&plan);
    done(&worker, &watch).await;
    assert_eq!((delayed(env).await, counted(&worker)), (2, 0), "the operation is not stuck yet");

    // The same operation, as if it had been accepted long ago.
    env.set(&operation_of(&plan), "OP", "created_at", &json!(LONG_AGO)).await;
    watch["accepted_at"] = json!(LONG_AGO);
    done(&worker, &watch).await;
    assert_eq!((delayed(env).await, counted(&worker)), (3, 1), "{}", worker.log());
    assert!(worker.log().contains("\"outcome\":\"STUCK\""));

    for chunk in chunks {
        let mut chunk: Value = serde_json::from_str(&chunk).unwrap();
        chunk["accepted_at"] = json!(LONG_AGO);
        done(&worker, &chunk).await;
    }
    done(&worker, &watch).await;
    assert_eq!((delayed(env).await, counted(&worker)), (3, 1), "the operation has ended, but is still checked");
    assert!(env.take_messages().await.is_empty());
}

#[tokio::test]
async fn a_lost_operation_is_not_checked_again() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let plan = bulks.cancel(&bulk, None).await;
    take(env, &operation_of(&plan), "OP").await;
    let worker = Function::new(CANCELER, env.environment()).await.patient();
    done(&worker, &watching(&plan)).await;
    assert_eq!(delayed(env).await, 0);
    assert_eq!(super::rows::reasons_of_dead_letters(env).await, ["the operation has no row"]);
}
