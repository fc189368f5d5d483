//! `bindery operation`: prints an operation's row.

use clap::Args;
use serde_json::Value;
use shared::clock;
use shared::domain::ids::{OperationId, OrgId};
use shared::store::Store;

use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// Members that are of use to the functions only.
const INTERNAL: [&str; 3] = ["fingerprint", "statuses", "batches"];

/// Flags of `operation`.
#[derive(Debug, Args)]
pub struct Read {
    /// The operation's ID.
    operation: OperationId,
    /// The ID of the operation's organization.
    #[arg(long, env = "BINDERY_TENANT")]
    tenant: OrgId,
}

impl Read {
    /// Prints the operation.
    pub async fn run(self, stack: &Stack, output: Output) -> Result<(), CliError> {
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        let operation = store.operation(&self.tenant, self.operation, clock::now()).await;
        let operation = operation.map_err(|error| CliError::new(error.to_string()))?.ok_or_else(|| {
            CliError::new(format!("{} has no operation {}", self.tenant, self.operation))
                .help("check both IDs; operations are deleted after 90 days, but the archive still has their events")
        })?;
        let mut shown = serde_json::to_value(operation).map_err(|error| CliError::new(error.to_string()))?;
        if let Value::Object(members) = &mut shown {
            members.retain(|name, _| !INTERNAL.contains(&name.as_str()));
        }
        output.object(&shown);
        Ok(())
    }
}
