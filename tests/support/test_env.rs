//! A test's own table, queue and bus, in the emulator of the local stack. No deployed function reads from the queue,
//! so only the test receives its messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use serde_json::{Value, json};
use shared::store::Store;
use uuid::Uuid;

use crate::clients::Clients;
use crate::commits::Commits;
use crate::contract;
use crate::function::Function;
use crate::payloads::{Sent, batch};
use crate::template::Template;

/// Rows per page of a scan. The emulator would need longer than the client waits for larger pages.
const SCAN_PAGE: i32 = 500;
/// The longest time for which a transaction's row stays invisible. It is short, so that tests with thousands of rows
/// take little time.
const APART: Duration = Duration::from_millis(20);

/// The environment variables of all functions.
static VARIABLES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let template = Template::read();
    template.functions().iter().flat_map(|function| template.environment(function).into_keys()).collect()
});

/// The test's own resources.
#[derive(Debug, Clone)]
pub struct TestEnv {
    /// A client of the table's DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The URL of that DynamoDB.
    pub dynamodb_url: String,
    /// A client of the emulator's SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// The table's name.
    pub table: String,
    /// The URL of the queue that all functions of this environment use.
    pub queue_url: String,
    /// The URL of its dead-letter queue.
    pub dlq_url: String,
    /// The name of the event bus.
    pub bus: String,
    /// The transactions as a [`KillableFunction`](crate::queue_simulator::KillableFunction) sees them. Other functions
    /// see the emulator's own.
    pub commits: Commits,
    /// The trace headers of messages sent in batches through a proxy, by message body. The emulator does not store
    /// them.
    pub trace_headers: Arc<Mutex<HashMap<String, String>>>,
    events_url: String,
    /// Events received from their queue that [`Self::events`] has not returned yet.
    gathered: Arc<Mutex<Vec<String>>>,
}

impl TestEnv {
    /// Creates the resources in the emulator of the local stack.
    pub async fn new() -> Self {
        Self::with_table_at(&crate::variable("AWS_ENDPOINT_URL")).await
    }

    /// Creates the resources, with the table in the DynamoDB at this URL.
    pub async fn with_table_at(dynamodb_url: &str) -> Self {
        let Clients { dynamodb, sqs, eventbridge } = Clients::of(dynamodb_url);
        let dynamodb_url = dynamodb_url.to_owned();
        let name = format!("env-{}", Uuid::new_v4().simple());
        create_table(&dynamodb, &name).await;
        let queue_url = create_queue(&sqs, &format!("{name}-queue")).await;
        let dlq_url = create_queue(&sqs, &format!("{name}-dlq")).await;
        eventbridge.create_event_bus().name(&name).send().await.unwrap();
        let events_url = subscribe(&eventbridge, &sqs, &name, &json!({ "source": ["bindery"] })).await;
        Self {
            dynamodb,
            dynamodb_url,
            sqs,
            table: name.clone(),
            queue_url,
            dlq_url,
            bus: name,
            commits: Commits::new(APART, 1),
            trace_headers: Arc::default(),
            events_url,
            gathered: Arc::default(),
        }
    }

