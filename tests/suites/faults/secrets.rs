//! Secrets Manager is unreachable while a function starts. The function runs, and serves requests that need no secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::function::Function;
use tests::orders::CREATOR;
use tests::payloads::ORG;
use tests::proxy::{self, Step};
use tests::seed;
use tests::test_env::TestEnv;

use super::orders::{feed_orders, request};

#[tokio::test]
async fn only_requests_with_pins_need_the_pepper() {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=3).await;
    let is_reached = Arc::new(AtomicBool::new(false));
    let reached = Arc::clone(&is_reached);
    let secrets = proxy::start(move |_, _| if reached.load(Ordering::Relaxed) { Step::Pass } else { Step::Cut }).await;
    let mut environment = env.environment();
    environment.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), secrets));
    let endpoint = Function::new("cancel-orders", environment).await.patient();
    let mut keys = 0;
    let mut ask = async |entry: Value, status| {
        keys += 1;
        let mut event = request(1..=1);
        (event["body"], event["headers"]["idempotency-key"]) =
            (json!([entry]).to_string().into(), keys.to_string().into());
        endpoint.invoke(event).await.response(status)
    };
    let results = ask(json!({ "OrderID": 1 }), 200).await;
    assert_eq!(results[0]["Success"], true, "{results}");

    seed::person(&env.dynamodb, &env.table, ORG, CREATOR).await;
    let with_pin = json!({ "OrderID": 2, "PIN": "1234" });
    ask(with_pin.clone(), 503).await;
    let results = ask(json!({ "OrderID": 2 }), 200).await;
    assert_eq!(results[0]["Success"], false, "the creator requires a PIN: {results}");

    is_reached.store(true, Ordering::Relaxed);
    let results = ask(with_pin, 200).await;
    assert_eq!(results[0]["Success"], false, "no PIN of this person is right: {results}");
    assert!(endpoint.log().contains("the pepper cannot be read"));
}
