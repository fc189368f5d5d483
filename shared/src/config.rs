//! Environment variables of a function.

use std::env;

/// An error in a function's environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Required variables that are missing or empty.
    #[error("missing or empty environment variables: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// A variable whose value is not a number.
    #[error("environment variable {0} is not a number")]
    NotANumber(String),
}

/// Returns the values of these environment variables.
///
/// # Errors
/// Returns the names of **all** variables that are missing or empty, so that one deployment can fix them all.
pub fn required<const N: usize>(names: [&'static str; N]) -> Result<[String; N], ConfigError> {
    let values = names.map(|name| env::var(name).unwrap_or_default());
    let missing: Vec<_> =
        names.into_iter().zip(&values).filter(|(_, value)| value.is_empty()).map(|(name, _)| name.to_owned()).collect();
    if missing.is_empty() { Ok(values) } else { Err(ConfigError::Missing(missing)) }
}

/// Returns the value of an optional environment variable. An empty one counts as missing.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_all_missing_variables() {
        assert_eq!(
            required(["PATH", "BINDERY_NO_SUCH_1", "BINDERY_NO_SUCH_2"]).unwrap_err().to_string(),
            "missing or empty environment variables: BINDERY_NO_SUCH_1, BINDERY_NO_SUCH_2"
        );
        assert!(required(["PATH"]).is_ok());
    }
}
