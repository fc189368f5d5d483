//! Makes a real request each minute, as a client does, and counts whether it succeeded.
//!
//! The canary gets a token from the issuer and asks the API for an operation that does not exist. The right response
//! is the contract's 404, which only `get-operation` gives, after it has read the table. So a success proves that the
//! issuer, the gateway, its authorizer, the function and the table work. The alarm fires if there are no successes,
//! for whatever reason, also if nothing invokes the canary any more.

pub mod credentials;

use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde::de::IgnoredAny;
use shared::Error;
use shared::environment::Environment;
use shared::https::{Client, HttpsError, Request, Response};
use shared::metrics::Metrics;
use shared::secret::{self, SecretError};
use shared::task::Task;
use tokio::sync::Mutex;

use crate::credentials::{Credentials, CredentialsError, Token, TokenError};

/// An operation that never exists: operations have UUIDs of version 5 or 7.
const OPERATION: &str = "00000000-0000-0000-0000-000000000000";
/// The `type` of the expected problem.
const NOT_FOUND: &str = "urn:bindery:problem:not-found";
/// The media type of the contract's errors. The gateway's own 404 has another one.
const PROBLEM_TYPE: &str = "application/problem+json";
/// Time reserved at the end of an invocation for reporting that it timed out.
const REPORT_BUDGET: Duration = Duration::from_millis(300);

/// The canary, its secret and its token.
pub struct Canary {
    secrets: secret::Client,
    secret: String,
    /// The base URL of the API.
    api: String,
    metrics: Metrics,
    /// The token, until it expires.
    token: Mutex<Option<Token>>,
}

/// The reasons why the canary's request failed. They quote no token and no part of the secret.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret cannot be used.
    #[error("the canary's secret {0}")]
    Credentials(#[from] CredentialsError),
    /// The issuer gave no token.
    #[error("the token endpoint {0}")]
    Token(#[from] TokenError),
    /// The API did not respond.
    #[error("the API {0}")]
    Api(#[from] HttpsError),
    /// The API's response is not the expected one.
    #[error("the API responded with {0} instead of the contract's 404")]
    Response(u16),
    /// The time was up.
    #[error("no time was left")]
    Time,
}

impl Task for Canary {
    const NAME: &'static str = "canary";

    /// The schedule's event, which says nothing that matters.
    type Event = IgnoredAny;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self {
            secrets: environment.aws.secretsmanager(),
            secret: environment.text("CANARY_SECRET"),
            api: environment.text("API_ENDPOINT"),
            metrics: environment.metrics.clone(),
            token: Mutex::default(),
        })
    }

    /// Makes the request. A failure is a result, which is counted, and not an error: Lambda must not repeat it.
    async fn run(&self, _: IgnoredAny, time: Duration) -> Result<(), Error> {
        let asking = tokio::time::timeout(time.saturating_sub(REPORT_BUDGET), self.ask());
        let result = asking.await.unwrap_or(Err(CanaryError::Time));
        self.metrics.canary(result.as_ref().ok().copied());
        match result {
            Ok(took) => {
                let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(outcome = "SUCCEEDED", duration_ms, "the canary's request succeeded");
            }
            Err(reason) => tracing::error!(outcome = "FAILED", %reason, "the canary's request failed"),
        }
        Ok(())
    }
}

impl Canary {
    /// Makes the request, and returns how long the API took, with a new connection.
    async fn ask(&self) -> Result<Duration, CanaryError> {
        let client = Client::new();
        let bearer = self.bearer(&client).await?;
        let url = format!("{}/operations/{OPERATION}", self.api);
        let started = Instant::now();
        let request = Request { url: &url, authorization: Some(bearer), form: None };
        let response = client.send(request, true).await?;
        let took = started.elapsed();
        if is_expected(&response) {
            return Ok(took);
        }
        // The issuer may have withdrawn the key that signed the token.
        *self.token.lock().await = None;
        Err(CanaryError::Response(response.status))
    }

    /// Returns the value of `Authorization`, with a token that has not expired.
    async fn bearer(&self, client: &Client) -> Result<String, CanaryError> {
        let mut cached = self.token.lock().await;
        if let Some(token) = cached.as_ref().filter(|token| token.is_valid(SystemTime::now())) {
            return Ok(token.bearer());
        }
        let credentials = Credentials::parse(&secret::read(&self.secrets, &self.secret).await?)?;
        let token = credentials.token(client, SystemTime::now()).await?;
        Ok(cached.insert(token).bearer())
    }
}

fn is_expected(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Problem {
        r#type: String,
    }
    let problem: Option<Problem> = serde_json::from_slice(&response.body).ok();
    let media_type = response.content_type.split(';').next().unwrap_or_default().trim();
    response.status == 404 && media_type == PROBLEM_TYPE && problem.is_some_and(|problem| problem.r#type == NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::contract(404, "application/problem+json", r#"{"type":"urn:bindery:problem:not-found"}"#, true)]
    #[case::parameter(
        404,
        "application/problem+json; charset=utf-8",
        r#"{"type":"urn:bindery:problem:not-found"}"#,
        true
    )]
    // The gateway has no such route, or no such host.
    #[case::gateway(404, "application/json", r#"{"message":"Not Found"}"#, false)]
    #[case::not_a_problem(404, "application/json", r#"{"type":"urn:bindery:problem:not-found"}"#, false)]
    #[case::another_problem(404, "application/problem+json", r#"{"type":"about:blank"}"#, false)]
    #[case::no_json(404, "application/problem+json", "not found", false)]
    #[case::another_status(403, "application/problem+json", r#"{"type":"urn:bindery:problem:not-found"}"#, false)]
    #[case::success(200, "application/json", "{}", false)]
    fn only_the_contracts_response_is_a_success(
        #[case] status: u16,
        #[case] content_type: &str,
        #[case] body: &str,
        #[case] expected: bool,
    ) {
        let response = Response { status, content_type: content_type.to_owned(), body: body.into() };
        assert_eq!(is_expected(&response), expected);
    }

    #[test]
    fn the_problem_is_the_contracts() {
        let code = shared::http::ProblemCode::NotFound;
        assert_eq!((code.status().as_u16(), format!("urn:bindery:problem:{code}")), (404, NOT_FOUND.to_owned()));
        assert!(OPERATION.parse::<shared::domain::ids::OperationId>().is_ok());
    }
}
