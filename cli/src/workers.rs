//! `bindery workers`: the kill switch. A worker receives messages while its event source mapping is enabled.
//!
//! The stack's event source mappings define the set of workers. The template's parameter `Paused` stops the same set.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::update_event_source_mapping::UpdateEventSourceMappingError;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// The pause between two checks of mappings that are still changing.
const POLL: Duration = Duration::from_secs(1);
/// The time limit for all mappings to change. On AWS, a change takes up to some minutes.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const MAPPING: &str = "AWS::Lambda::EventSourceMapping";

/// Arguments of `workers`.
#[derive(Debug, Args)]
pub struct Workers {
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Stops all workers and waits until each has stopped. Instructions wait in their queues, for up to 10 days.
    ///
    /// Batches that were received before are completed. A later deployment that changes a worker's event source
    /// mapping starts that worker again, because `CloudFormation` sets only what differs from the last template. To
    /// keep workers stopped across deployments, deploy with `Paused=true`.
    Stop(Except),
    /// Starts all workers and waits until each receives messages.
    ///
    /// If you deployed with `Paused=true`, also deploy with `Paused=false`. Otherwise, a later deployment that
    /// changes a worker's event source mapping stops that worker again.
    Start(Except),
}

#[derive(Debug, Args)]
struct Except {
    /// Does not change this worker. May be given several times.
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
}

/// A worker and its event source mapping.
struct Worker {
    name: String,
    queue: String,
    mapping: String,
    state: String,
    last_result: Option<String>,
    changed: bool,
    failure: Option<CliError>,
}

/// The state to which mappings are changed.
#[derive(Clone, Copy)]
struct Wanted {
    verb: &'static str,
    enabled: bool,
    state: &'static str,
    /// The state from which the change can be requested. In any other state, a change is in progress.
    opposite: &'static str,
}

const STOPPED: Wanted = Wanted { verb: "Stop", enabled: false, state: "Disabled", opposite: "Enabled" };
const STARTED: Wanted = Wanted { verb: "Start", enabled: true, state: "Enabled", opposite: "Disabled" };

impl Workers {
    /// Prints the workers' states, or changes them after the operator confirms.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let lambda = stack.lambda();
        let mut workers = find(stack, &lambda).await?;
        let Some(change) = self.change else {
            output.table(
                &["worker", "queue", "state", "last_result"],
                &workers.iter().map(Worker::row).collect::<Vec<_>>(),
            );
            return Ok(());
        };
        let (wanted, Except { except }) = match change {
            Change::Stop(except) => (STOPPED, except),
            Change::Start(except) => (STARTED, except),
        };
        let names: BTreeSet<String> = workers.iter().map(|worker| worker.name.clone()).collect();
        if let Some(unknown) = except.iter().find(|name| !names.contains(*name)) {
            return Err(stack.no_such("worker", unknown, &names));
        }
        workers.retain(|worker| !except.contains(&worker.name));
        let listed: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
        confirm(&format!("{} {} of {}", wanted.verb, listed.join(", "), stack.name), yes)?;

        let bar = output.progress(u64::try_from(workers.len()).ok()).with_message("workers");
        bring_all_to(wanted, &lambda, &mut workers, &bar).await;
        bar.finish_and_clear();
        output.table(&["worker", "queue", "state", "changed"], &workers.iter().map(Worker::row).collect::<Vec<_>>());
        let failures: Vec<CliError> = workers.into_iter().filter_map(|one| Some(one.failure?.of(&one.name))).collect();
        CliError::report(&failures)
    }
}

impl Worker {
    fn row(&self) -> Value {
        json!({
            "worker": self.name,
            "queue": self.queue,
            "state": self.state,
            "last_result": self.last_result,
            "changed": self.changed,
        })
    }

    /// Requests the wanted state, or checks whether the mapping has reached it.
    async fn step(&mut self, wanted: Wanted, lambda: &Client) -> Result<(), CliError> {
        if self.state == wanted.opposite {
            let updating =
                lambda.update_event_source_mapping().uuid(&self.mapping).enabled(wanted.enabled).send().await;
            match updating {
                Ok(updated) => {
                    self.changed = true;
                    updated.state().unwrap_or_default().clone_into(&mut self.state);
                    return Ok(());
                }
                // Another change is in progress. The next step repeats the request.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(UpdateEventSourceMappingError::is_resource_in_use_exception) => {}
                Err(error) => return Err(CliError::aws("Lambda UpdateEventSourceMapping")(error)),
            }
        }
        let found = lambda.get_event_source_mapping().uuid(&self.mapping).send().await;
        let found = found.map_err(CliError::aws("Lambda GetEventSourceMapping"))?;
        found.state().unwrap_or_default().clone_into(&mut self.state);
        Ok(())
    }
}

/// Returns the stack's workers, sorted by name.
async fn find(stack: &Stack, lambda: &Client) -> Result<Vec<Worker>, CliError> {
    let mut workers = Vec::new();
    for mapping in stack.resources(MAPPING).await? {
        let found = lambda.get_event_source_mapping().uuid(&mapping).send().await;
        let found = found.map_err(CliError::aws("Lambda GetEventSourceMapping"))?;
        workers.push(Worker {
            name: stack.short_name(found.function_arn().unwrap_or_default()),
            queue: stack.short_name(found.event_source_arn().unwrap_or_default()),
            state: found.state().unwrap_or_default().to_owned(),
            last_result: found.last_processing_result().map(ToOwned::to_owned),
            mapping,
            changed: false,
            failure: None,
        });
    }
    if workers.is_empty() {
        let failure = CliError::new(format!("the stack {} has no workers", stack.name));
        return Err(failure.help("check that --stack names a deployment of Bindery"));
    }
    workers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(workers)
}

/// Brings all workers to the wanted state, at the same time. One that cannot be changed does not delay the others.
async fn bring_all_to(wanted: Wanted, lambda: &Client, workers: &mut [Worker], bar: &ProgressBar) {
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    loop {
        let mut open = 0;
        for worker in workers.iter_mut().filter(|worker| worker.failure.is_none() && worker.state != wanted.state) {
            worker.failure = worker.step(wanted, lambda).await.err();
            open += usize::from(worker.failure.is_none() && worker.state != wanted.state);
        }
        bar.set_position((workers.len() - open) as u64);
        if open == 0 {
            return;
        }
        if Instant::now() > deadline {
            let open = workers.iter_mut().filter(|worker| worker.failure.is_none() && worker.state != wanted.state);
            for worker in open {
                let late = CliError::new(format!(
                    "it is still {} after {} minutes",
                    worker.state,
                    CHANGE_TIMEOUT.as_secs() / 60
                ));
                worker.failure = Some(late.help("repeat the command to continue waiting"));
            }
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}
