//! The cost of a flow: the capacity units, calls and bytes that AWS bills, counted by a [proxy](crate::proxy).
//!
//! The table is in dynoxide, which runs in this process. Of the emulators that were compared, only its
//! `ConsumedCapacity` was right. The proxy adds `ReturnConsumedCapacity` to every request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::payloads::ORG;
use crate::proxy::{Proxy, Step};
use crate::template::DENY_LIST;

/// The size that SQS and EventBridge bill as one request or event.
const CHUNK_BYTES: usize = 64 * 1024;

/// Starts an empty DynamoDB in this process, and returns its URL. It is far faster than the local stack's, whose calls
/// become slower with every row.
pub async fn dynoxide() -> String {
    let database = dynoxide::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    url
}

/// Returns the number of requests that this many bytes are billed as.
#[must_use]
pub fn chunks(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK_BYTES).max(1)
}

/// The consumption of calls.
#[derive(Debug, Clone, Default)]
pub struct Consumed {
    /// DynamoDB calls by name: their number and how long they took here. Excludes calls that no function makes.
    pub dynamodb: BTreeMap<String, (usize, Duration)>,
    /// Calls of the other services, in the same form.
    pub others: BTreeMap<String, (usize, Duration)>,
    /// Read capacity units.
    pub reads: f64,
    /// Write capacity units.
    pub writes: f64,
    /// Reads of the deny list, which are not part of any flow: each process makes one in 30 seconds.
    pub deny_list_reads: usize,
    /// Write capacity units by partition. A call's units are shared evenly among its rows.
    pub partitions: HashMap<String, f64>,
    /// Chunks of 64 KB sent to queues.
    pub queue_chunks: usize,
    /// Chunks of 64 KB of published events, counted for each event.
    pub event_chunks: usize,
    /// Bytes of published events.
    pub event_bytes: usize,
}

impl Consumed {
    /// Returns the number of DynamoDB calls.
    #[must_use]
    pub fn dynamodb_calls(&self) -> usize {
        self.dynamodb.values().map(|(calls, _)| calls).sum()
    }

    /// Returns the number of calls of this name to other services.
    #[must_use]
    pub fn other_calls(&self, name: &str) -> usize {
        self.others.get(name).map_or(0, |(calls, _)| *calls)
    }

    fn count(&mut self, target: &str, request: &Value, response: &[u8], time: Duration) {
        let name = target.rsplit('.').next().unwrap();
        if request["Key"]["pk"]["S"] == DENY_LIST {
            self.deny_list_reads += 1;
            return;
        }
        let calls = if is_dynamodb(target) { &mut self.dynamodb } else { &mut self.others };
        let (calls, times) = calls.entry(name.to_owned()).or_default();
        (*calls, *times) = (*calls + 1, *times + time);
        let lengths = |member: &str| -> Vec<usize> {
            let entries = request["Entries"].as_array().into_iter().flatten();
            entries.filter_map(|entry| entry[member].as_str()).map(str::len).collect()
        };
        match name {
            "SendMessage" => self.queue_chunks += chunks(request["MessageBody"].as_str().unwrap().len()),
            "SendMessageBatch" => self.queue_chunks += chunks(lengths("MessageBody").iter().sum()),
            "PutEvents" => {
                let events = lengths("Detail");
                self.event_chunks += events.iter().map(|bytes| chunks(*bytes)).sum::<usize>();
                self.event_bytes += events.iter().sum::<usize>();
            }
            "GetItem" | "BatchGetItem" | "Query" => self.reads += units(response),
            _ if is_dynamodb(target) => self.count_writes(request, units(response)),
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

/// A meter of the calls that pass a proxy.
#[derive(Debug, Clone, Default)]
pub struct CapacityMeter(Arc<Mutex<Consumed>>);

impl CapacityMeter {
    /// Starts a proxy with a meter, before an empty DynamoDB in this process and the emulator's other services. Returns
    /// the meter and the proxy's URL.
    pub async fn start() -> (Self, String) {
        let meter = Self::default();
        let url = Proxy::before(&dynoxide().await).meter(&meter).start(|_, _| Step::Pass).await;
        (meter, url)
    }

    /// Returns the consumption since the last call of this function.
    #[allow(clippy::must_use_candidate)]
    pub fn take(&self) -> Consumed {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Counts a call.
    pub(crate) fn count(&self, target: &str, request: &[u8], response: &[u8], time: Duration) {
        if is_counted(target) {
            // CloudFormation's requests are not JSON but forms.
            let request = serde_json::from_slice(request).unwrap_or_default();
            self.0.lock().unwrap().count(target, &request, response, time);
        }
    }
}

/// Returns the request with `ReturnConsumedCapacity`, if it goes to DynamoDB and is counted.
pub(crate) fn asking(target: &str, body: Bytes) -> Bytes {
    if !is_dynamodb(target) || !is_counted(target) {
        return body;
    }
    let mut request: Value = serde_json::from_slice(&body).unwrap();
    request["ReturnConsumedCapacity"] = json!("TOTAL");
    Bytes::from(request.to_string())
}

fn is_dynamodb(target: &str) -> bool {
    target.starts_with("DynamoDB")
}

/// Returns whether functions make such calls.
fn is_counted(target: &str) -> bool {
    !["CreateTable", "DescribeTable", "Scan"].iter().any(|name| target.ends_with(name))
}

/// Returns the capacity units that a response reports.
fn units(response: &[u8]) -> f64 {
    let response: Value = serde_json::from_slice(response).unwrap_or_default();
    let consumed = &response["ConsumedCapacity"];
    let consumed = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
    consumed.iter().filter_map(|consumed| consumed["CapacityUnits"].as_f64()).sum()
}

/// Adds the partition keys that a request names: all strings that begin with the organization.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calls_units_are_shared_among_its_rows() {
        let key = |id: u32| json!({ "pk": { "S": format!("{ORG}#CARD#{id}") }, "org_id": { "S": ORG } });
        let request = json!({ "TransactItems": [{ "Update": { "Key": key(1) } }, { "Put": { "Item": key(2) } }] });
        let response = json!({ "ConsumedCapacity": [{ "TableName": "t", "CapacityUnits": 4.0 }] });
        let meter = CapacityMeter::default();
        let target = "DynamoDB_20120810.TransactWriteItems";
        meter.count(target, request.to_string().as_bytes(), response.to_string().as_bytes(), Duration::ZERO);
        let consumed = meter.take();
        assert_eq!(consumed.partitions, [1, 2].map(|id| (format!("{ORG}#CARD#{id}"), 2.0)).into());
        assert_eq!((consumed.dynamodb_calls(), consumed.other_calls("PutEvents")), (1, 0));
    }

    #[test]
    fn large_messages_are_billed_by_the_chunk() {
        let meter = CapacityMeter::default();
        let entries = ["x".repeat(40_000), "y".repeat(40_000)].map(|body| json!({ "MessageBody": body }));
        let request = json!({ "Entries": entries }).to_string();
        meter.count("AmazonSQS.SendMessageBatch", request.as_bytes(), b"{}", Duration::ZERO);
        let consumed = meter.take();
        assert_eq!((consumed.queue_chunks, chunks(0), chunks(CHUNK_BYTES)), (2, 1, 1));
        assert_eq!(consumed.other_calls("SendMessageBatch"), 1);
    }
}
