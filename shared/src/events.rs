//! Publishing on the event bus.
//!
//! `PutEvents` answers 200 even when entries of it failed. Each entry's own answer is looked at, and
//! each event's fate told to the caller, who lets a message go only when all its events are out.

use std::time::{Duration, Instant};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures_util::stream::{self, StreamExt};

use crate::batching;
use crate::domain::event::Event;
use crate::metrics::Metrics;

/// What all events name as their source, for the rules on the bus.
const SOURCE: &str = "bindery";
/// Entries of one call (AWS limit).
const MAX_ENTRIES: usize = 10;
/// Bytes of one call (AWS limit), of which we use no more than this.
const MAX_BYTES: usize = 256 * 1024;
/// What an entry counts beyond its own texts, generously.
const ENTRY_OVERHEAD_BYTES: usize = 256;
/// Calls at the same time: those of a chunk of a bulk.
const CONCURRENT_CALLS: usize = 10;
/// Rounds in which entries that failed are put again.
const MAX_ROUNDS: u32 = 3;
/// Longest wait before the second round; doubled for each further one, and drawn at random below that.
const ROUND_WAIT: Duration = Duration::from_millis(50);

/// No function runs longer (AWS limit).
const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);

/// The bus, through one client.
#[derive(Debug, Clone)]
pub struct EventBus {
    client: Client,
    name: String,
    metrics: Metrics,
}

/// The event is not, or may not be, on the bus. Publishing it again does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("EventBridge PutEvents: {0}")]
pub struct PublishError(String);

impl EventBus {
    /// The bus of this name; what is published on it is counted.
    #[must_use]
    pub const fn new(client: Client, name: String, metrics: Metrics) -> Self {
        Self { client, name, metrics }
    }

    /// Publishes the events, and is done only when all of them are out. Whoever calls it limits its time.
    ///
    /// # Errors
    /// That of the first event that is not out, or may not be.
    pub async fn publish_all(&self, events: &[Event]) -> Result<(), PublishError> {
        self.publish(events, Instant::now() + LONGEST_RUN).await.into_iter().collect()
    }

    /// Publishes the events, in as few calls as they fit in, and answers each one's fate in their
    /// order. What is not out at `until` is given up.
    pub async fn publish(&self, events: &[Event], until: Instant) -> Vec<Result<(), PublishError>> {
        let fates = self.put_all(events, until).await;
        let published = events.iter().zip(&fates).filter(|(_, fate)| fate.is_ok());
        published.for_each(|(event, _)| self.metrics.published(event));
        fates
    }

    async fn put_all(&self, events: &[Event], until: Instant) -> Vec<Result<(), PublishError>> {
        let mut fates = vec![Err(PublishError("no answer in time".to_owned())); events.len()];
        let mut open = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.entry(event) {
                Ok(entry) => open.push((index, entry)),
                Err(error) => fates[index] = Err(error),
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
                    Ok(Some(answers)) => answers.into_iter().for_each(|(index, fate)| fates[index] = fate),
                    Ok(None) => break,
                    Err(_elapsed) => return fates,
                }
            }
            drop(puts);
            open.retain(|(index, _)| fates[*index].is_err());
        }
        fates
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
        let fate = |position: usize| match output.entries().get(position) {
            Some(answer) if answer.error_code().is_none() && answer.event_id().is_some() => Ok(()),
            Some(answer) => Err(PublishError(answer.error_code().unwrap_or("no event ID").to_owned())),
            None => Err(PublishError("no answer for the entry".to_owned())),
        };
        call.iter().enumerate().map(|(position, (index, _))| (*index, fate(position))).collect()
    }
}
