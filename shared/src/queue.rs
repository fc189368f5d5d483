//! Sending to a queue.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use aws_smithy_types::retry::RetryConfig;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::aws::did_nothing;
use crate::message::{Instruction, Message};
use crate::{batching, trace};

/// Messages of one call (AWS limit).
const MAX_BATCH: usize = 10;
/// Bytes of all messages of one call (AWS limit: 1 MiB), of which we use no more than this.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// Tries of a call: the first, and those for what was not taken.
const MAX_ROUNDS: u32 = 6;
/// Calls at the same time, of one request.
const CONCURRENT_CALLS: usize = 8;
/// Time after which no further try of a call is begun but the second: one more may take as long as a call may (see
/// [`crate::aws`]), and the first may have met a dead connection (see [`crate::connections`]).
const LONGEST_SENDING: Duration = Duration::from_secs(1);
/// Longest wait before the second try; more for each further one, and drawn at random below that.
const ROUND_WAIT: Duration = Duration::from_millis(50);

/// A queue, through one client.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// The message was not, or may not have been, taken by the queue. Sending it again does no harm.
#[derive(Debug, thiserror::Error)]
#[error("SQS {call}: {reason}")]
pub struct SendError {
    call: &'static str,
    reason: String,
    effect: Effect,
}

/// What a call that failed may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, for sure: it did not leave this process, or SQS refused it as a whole.
    Nothing,
    /// SQS may have taken a message, or has.
    Unknown,
}

impl SendError {
    const fn new(reason: String) -> Self {
        Self { call: "SendMessage", reason, effect: Effect::Unknown }
    }

    /// That nothing of it was sent.
    const fn of_nothing_sent(reason: String) -> Self {
        Self { call: "SendMessage", reason, effect: Effect::Nothing }
    }

    /// Returns what the call may have done all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }
}

impl Queue {
    /// The queue at this URL.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends the message. Its group is its organisation, which makes a standard queue share its
    /// workers fairly between tenants.
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it has it.
    pub async fn send<T: Instruction>(&self, message: &Message<T>) -> Result<(), SendError> {
        self.send_later(message, Duration::ZERO).await
    }

    /// The same, but the message cannot be received before this time has passed: 15 minutes at most (AWS limit).
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it has it.
    pub async fn send_later<T: Instruction>(&self, message: &Message<T>, after: Duration) -> Result<(), SendError> {
        let body = ascii_json(message).map_err(|error| SendError::new(error.to_string()))?;
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_group_id(message.org_id.as_str())
            .set_message_system_attributes(trace())
            .set_delay_seconds(Some(seconds(after)).filter(|seconds| *seconds > 0))
            .message_body(body)
            .send()
            .await
            .map_err(|error| SendError::new(reason(&error)))?;
        Ok(())
    }

    /// Sends the messages, as many to a call as fit, and again those that SQS did not take.
    ///
    /// # Errors
    /// [`SendError`] if any of them was not taken in the end.
    pub async fn send_all<T: Instruction>(&self, messages: &[Message<T>]) -> Result<(), SendError> {
        let refused = self.send_each(messages).await?;
        refused.into_iter().next().map_or(Ok(()), |(_, reason)| Err(SendError::new(reason)))
    }

