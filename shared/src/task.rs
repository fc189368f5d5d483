//! Code of tasks: functions that AWS invokes by a schedule or during a deployment, with an event of its own.

use std::future::Future;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::{Error, block_on, clock, telemetry};

/// A task: a function that AWS invokes by a schedule or during a deployment.
pub trait Task: Sized + Send + Sync + 'static {
    /// The function's name.
    const NAME: &'static str;

    /// The type of event that the task receives.
    type Event: DeserializeOwned;

    /// Creates the task from its environment.
    ///
    /// # Errors
    /// Returns an error if a part of the task cannot be created. Missing variables are recorded in `environment`.
    fn from_env(environment: &Environment) -> Result<Self, Error>;

    /// Runs the task, which has this time until its function times out.
    ///
    /// # Errors
    /// Returns an error if the task could not report its result. Lambda counts the invocation as failed.
    fn run(&self, event: Self::Event, time: Duration) -> impl Future<Output = Result<(), Error>>;
}

/// Serves a task until the runtime ends. This is all that the `main` of a task's function calls.
///
/// # Errors
/// Returns the environment's missing or invalid variables, or an error of the runtime.
pub fn serve<T: Task>() -> Result<(), Error> {
    telemetry::init();
    block_on(async {
        let environment = Environment::of_process()?;
        let task = environment.make(T::from_env)?;
        let run = async |event: LambdaEvent<T::Event>| {
            let result = task.run(event.payload, clock::time_left(event.context.deadline)).await;
            environment.metrics.flush();
            result
        };
        lambda_runtime::run(service_fn(run)).await
    })
}
