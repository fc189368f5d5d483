//! The simplest fakes of SQS, EventBridge and Secrets Manager, in this process: the emulator's own time for them
//! would hide what is measured. They accept everything, so they are of no use to a test.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_sdk_dynamodb::Client;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use shared::aws::Aws;
use tests::capacity::dynoxide;
use tests::test_env::create_table;

/// A fake of SQS, EventBridge and Secrets Manager: one queue and one bus.
#[derive(Debug, Clone, Default)]
pub struct FakeServices {
    messages: Arc<Mutex<VecDeque<String>>>,
    events: Arc<Mutex<Events>>,
}

#[derive(Debug, Default)]
struct Events {
    ids: HashSet<String>,
    last: Option<Instant>,
}

/// An empty table, the fakes of the other services, and the functions' environment to reach them.
#[derive(Debug)]
pub struct FakeAws {
    /// The benchmark's own client of the table.
    pub dynamodb: Client,
    /// The queue and the bus.
    pub fake: FakeServices,
    /// The functions' environment.
    pub environment: Vec<(String, String)>,
}

impl FakeAws {
    /// Starts all services. `more` contains additional environment variables.
    pub async fn start(table: &str, more: &[(&str, &str)]) -> Self {
        let dynamodb_url = dynoxide().await;
        let config = Aws::from_env().unwrap().dynamodb().config().to_builder().endpoint_url(&dynamodb_url).build();
        let dynamodb = Client::from_conf(config);
        create_table(&dynamodb, table).await;
        let (fake, url) = FakeServices::start().await;
        let environment = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb_url),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("TABLE_NAME", table),
        ];
        let environment = environment.iter().chain(more);
        let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { dynamodb, fake, environment }
    }
}

impl FakeServices {
    /// Starts the fakes, and returns them with their URL.
    pub async fn start() -> (Self, String) {
        let fake = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = tests::ping_route().fallback(take).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, url)
    }

    /// Puts a message into the queue.
    pub fn send(&self, message: String) {
        self.messages.lock().unwrap().push_back(message);
    }

    /// Removes the next message from the queue and returns it.
    #[must_use]
    pub fn receive(&self) -> Option<String> {
        self.messages.lock().unwrap().pop_front()
    }

    /// Returns the number of distinct events since the last call, and the time of the last event.
    #[must_use]
    pub fn take_events(&self) -> (usize, Option<Instant>) {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        (events.ids.len(), events.last)
    }
}

async fn take(State(fake): State<FakeServices>, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = request["Entries"].as_array().cloned().unwrap_or_default();
    Json(match headers["x-amz-target"].to_str().unwrap() {
        "AmazonSQS.SendMessage" => {
            fake.messages.lock().unwrap().push_back(text(&request["MessageBody"]));
            json!({ "MessageId": "m", "MD5OfMessageBody": "0" })
        }
        "AmazonSQS.SendMessageBatch" => {
            let sent = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" });
            let response: Vec<_> = entries.iter().map(sent).collect();
            fake.messages.lock().unwrap().extend(entries.iter().map(|entry| text(&entry["MessageBody"])));
            json!({ "Successful": response, "Failed": [] })
        }
        "secretsmanager.GetSecretValue" => json!({ "SecretString": "pepper" }),
        "AWSEvents.PutEvents" => {
            let ids = entries.iter().map(|entry| {
                let event: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
                text(&event["event_id"])
            });
            let mut events = fake.events.lock().unwrap();
            events.ids.extend(ids);
            events.last = Some(Instant::now());
            json!({ "FailedEntryCount": 0, "Entries": vec![json!({ "EventId": "e" }); entries.len()] })
        }
        other => panic!("{other}"),
    })
}
