//! Tests of the functions' binaries under faults. The test provides the Runtime API and a proxy before the emulator. It
//! kills functions between any two calls, repeats and reorders messages, and fakes failures of AWS.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authorized;
mod batch;
mod bulks;
mod cancels;
mod contention;
mod copies;
mod crashes;
mod dependency_failures;
mod freeze;
mod gone;
mod guesses;
mod half_seen;
mod increments;
mod orders;
mod recursion;
mod resume;
mod rows;
mod secrets;
mod seen_apart;
mod status;
mod stuck;
mod torn;
mod trace;
mod unsent;
mod unsure;
mod workers;

use shared::domain::card::Card;
use tests::function::Function;
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, failed};
use tests::queue_simulator::{Delivery, deliver_with_crashes};
use tests::requests::bind_event;
use tests::seed;
use tests::test_env::TestEnv;

/// Creates a test environment with these cards.
async fn env_with(cards: &[Card]) -> TestEnv {
    let env = TestEnv::new().await;
    for card in cards {
        seed::put(&env.dynamodb, &env.table, ORG, card).await;
    }
    env
}

/// Sends these binds to the real endpoint, and returns the messages that it sent.
async fn accept(env: &TestEnv, binds: &[(u64, Option<u64>)]) -> Vec<String> {
    let endpoint = Function::new("bind-card", env.environment()).await;
    for (number, (card, reissued)) in binds.iter().enumerate() {
        let response = endpoint.invoke(bind_event(*card, *reissued, &format!("key-{number}"))).await;
        let response = response.payload();
        assert_eq!(response["statusCode"], 202, "{response}");
    }
    let messages = env.take_messages().await;
    assert_eq!(messages.len(), binds.len());
    messages
}
