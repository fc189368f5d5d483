//! A plan that takes more invocations than Lambda lets a chain have: the worker feeds its own queue.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::arena::Arena;
use tests::commits::Commits;
use tests::lineage;
use tests::payloads::ORG;
use tests::proxy::{Call, Moment, Step};
use tests::traffic::{Delivery, Exposed, Run, Traffic};

use super::cancels::CANCELER;
use super::crew::Bulks;
use super::rows::{fill, operation_of, row_at};

/// The most items of a bulk (contract).
const ITEMS: usize = 100_000;
/// Most items that `DynamoDB` answers at once, so that the plan has a hundred pages and each of them is short.
const PAGE_ITEMS: usize = 1000;
/// How long it takes for them: no invocation of a plan begins more than five in half of its time.
const PAGE: Duration = Duration::from_millis(300);
/// Processes at work. One of them plans, most of the time.
const WORKERS: usize = 3;

/// What the calls come to that are not the table's: the emulator would need minutes for as many events, and for as many
/// chunks, where nobody works on them.
fn step(call: &Call<'_>, moment: Moment, takes_chunks: bool) -> Step {
    let name = call.target.rsplit('.').next().unwrap();
    if moment == Moment::After {
        return if name == "Query" { Step::Wait(PAGE) } else { Step::Pass };
    }
    let mut request: Value = match name {
        "Query" | "PutEvents" => serde_json::from_slice(call.body).unwrap(),
        "SendMessageBatch" if takes_chunks => serde_json::from_slice(call.body).unwrap(),
        _ => return Step::Pass,
    };
    if name == "Query" {
        request["Limit"] = PAGE_ITEMS.into();
        return Step::Ask(request.to_string());
    }
    let of_each = |make: fn(&Value) -> Value| request["Entries"].as_array().unwrap().iter().map(make).collect();
    let taken: Vec<Value> = if name == "PutEvents" {
        of_each(|_| json!({ "EventId": "e" }))
    } else {
        of_each(|entry| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" }))
    };
    let answer = json!({ "FailedEntryCount": 0, "Entries": taken, "Successful": taken, "Failed": [] });
    Step::Answer(200, answer.to_string())
}

/// Has workers take these messages and what comes of them; as the template has their `RecursiveLoop`, or else without it,
/// when they only plan.
async fn work(arena: &Arena, messages: Vec<String>, is_as_deployed: bool) -> Run {
    let traffic = Traffic::of(messages, Delivery { batch: 1, ..Delivery::default() }, Rng::with_seed(1));
    let labour = async |name: &&str| {
        let worker = Exposed::new(arena, name, move |call, moment| step(call, moment, !is_as_deployed)).await;
        let worker = if is_as_deployed { worker } else { worker.terminated() };
        traffic.labour(arena, name, &worker).await;
    };
    join_all([CANCELER; WORKERS].iter().map(labour)).await;
    traffic.run()
}

/// The largest bulk is canceled. Lambda stops that, if it may; then the operation is resumed as `bindery resume` does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_a_longer_chain_than_lambda_lets_functions_have() {
    let mut bulks = Bulks::of_thousands().await;
    // Its transactions are few, and seen at once.
    bulks.arena.commits = Commits::default();
    let arena = &bulks.arena;
    let bulk = bulks.create(1).await;
    fill(arena, &bulk, (1..ITEMS).map(|number| format!("{number:06}"))).await;
    let plan = bulks.cancel(&bulk, None).await;
    let operation = operation_of(&plan);

    let run = work(arena, vec![plan.clone()], false).await;
    assert_eq!((run.stopped, run.longest_chain), (1, lineage::MOST), "{run:?}");
    let row = row_at(arena, &operation, "OP").await.unwrap();
    assert_eq!((&row["state"], &row["chunks"]), (&json!("RUNNING"), &Value::Null));

    let id = operation.strip_prefix("OP#").unwrap().parse().unwrap();
    arena.store().forget_plan(&ORG.parse().unwrap(), id).await.unwrap();
    let run = work(arena, vec![plan], true).await;
    let row = row_at(arena, &operation, "OP").await.unwrap();
    assert_eq!((run.stopped, &row["state"]), (0, &json!("SUCCEEDED")), "{run:?}");
    assert_eq!((&row["items_done"], &row["items_failed"]), (&json!(ITEMS), &json!(0)));
    assert!(run.longest_chain > lineage::MOST, "{run:?}");
}
