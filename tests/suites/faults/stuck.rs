//! Operations that do not end: who looks, and what is said of them.

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::batch;
use tests::test_env::TestEnv;

use super::cancels::CANCELER;
use super::rows::{operation_of, take};
use super::workers::BulkFixture;

/// When an operation was accepted that should have ended long ago.
const LONG_AGO: &str = "2026-11-22T03:04:05.678Z";

/// The message that follows `plan`, in which its worker looks whether the operation has ended.
fn watching(plan: &str) -> Value {
    let mut message: Value = serde_json::from_str(plan).unwrap();
    message["instruction"]["step"] = json!({ "watch": {} });
    message
}

/// Messages of the queue that cannot be received yet.
async fn delayed(env: &TestEnv) -> u32 {
    let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessagesDelayed;
    let asked = env.sqs.get_queue_attributes().queue_url(&env.queue_url).attribute_names(name.clone());
    asked.send().await.unwrap().attributes.unwrap()[&name].parse().unwrap()
}

/// How often the function's log counts a stuck operation.
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
async fn an_operation_is_looked_at_until_it_has_ended(#[case] name: &str) {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let plan = if name == CANCELER { bulks.cancel(&bulk, None).await } else { bulks.start(&bulk).await };
    let worker = Function::new(name, env.environment()).await.patient();
    done(&worker, &serde_json::from_str(&plan).unwrap()).await;
    assert_eq!(delayed(env).await, 1, "nobody will look");
    let chunks = env.take_messages().await;

    let mut watch = watching(&plan);
    done(&worker, &watch).await;
    assert_eq!((delayed(env).await, counted(&worker)), (2, 0), "it may take a while");

    // The same operation, had it been accepted long ago.
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
    assert_eq!((delayed(env).await, counted(&worker)), (3, 1), "it has ended, and is looked at all the same");
    assert!(env.take_messages().await.is_empty());
}

#[tokio::test]
async fn an_operation_that_is_gone_is_not_looked_at_again() {
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
