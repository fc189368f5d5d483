//! Errors of commands, worded for the operator.

use std::error::Error;
use std::fmt;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::terminal::escaped;

/// The reason why a command failed, and what to do about it.
#[derive(Debug)]
pub struct CliError {
    what: String,
    help: Option<&'static str>,
}

impl CliError {
    /// Returns an error with this text. Escapes the text, because it may quote anything.
    pub fn new(what: impl AsRef<str>) -> Self {
        Self { what: escaped(what.as_ref()), help: None }
    }

    /// Adds what to do about the error.
    pub fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// Puts the subject before the error's text.
    pub fn of(self, subject: &str) -> Self {
        Self { what: format!("{}: {}", escaped(subject), self.what), ..self }
    }

    /// Prints the errors of a change to several subjects.
    ///
    /// # Errors
    /// If there are any. This error refers to those printed above it.
    pub fn report(failures: &[Self]) -> Result<(), Self> {
        for failure in failures {
            eprintln!("bindery: {failure}");
        }
        if failures.is_empty() {
            return Ok(());
        }
        let failure = Self::new("some changes failed: see the errors above");
        Err(failure.help("once their cause is fixed, repeat the command: it changes only what is left"))
    }

    /// Returns a function that converts an SDK error of this call.
    pub fn aws<E: Error + ProvideErrorMetadata + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |error| {
            let details = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                _ => causes(&error),
            };
            let failure = Self::new(format!("{call}: {details}"));
            let is_denied = error.code().is_some_and(|code| code.starts_with("AccessDenied"));
            if is_denied {
                failure.help("infra/README.md lists the permissions that each command needs")
            } else {
                failure
            }
        }
    }
}

/// Returns the error and its sources, outermost first.
fn causes(error: &dyn Error) -> String {
    let mut causes = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        causes = format!("{causes}: {cause}");
        next = cause.source();
    }
    causes
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.help.map_or(Ok(()), |help| write!(f, "\n  help: {help}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Returns the IAM action of a call, from the text that its error begins with.
    fn action(call: &str) -> String {
        let (service, name) = call.split_once(' ').unwrap();
        let service = if service == "EventBridge" { "events".to_owned() } else { service.to_lowercase() };
        format!("{service}:{}", name.trim_end_matches("Batch"))
    }

    #[test]
    fn the_readme_lists_every_permission_that_an_operator_needs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = fs::read_to_string(root.join("../infra/README.md")).unwrap();
        let files = fs::read_dir(root.join("src")).unwrap();
        let sources: Vec<String> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        // Split in two, because this file is one of the sources.
        let opening = ["CliError::aws", "(\""].concat();
        let calls = sources.iter().flat_map(|source| source.split(&opening).skip(1));
        let actions: Vec<String> = calls.map(|rest| action(rest.split('"').next().unwrap())).collect();
        assert!(actions.len() > 15, "{actions:?}");
        for action in actions {
            assert!(readme.contains(&format!("`{action}`")), "infra/README.md lacks {action}");
        }
    }
}
