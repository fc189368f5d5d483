//! `bindery tenants`: shuts organizations out, admits them again, and lists them.
//!
//! The list is one row of the table. Every endpoint reads it at most once in 30 seconds, so a change takes effect
//! within a minute and needs no deployment.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shared::clock;
use shared::domain::ids::OrgId;
use shared::domain::tenant::{Denial, DenialError, DenyList};
use shared::store::{Store, StoreError};

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// Maximum attempts to change the list while others change it too.
const ATTEMPTS: u32 = 5;

/// Arguments of `tenants`.
#[derive(Debug, Args)]
pub struct Tenants {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shuts an organization out: within a minute, all its requests get 403.
    ///
    /// What is accepted already is carried out, exactly once.
    Deny {
        /// The organization's ID.
        org: OrgId,
        /// The reason, for operators who read the list later. The organization does not see it.
        #[arg(long)]
        reason: String,
    },
    /// Admits an organization again, within a minute.
    Allow {
        /// The organization's ID.
        org: OrgId,
    },
    /// Prints the organizations that are shut out, since when and why.
    Denied,
}

impl Tenants {
    /// Prints the list, or changes it after the operator confirms.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        match self.command {
            Command::Deny { org, reason } => {
                confirm(&format!("Shut {org} out of {}: all its requests get 403", stack.name), yes)?;
                let now = clock::now();
                let list = change(&store, |list| list.deny(org.clone(), &reason, now)).await?;
                print(output, &list);
            }
            Command::Allow { org } => {
                confirm(&format!("Admit {org} to {} again", stack.name), yes)?;
                // Also true if an attempt was made whose response was lost.
                let mut was_denied = false;
                let allow = |list: &mut DenyList| {
                    was_denied |= list.denied.remove(&org).is_some();
                    Ok(())
                };
                let list = change(&store, allow).await?;
                if !was_denied {
                    return Err(CliError::new(format!("{org} is not shut out of {}", stack.name)));
                }
                print(output, &list);
            }
            Command::Denied => print(output, &store.deny_list(true).await.map_err(failed)?),
        }
        Ok(())
    }
}

/// Changes the list. Reads and decides again if another operator has changed it meanwhile.
async fn change(
    store: &Store,
    mut change: impl FnMut(&mut DenyList) -> Result<(), DenialError>,
) -> Result<DenyList, CliError> {
    for _ in 0..ATTEMPTS {
        let mut list = store.deny_list(true).await.map_err(failed)?;
        let before = list.clone();
        change(&mut list).map_err(|refusal| CliError::new(format!("{refusal}, so nothing was changed")))?;
        if list == before {
            return Ok(list);
        }
        match store.replace_deny_list(&list).await {
            Err(StoreError::Conflict { .. }) => {}
            replaced => return replaced.map(|()| list).map_err(failed),
        }
    }
    let failure = CliError::new("another operator changes the list at the same time, so nothing was changed");
    Err(failure.help("repeat the command"))
}

fn failed(error: StoreError) -> CliError {
    CliError::new(error.to_string())
}

fn print(output: Output, list: &DenyList) {
    let row = |(org, denial): (&OrgId, &Denial)| json!({ "tenant": org, "since": denial.at, "reason": denial.reason });
    let rows: Vec<Value> = list.denied.iter().map(row).collect();
    output.table(&["tenant", "since", "reason"], &rows);
}
