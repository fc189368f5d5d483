//! What ends a command early, in words for the operator.

use std::error::Error;
use std::fmt;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::terminal::escaped;

/// Why a command ended, and what to do about it.
#[derive(Debug)]
pub struct CliError {
    what: String,
    help: Option<&'static str>,
}

impl CliError {
    /// Returns a failure with this text, escaped, since it may quote anything.
    pub fn new(what: impl AsRef<str>) -> Self {
        Self { what: escaped(what.as_ref()), help: None }
    }

    /// The same, with what to do about it.
    pub fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// Returns the same failure, of this subject.
    pub fn of(self, subject: &str) -> Self {
        Self { what: format!("{}: {}", escaped(subject), self.what), ..self }
    }

    /// Prints these failures, each of one of several subjects, and fails if there are any.
    ///
    /// # Errors
    /// Says that the failures are printed above.
    pub fn none_of(failures: &[Self]) -> Result<(), Self> {
        for failure in failures {
            eprintln!("bindery: {failure}");
        }
        if failures.is_empty() { Ok(()) } else { Err(Self::new("not all went well: see above")) }
    }

    /// A call to AWS failed.
    pub fn aws<E: Error + ProvideErrorMetadata + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |error| {
            let said = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                _ => causes(&error),
            };
            let failure = Self::new(format!("{call}: {said}"));
            let is_denied = error.code().is_some_and(|code| code.starts_with("AccessDenied"));
            if is_denied { failure.help("what an operator must be allowed to do: infra/README.md") } else { failure }
        }
    }
}

/// The error and what led to it, from the outside in.
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

    /// Returns the action that a call needs of IAM, by the words that its failure begins with.
    fn action(call: &str) -> String {
        let (service, name) = call.split_once(' ').unwrap();
        let service = if service == "EventBridge" { "events".to_owned() } else { service.to_lowercase() };
        format!("{service}:{}", name.trim_end_matches("Batch"))
    }

    #[test]
    fn the_readme_says_what_an_operator_must_be_allowed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = fs::read_to_string(root.join("../infra/README.md")).unwrap();
        let files = fs::read_dir(root.join("src")).unwrap();
        let sources: Vec<String> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        // In two parts, for this file is among them.
        let opening = ["CliError::aws", "(\""].concat();
        let calls = sources.iter().flat_map(|source| source.split(&opening).skip(1));
        let actions: Vec<String> = calls.map(|rest| action(rest.split('"').next().unwrap())).collect();
        assert!(actions.len() > 15, "{actions:?}");
        for action in actions {
            assert!(readme.contains(&format!("`{action}`")), "infra/README.md lacks {action}");
        }
    }
}
