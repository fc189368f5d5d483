//! Reading a secret from AWS Secrets Manager.

pub use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

/// The error for a secret that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Secrets Manager GetSecretValue: {0}")]
pub struct SecretError(String);

/// Returns the secret's text, by its name or ARN.
///
/// # Errors
/// Returns [`SecretError`] if the secret cannot be read or has no text.
pub async fn read(client: &Client, name: &str) -> Result<String, SecretError> {
    let output = client.get_secret_value().secret_id(name).send().await.map_err(|error| {
        SecretError(error.code().map_or_else(|| crate::aws::transport_reason(&error), ToOwned::to_owned))
    })?;
    output.secret_string.filter(|secret| !secret.is_empty()).ok_or_else(|| SecretError("it has no text".to_owned()))
}
