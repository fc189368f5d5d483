//! The fixture of tests about bulks: the endpoints' functions on one test environment.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};
use tests::capacity::dynoxide;
use tests::function::Function;
use tests::payloads::external_id;
use tests::queue_simulator::{Delivery, deliver_with_crashes};
use tests::requests::{self, Request};
use tests::test_env::TestEnv;

/// The bulk endpoints' functions, on one test environment.
pub struct BulkFixture {
    /// The environment that they use.
    pub env: TestEnv,
    create: Function,
    increment: Function,
    start: Function,
    cancel: Function,
}

impl BulkFixture {
    pub async fn new() -> Self {
        Self::on(TestEnv::new().await).await
    }

    /// Creates the fixture with a table that stays fast with thousands of rows.
    pub async fn of_thousands() -> Self {
        Self::on(TestEnv::with_table_at(&dynoxide().await).await).await
    }

    /// Creates the fixture on an existing environment.
    pub async fn on(env: TestEnv) -> Self {
        let environment = env.environment();
        Self {
            create: Function::new("create-bulk", environment.clone()).await,
            increment: Function::new("increment-bulk", environment.clone()).await,
            start: Function::new("start-bulk", environment.clone()).await,
            cancel: Function::new("cancel-bulk", environment).await,
            env,
        }
    }

    /// Creates a bulk with this many items, a thousand at a time. Returns its ID.
    pub async fn create(&self, items: usize) -> String {
        let first = items.min(1000);
        let ids: Vec<String> = (0..first).map(external_id).collect();
        let event = requests::create_bulk(&ids).event();
        let bulk = self.create.invoke(event).await.response(201)["id"].as_str().unwrap().to_owned();
        self.grow(&bulk, first..items).await;
        bulk
    }

    /// Adds items to the bulk, a thousand at a time.
    pub async fn grow(&self, bulk: &str, items: std::ops::Range<usize>) {
        let ids: Vec<String> = items.map(external_id).collect();
        for ids in ids.chunks(1000) {
            let event = requests::increment_bulk(bulk, ids).event();
            self.increment.invoke(event).await.response(201);
        }
    }

    /// Sends a request to start the bulk. Returns the message for its plan.
    pub async fn start(&self, bulk: &str) -> String {
        self.accepted(&self.start, &requests::start_bulk(bulk)).await
    }

    /// Sends a request to cancel the whole bulk, or these items. Returns the message for its plan.
    pub async fn cancel(&self, bulk: &str, items: Option<Vec<String>>) -> String {
        self.accepted(&self.cancel, &requests::cancel_bulk(bulk, items.as_deref())).await
    }

    async fn accepted(&self, function: &Function, request: &Request) -> String {
        function.invoke(request.event()).await.response(202);
        let mut messages = self.env.take_messages().await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// Delivers these messages to the workers, without faults, until no message is left.
    pub async fn work(&self, workers: &[&str], messages: Vec<String>) {
        let how = Delivery { batch: 1, ..Delivery::default() };
        deliver_with_crashes(&self.env, workers, messages, how, Rng::with_seed(1)).await;
    }

    /// Returns the card of the item with this number, from all rows.
    pub fn card_of(rows: &BTreeMap<(String, String), Value>, number: usize) -> u64 {
        let id = json!(external_id(number));
        rows.values().find(|row| row["external_id"] == id && row["state"] == "ISSUED").unwrap()["card_id"]
            .as_u64()
            .unwrap()
    }
}
