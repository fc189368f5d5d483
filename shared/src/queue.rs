//! Sending messages to a queue, dead-lettering them and changing their visibility timeout.

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

/// Maximum messages in a call (AWS limit).
const MAX_BATCH: usize = 10;
/// Maximum bytes of all messages in a call. The AWS limit is 1 MiB; this stays below it.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// Maximum attempts of a call. Attempts after the first send only what SQS has not accepted.
const MAX_ROUNDS: u32 = 6;
/// Maximum concurrent calls of one request.
const CONCURRENT_CALLS: usize = 8;
/// Time after which no attempt other than the second starts. One more attempt may take as long as a call may (see
/// [`crate::aws`]). The second is always made, because the first may have met a dead connection (see
/// [`crate::connections`]).
const LONGEST_SENDING: Duration = Duration::from_secs(1);
/// Maximum wait before the second attempt. It grows with each attempt, and the actual wait is random.
const ROUND_WAIT: Duration = Duration::from_millis(50);

/// A queue and its client.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// An error of a call that SQS may not have accepted. Sending the message again is safe.
#[derive(Debug, thiserror::Error)]
#[error("SQS {call}: {reason}")]
pub struct SendError {
    call: &'static str,
    reason: String,
    effect: Effect,
}

/// The effect that a failed call may have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No effect: the call did not leave this process, or SQS rejected it as a whole.
    Nothing,
    /// SQS may have accepted a message, or has.
    Unknown,
}

impl SendError {
    const fn new(reason: String) -> Self {
        Self { call: "SendMessage", reason, effect: Effect::Unknown }
    }

    /// Creates an error for a call that sent nothing.
    const fn of_nothing_sent(reason: String) -> Self {
        Self { call: "SendMessage", reason, effect: Effect::Nothing }
    }

    /// Returns the effect that the call may have had although it failed.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }
}

impl Queue {
    /// Creates a queue from its URL.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends the message. The message group is the organization, so that a standard queue serves tenants fairly.
    ///
    /// # Errors
    /// Returns [`SendError`] if SQS did not confirm the message.
    pub async fn send<T: Instruction>(&self, message: &Message<T>) -> Result<(), SendError> {
        self.send_later(message, Duration::ZERO).await
    }

    /// Sends the message with a delay of at most 15 minutes (AWS limit), during which it cannot be received.
    ///
    /// # Errors
    /// Returns [`SendError`] if SQS did not confirm the message.
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

    /// Sends the messages in as few calls as possible, and resends those that SQS did not accept.
    ///
    /// # Errors
    /// Returns [`SendError`] if any message was not accepted in the end.
    pub async fn send_all<T: Instruction>(&self, messages: &[Message<T>]) -> Result<(), SendError> {
        let refused = self.send_each(messages).await?;
        refused.into_iter().next().map_or(Ok(()), |(_, reason)| Err(SendError::new(reason)))
    }

    /// Sends the messages like [`Self::send_all`], but returns the positions and error codes of those that SQS
    /// definitely rejected.
    ///
    /// # Errors
    /// Returns [`SendError`] if the outcome of any message is unknown. Its [`Effect`] covers all messages together.
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
                // Wait for calls in progress: the messages that they send count.
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

    /// Sends the entries of one call, unless another call has failed. Also returns the number of entries.
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

    /// Sends the entries of one call and returns those that SQS rejected.
    ///
    /// Attempts are made here and not by the SDK. SQS may reject a message that it accepted in an earlier attempt
    /// whose response was lost; only code that sees every attempt can report that as unknown.
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

    /// Makes one call. Leaves in `open` what SQS has not accepted, and returns the same entries with the reasons.
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
        refused.ok_or_else(|| SendError::new("no result for a message".to_owned()))
    }

    /// Sends a message that cannot be handled to this dead-letter queue. The body is unchanged, and the reason is an
    /// attribute.
    ///
    /// # Errors
    /// Returns [`SendError`] if SQS did not confirm the message. A message at SQS's size limit has no room for its
    /// reason.
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

    /// Changes the visibility timeout of a received message.
    ///
    /// # Errors
    /// Returns [`SendError`] if SQS did not confirm the change. The message is then redelivered after the queue's
    /// visibility timeout.
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

/// Returns the attribute that makes the worker's trace part of this invocation's, by which Lambda recognizes recursive
/// loops (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>), also if nothing is traced. SQS does
/// not count it in the message's size.
fn trace() -> Option<SystemAttributes> {
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace::header()?).build();
    value.ok().map(|value| HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)]))
}

/// Converts a duration to SQS's whole seconds.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn reason<E: ProvideErrorMetadata, R>(error: &aws_sdk_sqs::error::SdkError<E, R>) -> String {
    error.code().map_or_else(
        || crate::aws::transport_reason(error),
        |code| format!("{code}: {}", error.message().unwrap_or_default()),
    )
}

/// Maximum length of a dead letter's reason, in bytes. Our limit.
const MAX_REASON_BYTES: usize = 512;

/// Returns the text restricted to the characters that SQS accepts in an attribute, and truncated to the maximum
/// length.
fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    let text = text.trim();
    if text.is_empty() { "unknown".to_owned() } else { text[..text.len().min(MAX_REASON_BYTES)].to_owned() }
}

/// Returns the value as JSON in ASCII without control characters. SQS rejects control characters, U+FFFE and U+FFFF
/// (AWS limit), and terminals interpret some of them.
///
/// # Errors
/// Returns an error if the value cannot be serialized.
pub fn ascii_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut ascii = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            // In JSON, non-ASCII text occurs only in strings, where an escape has the same meaning.
            for unit in c.encode_utf16(&mut units) {
                // Writing to a `String` cannot fail.
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
