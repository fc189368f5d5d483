//! Publishing on the event bus.
//!
//! `PutEvents` responds with 200 even if some entries failed. So each entry's own result is checked and returned for
//! its event. A message is acknowledged only if all its events are published.

use std::time::{Duration, Instant};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures_util::stream::{self, StreamExt};

use crate::batching;
use crate::domain::event::Event;
use crate::metrics::Metrics;

/// The source of all events, which the rules on the bus match.
const SOURCE: &str = "bindery";
/// Maximum entries in a call (AWS limit).
const MAX_ENTRIES: usize = 10;
/// Maximum bytes in a call, within the AWS limit.
const MAX_BYTES: usize = 256 * 1024;
/// Upper bound of an entry's size beyond its detail.
const ENTRY_OVERHEAD_BYTES: usize = 256;
/// Maximum concurrent calls: those of a chunk of a bulk.
const CONCURRENT_CALLS: usize = 10;
/// Maximum rounds. Rounds after the first put only failed entries.
const MAX_ROUNDS: u32 = 3;
/// Maximum wait before the second round. It doubles with each round, and the actual wait is random.
const ROUND_WAIT: Duration = Duration::from_millis(50);

/// Maximum duration of any function (AWS limit).
const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);

/// The event bus and its client.
#[derive(Debug, Clone)]
pub struct EventBus {
    client: Client,
    name: String,
    metrics: Metrics,
}

/// The error for an event that may not be on the bus. Publishing the event again is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("EventBridge PutEvents: {0}")]
pub struct PublishError(String);

impl EventBus {
    /// Creates a bus from its name. Published events are counted in the metrics.
    #[must_use]
    pub const fn new(client: Client, name: String, metrics: Metrics) -> Self {
        Self { client, name, metrics }
    }

    /// Publishes the events, and returns only when all of them are published. The caller limits the time.
    ///
    /// # Errors
    /// Returns the error of the first event that is not, or may not be, published.
    pub async fn publish_all(&self, events: &[Event]) -> Result<(), PublishError> {
        self.publish(events, Instant::now() + LONGEST_RUN).await.into_iter().collect()
    }

    /// Publishes the events in as few calls as possible, and returns a result for each, in their order. Attempts stop
    /// at `until`.
    pub async fn publish(&self, events: &[Event], until: Instant) -> Vec<Result<(), PublishError>> {
        let results = self.put_all(events, until).await;
        let published = events.iter().zip(&results).filter(|(_, result)| result.is_ok());
        published.for_each(|(event, _)| self.metrics.published(event));
        results
    }

    async fn put_all(&self, events: &[Event], until: Instant) -> Vec<Result<(), PublishError>> {
        let mut results = vec![Err(PublishError("timed out".to_owned())); events.len()];
        let mut open = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.entry(event) {
                Ok(entry) => open.push((index, entry)),
                Err(error) => results[index] = Err(error),
            }
        }
        for round in 0..MAX_ROUNDS {
            if open.is_empty() {
                break;
            }
            if round > 0 {
                let wait = ROUND_WAIT * 2_u32.pow(round - 1);
                tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
            }
            let size =
                |(_, entry): &(usize, PutEventsRequestEntry)| entry.detail().map_or(0, str::len) + ENTRY_OVERHEAD_BYTES;
            let calls = batching::calls(&open, MAX_ENTRIES, MAX_BYTES, size);
            let mut puts = stream::iter(calls).map(|call| self.put(call)).buffer_unordered(CONCURRENT_CALLS);
            loop {
                match tokio::time::timeout_at(until.into(), puts.next()).await {
                    Ok(Some(put)) => put.into_iter().for_each(|(index, result)| results[index] = result),
                    Ok(None) => break,
                    Err(_elapsed) => return results,
                }
            }
            drop(puts);
            open.retain(|(index, _)| results[*index].is_err());
        }
        results
    }

    fn entry(&self, event: &Event) -> Result<PutEventsRequestEntry, PublishError> {
        let detail = serde_json::to_string(event).map_err(|error| PublishError(error.to_string()))?;
        Ok(PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(event.event_type)
            .detail(detail)
            .build())
    }

    async fn put(&self, call: &[(usize, PutEventsRequestEntry)]) -> Vec<(usize, Result<(), PublishError>)> {
        let entries = call.iter().map(|(_, entry)| entry.clone()).collect();
        let output = match self.client.put_events().set_entries(Some(entries)).send().await {
            Ok(output) => output,
            Err(error) => {
                let reason = error.code().map_or_else(|| crate::aws::transport_reason(&error), ToOwned::to_owned);
                return call.iter().map(|(index, _)| (*index, Err(PublishError(reason.clone())))).collect();
            }
        };
        let result = |position: usize| match output.entries().get(position) {
            Some(entry) if entry.error_code().is_none() && entry.event_id().is_some() => Ok(()),
            Some(entry) => Err(PublishError(entry.error_code().unwrap_or("no event ID").to_owned())),
            None => Err(PublishError("no result for the entry".to_owned())),
        };
        call.iter().enumerate().map(|(position, (index, _))| (*index, result(position))).collect()
    }
}
