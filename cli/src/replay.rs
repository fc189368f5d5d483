//! `bindery replay`: archived events are published again.
//!
//! Consumers drop repeats by `event_id`; one that lost events gets them again so.

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

/// Between two questions about how far it is.
const POLL: Duration = Duration::from_secs(1);

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// From when on, as `2026-11-22T03:00:00Z`.
    #[arg(long, value_parser = time)]
    from: OffsetDateTime,
    /// Until when.
    #[arg(long, value_parser = time)]
    to: OffsetDateTime,
    /// The ARN of a rule that they are for; all of the bus, unless any is given.
    #[arg(long)]
    rule: Vec<String>,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be a time as 2026-11-22T03:00:00Z".to_owned())
}

impl Replay {
    /// Starts the replay, once the operator agrees, and waits for its end.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        if self.from >= self.to {
            return Err(CliError::new("--from must be before --to"));
        }
        let (from, to) = whole_seconds(self.from, self.to);
        let (events, archive) = (stack.eventbridge(), stack.output("EventArchiveName")?);
        let archive = events.describe_archive().archive_name(archive).send().await;
        let archive = archive.map_err(CliError::aws("EventBridge DescribeArchive"))?;
        let (Some(source), Some(bus)) = (archive.archive_arn(), archive.event_source_arn()) else {
            return Err(CliError::new("the archive has no ARN"));
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

/// The seconds that hold this time: EventBridge knows events by theirs.
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
        let replay = replay.map_err(CliError::aws("EventBridge DescribeReplay"))?;
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
                return Err(CliError::new(format!("the replay {name} is {state}: {reason}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fraction_of_the_time_is_left_out() {
        let seconds = |from, to| whole_seconds(time(from).unwrap(), time(to).unwrap());
        assert_eq!(seconds("2026-11-22T03:00:00Z", "2026-11-22T03:00:01Z"), (1_795_316_400, 1_795_316_401));
        assert_eq!(seconds("2026-11-22T03:00:00.2Z", "2026-11-22T03:00:00.8Z"), (1_795_316_400, 1_795_316_401));
    }
}
