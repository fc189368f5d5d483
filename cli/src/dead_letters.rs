//! `bindery dead-letters` and `bindery redrive`: print dead letters, and send them back.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::Message;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::domain::ids::OrgId;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::confirm::confirm;
use crate::dlq_reader::{DlqReader, sent_at};
use crate::error::CliError;
use crate::moving::{Moving, Which};
use crate::output::Output;
use crate::parking::{Park, Parked, Unpark};
use crate::queues::depth;
use crate::stack::Stack;

/// Arguments of `dead-letters`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DeadLetters {
    #[command(subcommand)]
    command: Option<Command>,
    /// The queue whose dead letters to print: a name from `bindery queues`.
    #[arg(required = true)]
    queue: Option<String>,
    /// The maximum number of messages to print.
    #[arg(long, default_value_t = LIMIT)]
    limit: usize,
}

/// The default for the maximum number of messages to print.
pub const LIMIT: usize = 50;

#[derive(Debug, Subcommand)]
enum Command {
    /// Moves dead letters to the queue of parked messages, which has no alarm, with a reason.
    ///
    /// This is for messages that no worker can handle, and for those that must wait. They no longer keep the alarm of
    /// their dead-letter queue on. Nothing is deleted: `unpark` moves them back. But for SQS, a parked message is a new
    /// message with a new ID, and SQS deletes it 14 days after it was parked. Unparking it and parking it again gives
    /// it 14 more days.
    Park(Park),
    /// Prints parked messages: the queue of each, the reason, and when SQS deletes it.
    Parked(Parked),
    /// Moves parked messages back to the dead-letter queue that each was in, from where `bindery redrive` sends them
    /// to their worker.
    ///
    /// Each is again a new message for SQS, with a new ID. It expires 14 days after it was unparked.
    Unpark(Unpark),
}

/// Flags of `redrive`.
#[derive(Debug, Args)]
pub struct Redrive {
    /// The queue whose dead letters to send back: a name from `bindery queues`.
    queue: String,
    #[command(flatten)]
    which: Which,
}

impl DeadLetters {
    /// Prints the messages and leaves them in the dead-letter queue, or runs the subcommand.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        match self.command {
            Some(Command::Park(park)) => return park.run(stack, output, yes).await,
            Some(Command::Parked(parked)) => return parked.run(stack, output).await,
            Some(Command::Unpark(unpark)) => return unpark.run(stack, output, yes).await,
            None => {}
        }
        let (sqs, url) = (stack.sqs(), stack.dead_letters_url(self.queue.as_deref().unwrap_or_default())?);
        let (rows, read) = rows(DlqReader::new(&sqs, url), self.limit, |message| Some(summary(message))).await;
        output.table(&["message", "age", "operation", "tenant", "reason"], &rows);
        read
    }
}

/// Reads at most this many messages that have a row, and makes all of them visible again. Returns the rows, also if
/// reading fails later.
pub async fn rows(
    mut reader: DlqReader<'_>,
    limit: usize,
    row: impl Fn(&Message) -> Option<Value>,
) -> (Vec<Value>, Result<(), CliError>) {
    let mut rows = Vec::new();
    let read = async {
        while rows.len() < limit {
            let Some(messages) = reader.next().await? else { break };
            rows.extend(messages.iter().filter_map(&row));
        }
        Ok(())
    };
    let read = read.await;
    let released = reader.release().await;
    rows.truncate(limit);
    (rows, read.and(released))
}

impl Redrive {
    /// Sends the messages back after the operator confirms. Prints an error for each message that cannot be sent, and
    /// for each that was sent but cannot be deleted. Both stay in the dead-letter queue.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let (sqs, from, to) = (stack.sqs(), stack.dead_letters_url(&self.queue)?, stack.queue_url(&self.queue)?);
        let (waiting, hidden) = depth(&sqs, from).await?;
        let (which, steps) = self.which.in_words(Some(waiting + hidden));
        confirm(&format!("Send {which} dead letter(s) back to {} in {}", self.queue, stack.name), yes)?;
        let copy = |message: &Message| Ok(sent_back(&sqs, to, message));
        let moving = Moving { which: &self.which, is_there: &|_| true, copy: &copy };
        moving.run(DlqReader::new(&sqs, from), output, steps, "sent back").await.end("redrive")
    }
}

fn sent_back(sqs: &Client, to: &str, message: &Message) -> SendMessageFluentBuilder {
    let (body, tenant) = (message.body().unwrap_or_default(), summary(message)["tenant"].clone());
    // The message group shares the workers fairly between tenants, as when the message was first sent. A message from
    // another sender may hold any text as its tenant, and SQS would refuse an invalid group ID.
    let group = tenant.as_str().filter(|tenant| tenant.parse::<OrgId>().is_ok()).map(ToOwned::to_owned);
    sqs.send_message().queue_url(to).message_body(body).set_message_group_id(group)
}

/// The reason of a message without one.
const NO_REASON: &str = "none: SQS moved it; on every delivery, its worker crashed, timed out, was not run (throttled, \
                         recursion) or could not dead-letter it";

/// Returns a summary of the message, without account and customer.
pub fn summary(message: &Message) -> Value {
    let body: Value = message
        .body()
        .and_then(|body| serde_json::from_str(body.trim_start_matches('\u{feff}')).ok())
        .unwrap_or_default();
    // Bindery's messages have the member at the top level; events that EventBridge could not deliver, in `detail`.
    let of =
        |member: &str| body.get(member).or_else(|| body.get("detail")?.get(member)).filter(|value| value.is_string());
    let attribute = |name| attribute(message, name);
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

/// Returns the text of the message's attribute.
pub fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
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
