//! Moves selected messages from one queue to another.
//!
//! Each message is first sent, and then deleted from the queue that it was in. If the command dies in between, the
//! message is in both queues. An instruction that is applied again changes nothing more. An event can reach its
//! consumer again: `webhook` posts it again, and `events` gets a second copy. Consumers drop repeats by `event_id`.
//!
//! SQS's own redrive can only move all messages. It also cannot find the source queue of a message that a worker
//! dead-lettered itself.

use std::collections::HashSet;

use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::Message;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::dead_letters::summary;
use crate::dlq_reader::DlqReader;
use crate::error::CliError;
use crate::output::Output;

/// Flags that select messages.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Selects all messages.
    #[arg(long)]
    all: bool,
    /// Selects the messages with these IDs.
    #[arg(long, num_args = 1.., value_name = "ID")]
    message: Vec<String>,
    /// Selects all messages of this operation.
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
}

/// Messages to move: the flags that select them, and which messages of the queue they select from.
pub struct Moving<'a> {
    /// The flags that select messages.
    pub which: &'a Which,
    /// Returns whether the message may be selected.
    pub is_there: &'a dyn Fn(&Message) -> bool,
    /// Returns the call that sends the message to its destination.
    pub copy: &'a dyn Fn(&Message) -> Result<SendMessageFluentBuilder, CliError>,
}

impl Which {
    /// Returns the selection in words, and the number of messages if it is known. `count` is that of all messages.
    pub fn in_words(&self, count: Option<u64>) -> (String, Option<u64>) {
        match self {
            Self { all: true, .. } => (count.map_or("all".to_owned(), |count| format!("all (about {count})")), count),
            Self { operation: Some(operation), .. } => (format!("operation {operation}'s"), None),
            Self { message, .. } => (message.len().to_string(), u64::try_from(message.len()).ok()),
        }
    }

    fn selects(&self, message: &Message) -> bool {
        let id = message.message_id().unwrap_or_default();
        let is_of = |operation: &String| summary(message)["operation"] == operation.as_str();
        self.all || self.message.iter().any(|wanted| wanted == id) || self.operation.as_ref().is_some_and(is_of)
    }
}

impl Moving<'_> {
    /// Moves the selected messages, and makes the others visible again. Prints what was moved, as `past` calls it, and
    /// an error for each message that could not be moved. Returns the moved messages.
    pub async fn run(&self, mut reader: DlqReader<'_>, output: Output, steps: Option<u64>, past: &str) -> Moved {
        let bar = output.progress(steps).with_message(past.to_owned());
        let mut moved = self.move_all(&mut reader, &bar).await;
        moved.failures.extend(reader.release().await.err());
        bar.finish_and_clear();
        if output.json {
            output.table(&[], &moved.rows);
        } else {
            println!("{} message(s) were {past}.", moved.rows.len());
        }
        for failure in &moved.failures {
            eprintln!("bindery: {failure}");
        }
        moved
    }

    async fn move_all(&self, reader: &mut DlqReader<'_>, bar: &ProgressBar) -> Moved {
        let which = self.which;
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        let mut open: HashSet<&str> = which.message.iter().map(String::as_str).collect();
        while which.message.is_empty() || !open.is_empty() {
            let messages = match reader.next().await {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            };
            for message in messages.iter().filter(|message| (self.is_there)(message) && which.selects(message)) {
                let id = message.message_id().unwrap_or_default();
                open.remove(id);
                match self.move_one(reader, message).await {
                    Ok(row) => rows.push(row),
                    Err(failure) => failures.push(failure.of(&format!("message {id}"))),
                }
                bar.inc(1);
            }
        }
        let not_found = |wanted: &str| {
            CliError::new(format!("found no message {wanted}"))
                .help("check it with `bindery dead-letters`, or wait two minutes: another command may be reading it")
        };
        failures.extend(open.into_iter().map(|id| not_found(&format!("with the ID {id}"))));
        if let (Some(operation), true, true) = (&which.operation, rows.is_empty(), failures.is_empty()) {
            failures.push(not_found(&format!("of operation {operation}")));
        }
        Moved { rows, failures }
    }

    /// Sends the message, and deletes it only after SQS has confirmed that. Returns its row of the output.
    async fn move_one(&self, reader: &mut DlqReader<'_>, message: &Message) -> Result<Value, CliError> {
        let sent = (self.copy)(message)?.send().await.map_err(CliError::aws("SQS SendMessage"))?;
        let deleted = reader.delete(message).await;
        deleted.map_err(|failure| failure.of("it was sent, but is still in the queue that it came from, too"))?;
        Ok(json!({
            "message": message.message_id(),
            "new_message": sent.message_id(),
            "operation": summary(message)["operation"],
        }))
    }
}

/// The messages that were moved, and the errors.
pub struct Moved {
    /// A row of the output for each moved message.
    pub rows: Vec<Value>,
    failures: Vec<CliError>,
}

impl Moved {
    /// Returns an error if there were any.
    ///
    /// # Errors
    /// If a message could not be moved. The error refers to those printed above it.
    pub fn end(self, of: &str) -> Result<(), CliError> {
        if self.failures.is_empty() {
            return Ok(());
        }
        Err(CliError::new(format!("the {of} had errors: see above"))
            .help("messages that were not sent, or not deleted, are still in the queue that they were in"))
    }
}
