//! `bindery pin`: sets a person's PIN.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::json;
use shared::domain::ids::OrgId;
use shared::domain::order::PersonId;
use shared::domain::person::Person;
use shared::pin::Pepper;
use shared::secret;
use shared::store::Store;

use crate::ask;
use crate::failure::Failure;
use crate::output::Output;
use crate::stack::Stack;

/// Flags of `pin`.
#[derive(Debug, Args)]
pub struct Set {
    /// The person who creates orders, or acts on others' (`CreatorID`).
    #[arg(allow_negative_numbers = true)]
    creator: PersonId,
    /// Their organisation.
    #[arg(long, env = "BINDERY_TENANT")]
    tenant: OrgId,
    /// The orders that they created are canceled without a PIN.
    #[arg(long)]
    not_required: bool,
}

impl Set {
    /// Writes the person's row, once the operator agrees; wrong tries before count no more.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        let pepper = secret::read(&stack.secretsmanager(), stack.output("PinPepperSecret")?).await;
        let pepper = Pepper::new(&pepper.map_err(|error| broken(&error))?);
        ask::before(&format!("Set the PIN of {} of {} in {}", self.creator, self.tenant, stack.name), yes)?;
        let pin = read().map_err(|error| broken(&error))?;
        if pin.is_empty() {
            return Err(Failure::new("the PIN is empty, so nothing was changed"));
        }
        let hash = pepper.hash(&self.tenant, self.creator, &pin).map_err(|error| broken(&error))?;
        let person = Person::with_pin(self.creator, !self.not_required, hash);
        store.put_person(&self.tenant, &person).await.map_err(|error| broken(&error))?;
        output.object(&json!({ "creator_id": self.creator, "pin_required": person.pin_required }));
        Ok(())
    }
}

/// Asked for without showing it, or else the first line of standard input: never an argument, which other users
/// of the machine could see.
fn read() -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("PIN: ");
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
