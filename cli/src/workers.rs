//! `bindery workers`: the kill switch. A worker takes messages as long as its event source mapping is enabled.
//!
//! Workers are what the stack has event source mappings for: the same set as the template's parameter `Paused` stops.

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

/// Between two looks at mappings that have not changed yet.
const POLL: Duration = Duration::from_secs(1);
/// How long a mapping may take to change. On AWS it takes up to some minutes.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const MAPPING: &str = "AWS::Lambda::EventSourceMapping";

/// Arguments of `workers`.
#[derive(Debug, Args)]
pub struct Workers {
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Stops all workers, and waits until each has stopped: instructions wait in their queues, for up to 10 days.
    ///
    /// Batches that were taken before are finished. A later deployment starts a worker again if it changes its event
    /// source mapping: `CloudFormation` sets only what differs from the last template. Deploy with `Paused=true` where they
    /// have to stay stopped.
    Stop(Except),
    /// Starts all workers, and waits until each takes messages.
    ///
    /// After Paused=true, set Paused=false too: a later deployment that changes a worker's event source mapping stops it
    /// again otherwise.
    Start(Except),
}

#[derive(Debug, Args)]
struct Except {
    /// Leaves this worker as it is. May be given several times.
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,
}

/// A worker, and the event source mapping that feeds it.
struct Worker {
    name: String,
    queue: String,
    mapping: String,
    state: String,
    last_result: Option<String>,
    changed: bool,
    failure: Option<CliError>,
}

/// A state that a mapping is to have.
#[derive(Clone, Copy)]
struct Wanted {
    verb: &'static str,
    enabled: bool,
    state: &'static str,
    /// The state that can be left for the wanted one. In all others, a change is under way.
    opposite: &'static str,
}

const STOPPED: Wanted = Wanted { verb: "Stop", enabled: false, state: "Disabled", opposite: "Enabled" };
const STARTED: Wanted = Wanted { verb: "Start", enabled: true, state: "Enabled", opposite: "Disabled" };

impl Workers {
    /// Prints the workers' states, or changes them once the operator agrees.
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
        bring_to(wanted, &lambda, &mut workers, &bar).await;
        bar.finish_and_clear();
        output.table(&["worker", "queue", "state", "changed"], &workers.iter().map(Worker::row).collect::<Vec<_>>());
        let failures: Vec<CliError> = workers.into_iter().filter_map(|one| Some(one.failure?.of(&one.name))).collect();
        CliError::none_of(&failures)
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

    /// Asks for the wanted state, or looks whether it has come.
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
                // Another change is under way; the next step asks again.
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

/// Returns the stack's workers, by name.
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
        return Err(CliError::new(format!("the stack {} has no workers", stack.name)).help("is it a stack of Bindery?"));
    }
    workers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(workers)
}

/// Brings all workers to the state at once. One that cannot be changed holds up no other.
async fn bring_to(wanted: Wanted, lambda: &Client, workers: &mut [Worker], bar: &ProgressBar) {
    let deadline = Instant::now() + PATIENCE;
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
                let late =
                    CliError::new(format!("it is still {} after {} minutes", worker.state, PATIENCE.as_secs() / 60));
                worker.failure = Some(late.help("give the same command again: it goes on waiting"));
            }
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}
