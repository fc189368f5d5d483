//! Tests of `bindery resume` with operations whose messages are lost.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use tests::operator;
use tests::payloads::{ORG, external_id};
use tests::test_env::TestEnv;

use super::cancels::CANCELER;
use super::rows::{operation_of, put_back, row_at, take};
use super::workers::BulkFixture;

/// Runs `bindery resume` for the operation. Returns whether it succeeded, and its output.
async fn resume(env: &TestEnv, operation: &str) -> (bool, String) {
    let url = operator::deployed(env).await;
    let id = operation.strip_prefix("OP#").unwrap();
    let arguments = ["--json", "--yes", "--stack", "env", "resume", id, "--tenant", ORG];
    let output = operator::output(&arguments, "", &[("AWS_ENDPOINT_URL", &url)]).await;
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

async fn state(env: &TestEnv, operation: &str) -> Value {
    row_at(env, operation, "OP").await.unwrap()["state"].clone()
}

/// The messages of a cancel's chunks are lost. It is planned again, and ends. Nothing is done twice.
#[tokio::test]
async fn a_cancel_whose_messages_are_lost_is_planned_again() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(3).await);
    for items in [None, Some(vec![external_id(0), external_id(1)])] {
        let plan = bulks.cancel(&bulk, items).await;
        let operation = operation_of(&plan);
        let worker = tests::function::Function::new(CANCELER, env.environment()).await.patient();
        worker.invoke(super::batch(&[(plan, 1)])).await;
        assert_eq!(env.take_messages().await.len(), 1, "only the chunk's message, which the test drops");
        assert_eq!(state(env, &operation).await, "RUNNING");

        let (done, printed) = resume(env, &operation).await;
        assert!(done, "{printed}");
        bulks.work(&[CANCELER], env.take_messages().await).await;
        assert_eq!(state(env, &operation).await, "SUCCEEDED");
        let (done, printed) = resume(env, &operation).await;
        assert!(!done && printed.contains("has ended"), "{printed}");
    }
    assert_eq!(row_at(env, &format!("BULK#{bulk}"), "BULK").await.unwrap()["canceled"], 3);
}

/// The endpoint crashed before it had stored all names. A resumed cancel would end with fewer names, so it is
/// refused, and the client must retry.
#[tokio::test]
async fn a_partial_cancel_that_was_not_begun_is_left_to_its_client() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(3).await);
    let operation = operation_of(&bulks.cancel(&bulk, Some(vec![external_id(0)])).await);
    take(env, &operation, "CHUNK#00000").await;
    let (done, printed) = resume(env, &operation).await;
    assert!(!done && printed.contains("repeat the request"), "{printed}");
    assert!(env.take_messages().await.is_empty());
    assert_eq!(state(env, &operation).await, "PENDING");
}

/// An expired operation used the same key and named more items. Those names do not belong to the current operation.
#[tokio::test]
async fn names_of_an_expired_operation_are_not_counted() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(3).await);
    let plan = bulks.cancel(&bulk, Some(vec![external_id(0)])).await;
    let operation = operation_of(&plan);
    let chunk = take(env, &operation, "CHUNK#00000").await;
    let mut old = chunk.clone();
    let expired = chunk["expires_at"].as_n().unwrap().parse::<i64>().unwrap() - 1;
    old.insert("expires_at".to_owned(), AttributeValue::N(expired.to_string()));
    old.insert("sk".to_owned(), AttributeValue::S("CHUNK#00001".to_owned()));
    for row in [chunk, old] {
        put_back(env, row).await;
    }
    let worker = tests::function::Function::new(CANCELER, env.environment()).await.patient();
    worker.invoke(super::batch(&[(plan, 1)])).await;
    env.take_messages().await;

    let (done, printed) = resume(env, &operation).await;
    assert!(done, "{printed}");
    let messages = env.take_messages().await;
    assert!(messages.iter().any(|message| message.contains(r#""plan_named":{"chunks":1,"#)), "{messages:?}");
    bulks.work(&[CANCELER], messages).await;
    assert_eq!(state(env, &operation).await, "SUCCEEDED");
}