    /// Returns the store of the code under test, for this table.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.dynamodb.clone(), self.table.clone())
    }

    /// Receives and deletes all messages now in the queue, and returns their bodies. Each must be valid by its schema.
    pub async fn take_messages(&self) -> Vec<String> {
        self.take_sent().await.into_iter().map(|message| message.body).collect()
    }

    /// Receives and deletes all messages now in the queue, and returns them with their trace headers.
    pub async fn take_sent(&self) -> Vec<Sent> {
        let mut messages = drain_sent(&self.sqs, &self.queue_url).await;
        let mut headers = self.trace_headers.lock().unwrap();
        for message in &mut messages {
            contract::check_message(&message.body);
            message.trace_header = message.trace_header.take().or_else(|| headers.remove(&message.body));
        }
        messages
    }

    /// Passes every message of the queue to the worker, in batches of at most `most`, until the queue stays empty.
    /// Includes messages that the worker sends. The worker must acknowledge each. Returns all messages.
    pub async fn drain(&self, worker: &Function, most: usize) -> Vec<String> {
        let mut handed = Vec::new();
        loop {
            let messages = self.take_messages().await;
            if messages.is_empty() {
                return handed;
            }
            for messages in messages.chunks(most) {
                let messages: Vec<_> = messages.iter().map(|message| (message.clone(), 1)).collect();
                worker.invoke(batch(&messages)).await.acknowledged();
            }
            handed.extend(messages);
        }
    }

    /// Returns the distinct events published since the last call, by `event_id`. Panics if two events with one ID
    /// differ.
    pub async fn events(&self) -> BTreeMap<String, Value> {
        self.gather_events().await;
        distinct(std::mem::take(&mut self.gathered.lock().unwrap()))
    }

    /// Receives the events from their queue, for [`Self::events`] to return. The emulator's queues become slow with
    /// thousands of messages.
    pub async fn gather_events(&self) {
        let events = drain(&self.sqs, &self.events_url).await;
        self.gathered.lock().unwrap().extend(events);
    }

    /// Sets an attribute of a row of [`ORG`](crate::payloads::ORG) directly. Bindery itself never does so.
    pub async fn set(&self, pk: &str, sk: &str, name: &str, value: &Value) {
        let value: AttributeValue = serde_dynamo::to_attribute_value(value).unwrap();
        let update = self.dynamodb.update_item().table_name(&self.table);
        let update = update.key("pk", AttributeValue::S(format!("{}#{pk}", crate::payloads::ORG)));
        let update = update.key("sk", AttributeValue::S(sk.to_owned())).update_expression("SET #name = :value");
        let update = update.expression_attribute_names("#name", name).expression_attribute_values(":value", value);
        update.send().await.unwrap();
    }

    /// Returns all rows of the table, by their keys.
    pub async fn rows(&self) -> BTreeMap<(String, String), Value> {
        let mut rows = BTreeMap::new();
        let pages = self.dynamodb.scan().table_name(&self.table).consistent_read(true);
        let mut pages = pages.limit(SCAN_PAGE).into_paginator().send();
        while let Some(page) = pages.next().await {
            for item in page.unwrap().items.unwrap_or_default() {
                let row: Value = serde_dynamo::from_item(item).unwrap();
                let key = |name: &str| row[name].as_str().unwrap().to_owned();
                rows.insert((key("pk"), key("sk")), row);
            }
        }
        rows
    }

    /// Returns the environment variables of a function that uses these resources.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_through(&crate::variable("AWS_ENDPOINT_URL"), &self.dynamodb_url)
    }

    /// Returns the same variables for a function whose calls all go through the proxy at this URL.
    #[must_use]
    pub fn environment_behind(&self, proxy: &str) -> Vec<(String, String)> {
        self.environment_through(proxy, proxy)
    }

    /// Returns the variables for queue URLs. All functions share one queue and one dead-letter queue.
    fn urls(&self) -> impl Iterator<Item = (String, String)> {
        let of_kind = |suffix: &'static str, url: &String| {
            let names = VARIABLES.iter().filter(move |name| name.ends_with(suffix));
            let url = url.clone();
            names.map(move |name| (name.clone(), url.clone()))
        };
        of_kind("_QUEUE_URL", &self.queue_url).chain(of_kind("_DLQ_URL", &self.dlq_url))
    }

    fn environment_through(&self, endpoint: &str, dynamodb: &str) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
            ("AWS_REGION", &crate::variable("AWS_REGION")),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("TABLE_NAME", &self.table),
            ("EVENT_BUS_NAME", &self.bus),
            ("PIN_PEPPER_SECRET", &crate::variable("PIN_PEPPER_SECRET")),
            ("CARD_EXPIRY_MONTHS", "72"),
            ("MAX_RECEIVES", "5"),
            // No limit.
            ("TENANT_RATE", "0"),
            ("TENANT_BURST", "1"),
            ("STACK_NAME", "test"),
            ("AUTH_ISSUER", &crate::variable("AUTH_ISSUER")),
            ("AUTH_AUDIENCE", &crate::variable("AUTH_AUDIENCE")),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(self.urls())
        .collect()
    }
}

