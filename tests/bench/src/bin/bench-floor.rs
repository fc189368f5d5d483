//! The floor for the time of a cancel: a function that makes the same conditional writes, and optionally puts the
//! same number of events, and does nothing else. It uses the same client, the same kind of process, and the same
//! number of concurrent calls.
#![allow(clippy::unwrap_used)]

use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures_util::stream::{self, StreamExt};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use shared::aws::Aws;
use tests::payloads::ORG;

/// Concurrent calls, as in a worker.
const CALLS: usize = 4;
/// The size of an event, as in a worker.
const EVENT_BYTES: usize = 750;

/// The cards that are canceled.
#[derive(Deserialize)]
struct Range {
    first: u64,
    count: u64,
    with_events: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = Aws::from_env()?;
    let (dynamodb, eventbridge) = (aws.dynamodb(), aws.eventbridge());
    let table = std::env::var("TABLE_NAME")?;
    let (dynamodb, eventbridge, table) = (&dynamodb, &eventbridge, &table);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Range>| {
        let cards: Vec<u64> = (event.payload.first..event.payload.first + event.payload.count).collect();
        let writes = cards.chunks(25).map(async |cards| {
            let statements = cards.iter().map(|card| statement(table, *card)).collect();
            let output = dynamodb.batch_execute_statement().set_statements(Some(statements)).send().await.unwrap();
            assert!(output.responses().iter().all(|response| response.error().is_none()));
        });
        stream::iter(writes).buffer_unordered(CALLS).collect::<Vec<()>>().await;
        let events = cards.chunks(if event.payload.with_events { 10 } else { usize::MAX }).map(async |cards| {
            let entries = cards.iter().map(|card| entry(*card)).collect();
            eventbridge.put_events().set_entries(Some(entries)).send().await.unwrap();
        });
        if event.payload.with_events {
            stream::iter(events).buffer_unordered(CALLS).collect::<Vec<()>>().await;
        }
        Ok::<_, Error>(event.payload.count)
    }))
    .await
}

/// Returns the statement that the worker would run.
fn statement(table: &str, card: u64) -> BatchStatementRequest {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let mark = [("by", "00000000-0000-7000-8000-000000000000"), ("at", "2026-11-22T00:00:00.000Z")];
    let mark = mark.map(|(name, value)| (name.to_owned(), text(value)));
    BatchStatementRequest::builder()
        .statement(format!(
            r#"UPDATE "{table}" SET "status" = ? SET "canceled" = ? WHERE "pk" = ? AND "sk" = ? AND "status" = ?"#
        ))
        .parameters(text("CANCELED"))
        .parameters(AttributeValue::M(mark.into()))
        .parameters(text(&format!("{ORG}#CARD#{card}")))
        .parameters(text("CARD"))
        .parameters(text("UNBOUND"))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .unwrap()
}

fn entry(card: u64) -> PutEventsRequestEntry {
    let id = format!(r#"{{"event_id":"{card}","filled":""#);
    let detail = format!("{id}{}\"}}", "x".repeat(EVENT_BYTES - id.len()));
    PutEventsRequestEntry::builder()
        .event_bus_name("bench")
        .source("bindery")
        .detail_type("floor")
        .detail(detail)
        .build()
}
