//! Sending to a queue.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use aws_smithy_types::retry::RetryConfig;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::message::Message;
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
}

impl SendError {
    const fn new(reason: String) -> Self {
        Self { call: "SendMessage", reason }
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
    pub async fn send<T: Serialize + Sync>(&self, message: &Message<T>) -> Result<(), SendError> {
        self.send_later(message, Duration::ZERO).await
    }

    /// The same, but the message cannot be received before this time has passed: 15 minutes at most (AWS limit).
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it has it.
    pub async fn send_later<T: Serialize + Sync>(
        &self,
        message: &Message<T>,
        after: Duration,
    ) -> Result<(), SendError> {
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
    pub async fn send_all<T: Serialize + Sync>(&self, messages: &[Message<T>]) -> Result<(), SendError> {
        let refused = self.send_each(messages).await?;
        refused.into_iter().next().map_or(Ok(()), |(_, reason)| Err(SendError::new(reason)))
    }

    /// The same, but answers those that SQS is sure not to have taken, by their positions, and why.
    ///
    /// # Errors
    /// [`SendError`] if any try of a call whose messages were not all taken in the end had no answer: SQS may have taken
    /// them then.
    pub async fn send_each<T: Serialize + Sync>(
        &self,
        messages: &[Message<T>],
    ) -> Result<BTreeMap<usize, String>, SendError> {
        let entries: Result<Vec<_>, _> = messages.iter().enumerate().map(batch_entry).collect();
        let entries = entries?;
        let calls = batching::calls(&entries, MAX_BATCH, MAX_BATCH_BYTES, |entry| entry.message_body().len());
        let sending: Vec<_> = calls.into_iter().map(|entries| self.send_batch(entries)).collect();
        let refused: Vec<Vec<_>> = stream::iter(sending).buffered(CONCURRENT_CALLS).try_collect().await?;
        Ok(refused.into_iter().flatten().collect())
    }

    /// Sends what fits into one call; answers what SQS said it did not take.
    ///
    /// The tries are counted here, and not hidden in the SDK: a message that SQS refuses in one try it may have taken in one
    /// before, whose answer was lost.
    async fn send_batch(&self, entries: &[SendMessageBatchRequestEntry]) -> Result<Vec<(usize, String)>, SendError> {
        let (mut open, started) = (entries.to_vec(), Instant::now());
        let mut unanswered = None;
        for round in 1.. {
            let call = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(open.clone()));
            let once = aws_sdk_sqs::Config::builder().retry_config(RetryConfig::disabled());
            let mut refused = Vec::new();
            match call.customize().config_override(once).send().await {
                Ok(output) => {
                    open.retain(|entry| output.successful().iter().all(|sent| sent.id() != entry.id()));
                    refused = output.failed;
                }
                Err(error) => unanswered = Some(reason(&error)),
            }
            if open.is_empty() {
                break;
            }
            if round == MAX_ROUNDS || round > 1 && started.elapsed() > LONGEST_SENDING {
                if let Some(reason) = unanswered {
                    return Err(SendError::new(reason));
                }
                let refused = |entry: &SendMessageBatchRequestEntry| {
                    let failed = refused.iter().find(|failed| failed.id() == entry.id())?;
                    Some((entry.id().parse().ok()?, failed.code().to_owned()))
                };
                let refused: Option<Vec<_>> = open.iter().map(refused).collect();
                return refused.ok_or_else(|| SendError::new("no answer for a message".to_owned()));
            }
            tokio::time::sleep((ROUND_WAIT * round).mul_f64(fastrand::f64())).await;
        }
        Ok(Vec::new())
    }

    /// Puts a message that cannot be handled into this (dead-letter) queue as it came, and the reason
    /// beside it.
    ///
    /// # Errors
    /// [`SendError`] if SQS did not say that it has it; a message at SQS's size limit has no room for
    /// its reason.
    pub async fn bury(&self, body: &str, reason_of_death: &str, message_id: &str) -> Result<(), SendError> {
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
            .message_attributes("reason", attribute(&printable(reason_of_death))?)
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
    pub async fn hide(&self, receipt_handle: &str, time: Duration) -> Result<(), SendError> {
        let call = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
        let done = call.visibility_timeout(seconds(time)).send().await;
        done.map_err(|error| SendError { call: "ChangeMessageVisibility", reason: reason(&error) })?;
        Ok(())
    }
}

fn batch_entry<T: Serialize>(
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

/// JSON in ASCII alone. SQS refuses control characters, U+FFFE and U+FFFF (AWS limit), and an external
/// ID may be any text.
fn ascii_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
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
