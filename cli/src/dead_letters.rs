//! `bindery dead-letters` and `bindery redrive`: print dead letters, and send them back.
//!
//! Each message is first sent to its queue, and then deleted from the dead-letter queue. If the command dies in
//! between, the message is in both queues. An instruction that is applied again changes nothing more. An event can
//! reach its consumer again: `webhook` posts it again, and `events` gets a second copy. Consumers drop repeats by
//! `event_id`.
//!
//! SQS's own redrive can only move all messages. It also cannot find the source queue of a message that a worker
//! dead-lettered itself.

use std::collections::HashSet;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::Message;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use shared::domain::ids::OrgId;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::confirm::confirm;
use crate::dlq_reader::{DlqReader, sent_at};
use crate::error::CliError;
use crate::output::Output;
use crate::queues::depth;
use crate::stack::Stack;

/// Flags of `dead-letters`.
#[derive(Debug, Args)]
pub struct Show {
    /// The queue whose dead letters to print: a name from `bindery queues`.
    queue: String,
    /// The maximum number of messages to print.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Flags of `redrive`.
#[derive(Debug, Args)]
pub struct Redrive {
    /// The queue whose dead letters to send back: a name from `bindery queues`.
    queue: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Sends back all messages.
    #[arg(long)]
    all: bool,
    /// Sends back the messages with these IDs.
    #[arg(long, num_args = 1.., value_name = "ID")]
    message: Vec<String>,
    /// Sends back all messages of this operation.
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
}

impl Show {
    /// Prints the messages, and leaves them in the dead-letter queue.
    pub async fn run(self, stack: &Stack, output: Output) -> Result<(), CliError> {
        let (sqs, url) = (stack.sqs(), stack.dead_letters_url(&self.queue)?);
        let mut reader = DlqReader::new(&sqs, url);
        let mut rows = Vec::new();
        let read = self.read(&mut reader, &mut rows).await;
        let released = reader.release().await;
        rows.truncate(self.limit);
        output.table(&["message", "age", "operation", "tenant", "reason"], &rows);
        read.and(released)
    }

    async fn read(&self, reader: &mut DlqReader<'_>, rows: &mut Vec<Value>) -> Result<(), CliError> {
        while rows.len() < self.limit {
            let Some(messages) = reader.next().await? else { break };
            rows.extend(messages.iter().map(summary));
        }
        Ok(())
    }
}

impl Redrive {
    /// Sends the messages back after the operator confirms. Prints an error for each message that cannot be sent, and
    /// for each that was sent but cannot be deleted. Both stay in the dead-letter queue.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let (sqs, from, to) = (stack.sqs(), stack.dead_letters_url(&self.queue)?, stack.queue_url(&self.queue)?);
        let (waiting, hidden) = depth(&sqs, from).await?;
        let count = waiting + hidden;
        let (which, wanted) = match &self.which {
            Which { all: true, .. } => (format!("all (about {count}) messages"), Some(count)),
            Which { operation: Some(operation), .. } => (format!("the messages of operation {operation}"), None),
            Which { message, .. } => (format!("{} message(s)", message.len()), u64::try_from(message.len()).ok()),
        };
        confirm(&format!("Send {which} back to {} in {}", self.queue, stack.name), yes)?;

