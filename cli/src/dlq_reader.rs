//! Reads each message of a queue once, and makes all of them visible again afterwards.

use std::collections::{HashMap, HashSet};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName};
use time::OffsetDateTime;

use crate::error::CliError;

/// The maximum number of messages per call (AWS limit).
const MAX_BATCH: i32 = 10;
/// The visibility timeout of received messages, in seconds. It matters only if the command dies before it makes them
/// visible again.
const HIDDEN_SECONDS: i32 = 120;
/// The time that a receive waits for messages, in seconds.
const WAIT_SECONDS: i32 = 1;
/// The number of empty receives after which the queue counts as read. A single receive can miss messages.
const EMPTY_RECEIVES: usize = 2;

/// A reader of the messages that were in a queue when the reader was created. It skips later ones: a message that is
/// sent back and fails again at once returns as a new message, and a redrive of all messages would never end.
pub struct DlqReader<'a> {
    sqs: &'a Client,
    url: &'a str,
    began: OffsetDateTime,
    seen: HashSet<String>,
    /// The receipt handles of the messages to make visible again, by message ID.
    handles: HashMap<String, String>,
}

impl<'a> DlqReader<'a> {
    /// Creates a reader of the queue with this URL.
    pub fn new(sqs: &'a Client, url: &'a str) -> Self {
        Self { sqs, url, began: OffsetDateTime::now_utc(), seen: HashSet::new(), handles: HashMap::new() }
    }

    /// Returns the next messages that were not read before, or `None` if there seem to be no more.
    ///
    /// # Errors
    /// If SQS does not respond.
    pub async fn next(&mut self) -> Result<Option<Vec<Message>>, CliError> {
        let (mut empty, mut known) = (0, 0);
        // Known messages return when their visibility timeout ends, and each receive hides some of them again. After as
        // many such receives as there are known messages, no new message is left.
        while empty < EMPTY_RECEIVES && known <= self.handles.len() {
            let mut messages = self.receive().await?;
            *(if messages.is_empty() { &mut empty } else { &mut known }) += 1;
            messages.retain(|message| {
                let is_new = self.seen.insert(message.message_id().unwrap_or_default().to_owned());
                is_new && sent_at(message).is_none_or(|sent| sent <= self.began)
            });
            if !messages.is_empty() {
                return Ok(Some(messages));
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<Vec<Message>, CliError> {
        let receiving = self
            .sqs
            .receive_message()
            .queue_url(self.url)
            .max_number_of_messages(MAX_BATCH)
            .visibility_timeout(HIDDEN_SECONDS)
            .wait_time_seconds(WAIT_SECONDS)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receiving.send().await.map_err(CliError::aws("SQS ReceiveMessage"))?;
        let messages = received.messages.unwrap_or_default();
        for message in &messages {
            let (id, handle) = (message.message_id().unwrap_or_default(), message.receipt_handle().unwrap_or_default());
            self.handles.insert(id.to_owned(), handle.to_owned());
        }
        Ok(messages)
    }

    /// Deletes the message from the queue.
    ///
    /// # Errors
    /// If SQS does not confirm the deletion.
    pub async fn delete(&mut self, message: &Message) -> Result<(), CliError> {
        let handle = message.receipt_handle().unwrap_or_default();
        let deleting = self.sqs.delete_message().queue_url(self.url).receipt_handle(handle).send().await;
        deleting.map_err(CliError::aws("SQS DeleteMessage"))?;
        self.handles.remove(message.message_id().unwrap_or_default());
        Ok(())
    }

    /// Makes the messages that were not deleted visible again.
    ///
    /// # Errors
    /// If SQS does not respond. The messages then become visible when their visibility timeout ends.
    pub async fn release(self) -> Result<(), CliError> {
        let handles: Vec<String> = self.handles.into_values().collect();
        for handles in handles.chunks(MAX_BATCH.unsigned_abs() as usize) {
            let entry = |(index, handle): (usize, &String)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(handle)
                    .visibility_timeout(0)
                    .build()
                    .map_err(|error| CliError::new(error.to_string()))
            };
            let entries = handles.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
            let changing = self.sqs.change_message_visibility_batch().queue_url(self.url).set_entries(Some(entries));
            let changed = changing.send().await.map_err(CliError::aws("SQS ChangeMessageVisibilityBatch"));
            changed.map_err(|failure| failure.of("the messages stay hidden for up to two minutes"))?;
        }
        Ok(())
    }
}

/// Returns when the message was sent: by a worker to the dead-letter queue, or to its first queue if SQS moved it
/// since.
pub fn sent_at(message: &Message) -> Option<OffsetDateTime> {
    let milliseconds = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?.parse::<i128>().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(milliseconds * 1_000_000).ok()
}
