//! The question before a change.

use std::io::{self, IsTerminal, Write};

use crate::error::CliError;
use crate::terminal::escaped;

/// Asks the operator to confirm a change, unless `--yes` was given.
///
/// # Errors
/// If the operator declines, or standard input is not a terminal.
pub fn confirm(what: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::new(format!("{what}? This needs a confirmation, and standard input is not a terminal"))
            .help("nothing was changed; to make the change without a question, repeat the command with --yes"));
    }
    eprint!("{}? [y/N] ", escaped(what));
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::new("not confirmed, so nothing was changed")),
    }
}
