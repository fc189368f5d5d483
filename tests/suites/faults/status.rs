//! The status of a bulk that clients see while operations on it are in progress.

use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::external_id;
use tests::proxy::{self, Step};
use tests::requests::Request;
use tests::test_env::TestEnv;

use super::batch;
use super::cancels::CANCELER;
use super::workers::BulkFixture;

const ISSUER: &str = "start-bulk-worker";

/// Reads the bulk. Returns its status and the state of its cancellation.
async fn statuses(env: &TestEnv, bulk: &str) -> (Value, Value) {
    let reader = Function::new("get-bulk", env.environment()).await;
    let read = reader.invoke(Request::to("get-bulk").at(bulk).event()).await.response(200);
    (read["status"].clone(), read["cancellation"]["state"].clone())
}

/// Delivers this message alone to the worker. Returns the messages that it sends, except the one that checks for stuck
/// operations.
async fn step(env: &TestEnv, worker: &str, message: String) -> Vec<String> {
    let worker = Function::new(worker, env.environment()).await;
    worker.invoke(batch(&[(message, 1)])).await;
    let mut messages = env.take_messages().await;
    messages.retain(|message| !message.contains("\"watch\""));
    messages
}

#[tokio::test]
async fn a_start_is_under_way_until_it_has_ended() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(3).await);
    let statuses = || statuses(env, &bulk);
    assert_eq!(statuses().await, (json!("CREATED"), Value::Null));
    let plan = bulks.start(&bulk).await;
    assert_eq!(statuses().await.0, "CREATED", "no worker has begun");
    let chunks = step(env, ISSUER, plan.clone()).await;
    assert_eq!((chunks.len(), statuses().await.0), (1, json!("RUNNING")));
    // A copy of the plan's message does not begin the operation again.
    let copies = step(env, ISSUER, plan.clone()).await;
    assert_eq!((copies.len(), statuses().await.0), (0, json!("RUNNING")));
    bulks.work(&[ISSUER], chunks).await;
    assert_eq!(statuses().await, (json!("COMPLETED"), Value::Null));
    step(env, ISSUER, plan).await;
    assert_eq!(statuses().await.0, "COMPLETED", "a late copy of the message has no effect");
    bulks.grow(&bulk, 3..5).await;
    assert_eq!(statuses().await.0, "CREATED", "the bulk has new items");
    let again = bulks.start(&bulk).await;
    bulks.work(&[ISSUER], vec![again]).await;
    assert_eq!(statuses().await.0, "COMPLETED");
}

#[tokio::test]
async fn cancels_are_under_way_until_all_have_ended() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(4).await);
    let statuses = || statuses(env, &bulk);
    let [one, another] = [0, 1].map(|number| bulks.cancel(&bulk, Some(vec![external_id(number)])));
    let (one, another) = (one.await, another.await);
    assert_eq!(statuses().await.1, Value::Null, "no worker has begun");
    let (of_one, of_another) = (step(env, CANCELER, one).await, step(env, CANCELER, another).await);
    assert_eq!(statuses().await, (json!("CREATED"), json!("RUNNING")));
    bulks.work(&[CANCELER], of_one).await;
    assert_eq!(statuses().await.1, "RUNNING", "the other cancel is still in progress");
    bulks.work(&[CANCELER], of_another).await;
    assert_eq!(statuses().await, (json!("CREATED"), json!("PARTIAL")));
    // The rest is issued, then all is canceled.
    let start = bulks.start(&bulk).await;
    bulks.work(&[ISSUER], vec![start]).await;
    assert_eq!(statuses().await, (json!("COMPLETED"), json!("PARTIAL")));
    let full = bulks.cancel(&bulk, None).await;
    let chunks = step(env, CANCELER, full).await;
    assert_eq!(statuses().await, (json!("COMPLETED"), json!("RUNNING")));
    bulks.work(&[CANCELER], chunks).await;
    assert_eq!(statuses().await, (json!("COMPLETED"), json!("FULL")));
}

/// A start ends while a cancel is still in progress on the items that the start found canceled. Nothing stays pending.
#[tokio::test]
async fn a_started_bulk_never_waits_for_a_start_again() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(2).await);
    let (start, cancel) = (bulks.start(&bulk).await, bulks.cancel(&bulk, None).await);
    let issuing = step(env, ISSUER, start).await;
    let canceling = step(env, CANCELER, cancel).await;
    assert_eq!(statuses(env, &bulk).await, (json!("RUNNING"), json!("RUNNING")));
    // The items are canceled but not counted, because their events cannot be published.
    let lost = proxy::start(|call, _| if call.target.ends_with("PutEvents") { Step::Cut } else { Step::Pass }).await;
    let worker = Function::new(CANCELER, env.environment_behind(&lost)).await;
    worker.invoke(batch(&[(canceling[0].clone(), 1)])).await;
    bulks.work(&[ISSUER], issuing).await;
    assert_eq!(statuses(env, &bulk).await, (json!("COMPLETED"), json!("RUNNING")));
    bulks.work(&[CANCELER], canceling).await;
    assert_eq!(statuses(env, &bulk).await, (json!("COMPLETED"), json!("FULL")));
}

/// A cancel that changes nothing counts as a cancel. Items canceled before their issue are not pending.
#[tokio::test]
async fn items_canceled_before_their_issue_are_not_pending() {
    let bulks = BulkFixture::new().await;
    let (env, bulk) = (&bulks.env, bulks.create(2).await);
    let nothing = bulks.cancel(&bulk, Some(vec!["unknown".to_owned()])).await;
    bulks.work(&[CANCELER], vec![nothing]).await;
    assert_eq!(statuses(env, &bulk).await, (json!("CREATED"), json!("PARTIAL")));
    let start = bulks.start(&bulk).await;
    bulks.work(&[ISSUER], vec![start]).await;
    bulks.grow(&bulk, 2..4).await;
    let late = bulks.cancel(&bulk, Some(vec![external_id(2), external_id(3)])).await;
    bulks.work(&[CANCELER], vec![late]).await;
    assert_eq!(statuses(env, &bulk).await, (json!("COMPLETED"), json!("PARTIAL")));
}
