//! `bindery pin`: sets a person's PIN.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::json;
use shared::domain::ids::OrgId;
use shared::domain::order::PersonId;
use shared::domain::person::{Person, check_new_pin};
use shared::pin::Pepper;
use shared::secret;
use shared::store::Store;

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// Flags of `pin`.
#[derive(Debug, Args)]
pub struct Set {
    /// The person's ID: the `CreatorID` of orders that they create, or of requests that they make.
    #[arg(allow_negative_numbers = true)]
    creator: PersonId,
    /// The ID of the person's organization.
    #[arg(long, env = "BINDERY_TENANT")]
    tenant: OrgId,
    /// Lets orders that the person created be canceled without a PIN.
    #[arg(long)]
    not_required: bool,
}

impl Set {
    /// Writes the person's row after the operator confirms. This resets wrong attempts and locks.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let broken = |error: &dyn std::fmt::Display| CliError::new(error.to_string());
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        let pepper = secret::read(&stack.secretsmanager(), stack.output("PinPepperSecret")?).await;
        let pepper = Pepper::new(&pepper.map_err(|error| broken(&error))?);
        confirm(&format!("Set the PIN of {} of {} in {}", self.creator, self.tenant, stack.name), yes)?;
        let pin = read()?;
        let hash = pepper.hash(&self.tenant, self.creator, &pin).map_err(|error| broken(&error))?;
        let person = Person::with_pin(self.creator, !self.not_required, hash);
        store.put_person(&self.tenant, &person).await.map_err(|error| broken(&error))?;
        output.object(&json!({ "creator_id": self.creator, "pin_required": person.pin_required }));
        Ok(())
    }
}

/// Reads the PIN: twice from a terminal, without echo, or else from the first line of standard input. The PIN is
/// never an argument, because other users of the machine could see it.
fn read() -> Result<String, CliError> {
    if io::stdin().is_terminal() {
        return ask_twice(|prompt| rpassword::prompt_password(prompt));
    }
    let line = || {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    checked(line())
}

/// Asks for the PIN twice. Without echo, a typing error would go unnoticed until the person is locked out.
fn ask_twice(mut ask: impl FnMut(&str) -> io::Result<String>) -> Result<String, CliError> {
    let pin = checked(ask("PIN: "))?;
    let again = ask("Repeat the PIN: ").map_err(|error| CliError::new(error.to_string()))?;
    if again == pin { Ok(pin) } else { Err(CliError::new("the two PINs differ, so nothing was changed")) }
}

fn checked(read: io::Result<String>) -> Result<String, CliError> {
    let pin = read.map_err(|error| CliError::new(error.to_string()))?;
    let checked = check_new_pin(&pin).map(|()| pin);
    checked.map_err(|weak| CliError::new(format!("{weak}, so nothing was changed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_asked_for_twice_and_a_weak_one_is_not_taken() {
        let weak = "the PIN is one character repeated, or a run such as 1234 or dcba, so nothing was changed";
        let cases: [(&[&str], _); 4] = [
            (&["7295", "7295"], Ok("7295")),
            (&["7295", "7259"], Err("the two PINs differ, so nothing was changed")),
            (&["1234"], Err(weak)),
            (&[""], Err("the PIN has fewer than 4 characters, so nothing was changed")),
        ];
        for (typed, expected) in cases {
            let mut left = typed.iter();
            let asked = ask_twice(|_| Ok((*left.next().unwrap()).to_owned()));
            let asked = asked.map_err(|failure| failure.to_string());
            assert_eq!((asked.as_deref().map_err(String::as_str), left.len()), (expected, 0), "{typed:?}");
        }
    }
}
