//! The canary's credentials at the issuer, and its token: the client credentials grant of OAuth 2.0 (RFC 6749, section
//! 4.4).

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shared::https::{Client, HttpsError, Request};

/// A token is not used in its last minute. Our limit: its check must not depend on a difference between two clocks.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// The errors of the issuer that are quoted in the log (RFC 6749, section 5.2). Other texts may contain anything.
const ERRORS: [&str; 6] = [
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// The credentials in the secret, which an operator has put there as JSON.
#[derive(Deserialize)]
pub struct Credentials {
    token_url: String,
    client_id: String,
    client_secret: String,
    /// The scope to request, for issuers that grant none by default.
    scope: Option<String>,
    /// The audience to request, which some issuers require in addition to the RFC's parameters.
    audience: Option<String>,
}

/// The error for a secret that cannot be used. It does not quote the secret.
#[derive(Debug, thiserror::Error)]
#[error("must be a JSON object with token_url, client_id and client_secret, and if needed scope and audience")]
pub struct CredentialsError;

/// The reasons why the issuer gave no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no response.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The issuer refused the request.
    #[error("responded with {0}{1}")]
    Refused(u16, Reason),
    /// The response has no usable token.
    #[error("responded without a bearer token")]
    NoToken,
}

/// The issuer's reason for a refusal, if it is one of the RFC's.
#[derive(Debug)]
pub struct Reason(Option<&'static str>);

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// An access token.
pub struct Token {
    value: String,
    /// The time from which it is not used. A token of unknown lifetime is used once.
    until: SystemTime,
}

impl Token {
    /// Returns whether the token can be used at this time.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        now < self.until
    }

    /// Returns the value of `Authorization`.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.value)
    }
}

impl Credentials {
    /// Parses the secret's text.
    ///
    /// # Errors
    /// Returns [`CredentialsError`] if it is malformed, or lacks a member.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        serde_json::from_str(text).map_err(|_| CredentialsError)
    }

    /// Gets a token from the issuer.
    ///
    /// # Errors
    /// Returns [`TokenError`] if the issuer gives none.
    pub async fn token(&self, client: &Client, now: SystemTime) -> Result<Token, TokenError> {
        let request =
            Request { url: &self.token_url, authorization: Some(self.authorization()), form: Some(self.form()) };
        let response = client.send(request, true).await?;
        if response.status == 200 {
            token(&response.body, now).ok_or(TokenError::NoToken)
        } else {
            Err(TokenError::Refused(response.status, reason(&response.body)))
        }
    }

    /// Returns the client's ID and secret, as HTTP Basic (RFC 6749, section 2.3.1), which every issuer accepts.
    fn authorization(&self) -> String {
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(&self.client_secret));
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn form(&self) -> String {
        let mut form = "grant_type=client_credentials".to_owned();
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            if let Some(value) = value {
                let _ = write!(form, "&{name}={}", encoded(value));
            }
        }
        form
    }
}

/// Returns the text in the encoding of HTML forms. Its reserved characters and spaces are percent-encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns the token in the issuer's response (RFC 6749, section 5.1).
fn token(body: &[u8], now: SystemTime) -> Option<Token> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        token_type: String,
        expires_in: Option<u64>,
    }
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let lifetime = Duration::from_secs(granted.expires_in.unwrap_or_default()).saturating_sub(EXPIRY_MARGIN);
    let is_bearer = granted.token_type.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| Token { value: granted.access_token, until: now.checked_add(lifetime).unwrap_or(now) })
}

fn reason(body: &[u8]) -> Reason {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    Reason(refusal.and_then(|refusal| ERRORS.into_iter().find(|error| *error == refusal.error)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECRET: &str = r#"{"token_url":"https://issuer.example/token","client_id":"the canary",
        "client_secret":"a:b%é+","scope":"operations:read x","audience":"https://api.example/"}"#;

    #[test]
    fn a_request_is_encoded_as_the_rfc_says() {
        let credentials = Credentials::parse(SECRET).unwrap();
        let basic = credentials.authorization();
        let pair = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(pair).unwrap(), "the%20canary:a%3Ab%25%C3%A9%2B");
        assert_eq!(
            credentials.form(),
            "grant_type=client_credentials&scope=operations%3Aread%20x&audience=https%3A%2F%2Fapi.example%2F"
        );
        let least = r#"{"token_url":"u","client_id":"i","client_secret":"s"}"#;
        assert_eq!(Credentials::parse(least).unwrap().form(), "grant_type=client_credentials");
    }

    #[rstest]
    #[case("")]
    #[case("not-for-the-log")]
    #[case(r#""not-for-the-log""#)]
    #[case(r#"{"token_url":"not-for-the-log"}"#)]
    #[case(r#"{"token_url":"https://issuer.example","client_id":5,"client_secret":"not-for-the-log"}"#)]
    fn an_invalid_secret_is_refused_and_not_quoted(#[case] text: &str) {
        let error = Credentials::parse(text).err().unwrap().to_string();
        assert!(error.contains("client_id") && !error.contains("not-for-the-log"), "{error}");
    }

    #[rstest]
    #[case(r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#, Some(3540))]
    #[case(r#"{"access_token":"t","token_type":"bearer","expires_in":61}"#, Some(1))]
    #[case(r#"{"access_token":"t","token_type":"bearer","expires_in":60}"#, Some(0))]
    #[case(r#"{"access_token":"t","token_type":"bearer"}"#, Some(0))]
    #[case(r#"{"access_token":"t","token_type":"bearer","expires_in":18446744073709551615}"#, Some(0))]
    #[case(r#"{"access_token":"t","token_type":"mac","expires_in":3600}"#, None)]
    #[case(r#"{"token_type":"bearer","expires_in":3600}"#, None)]
    #[case("<html>", None)]
    fn a_token_is_used_until_a_minute_before_it_expires(#[case] body: &str, #[case] seconds: Option<u64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let token = token(body.as_bytes(), now);
        assert_eq!(token.as_ref().map(|token| token.until.duration_since(now).unwrap().as_secs()), seconds);
        let Some(token) = token else { return };
        assert_eq!(token.bearer(), "Bearer t");
        assert_eq!(token.is_valid(now), seconds > Some(0));
        assert!(!token.is_valid(now + Duration::from_secs(seconds.unwrap())));
    }

    #[rstest]
    #[case(r#"{"error":"invalid_client","error_description":"not-for-the-log"}"#, "responded with 401: invalid_client")]
    #[case(r#"{"error":"not-for-the-log"}"#, "responded with 401")]
    #[case("not-for-the-log", "responded with 401")]
    fn only_the_rfcs_errors_are_quoted(#[case] body: &str, #[case] text: &str) {
        assert_eq!(TokenError::Refused(401, reason(body.as_bytes())).to_string(), text);
    }
}
