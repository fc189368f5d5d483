//! `bindery dead-letters` and `bindery redrive`: what could not be handled, and sending it back.
//!
//! Messages are sent back one by one: sent first, and deleted then. Whatever that dies in between leaves a message
//! in both queues, which does no harm: applied again, it changes nothing more. (SQS's own redrive can only
//! move all messages, and needs to be told where to, as the workers put them there themselves.)

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
    /// Whose dead-letter queue: a name that `bindery queues` lists.
    queue: String,
    /// Most messages to show.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Flags of `redrive`.
#[derive(Debug, Args)]
pub struct Redrive {
    /// Whose dead-letter queue: a name that `bindery queues` lists.
    queue: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// All messages.
    #[arg(long)]
    all: bool,
    /// These messages, by their IDs.
    #[arg(long, num_args = 1.., value_name = "ID")]
    message: Vec<String>,
    /// All messages of this operation.
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
}

impl Show {
    /// Prints the messages, and leaves them where they are.
    pub async fn run(self, stack: &Stack, output: Output) -> Result<(), CliError> {
        let (sqs, url) = (stack.sqs(), stack.dead_letters_url(&self.queue)?);
        let mut look = DlqReader::new(&sqs, url);
        let mut rows = Vec::new();
        let looked = self.look(&mut look, &mut rows).await;
        let given_back = look.release().await;
        rows.truncate(self.limit);
        output.table(&["message", "age", "operation", "tenant", "reason"], &rows);
        looked.and(given_back)
    }

    async fn look(&self, look: &mut DlqReader<'_>, rows: &mut Vec<Value>) -> Result<(), CliError> {
        while rows.len() < self.limit {
            let Some(messages) = look.next().await? else { break };
            rows.extend(messages.iter().map(about));
        }
        Ok(())
    }
}

impl Redrive {
    /// Sends the messages back, once the operator agrees. What cannot be sent stays where it is, and is told.
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

        let mut look = DlqReader::new(&sqs, from);
        let bar = output.progress(wanted).with_message("sent back");
        let (sent, mut failures) = self.which.send_back(&mut look, &sqs, to, &bar).await;
        failures.extend(look.release().await.err());
        bar.finish_and_clear();
        if output.json {
            output.table(&[], &sent);
        } else {
            println!("{} message(s) were sent back.", sent.len());
        }
        for failure in &failures {
            eprintln!("bindery: {failure}");
        }
        if failures.is_empty() { Ok(()) } else { Err(CliError::new("not all went well: see above")) }
    }
}

impl Which {
    /// Sends back what is wanted; answers what was sent, and what went wrong.
    async fn send_back(
        &self,
        look: &mut DlqReader<'_>,
        sqs: &Client,
        to: &str,
        bar: &ProgressBar,
    ) -> (Vec<Value>, Vec<CliError>) {
        let (mut sent, mut failures) = (Vec::new(), Vec::new());
        let mut open: HashSet<&str> = self.message.iter().map(String::as_str).collect();
        while self.message.is_empty() || !open.is_empty() {
            let messages = match look.next().await {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            };
            for message in messages.iter().filter(|message| self.takes(message)) {
                let id = message.message_id().unwrap_or_default();
                open.remove(id);
                match send_back(look, sqs, to, message).await {
                    Ok(()) => sent.push(json!({ "message": id, "operation": about(message)["operation"] })),
                    Err(failure) => failures.push(CliError::new(format!("message {id}: {failure}"))),
                }
                bar.inc(1);
            }
        }
        let none_of = |what: &str| {
            CliError::new(format!("no dead letter is of {what}"))
                .help("what another command looks at is hidden from others, for two minutes at most")
        };
        failures.extend(open.into_iter().map(|id| none_of(&format!("the ID {id}"))));
        if let (Some(operation), true, true) = (&self.operation, sent.is_empty(), failures.is_empty()) {
            failures.push(none_of(&format!("operation {operation}")));
        }
        (sent, failures)
    }

    fn takes(&self, message: &Message) -> bool {
        let id = message.message_id().unwrap_or_default();
        let is_of = |operation: &String| about(message)["operation"] == operation.as_str();
        self.all || self.message.iter().any(|wanted| wanted == id) || self.operation.as_ref().is_some_and(is_of)
    }
}

async fn send_back(look: &mut DlqReader<'_>, sqs: &Client, to: &str, message: &Message) -> Result<(), CliError> {
    let (body, tenant) = (message.body().unwrap_or_default(), about(message)["tenant"].clone());
    // The group shares the workers fairly between tenants, as when the message was sent first. In what others wrote
    // into the queue, the tenant may be anything, and SQS would refuse it.
    let group = tenant.as_str().filter(|tenant| tenant.parse::<OrgId>().is_ok()).map(ToOwned::to_owned);
    let sending = sqs.send_message().queue_url(to).message_body(body).set_message_group_id(group).send().await;
    sending.map_err(CliError::aws("SQS SendMessage"))?;
    look.delete(message).await
}

/// A message in a few words, none of them about account or customer.
fn about(message: &Message) -> Value {
    let body: Value = message
        .body()
        .and_then(|body| serde_json::from_str(body.trim_start_matches('\u{feff}')).ok())
        .unwrap_or_default();
    // A message of ours, or an event as EventBridge could not deliver it.
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
        "reason": reason.unwrap_or("none: SQS moved it, as its worker died or timed out each time"),
    })
}

/// In the two largest units.
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
    fn an_age_is_told_in_its_two_largest_units() {
        let told: Vec<String> =
            [-5, 59, 60, 3599, 3 * 3600 + 61, 9 * 86400 + 3600].map(|seconds| age(Duration::seconds(seconds))).into();
        assert_eq!(told, ["0 min", "0 min", "1 min", "59 min", "3 h 1 min", "9 d 1 h"]);
    }
}
