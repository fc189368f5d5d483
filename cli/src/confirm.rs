//! Asking before something is changed.

use std::io::{self, IsTerminal, Write};

use crate::error::CliError;
use crate::terminal::escaped;

/// Is done once the operator agrees, or has said `--yes`.
///
/// # Errors
/// If they do not, or if there is nobody to ask.
pub fn confirm(what: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::new(format!("{what}? Nobody can be asked, so nothing was changed"))
            .help("give --yes if that is what you want"));
    }
    eprint!("{}? [y/N] ", escaped(what));
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::new("nothing was changed")),
    }
}
