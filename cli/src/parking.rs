//! `bindery dead-letters park`, `parked` and `unpark`: dead letters that no worker can handle, or that must
//! wait.
//!
//! A parked message has the body and the attributes of the dead letter, and three more attributes. It is a new message
//! for SQS, which deletes it when the retention of the queue of parked messages has passed since then: "For standard
//! queues, the expiration of a message is always based on its original enqueue timestamp"
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html>),
//! and only SQS's own move keeps that time.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, QueueAttributeName};
use clap::Args;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::confirm::confirm;
use crate::dead_letters::{LIMIT, attribute, rows, summary};
use crate::dlq_reader::{DlqReader, sent_at};
use crate::error::CliError;
use crate::moving::{Moving, Which};
use crate::output::Output;
use crate::queues::depth;
use crate::stack::Stack;

/// The attribute with the name of the queue whose dead letter the message is.
const PARKED_QUEUE: &str = "parked_queue";
/// The attribute with the operator's reason.
const PARKED_REASON: &str = "parked_reason";
/// The attribute with the time at which the message was parked.
const PARKED_AT: &str = "parked_at";
/// Maximum length of the operator's reason, in characters. Our limit: SQS counts attributes towards a message's size.
const MAX_REASON: usize = 256;

/// Flags of `dead-letters park`.
#[derive(Debug, Args)]
pub struct Park {
    /// The queue whose dead letters to park: a name from `bindery queues`.
    queue: String,
    #[command(flatten)]
    which: Which,
    /// The reason for other operators, in one line.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Flags of `dead-letters parked`.
#[derive(Debug, Args)]
pub struct Parked {
    /// The queue whose parked dead letters to print. By default, those of all queues.
    queue: Option<String>,
    /// The maximum number of messages to print.
    #[arg(long, default_value_t = LIMIT)]
    limit: usize,
}

/// Flags of `dead-letters unpark`.
#[derive(Debug, Args)]
pub struct Unpark {
    /// The queue whose parked dead letters to move back. By default, those of all queues.
    queue: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl Park {
    /// Parks the messages after the operator confirms, and prints when they expire.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let (sqs, from, to) = (stack.sqs(), stack.dead_letters_url(&self.queue)?, stack.parked_url()?);
        let (waiting, hidden) = depth(&sqs, from).await?;
        let (which, steps) = self.which.in_words(Some(waiting + hidden));
        confirm(&format!("Park {which} dead letter(s) of {} in {}", self.queue, stack.name), yes)?;
        let now = OffsetDateTime::now_utc();
        let expires = text(now + retention(&sqs, to).await?);
        let with = [(PARKED_QUEUE, self.queue.clone()), (PARKED_REASON, self.reason.clone()), (PARKED_AT, text(now))];
        let copy = |message: &Message| copied(&sqs, to, message, &with);
        let moving = Moving { which: &self.which, is_there: &|_| true, copy: &copy };
        let moved = moving.run(DlqReader::new(&sqs, from), output, steps, "parked").await;
        if !output.json && !moved.rows.is_empty() {
            println!("SQS deletes them at {expires}, unless you unpark them first.");
        }
        moved.end("parking")
    }
}

impl Parked {
    /// Prints the parked messages, and leaves them where they are.
    pub async fn run(self, stack: &Stack, output: Output) -> Result<(), CliError> {
        let (sqs, url) = (stack.sqs(), stack.parked_url()?);
        let is_there = from_queue(stack, self.queue.as_deref())?;
        let retained = retention(&sqs, url).await?;
        let row = |message: &Message| is_there(message).then(|| row(message, retained));
        let (rows, read) = rows(DlqReader::new(&sqs, url), self.limit, row).await;
        output.table(&["message", "queue", "expires", "operation", "tenant", "parked_reason", "reason"], &rows);
        read
    }
}

impl Unpark {
    /// Moves the messages back after the operator confirms.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let (sqs, from) = (stack.sqs(), stack.parked_url()?);
        let is_there = from_queue(stack, self.queue.as_deref())?;
        let (waiting, hidden) = depth(&sqs, from).await?;
        let (which, steps) = self.which.in_words(Some(waiting + hidden).filter(|_| self.queue.is_none()));
        let of = self.queue.as_ref().map_or_else(String::new, |queue| format!(" of {queue}"));
        confirm(&format!("Move {which} parked message(s){of} back in {}", stack.name), yes)?;
        let copy = |message: &Message| {
            let queue = attribute(message, PARKED_QUEUE)
                .ok_or_else(|| CliError::new(format!("it has no attribute {PARKED_QUEUE}: bindery did not park it")))?;
            copied(&sqs, stack.dead_letters_url(queue)?, message, &[])
        };
        let moving = Moving { which: &self.which, is_there: &is_there, copy: &copy };
        moving.run(DlqReader::new(&sqs, from), output, steps, "moved back").await.end("move")
    }
}

/// Returns a function that tells whether a parked message is of this queue, or of any if none is given.
fn from_queue<'a>(stack: &Stack, queue: Option<&'a str>) -> Result<impl Fn(&Message) -> bool + use<'a>, CliError> {
    queue.map_or(Ok(()), |queue| stack.dead_letters_url(queue).map(drop))?;
    Ok(move |message: &Message| queue.is_none_or(|queue| attribute(message, PARKED_QUEUE) == Some(queue)))
}

