//! What ends a command early, in words for the operator.

use std::error::Error;
use std::fmt;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::terminal::escaped;

/// Why a command ended, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    help: Option<&'static str>,
}

impl Failure {
    /// Returns a failure with this text, escaped, since it may quote anything.
    pub fn new(what: impl AsRef<str>) -> Self {
        Self { what: escaped(what.as_ref()), help: None }
    }

    /// The same, with what to do about it.
    pub fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// A call to AWS failed.
    pub fn aws<E: Error + ProvideErrorMetadata + 'static>(call: &'static str) -> impl Fn(E) -> Self {
        move |error| {
            let said = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                _ => causes(&error),
            };
            Self::new(format!("{call}: {said}"))
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.help.map_or(Ok(()), |help| write!(f, "\n  help: {help}"))
    }
}
