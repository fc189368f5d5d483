//! The functions' own binaries, run by the test between a Runtime API and a proxy to the emulator: killed
//! between any two of their calls, handed messages again and out of order, and lied to by AWS.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deaths;
mod lies;
mod secrets;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::domain::card::Card;
use tests::arena::Arena;
use tests::function::{Function, Invocation};
use tests::{seed, variable};

const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
const ACCOUNT: u64 = 400_155_667_788;
const CUSTOMER: u64 = 700_155_667_788;

/// An API Gateway event for a bind, from a caller that the gateway let in.
fn bind_event(card: u64, reissued: Option<u64>, key: &str) -> Value {
    let body = reissued.map(|card| json!({ "reissued_card_id": card }).to_string());
    json!({
        "version": "2.0", "routeKey": "PUT /wallet/v2/cards/{cardId}/noname/bind",
        "rawPath": format!("/wallet/v2/cards/{card}/noname/bind"), "rawQueryString": "",
        "headers": {
            "host": "api.test", "content-type": "application/json", "idempotency-key": key,
            "x-account-id": ACCOUNT.to_string(), "x-customer-id": CUSTOMER.to_string(), "x-correlation-id": key,
        },
        "requestContext": {
            "accountId": "0", "apiId": "test", "stage": "$default", "requestId": "r", "routeKey": "$default",
            "http": { "method": "PUT", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t" },
            "authorizer": { "jwt": { "claims": {
                "tenant_id": ORG, "account_id": ACCOUNT.to_string(), "scope": "cards:write",
            } } },
        },
        "pathParameters": { "cardId": card.to_string() }, "body": body, "isBase64Encoded": false,
    })
}

/// An SQS event of these messages; the IDs are their positions.
fn batch(messages: &[(String, u32)]) -> Value {
    let record = |(position, (body, receives)): (usize, &(String, u32))| {
        json!({
            "messageId": position.to_string(), "receiptHandle": "r", "body": body,
            "attributes": { "ApproximateReceiveCount": receives.to_string() },
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
        })
    };
    json!({ "Records": messages.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The positions that the worker named as failed.
fn failed(answer: &Value) -> BTreeSet<usize> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().parse().unwrap()).collect()
}

/// An arena with these cards.
async fn arena_with(cards: &[Card]) -> Arena {
    let arena = Arena::new().await;
    for card in cards {
        seed::put(&arena.dynamodb, &arena.table, ORG, card).await;
    }
    arena
}

/// Has the real endpoint accept these binds; answers the messages that it sent.
async fn accept(arena: &Arena, binds: &[(u64, Option<u64>)]) -> Vec<String> {
    let endpoint = Function::new("bind-card", arena.environment(&variable("AWS_ENDPOINT_URL"))).await;
    for (number, (card, reissued)) in binds.iter().enumerate() {
        let answer = endpoint.invoke(bind_event(*card, *reissued, &format!("key-{number}"))).await;
        let Invocation::Answered(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer["statusCode"], 202, "{answer}");
    }
    let messages = arena.take_messages().await;
    assert_eq!(messages.len(), binds.len());
    messages
}