/// Creates a table like the deployed one.
pub async fn create_table(dynamodb: &aws_sdk_dynamodb::Client, name: &str) {
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    dynamodb
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .send()
        .await
        .unwrap();
}

async fn create_queue(sqs: &aws_sdk_sqs::Client, name: &str) -> String {
    sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap()
}

/// Creates a queue that receives the bus's events that match the pattern. Returns its URL.
pub(crate) async fn subscribe(
    eventbridge: &aws_sdk_eventbridge::Client,
    sqs: &aws_sdk_sqs::Client,
    bus: &str,
    pattern: &Value,
) -> String {
    let name = format!("events-{}", Uuid::new_v4().simple());
    let url = create_queue(sqs, &name).await;
    let attributes = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(aws_sdk_sqs::types::QueueAttributeName::QueueArn)
        .send()
        .await
        .unwrap();
    let arn = attributes.attributes.unwrap()[&aws_sdk_sqs::types::QueueAttributeName::QueueArn].clone();
    let rule = eventbridge.put_rule().name(&name).event_bus_name(bus).event_pattern(pattern.to_string());
    rule.send().await.unwrap();
    let target = aws_sdk_eventbridge::types::Target::builder().id("queue").arn(arn).build().unwrap();
    eventbridge.put_targets().rule(&name).event_bus_name(bus).targets(target).send().await.unwrap();
    url
}

/// Receives and deletes all messages of a queue. Returns their bodies.
pub async fn drain(sqs: &aws_sdk_sqs::Client, url: &str) -> Vec<String> {
    drain_sent(sqs, url).await.into_iter().map(|message| message.body).collect()
}

async fn drain_sent(sqs: &aws_sdk_sqs::Client, url: &str) -> Vec<Sent> {
    let mut sent = Vec::new();
    loop {
        let receive = sqs.receive_message().queue_url(url).max_number_of_messages(10);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader);
        let messages = receive.send().await.unwrap().messages.unwrap_or_default();
        if messages.is_empty() {
            return sent;
        }
        let mut entries = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            let trace_header =
                message.attributes.unwrap_or_default().remove(&MessageSystemAttributeName::AwsTraceHeader);
            sent.push(Sent { body: message.body.unwrap(), trace_header });
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entries.push(entry.receipt_handle(message.receipt_handle.unwrap()).build().unwrap());
        }
        let deleted = sqs.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await.unwrap();
        assert!(deleted.failed().is_empty());
    }
}

/// Returns the events in these messages of a rule's target, each once. Each must be valid by its schema.
pub(crate) fn distinct(bodies: Vec<String>) -> BTreeMap<String, Value> {
    let mut events = BTreeMap::new();
    for body in bodies {
        let message: Value = serde_json::from_str(&body).unwrap();
        let event = message["detail"].clone();
        assert_eq!((&message["source"], &message["detail-type"]), (&json!("bindery"), &event["event_type"]));
        contract::check_event(&event);
        let id = event["event_id"].as_str().unwrap().to_owned();
        let before = events.insert(id.clone(), event.clone());
        assert!(before.is_none_or(|before| before == event), "two different events have the ID {id}");
    }
    events
}

/// Calls `ask` until it returns a value, for at most `time`. Panics after that.
pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(what: &str, time: Duration, mut ask: F) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(response) = ask().await {
            return response;
        }
        assert!(Instant::now() < deadline, "timed out after {time:?} waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
