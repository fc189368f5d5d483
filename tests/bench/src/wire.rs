//! Stands between the functions and the services: counts what AWS bills, and has each call take as long as it would there.
//!
//! Units are those that dynoxide says it consumed, as in [`::tests::capacity`], which holds the flows to their figures.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::tests::payloads::ORG;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::prices::CHUNK_BYTES;

/// How long calls take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As long as they take here.
    Here,
    /// At least as long as within a region of AWS, which is assumed: 5 ms to `DynamoDB` and back, 10 ms of a transaction or a
    /// batch of statements, 10 ms to SQS, 15 ms to `EventBridge`.
    Region,
}

/// What passed.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// Calls, by their names, and how long they were under way here.
    pub calls: BTreeMap<String, (usize, Duration)>,
    /// Read units.
    pub reads: f64,
    /// Write units.
    pub writes: f64,
    /// Write units, by partition. A call's are shared evenly among its rows.
    pub partitions: HashMap<String, f64>,
    /// Chunks of 64 KB that were sent to queues.
    pub queue_chunks: usize,
    /// Chunks of 64 KB of events, each event's own.
    pub event_chunks: usize,
    /// Bytes of events.
    pub event_bytes: usize,
}

/// The proxy.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Where it is.
    pub url: String,
    passed: Arc<Mutex<Passed>>,
}

#[derive(Clone)]
struct Ends {
    dynamodb: String,
    others: String,
    pace: Pace,
    client: reqwest::Client,
    passed: Arc<Mutex<Passed>>,
}

impl Wire {
    /// In front of this `DynamoDB` and these other services.
    pub async fn start(dynamodb: &str, others: &str, pace: Pace) -> Self {
        let passed: Arc<Mutex<Passed>> = Arc::default();
        let ends = Ends {
            dynamodb: dynamodb.to_owned(),
            others: others.to_owned(),
            pace,
            client: reqwest::Client::new(),
            passed: Arc::clone(&passed),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = ::tests::answering_pings().fallback(forward).with_state(ends);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, passed }
    }

    /// What has passed since this was asked last.
    pub fn take(&self) -> Passed {
        std::mem::take(&mut self.passed.lock().unwrap())
    }
}

async fn forward(State(ends): State<Ends>, mut headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let began = Instant::now();
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    headers.remove("host");
    headers.remove("content-length");
    let mut request: Value = serde_json::from_slice(&body).unwrap();
    let is_dynamodb = target.starts_with("DynamoDB");
    if is_dynamodb && !target.ends_with("CreateTable") {
        request["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    let upstream = if is_dynamodb { &ends.dynamodb } else { &ends.others };
    let answer = ends.client.post(upstream).headers(headers).body(request.to_string()).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    ends.passed.lock().unwrap().count(&target, &request, &bytes, began.elapsed());
    if ends.pace == Pace::Region {
        tokio::time::sleep_until(began + in_region(&target)).await;
    }
    (StatusCode::from_u16(status.as_u16()).unwrap(), headers, bytes)
}

/// How long a call takes within a region. Assumed: AWS promises no times.
fn in_region(target: &str) -> Duration {
    Duration::from_millis(match target.split_once('.').unwrap_or_default() {
        ("AWSEvents", _) => 15,
        ("AmazonSQS", _) | (_, "TransactWriteItems" | "BatchExecuteStatement" | "BatchWriteItem") => 10,
        _ => 5,
    })
}

impl Passed {
    fn count(&mut self, target: &str, request: &Value, answer: &[u8], time: Duration) {
        let name = target.rsplit('.').next().unwrap();
        let (calls, times) = self.calls.entry(name.to_owned()).or_default();
        (*calls, *times) = (*calls + 1, *times + time);
        let texts = |member: &str| -> Vec<usize> {
            let entries = request["Entries"].as_array().into_iter().flatten();
            entries.filter_map(|entry| entry[member].as_str()).map(str::len).collect()
        };
        match name {
            "SendMessage" => self.queue_chunks += chunks(request["MessageBody"].as_str().unwrap().len()),
            "SendMessageBatch" => self.queue_chunks += chunks(texts("MessageBody").iter().sum()),
            "PutEvents" => {
                let events = texts("Detail");
                self.event_chunks += events.iter().map(|bytes| chunks(*bytes)).sum::<usize>();
                self.event_bytes += events.iter().sum::<usize>();
            }
            "GetItem" | "BatchGetItem" | "Query" => self.reads += units(answer),
            _ if target.starts_with("DynamoDB") => self.count_writes(request, units(answer)),
            _ => {}
        }
    }

    fn count_writes(&mut self, request: &Value, units: f64) {
        let mut rows = Vec::new();
        partitions(request, &mut rows);
        self.writes += units;
        #[allow(clippy::cast_precision_loss)]
        let share = units / rows.len() as f64;
        for row in rows {
            *self.partitions.entry(row).or_default() += share;
        }
    }
}

/// The units that an answer says were consumed.
fn units(answer: &[u8]) -> f64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let consumed = &answer["ConsumedCapacity"];
    let consumed = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
    consumed.iter().filter_map(|consumed| consumed["CapacityUnits"].as_f64()).sum()
}

/// Adds the partition keys that a request names: all texts that begin as they do.
fn partitions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => match members.get("S").and_then(Value::as_str) {
            Some(text) if text.strip_prefix(ORG).is_some_and(|rest| rest.starts_with('#')) => {
                found.push(text.to_owned());
            }
            _ => members.values().for_each(|member| partitions(member, found)),
        },
        Value::Array(values) => values.iter().for_each(|value| partitions(value, found)),
        _ => {}
    }
}

/// As how many requests so many bytes are billed.
pub fn chunks(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calls_units_are_shared_among_its_rows() {
        let key = |id: u32| json!({ "pk": { "S": format!("{ORG}#CARD#{id}") }, "org_id": { "S": ORG } });
        let request = json!({ "TransactItems": [{ "Update": { "Key": key(1) } }, { "Put": { "Item": key(2) } }] });
        let answer = json!({ "ConsumedCapacity": [{ "TableName": "t", "CapacityUnits": 4.0 }] });
        let mut passed = Passed::default();
        passed.count("DynamoDB_20120810.TransactWriteItems", &request, answer.to_string().as_bytes(), Duration::ZERO);
        assert_eq!(passed.partitions, [1, 2].map(|id| (format!("{ORG}#CARD#{id}"), 2.0)).into());
    }

    #[test]
    fn large_messages_are_billed_by_the_chunk() {
        let mut passed = Passed::default();
        let entries = ["x".repeat(40_000), "y".repeat(40_000)].map(|body| json!({ "MessageBody": body }));
        passed.count("AmazonSQS.SendMessageBatch", &json!({ "Entries": entries }), b"{}", Duration::ZERO);
        assert_eq!((passed.queue_chunks, chunks(0), chunks(CHUNK_BYTES)), (2, 1, 1));
    }
}
