//! Two concurrent copies of one increment with a key, while the bulk is canceled between the two.

use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::proxy::{self, Moment, Step};
use tests::requests::increment_bulk;
use tests::test_env::TestEnv;
use tokio::sync::watch;

use super::batch;
use super::cancels::CANCELER;
use super::rows::{is_about, row_at};
use super::workers::BulkFixture;

fn signal() -> watch::Sender<bool> {
    watch::Sender::new(false)
}

fn request(bulk: &str) -> Value {
    increment_bulk(bulk, &["late"]).key("k").event()
}

/// Seals the bulk, by the plan of a FULL cancel that was accepted before.
async fn seal(canceler: &Function, plan: String) {
    canceler.invoke(batch(&[(plan, 1)])).await.acknowledged();
}

/// Asserts that the bulk is sealed with its second item, and that both copies got that response.
async fn assert_is_in(env: &TestEnv, bulk: &str, (first, second): (Invocation, Invocation)) {
    let header = row_at(env, &format!("BULK#{bulk}"), "BULK").await.unwrap();
    assert!(header["sealed_by"].is_string(), "{header}");
    assert_eq!(header["items"], 2);
    let (first, second) = (first.response(201), second.response(201));
    assert_eq!((&first["counts"]["items"], &second["counts"]["items"]), (&json!(2), &json!(2)));
}

/// The second copy finds no operation, and later the bulk sealed. In between, the first copy got 201.
#[tokio::test]
async fn a_copy_that_reads_before_the_first_and_writes_after_the_seal_gets_the_same_response() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let plan = bulks.cancel(&bulk, None).await;
    let (looked, sealed) = (signal(), signal());
    let (has_looked, when, pk) = (looked.clone(), sealed.subscribe(), format!("BULK#{bulk}"));
    let url = proxy::start(move |call, moment| {
        if moment == Moment::Before && is_about(call, "GetItem", &pk) {
            has_looked.send_replace(true);
            return Step::Until(when.clone());
        }
        Step::Pass
    })
    .await;
    let copy = Function::new("increment-bulk", env.environment_behind(&url)).await;
    let first = Function::new("increment-bulk", env.environment()).await;
    let canceler = Function::new(CANCELER, env.environment()).await;
    futures_util::future::join3(copy.start(), first.start(), canceler.start()).await;
    let (second, first) = futures_util::future::join(copy.invoke(request(&bulk)), async {
        looked.subscribe().wait_for(|has_looked| *has_looked).await.unwrap();
        let first = first.invoke(request(&bulk)).await;
        seal(&canceler, plan).await;
        sealed.send_replace(true);
        first
    })
    .await;
    assert_is_in(env, &bulk, (first, second)).await;
}

/// Both copies find no operation and an open bulk. When the second records its operation, it finds that of the first,
/// still pending. When it opens its batch, it finds the bulk sealed.
#[tokio::test]
async fn a_copy_that_records_second_and_writes_after_the_seal_gets_the_same_response() {
    let bulks = BulkFixture::new().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    let plan = bulks.cancel(&bulk, None).await;
    let (recorded, found, sealed) = (signal(), signal(), signal());

    let (has_recorded, when) = (recorded.clone(), found.subscribe());
    let url = proxy::start(move |call, moment| match moment {
        Moment::After if call.target.ends_with(".PutItem") => {
            has_recorded.send_replace(true);
            Step::Until(when.clone())
        }
        _ => Step::Pass,
    })
    .await;
    let first = Function::new("increment-bulk", env.environment_behind(&url)).await;
    let (has_found, first_is_in, is_sealed) = (found.clone(), recorded.subscribe(), sealed.subscribe());
    let pk = format!("BULK#{bulk}");
    let url = proxy::start(move |call, moment| match moment {
        Moment::Before if call.target.ends_with(".PutItem") => Step::Until(first_is_in.clone()),
        Moment::After if call.target.ends_with(".PutItem") => {
            has_found.send_replace(true);
            Step::Pass
        }
        Moment::Before if is_about(call, "UpdateItem", &pk) => Step::Until(is_sealed.clone()),
        _ => Step::Pass,
    })
    .await;
    let copy = Function::new("increment-bulk", env.environment_behind(&url)).await;
    let canceler = Function::new(CANCELER, env.environment()).await;
    futures_util::future::join3(copy.start(), first.start(), canceler.start()).await;
    let (second, first) = futures_util::future::join(copy.invoke(request(&bulk)), async {
        let first = first.invoke(request(&bulk)).await;
        seal(&canceler, plan).await;
        sealed.send_replace(true);
        first
    })
    .await;
    assert_is_in(env, &bulk, (first, second)).await;
}
