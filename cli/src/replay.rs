//! `bindery replay`: publishes archived events again.
//!
//! This is for consumers that lost events. Other consumers drop the repeated events by their `event_id`.

use std::time::Duration;

use aws_sdk_eventbridge::types::{ReplayDestination, ReplayState};
use aws_smithy_types::DateTime;
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// The pause between two checks of the replay's progress.
const POLL: Duration = Duration::from_secs(1);

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The start of the period, such as 2026-11-22T03:00:00Z.
    #[arg(long, value_parser = time)]
    from: OffsetDateTime,
    /// The end of the period, in the same format.
    #[arg(long, value_parser = time)]
    to: OffsetDateTime,
    /// The ARN of a rule to publish to, instead of all rules of the event bus. May be given several times.
    #[arg(long)]
    rule: Vec<String>,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "expected a time such as 2026-11-22T03:00:00Z".to_owned())
}

impl Replay {
    /// Starts the replay after the operator confirms, and waits until it ends.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        if self.from >= self.to {
            return Err(CliError::new("--from must be before --to"));
        }
        let (from, to) = whole_seconds(self.from, self.to);
        let (events, archive) = (stack.eventbridge(), stack.output("EventArchiveName")?);
        let archive = events.describe_archive().archive_name(archive).send().await;
        let archive = archive.map_err(CliError::aws("EventBridge DescribeArchive"))?;
        let (Some(source), Some(bus)) = (archive.archive_arn(), archive.event_source_arn()) else {
            return Err(CliError::new("EventBridge returned no ARN of the archive or its event bus"));
        };
        let rules = if self.rule.is_empty() { "all rules".to_owned() } else { self.rule.join(", ") };
        confirm(
            &format!("Publish all events of {} from {} to {} again, to {rules}", stack.name, self.from, self.to),
            yes,
        )?;

        let name = format!("{}-{}", stack.name.chars().take(27).collect::<String>(), Uuid::now_v7());
        let rules = Some(self.rule).filter(|rules| !rules.is_empty());
        let destination = ReplayDestination::builder().arn(bus).set_filter_arns(rules).build();
        let starting = events
            .start_replay()
            .replay_name(&name)
            .event_source_arn(source)
            .event_start_time(DateTime::from_secs(from))
            .event_end_time(DateTime::from_secs(to))
            .destination(destination.map_err(|error| CliError::new(error.to_string()))?);
        starting.send().await.map_err(CliError::aws("EventBridge StartReplay"))?;
        wait(&events, &name, (from, to), output).await
    }
}

/// Returns the period in whole seconds, rounded outwards: EventBridge stores the times of events in seconds.
fn whole_seconds(from: OffsetDateTime, to: OffsetDateTime) -> (i64, i64) {
    (from.unix_timestamp(), to.unix_timestamp() + i64::from(to.nanosecond() > 0))
}

async fn wait(
    events: &aws_sdk_eventbridge::Client,
    name: &str,
    (from, to): (i64, i64),
    output: Output,
) -> Result<(), CliError> {
    let bar = output.progress(u64::try_from(to - from).ok()).with_message("seconds of events");
    loop {
        let replay = events.describe_replay().replay_name(name).send().await;
        let replay = replay.map_err(CliError::aws("EventBridge DescribeReplay")).map_err(|failure| {
            failure.of(&format!("the replay {name} was started, but its progress cannot be read"))
        })?;
        if let Some(last) = replay.event_last_replayed_time() {
            bar.set_position(u64::try_from(last.secs() - from).unwrap_or(0));
        }
        match replay.state() {
            Some(ReplayState::Starting | ReplayState::Running) => tokio::time::sleep(POLL).await,
            Some(ReplayState::Completed) => {
                bar.finish_and_clear();
                output.object(&json!({ "replay": name, "state": "COMPLETED" }));
                return Ok(());
            }
            state => {
                let state = state.map_or("unknown", |state| state.as_str());
                let reason = replay.state_reason().unwrap_or("no reason given");
                let failure = CliError::new(format!("the replay {name} is {state}: {reason}"));
                return Err(failure.help("some events may be published already; it is safe to replay the period again"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_includes_fractions_of_seconds_at_both_ends() {
        let seconds = |from, to| whole_seconds(time(from).unwrap(), time(to).unwrap());
        assert_eq!(seconds("2026-11-22T03:00:00Z", "2026-11-22T03:00:01Z"), (1_795_316_400, 1_795_316_401));
        assert_eq!(seconds("2026-11-22T03:00:00.2Z", "2026-11-22T03:00:00.8Z"), (1_795_316_400, 1_795_316_401));
    }
}
