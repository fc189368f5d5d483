//! Invokes a function's new version once before it gets traffic: `CodeDeploy`'s hook `BeforeAllowTraffic`.
//!
//! The event that the version receives changes nothing, and the right response to it is known. A version that does not
//! start, because a variable is missing or it was built for another processor, or that crashes, does not give it. The
//! deployment then fails, and the version gets no traffic.
//!
//! `CodeDeploy` tells the hook only the deployment's ID
//! (<https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>). The
//! function and its new version are in the deployment's revision.

pub mod probe;
pub mod revision;

use std::time::Duration;

use aws_sdk_codedeploy::Client as CodeDeploy;
use aws_sdk_codedeploy::types::LifecycleEventStatus;
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_lambda::primitives::Blob;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use serde::Deserialize;
use shared::Error;
use shared::environment::Environment;
use shared::task::Task;

use crate::probe::Probe;
use crate::revision::{RevisionError, Target};

/// Time reserved for reporting the result. A call of AWS takes at most 2.5 s (`shared::aws`), so it may exceed this
/// only if `CodeDeploy` is slow; the deployment then fails after an hour.
const REPORT_BUDGET: Duration = Duration::from_secs(1);

/// The hook and its clients.
pub struct PreTraffic {
    codedeploy: CodeDeploy,
    lambda: Lambda,
}

/// `CodeDeploy`'s event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HookEvent {
    deployment_id: String,
    lifecycle_event_hook_execution_id: String,
}

/// The reasons why a version must not get traffic.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A call to AWS failed.
    #[error("{0}: {1}")]
    Aws(&'static str, String),
    /// It is not known which version to invoke.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// The version crashed, exited or timed out.
    #[error("{0} failed: {1}")]
    Crashed(Target, String),
    /// The version gave another response than the right one.
    #[error("{0} gave another response than {1}")]
    Response(Target, &'static str),
    /// The time was up.
    #[error("no time was left")]
    Time,
}

impl Task for PreTraffic {
    const NAME: &'static str = "pre-traffic";

    type Event = HookEvent;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self {
            codedeploy: CodeDeploy::new(&environment.aws.sdk_config("CODEDEPLOY")),
            lambda: Lambda::new(&environment.aws.sdk_config("LAMBDA")),
        })
    }

    /// Invokes the new version, and reports to `CodeDeploy` whether it may get traffic.
    ///
    /// # Errors
    /// Returns an error if the report failed. Then `CodeDeploy` does not learn the result, and the deployment fails.
    async fn run(&self, event: HookEvent, time: Duration) -> Result<(), Error> {
        let HookEvent { deployment_id, lifecycle_event_hook_execution_id } = event;
        let time = time.saturating_sub(REPORT_BUDGET);
        let checking = tokio::time::timeout(time, self.check(&deployment_id, time));
        let status = match checking.await.unwrap_or(Err(HookError::Time)) {
            Ok(targets) => {
                let versions = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::info!(deployment_id, versions, outcome = "SUCCEEDED", "the new version responds");
                LifecycleEventStatus::Succeeded
            }
            Err(reason) => {
                tracing::error!(deployment_id, %reason, outcome = "FAILED", "the new version gets no traffic");
                LifecycleEventStatus::Failed
            }
        };
        let report = self.codedeploy.put_lifecycle_event_hook_execution_status().deployment_id(deployment_id);
        let report = report.lifecycle_event_hook_execution_id(lifecycle_event_hook_execution_id).status(status);
        report.send().await?;
        Ok(())
    }
}

impl PreTraffic {
    /// Invokes all new versions of the deployment, usually one, and returns them.
    async fn check(&self, deployment: &str, time: Duration) -> Result<Vec<Target>, HookError> {
        let targets = revision::targets(&self.codedeploy, deployment).await?;
        for target in &targets {
            self.invoke(target, time).await?;
        }
        Ok(targets)
    }

    async fn invoke(&self, target: &Target, time: Duration) -> Result<(), HookError> {
        let probe = Probe::of(&target.function);
        // A cold start takes longer than a usual call, and the version must not be invoked twice.
        let patient = TimeoutConfig::builder().operation_timeout(time).operation_attempt_timeout(time).build();
        let once = aws_sdk_lambda::Config::builder().timeout_config(patient).retry_config(RetryConfig::disabled());
        let call = self.lambda.invoke().function_name(&target.function).qualifier(&target.version);
        let call = call.payload(Blob::new(probe.event().to_string())).customize().config_override(once);
        let output = call.send().await.map_err(|error| aws_error("Lambda Invoke", &error))?;
        if let Some(error) = output.function_error {
            return Err(HookError::Crashed(target.clone(), error));
        }
        let response = output.payload.map(Blob::into_inner).unwrap_or_default();
        let is_right = serde_json::from_slice(&response).is_ok_and(|response| probe.is_right(&response));
        is_right.then_some(()).ok_or_else(|| HookError::Response(target.clone(), probe.right()))
    }
}

pub(crate) fn aws_error(call: &'static str, error: &dyn std::error::Error) -> HookError {
    HookError::Aws(call, DisplayErrorContext(error).to_string())
}
