//! Sends malicious input to every endpoint and every worker.
//!
//! It must be refused with the contract's errors, and must not change or queue anything. Parsing arbitrary bytes is the
//! fuzz targets' task (`tests/fuzz`).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod memory;
mod messages;
mod requests;
mod secrets;
mod shapes;
mod tenants;
mod terminal;
mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::domain::card::CardStatus;
use tests::function::{Function, Invocation};
use tests::orders::{domestic, feed, international};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch};
use tests::requests::{Endpoint, Request};
use tests::seed;
use tests::test_env::{TestEnv, drain};

/// Returns a valid request: the example of the API's document. [`put_examples`] creates the cards and orders that it
/// names. Its bulks and operations do not exist.
fn good(endpoint: Endpoint) -> Request {
    let request = Request::of(endpoint);
    if let Some(body) = endpoint.examples().pop() { request.body(body) } else { request }
}

/// Returns the event of a valid request, with this parameter in its path if the path has one.
fn event_at(endpoint: Endpoint, parameter: &str) -> Value {
    let request = good(endpoint);
    if endpoint.parameter().is_some() { request.at(parameter).event() } else { request.event() }
}

/// Puts the cards and the orders that the document's examples name.
async fn put_examples(env: &TestEnv) {
    let number = |value: &Value| value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok()).unwrap();
    let put = async |card| seed::put(&env.dynamodb, &env.table, ORG, &card).await;
    let bind = Endpoint::of("bind-card");
    put(seed::unbound(number(&bind.parameter().unwrap()["example"]))).await;
    let reissued = number(&bind.examples().pop().unwrap()["reissued_card_id"]);
    put(seed::bound(reissued, CardStatus::Normal, ACCOUNT, CUSTOMER)).await;
    let feeder = Function::new("order-feed-worker", env.environment()).await;
    for entry in Endpoint::of("cancel-orders").examples().pop().unwrap().as_array().unwrap() {
        let order = match entry["OrderID"].as_i64() {
            Some(id) => domestic(id.try_into().unwrap()),
            None => international(entry["InternationalOrderUID"].as_str().unwrap().parse().unwrap()),
        };
        let mut change = feed(&order, "ACTIVE", 1);
        change["org_id"] = json!(ORG);
        feeder.invoke(batch(&[(change.to_string(), 1)])).await;
    }
}

/// All endpoints, with the cards and orders that valid requests name.
struct Fixture {
    env: TestEnv,
    functions: BTreeMap<&'static str, Function>,
    before: BTreeMap<(String, String), Value>,
}

impl Fixture {
    async fn new() -> Self {
        let env = TestEnv::new().await;
        let mut functions = BTreeMap::new();
        for endpoint in Endpoint::all() {
            let function = Function::new(endpoint.function, env.environment()).await;
            functions.insert(endpoint.function, function);
        }
        put_examples(&env).await;
        let before = env.rows().await;
        assert_eq!(before.len(), 4, "the examples must name two cards and two orders");
        Self { env, functions, before }
    }

    /// Invokes the endpoint and returns the status, the body and the headers of its response.
    async fn response(&self, endpoint: Endpoint, event: Value) -> (u64, String, Value) {
        match self.functions[endpoint.function].invoke(event.clone()).await {
            Invocation::Responded(response) => {
                let body = response["body"].as_str().unwrap_or_default().to_owned();
                (response["statusCode"].as_u64().unwrap(), body, response["headers"].clone())
            }
            other => panic!("{}: {other:?} to {event}", endpoint.function),
        }
    }

    /// Checks that the endpoint refuses the event with one of these statuses and an error in the contract's format.
    async fn refused(&self, endpoint: Endpoint, event: Value, statuses: &[u64]) {
        let (status, body, headers) = self.response(endpoint, event.clone()).await;
        let what = || format!("{} responded {status} {body} to {event}", endpoint.function);
        assert!(statuses.contains(&status), "{}", what());
        let content_type = headers["content-type"].as_str().unwrap();
        if endpoint.function == "cancel-orders" {
            assert!(content_type.contains("json") || content_type.contains("xml"), "{}", what());
        } else {
            assert_eq!(content_type, "application/problem+json", "{}", what());
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["status"], status, "{}", what());
        }
    }

    /// Checks that nothing was changed, queued, published or dead-lettered.
    async fn assert_untouched(&self) {
        assert_eq!(self.env.rows().await, self.before);
        assert_eq!(self.env.take_messages().await, Vec::<String>::new());
        assert!(self.env.events().await.is_empty());
        assert!(drain(&self.env.sqs, &self.env.dlq_url).await.is_empty());
    }
}
