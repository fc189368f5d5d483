//! Events that Lambda passes to functions: from API Gateway and from SQS.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The organization of these payloads.
pub const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
/// The organization's account. The number occurs nowhere else, so tests can search for it in logs.
pub const ACCOUNT: u64 = 400_155_667_788;
/// The account's customer, also a number that occurs nowhere else.
pub const CUSTOMER: u64 = 700_155_667_788;

/// Returns a distinct external ID for each number. The IDs vary in characters and length.
#[must_use]
pub fn external_id(number: usize) -> String {
    format!("{}{number:05}", ["", "#", "/\"", "\u{fffe}", "😀"][number % 5].repeat(number % 7))
}

/// Returns an API Gateway event of a caller that the gateway has authenticated.
#[must_use]
pub fn http_event(method: &str, path: &str, parameters: &Value, headers: &Value, body: Option<&Value>) -> Value {
    let mut all = json!({ "host": "api.test", "content-type": "application/json" });
    all.as_object_mut().unwrap().extend(headers.as_object().unwrap().clone());
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": all,
        "requestContext": {
            "accountId": "0", "apiId": "test", "stage": "$default", "requestId": "r", "routeKey": "$default",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t" },
            "authorizer": { "jwt": { "claims": {
                "tenant_id": ORG, "account_id": ACCOUNT.to_string(), "scope": "cards:write",
            } } },
        },
        "pathParameters": parameters, "body": body.map(Value::to_string), "isBase64Encoded": false,
    })
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message's body.
    pub body: String,
    /// The message's system attribute `AWSTraceHeader`, if it has one.
    pub trace_header: Option<String>,
}

impl From<String> for Sent {
    /// Returns a message without a trace header.
    fn from(body: String) -> Self {
        Self { body, trace_header: None }
    }
}

/// Returns an SQS event of these messages, without trace headers, with how often each was received. The message IDs are
/// their positions.
#[must_use]
pub fn batch(messages: &[(String, u32)]) -> Value {
    let sent: Vec<_> =
        messages.iter().map(|(body, receive_count)| (Sent::from(body.clone()), *receive_count)).collect();
    batch_of(&sent)
}

/// Returns an SQS event of these messages, with how often each was received. The message IDs are their positions.
#[must_use]
pub fn batch_of(messages: &[(Sent, u32)]) -> Value {
    let record = |(position, (message, receive_count)): (usize, &(Sent, u32))| {
        let mut record = json!({
            "messageId": position.to_string(), "receiptHandle": "r", "body": message.body,
            "attributes": { "ApproximateReceiveCount": receive_count.to_string() },
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
        });
        if let Some(header) = &message.trace_header {
            record["attributes"]["AWSTraceHeader"] = header.as_str().into();
        }
        record
    };
    json!({ "Records": messages.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// Returns the positions of the messages that the worker reported as failed.
#[must_use]
pub fn failed(response: &Value) -> BTreeSet<usize> {
    let failures = response["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().parse().unwrap()).collect()
}