/// Returns the call that sends a copy of the message with these attributes of parked messages, and no others of them.
fn copied(
    sqs: &Client,
    to: &str,
    message: &Message,
    with: &[(&str, String)],
) -> Result<SendMessageFluentBuilder, CliError> {
    let attributes = attributes(message, with)?;
    let body = message.body().unwrap_or_default();
    Ok(sqs.send_message().queue_url(to).message_body(body).set_message_attributes(Some(attributes)))
}

fn attributes(message: &Message, with: &[(&str, String)]) -> Result<HashMap<String, MessageAttributeValue>, CliError> {
    let mut attributes = message.message_attributes().cloned().unwrap_or_default();
    attributes.retain(|name, _| ![PARKED_QUEUE, PARKED_REASON, PARKED_AT].contains(&name.as_str()));
    for (name, value) in with {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        attributes.insert((*name).to_owned(), value.map_err(|error| CliError::new(error.to_string()))?);
    }
    Ok(attributes)
}

/// Returns a parked message as a row of the output.
fn row(message: &Message, retained: Duration) -> Value {
    let mut row = summary(message);
    row["queue"] = json!(attribute(message, PARKED_QUEUE));
    row["parked_reason"] = json!(attribute(message, PARKED_REASON));
    row["parked_at"] = json!(attribute(message, PARKED_AT));
    row["expires"] = json!(sent_at(message).map(|at| text(at + retained)));
    row
}

/// Returns how long the queue retains a message.
async fn retention(sqs: &Client, url: &str) -> Result<Duration, CliError> {
    let name = QueueAttributeName::MessageRetentionPeriod;
    let asked = sqs.get_queue_attributes().queue_url(url).attribute_names(name.clone()).send().await;
    let attributes = asked.map_err(CliError::aws("SQS GetQueueAttributes"))?;
    let seconds = attributes.attributes().and_then(|all| all.get(&name)?.parse().ok());
    seconds.map(Duration::seconds).ok_or_else(|| CliError::new("SQS does not say how long it keeps parked messages"))
}

/// Returns the time in UTC, to the second.
fn text(at: OffsetDateTime) -> String {
    // Formatting fails only for years beyond 9999.
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// Returns the operator's reason if SQS accepts it as an attribute, and it is one short line.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.is_empty() || text.chars().count() > MAX_REASON || !text.chars().all(is_allowed) {
        return Err(format!("it must be one line of 1 to {MAX_REASON} characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> (String, MessageAttributeValue) {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
        (name.to_owned(), value)
    }

    fn message(attributes: &[(&str, &str)]) -> Message {
        let attributes = attributes.iter().map(|(name, value)| of(name, value)).collect();
        Message::builder().body("{}").set_message_attributes(Some(attributes)).build()
    }

    #[test]
    fn parking_keeps_the_dead_letters_attributes_and_unparking_restores_them() {
        let dead = message(&[("reason", "unreadable message"), ("source_message_id", "1")]);
        let with = [(PARKED_QUEUE, "order-feed"), (PARKED_REASON, "not ours"), (PARKED_AT, "2026-11-30T03:00:00Z")];
        let parked = attributes(&dead, &with.map(|(name, value)| (name, value.to_owned()))).unwrap();
        let mut wanted = dead.message_attributes().unwrap().clone();
        wanted.extend(with.iter().map(|(name, value)| of(name, value)));
        assert_eq!(parked, wanted);
        let parked = Message::builder().set_message_attributes(Some(parked)).build();
        assert_eq!(&attributes(&parked, &[]).unwrap(), dead.message_attributes().unwrap());
        // A message that is parked again has only the new reason.
        let again = attributes(&parked, &[(PARKED_REASON, "still not ours".to_owned())]).unwrap();
        assert_eq!(again[PARKED_REASON], of("", "still not ours").1);
        assert_eq!(again.get(PARKED_QUEUE), None);
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason(" ticket 7: käse "), Ok("ticket 7: käse".to_owned()));
        let longest = "ä".repeat(MAX_REASON);
        assert_eq!(reason(&longest), Ok(longest.clone()));
        for text in ["", "  ", "a\nb", "a\u{1b}[2J", "\u{9b}1A", "a\u{ffff}", &format!("{longest}ä")] {
            assert!(reason(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_row_shows_both_reasons_and_when_it_expires() {
        let sent = aws_sdk_sqs::types::MessageSystemAttributeName::SentTimestamp;
        let attributes = [("reason", "has no row"), (PARKED_QUEUE, "bind-card"), (PARKED_REASON, "after the restore")];
        let mut message = message(&attributes);
        message.attributes = Some(HashMap::from([(sent, "1764471600000".to_owned())]));
        let row = row(&message, Duration::days(14));
        let shown = ["reason", "queue", "parked_reason", "expires"].map(|name| row[name].clone());
        assert_eq!(shown, ["has no row", "bind-card", "after the restore", "2025-12-14T03:00:00Z"]);
    }
}
