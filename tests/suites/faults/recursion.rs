//! A plan that needs more invocations than Lambda allows in a chain, because the worker sends to its own queue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::commits::Commits;
use tests::lineage;
use tests::payloads::{ORG, Sent};
use tests::proxy::{Call, Moment, Step};
use tests::queue_simulator::{Delivery, DeliveryStats, KillableFunction, QueueSimulator, messages_of};
use tests::test_env::TestEnv;

use super::cancels::CANCELER;
use super::rows::{fill, operation_of, row_at};
use super::workers::BulkFixture;

/// The most items of a bulk (contract).
const ITEMS: usize = 100_000;
/// The number of items in a page of `DynamoDB`. The plan then has 200 pages, twice as many as a stopped chain can
/// handle. On a busy machine deliveries run out of time and are repeated, which makes the chain shorter.
const PAGE_ITEMS: usize = 500;
/// The time for a page. An invocation then begins at most five pages in half of its time.
const PAGE: Duration = Duration::from_millis(300);
/// The number of processes that cancel chunks.
const WORKERS: usize = 2;

/// The messages that the proxy takes out of calls, since the emulator would need minutes to send them.
type Taken = Arc<Mutex<Vec<Sent>>>;

/// Makes `DynamoDB` slow for pages, takes the chunks' messages out, and accepts all events for `EventBridge`.
fn step(call: &Call<'_>, moment: Moment, chunks: &Taken) -> Step {
    let name = call.target.rsplit('.').next().unwrap();
    if moment == Moment::After {
        return if name == "Query" { Step::Wait(PAGE) } else { Step::Pass };
    }
    let mut request: Value = match name {
        "Query" | "PutEvents" | "SendMessageBatch" => serde_json::from_slice(call.body).unwrap(),
        _ => return Step::Pass,
    };
    let of_each = |make: fn(&Value) -> Value| request["Entries"].as_array().unwrap().iter().map(make).collect();
    let taken: Vec<Value> = match name {
        "Query" => {
            request["Limit"] = PAGE_ITEMS.into();
            return Step::Ask(request.to_string());
        }
        "PutEvents" => of_each(|_| json!({ "EventId": "e" })),
        _ => {
            chunks.lock().unwrap().extend(messages_of(&request));
            of_each(|entry| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" }))
        }
    };
    let response = json!({ "FailedEntryCount": 0, "Entries": taken, "Successful": taken, "Failed": [] });
    Step::Respond(200, response.to_string())
}

/// Delivers these messages to this many workers until none is left. Returns the counts, and the chunks' messages.
async fn work<T: Into<Sent>>(
    env: &TestEnv,
    messages: Vec<T>,
    workers: usize,
    ready: impl Fn(KillableFunction) -> KillableFunction,
) -> (DeliveryStats, Vec<Sent>) {
    let queues = QueueSimulator::of(messages, Delivery { batch: 1, ..Delivery::default() }, Rng::with_seed(1));
    let chunks = Taken::default();
    let run_worker = async |_: usize| {
        let chunks = Arc::clone(&chunks);
        let worker = KillableFunction::new(env, CANCELER, move |call, moment| step(call, moment, &chunks)).await;
        queues.run_worker(env, CANCELER, &ready(worker)).await;
    };
    join_all((0..workers).map(run_worker)).await;
    (queues.stats(), std::mem::take(&mut *chunks.lock().unwrap()))
}

/// The largest bulk is canceled. Without `RecursiveLoop: Allow` Lambda stops the plan. Then the operation is resumed
/// as `bindery resume` does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_a_longer_chain_than_lambda_lets_functions_have() {
    let mut bulks = BulkFixture::of_thousands().await;
    // The few transactions are visible at once.
    bulks.env.commits = Commits::default();
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    fill(env, &bulk, (1..ITEMS).map(|number| format!("{number:06}"))).await;
    let plan = bulks.cancel(&bulk, None).await;
    let operation = operation_of(&plan);

    let (run, _) = work(env, vec![plan.clone()], 1, KillableFunction::terminated).await;
    // If SQS accepts a message but its response is late, the SDK sends it again. Then two chains exist, and both stop.
    assert!(run.stopped > 0 && run.longest_chain == lineage::MOST, "{run:?}");
    let row = row_at(env, &operation, "OP").await.unwrap();
    assert_eq!((&row["state"], &row["chunks"]), (&json!("RUNNING"), &Value::Null));

    let id = operation.strip_prefix("OP#").unwrap().parse().unwrap();
    env.store().forget_plan(&ORG.parse().unwrap(), id).await.unwrap();
    let (run, chunks) = work(env, vec![plan], 1, |worker| worker).await;
    assert_eq!(run.stopped, 0);
    assert!(run.longest_chain > lineage::MOST, "{run:?}");
    let (run, _) = work(env, chunks, WORKERS, KillableFunction::patient).await;
    assert_eq!(run.stopped, 0);
    assert!(run.longest_chain > lineage::MOST + 1, "{run:?}");
    let row = row_at(env, &operation, "OP").await.unwrap();
    assert_eq!((&row["state"], &row["items_failed"]), (&json!("SUCCEEDED"), &json!(0)));
    assert_eq!((&row["items_done"], &row["items_changed"]), (&json!(ITEMS), &json!(ITEMS)));
}