        let mut reader = DlqReader::new(&sqs, from);
        let bar = output.progress(wanted).with_message("sent back");
        let (sent, mut failures) = self.which.send_back(&mut reader, &sqs, to, &bar).await;
        failures.extend(reader.release().await.err());
        bar.finish_and_clear();
        if output.json {
            output.table(&[], &sent);
        } else {
            println!("{} message(s) were sent back.", sent.len());
        }
        for failure in &failures {
            eprintln!("bindery: {failure}");
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(CliError::new("the redrive had errors: see above")
            .help("messages that were not sent back, or not deleted, are still in the dead-letter queue"))
    }
}

impl Which {
    /// Sends back the selected messages. Returns those that were sent and deleted, and the errors. A message that was
    /// sent but not deleted counts as an error.
    async fn send_back(
        &self,
        reader: &mut DlqReader<'_>,
        sqs: &Client,
        to: &str,
        bar: &ProgressBar,
    ) -> (Vec<Value>, Vec<CliError>) {
        let (mut sent, mut failures) = (Vec::new(), Vec::new());
        let mut open: HashSet<&str> = self.message.iter().map(String::as_str).collect();
        while self.message.is_empty() || !open.is_empty() {
            let messages = match reader.next().await {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            };
            for message in messages.iter().filter(|message| self.selects(message)) {
                let id = message.message_id().unwrap_or_default();
                open.remove(id);
                match send_back(reader, sqs, to, message).await {
                    Ok(()) => sent.push(json!({ "message": id, "operation": summary(message)["operation"] })),
                    Err(failure) => failures.push(failure.of(&format!("message {id}"))),
                }
                bar.inc(1);
            }
        }
        let not_found = |wanted: &str| {
            CliError::new(format!("found no dead letter {wanted}"))
                .help("check it with `bindery dead-letters`, or wait two minutes: another command may be reading it")
        };
        failures.extend(open.into_iter().map(|id| not_found(&format!("with the ID {id}"))));
        if let (Some(operation), true, true) = (&self.operation, sent.is_empty(), failures.is_empty()) {
            failures.push(not_found(&format!("of operation {operation}")));
        }
        (sent, failures)
    }

    fn selects(&self, message: &Message) -> bool {
        let id = message.message_id().unwrap_or_default();
        let is_of = |operation: &String| summary(message)["operation"] == operation.as_str();
        self.all || self.message.iter().any(|wanted| wanted == id) || self.operation.as_ref().is_some_and(is_of)
    }
}

async fn send_back(reader: &mut DlqReader<'_>, sqs: &Client, to: &str, message: &Message) -> Result<(), CliError> {
    let (body, tenant) = (message.body().unwrap_or_default(), summary(message)["tenant"].clone());
    // The message group shares the workers fairly between tenants, as when the message was first sent. A message from
    // another sender may hold any text as its tenant, and SQS would refuse an invalid group ID.
    let group = tenant.as_str().filter(|tenant| tenant.parse::<OrgId>().is_ok()).map(ToOwned::to_owned);
    let sending = sqs.send_message().queue_url(to).message_body(body).set_message_group_id(group).send().await;
    sending.map_err(CliError::aws("SQS SendMessage"))?;
    let deleted = reader.delete(message).await;
    deleted.map_err(|failure| failure.of("it was sent back, but is still in the dead-letter queue, too"))
}

/// The reason of a message without one.
const NO_REASON: &str = "none: SQS moved it; on every delivery, its worker crashed, timed out, was not run (throttled, \
                         recursion) or could not dead-letter it";

/// Returns a summary of the message, without account and customer.
fn summary(message: &Message) -> Value {
    let body: Value = message
        .body()
        .and_then(|body| serde_json::from_str(body.trim_start_matches('\u{feff}')).ok())
        .unwrap_or_default();
    // Bindery's messages have the member at the top level; events that EventBridge could not deliver, in `detail`.
    let of =
        |member: &str| body.get(member).or_else(|| body.get("detail")?.get(member)).filter(|value| value.is_string());
    let attribute = |name| message.message_attributes()?.get(name)?.string_value();
    let reason = attribute("reason").or_else(|| attribute("ERROR_MESSAGE"));
    let sent = sent_at(message);
    json!({
        "message": message.message_id(),
        "since": sent.and_then(|at| at.format(&Rfc3339).ok()),
        "age": sent.map(|at| age(OffsetDateTime::now_utc() - at)),
        "operation": of("operation_id"),
        "tenant": of("org_id"),
        "cid": of("cid"),
        "reason": reason.unwrap_or(NO_REASON),
    })
}

/// Formats the age in its two largest units.
fn age(age: Duration) -> String {
    let minutes = age.whole_minutes().max(0);
    match (minutes / 60 / 24, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_printed_in_its_two_largest_units() {
        let printed: Vec<String> =
            [-5, 59, 60, 3599, 3 * 3600 + 61, 9 * 86400 + 3600].map(|seconds| age(Duration::seconds(seconds))).into();
        assert_eq!(printed, ["0 min", "0 min", "1 min", "59 min", "3 h 1 min", "9 d 1 h"]);
    }
}
