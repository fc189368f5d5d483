//! A look at the messages of a queue: each once, and all visible again afterwards.

use std::collections::{HashMap, HashSet};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName};
use time::OffsetDateTime;

use crate::error::CliError;

/// Messages of one call (AWS limit).
const MAX_BATCH: i32 = 10;
/// How long a message that was received is hidden from others, in seconds: until the command gives it back, or if it
/// dies first.
const HIDDEN_SECONDS: i32 = 120;
/// How long a receive waits for messages, in seconds.
const WAIT_SECONDS: i32 = 1;
/// Receives without any message after which a queue counts as seen: one alone may just miss some.
const EMPTY_RECEIVES: usize = 2;

/// A look at the messages that were in a queue when it began. (What is sent back and fails again at once comes back as
/// a new message; it would be sent back for ever.)
pub struct DlqReader<'a> {
    sqs: &'a Client,
    url: &'a str,
    began: OffsetDateTime,
    seen: HashSet<String>,
    /// Messages that are to be visible again afterwards, by their IDs.
    handles: HashMap<String, String>,
}

impl<'a> DlqReader<'a> {
    /// Begins.
    pub fn new(sqs: &'a Client, url: &'a str) -> Self {
        Self { sqs, url, began: OffsetDateTime::now_utc(), seen: HashSet::new(), handles: HashMap::new() }
    }

    /// The next messages that were not seen before; `None` when there seem to be no more.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Message>>, CliError> {
        let (mut empty, mut known) = (0, 0);
        // Messages come again once they are no longer hidden. Each receive hides what it brings for another while, so
        // after as many as there are messages, nothing else comes.
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
    /// If SQS does not say that it is gone.
    pub async fn delete(&mut self, message: &Message) -> Result<(), CliError> {
        let handle = message.receipt_handle().unwrap_or_default();
        let deleting = self.sqs.delete_message().queue_url(self.url).receipt_handle(handle).send().await;
        deleting.map_err(CliError::aws("SQS DeleteMessage"))?;
        self.handles.remove(message.message_id().unwrap_or_default());
        Ok(())
    }

    /// Makes what was only looked at visible again.
    ///
    /// # Errors
    /// If SQS does not answer; it becomes visible by itself then, a little later.
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
            let giving = self.sqs.change_message_visibility_batch().queue_url(self.url).set_entries(Some(entries));
            giving.send().await.map_err(CliError::aws("SQS ChangeMessageVisibilityBatch"))?;
        }
        Ok(())
    }
}

/// When the message was put into the queue that it was sent to first.
pub fn sent_at(message: &Message) -> Option<OffsetDateTime> {
    let milliseconds = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?.parse::<i128>().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(milliseconds * 1_000_000).ok()
}