    /// The same, but answers those that SQS is sure not to have taken, by their positions, and why.
    ///
    /// # Errors
    /// [`SendError`] if it cannot be said of each. Its [`Effect`] is that of all these messages together.
    pub async fn send_each<T: Instruction>(
        &self,
        messages: &[Message<T>],
    ) -> Result<BTreeMap<usize, String>, SendError> {
        let entries: Result<Vec<_>, _> = messages.iter().enumerate().map(batch_entry).collect();
        let entries = entries?;
        let calls = batching::calls(&entries, MAX_BATCH, MAX_BATCH_BYTES, |entry| entry.message_body().len());
        let has_failed = AtomicBool::new(false);
        let sending: Vec<_> = calls.into_iter().map(|entries| self.send_unless(&has_failed, entries)).collect();
        let mut sending = stream::iter(sending).buffer_unordered(CONCURRENT_CALLS);
        let (mut refused, mut taken, mut failed) = (BTreeMap::new(), 0, None);
        while let Some((messages, sent)) = sending.next().await {
            match sent {
                Ok(some) => {
                    taken += messages - some.len();
                    refused.extend(some);
                }
                // Calls that are under way are waited for: what they send counts.
                Err(error) if error.effect == Effect::Nothing => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failed {
            None => Ok(refused),
            Some(error) if taken == 0 => Err(error),
            Some(error) => Err(SendError { effect: Effect::Unknown, ..error }),
        }
    }

    /// Sends what fits into one call, unless another has failed. Answers how many messages those are, too.
    async fn send_unless(
        &self,
        has_failed: &AtomicBool,
        entries: &[SendMessageBatchRequestEntry],
    ) -> (usize, Result<Vec<(usize, String)>, SendError>) {
        if has_failed.load(Ordering::Relaxed) {
            return (entries.len(), Err(SendError::of_nothing_sent("another call has failed".to_owned())));
        }
        let sent = self.send_batch(entries).await;
        has_failed.fetch_or(sent.is_err(), Ordering::Relaxed);
        (entries.len(), sent)
    }

    /// Sends what fits into one call; answers what SQS said it did not take.
    ///
    /// The tries are counted here, and not hidden in the SDK: a message that SQS refuses in one try it may have taken in one
    /// before, whose answer was lost.
    async fn send_batch(&self, entries: &[SendMessageBatchRequestEntry]) -> Result<Vec<(usize, String)>, SendError> {
        let (mut open, started) = (entries.to_vec(), Instant::now());
        let mut unsure = None;
        for round in 1.. {
            let tried = self.send_once(&mut open).await;
            if open.is_empty() {
                break;
            }
            if round == MAX_ROUNDS || round > 1 && started.elapsed() > LONGEST_SENDING {
                return match (unsure, tried) {
                    (Some(error), _) => Err(error),
                    (None, Err(error)) if open.len() < entries.len() => {
                        Err(SendError { effect: Effect::Unknown, ..error })
                    }
                    (None, tried) => tried,
                };
            }
            unsure = unsure.or(tried.err().filter(|error| error.effect == Effect::Unknown));
            tokio::time::sleep((ROUND_WAIT * round).mul_f64(fastrand::f64())).await;
        }
        Ok(Vec::new())
    }

    /// Makes one call; leaves what SQS has not taken, and answers that again, each with the reason.
    async fn send_once(&self, open: &mut Vec<SendMessageBatchRequestEntry>) -> Result<Vec<(usize, String)>, SendError> {
        let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(open.clone()));
        let once = aws_sdk_sqs::Config::builder().retry_config(RetryConfig::disabled());
        let output = call.customize().config_override(once).send().await.map_err(|error| {
            let new = if did_nothing(&error) { SendError::of_nothing_sent } else { SendError::new };
            new(reason(&error))
        })?;
        open.retain(|entry| output.successful().iter().all(|sent| sent.id() != entry.id()));
        let refused = |entry: &SendMessageBatchRequestEntry| {
            let failed = output.failed().iter().find(|failed| failed.id() == entry.id())?;
            Some((entry.id().parse().ok()?, failed.code().to_owned()))
        };
        let refused: Option<Vec<_>> = open.iter().map(refused).collect();
        refused.ok_or_else(|| SendError::new("no answer for a message".to_owned()))
    }

    /// Puts a message that cannot be handled into this (dead-letter) queue as it came, and the reason
    /// beside it.
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it has it; a message at SQS's size limit has no room for
    /// its reason.
    pub async fn dead_letter(&self, body: &str, cause: &str, message_id: &str) -> Result<(), SendError> {
        let attribute = |value: &str| {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| SendError::new(error.to_string()))
        };
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_attributes("reason", attribute(&printable(cause))?)
            .message_attributes("source_message_id", attribute(message_id)?)
            .send()
            .await
            .map_err(|error| SendError::new(reason(&error)))?;
        Ok(())
    }

    /// Has a message that was received come back after this time.
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it will: then it comes back after the visibility timeout.
    pub async fn change_visibility(&self, receipt_handle: &str, time: Duration) -> Result<(), SendError> {
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
        let done = call.visibility_timeout(seconds(time)).send().await;
        done.map_err(|error| SendError { call: "ChangeMessageVisibility", ..SendError::new(reason(&error)) })?;
        Ok(())
    }
}

fn batch_entry<T: Instruction>(
    (index, message): (usize, &Message<T>),
) -> Result<SendMessageBatchRequestEntry, SendError> {
    SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_group_id(message.org_id.as_str())
        .set_message_system_attributes(trace())
        .message_body(ascii_json(message).map_err(|error| SendError::new(error.to_string()))?)
        .build()
        .map_err(|error| SendError::new(error.to_string()))
}

type SystemAttributes = HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>;

/// What makes the worker's trace a part of this invocation's. SQS does not count it into the message's size.
fn trace() -> Option<SystemAttributes> {
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace::header()?).build();
    value.ok().map(|value| HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)]))
}

/// A time as SQS counts it.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn reason<E: ProvideErrorMetadata, R>(error: &aws_sdk_sqs::error::SdkError<E, R>) -> String {
    error.code().map_or_else(
        || crate::aws::transport_reason(error),
        |code| format!("{code}: {}", error.message().unwrap_or_default()),
    )
}

/// Longest reason kept beside a dead letter, in bytes. Ours.
const MAX_REASON_BYTES: usize = 512;

/// Only what SQS takes in an attribute, and not too much of it.
fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    let text = text.trim();
    if text.is_empty() { "unknown".to_owned() } else { text[..text.len().min(MAX_REASON_BYTES)].to_owned() }
}

/// Returns JSON in ASCII alone, without a control character. SQS refuses these, U+FFFE and U+FFFF (AWS limit); a terminal
/// obeys some.
///
/// # Errors
/// Those of the value's serializing.
pub fn ascii_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut ascii = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            // Outside ASCII is only text within strings, where an escape says the same.
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    Ok(ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reason_fits_into_an_attribute() {
        assert_eq!(printable("käse\n"), "k?se?");
        assert_eq!(printable(""), "unknown");
        assert_eq!(printable(&"x".repeat(2000)).len(), MAX_REASON_BYTES);
    }

    proptest! {
        #[test]
        fn any_text_travels_as_printable_ascii(text in any::<String>()) {
            let json = ascii_json(&text).unwrap();
            prop_assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
