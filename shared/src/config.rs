//! The environment that a function starts in.

use std::env;

/// What is wrong with a function's environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Variables that it needs and does not have.
    #[error("missing or empty environment variables: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// A variable that does not hold what it should.
    #[error("environment variable {0} is not a number")]
    NotANumber(String),
}

/// The values of these environment variables.
///
/// # Errors
/// Names **all** that are missing or empty, so that a deployment is mended in one go.
pub fn required<const N: usize>(names: [&'static str; N]) -> Result<[String; N], ConfigError> {
    let values = names.map(|name| env::var(name).unwrap_or_default());
    let missing: Vec<_> =
        names.into_iter().zip(&values).filter(|(_, value)| value.is_empty()).map(|(name, _)| name.to_owned()).collect();
    if missing.is_empty() { Ok(values) } else { Err(ConfigError::Missing(missing)) }
}

/// The value of an environment variable that may be missing; an empty one counts as missing.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_all_that_are_missing() {
        assert_eq!(
            required(["PATH", "BINDERY_NO_SUCH_1", "BINDERY_NO_SUCH_2"]).unwrap_err().to_string(),
            "missing or empty environment variables: BINDERY_NO_SUCH_1, BINDERY_NO_SUCH_2"
        );
        assert!(required(["PATH"]).is_ok());
    }
}
