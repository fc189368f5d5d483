//! Connections that break while Lambda has the process frozen. The next event is handled, whatever the connection pool
//! holds. That event makes one call at a time, and all attempts of a call could meet broken connections.

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::link::{Disconnect, Link};
use tests::payloads::batch;
use tests::seed;
use tests::test_env::TestEnv;

use super::orders::{feed_orders, request};
use super::{accept, env_with};

/// The largest number of calls that an endpoint makes at once.
const MOST_AT_ONCE: usize = 8;
/// The number of orders in one call of SQS.
const ORDERS_OF_A_CALL: i32 = 10;

/// Creates a function without open connections, which reaches these services through the link.
async fn function(name: &str, env: &TestEnv, services: &[&str], link: &Link) -> Function {
    let mut environment = env.environment();
    environment.push(("WARM_UP".to_owned(), "off".to_owned()));
    environment.extend(services.iter().map(|service| (format!("AWS_ENDPOINT_URL_{service}"), link.url.clone())));
    Function::new(name, environment).await.as_deployed()
}

async fn link() -> Link {
    Link::to(&tests::variable("AWS_ENDPOINT_URL")).await
}

#[rstest]
#[tokio::test]
async fn a_worker_handles_its_next_messages(
    #[values(Disconnect::Reset, Disconnect::Silent)] how: Disconnect,
    #[values(1, 3, 10, 20)] count: usize,
) {
    let cards: Vec<_> = (1..=1 + count as u64).map(seed::unbound).collect();
    let env = env_with(&cards).await;
    let binds: Vec<_> = cards.iter().map(|card| (card.card_id.get(), None)).collect();
    let messages: Vec<_> = accept(&env, &binds).await.into_iter().map(|message| (message, 1)).collect();
    let (before, after) = messages.split_at(count);
    let link = link().await;
    let worker = function("bind-card-worker", &env, &["DYNAMODB"], &link).await;
    let all_done = Invocation::Responded(json!({ "batchItemFailures": [] }));
    assert_eq!(worker.invoke(batch(before)).await, all_done);
    assert!(link.alive() >= count, "{} connections", link.alive());
    let done = worker.invoke_after_freeze(|| link.disconnect(how), batch(after)).await;
    assert_eq!(done, all_done, "{}", worker.log());
    assert_eq!(env.events().await.len(), cards.len());
}

#[rstest]
#[tokio::test]
async fn an_endpoint_serves_its_next_request(
    #[values(Disconnect::Reset, Disconnect::Silent)] how: Disconnect,
    #[values(1, 3, 10, 20)] count: usize,
    #[values(&["SQS"], &["SQS", "DYNAMODB"])] services: &[&str],
) {
    let env = TestEnv::new().await;
    let before = ORDERS_OF_A_CALL * i32::try_from(count).unwrap();
    feed_orders(&env, 1..=before + 1).await;
    let link = link().await;
    let endpoint = function("cancel-orders", &env, services, &link).await;
    all_canceled(&endpoint.invoke(request(1..=before)).await, &endpoint);
    assert!(link.alive() >= count.min(MOST_AT_ONCE), "{} connections", link.alive());
    let mut again = request(before + 1..=before + 1);
    again["headers"]["idempotency-key"] = "another".into();
    let response = endpoint.invoke_after_freeze(|| link.disconnect(how), again).await;
    all_canceled(&response, &endpoint);
}

#[track_caller]
fn all_canceled(response: &Invocation, endpoint: &Function) {
    let Invocation::Responded(response) = response else { panic!("{response:?}") };
    assert_eq!(response["statusCode"], 200, "{response} {}", endpoint.log());
    let results: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
}
