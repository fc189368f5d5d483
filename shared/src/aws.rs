//! AWS clients that share an HTTP client, with time limits, and with credentials and endpoints from the environment.
//!
//! `aws-config` is not used on purpose. A Lambda function gets its credentials and region only from the environment.
//! The crate's other sources (profiles, SSO, instance metadata) would add a megabyte to every function's binary and
//! time to every cold start.

use std::time::Duration;
use std::{error::Error, iter::successors};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_eventbridge::Client as EventBridge;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use futures_util::future::{BoxFuture, join_all};

use crate::calls::CallTimes;
use crate::config::{self, ConfigError};
use crate::connections;

// A call must fail before its function times out, otherwise the only message is "Task timed out". The shortest
// function timeout in use is 3 seconds (infra/samconfig.toml).

/// Maximum time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Maximum time for a call with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(2500);
/// Maximum attempts of a call. The SDK waits between them with jitter.
const MAX_ATTEMPTS: u32 = 3;
/// Maximum wait before the second attempt, doubled before the third. The SDK's default of one second would leave no
/// time for a third attempt.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// The name of calls that only open a connection, in the times of calls.
const PING: &str = "Ping";
/// Maximum time for connecting in advance. If AWS is slow, the first event can wait for the connection instead.
const WARM_UP_TIMEOUT: Duration = Duration::from_millis(800);

/// A service that a function calls with every event, so that the function connects to it in advance. An enum would
/// make every function link the clients of all services.
#[derive(Debug, Clone, Copy)]
pub struct Service(fn(&Aws) -> BoxFuture<'_, ()>);

/// Opens the shared connection with a ping. Use an operation without an output shape: the SDK closes the connection
/// when it cannot parse a response.
macro_rules! service {
    ($name:ident, $what:literal, $sdk:ident, $client:ident, $call:expr) => {
        impl Service {
            #[doc = $what]
            pub const $name: Self = Self(|aws| {
                Box::pin(async {
                    let once = $sdk::Config::builder().retry_config(RetryConfig::disabled());
                    let call = $call(aws.$client()).customize().mutate_request(as_ping).config_override(once);
                    drop(call.send().await);
                })
            });
        }
    };
}

service!(DYNAMODB, "Connects to `DynamoDB`.", aws_sdk_dynamodb, dynamodb, |client: aws_sdk_dynamodb::Client| client
    .untag_resource()
    .resource_arn("-"));
service!(SQS, "Connects to SQS.", aws_sdk_sqs, sqs, |client: aws_sdk_sqs::Client| client.change_message_visibility());
service!(EVENTBRIDGE, "Connects to `EventBridge`.", aws_sdk_eventbridge, eventbridge, |client: EventBridge| client
    .enable_rule());

/// The configuration that all AWS clients of a function share.
#[derive(Debug, Clone)]
pub struct Aws {
    http_client: SharedHttpClient,
    region: String,
    credentials: Credentials,
    retries: RetryConfig,
    /// Times the clients' calls, if a function's metrics write the times.
    calls: Option<CallTimes>,
}

impl Aws {
    /// Creates the configuration from the variables that Lambda sets. As in all SDKs, `AWS_ENDPOINT_URL`, or
    /// `AWS_ENDPOINT_URL_DYNAMODB`, `_SQS` and `_EVENTBRIDGE`, override AWS's endpoints.
    ///
    /// # Errors
    /// Returns the names of the missing variables.
    pub fn from_env() -> Result<Self, ConfigError> {
        let [region, key, secret] = config::required(["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])?;
        Ok(Self {
            http_client: http_client(),
            region,
            credentials: Credentials::new(key, secret, config::optional("AWS_SESSION_TOKEN"), None, "environment"),
            retries: retries(),
            calls: None,
        })
    }

    /// Returns a configuration for tests that uses this HTTP client and makes each call once.
    #[must_use]
    pub fn behind(http_client: SharedHttpClient) -> Self {
        Self {
            http_client,
            region: "eu-central-1".to_owned(),
            credentials: Credentials::new("test", "test", None, None, "test"),
            retries: RetryConfig::disabled(),
            calls: None,
        }
    }

    /// Returns the configuration with clients that add the times of their calls to these.
    #[must_use]
    pub fn timed(self, calls: &CallTimes) -> Self {
        Self { calls: Some(calls.clone()), ..self }
    }
}

fn http_client() -> SharedHttpClient {
    connections::renewed(|| {
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    })
}

impl Aws {
    /// Connects to these services before the first event. Otherwise that event would wait for as many TLS handshakes,
    /// the most expensive part of a cold start. Errors are ignored: the first call connects then. `WARM_UP=off`
    /// disables this.
    pub async fn warm_up(&self, services: &[Service]) {
        if config::optional("WARM_UP").as_deref() == Some("off") {
            return;
        }
        let calls = self.calls.as_ref().map(|calls| calls.under(PING));
        let aws = Self { calls, ..self.clone() };
        let connecting = services.iter().map(|Service(connect)| connect(&aws));
        if tokio::time::timeout(WARM_UP_TIMEOUT, join_all(connecting)).await.is_err() {
            tracing::warn!("could not connect to AWS in advance");
        }
    }
}

/// Rewrites the request as `GET /ping`, to which AWS endpoints respond without credentials and free of charge.
fn as_ping(request: &mut HttpRequest) {
    let uri = format!("{}/ping", request.uri().trim_end_matches('/'));
    for header in ["content-length", "content-type", "x-amz-target"] {
        request.headers_mut().remove(header);
    }
    *request.body_mut() = SdkBody::empty();
    // If this fails, the request names no operation, and so has no effect either.
    let _ = request.set_uri(uri);
    let _ = request.set_method("GET");
}

fn endpoint(service: &str) -> Option<String> {
    config::optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| config::optional("AWS_ENDPOINT_URL"))
}

/// Returns the reason why a call got no response, in a few words without any of its content.
pub(crate) fn transport_reason<E, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::TimeoutError(_) => "timed out".to_owned(),
        SdkError::DispatchFailure(failure) => {
            format!("not sent: {}", failure.as_connector_error().map(|error| causes(error)).unwrap_or_default())
        }
        SdkError::ConstructionFailure(_) => "the request could not be made".to_owned(),
        _ => "no usable response".to_owned(),
    }
}

/// Returns whether a call of one attempt definitely had no effect: it could not be built, there was no connection for
/// it, or the service rejected it. Any other failure, even an error of the service's own, may have happened after the
/// effect.
pub(crate) fn did_nothing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => {
            let error = failure.as_connector_error().map(|error| error as &(dyn Error + 'static));
            let mut clients = error.into_iter().flat_map(chain).filter_map(|cause| cause.downcast_ref());
            clients.any(hyper_util::client::legacy::Error::is_connect)
        }
        SdkError::ServiceError(refusal) => refusal.raw().status().is_client_error() && refusal.err().code().is_some(),
        _ => false,
    }
}

/// Returns the messages of an error and of its causes.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| (*error).source())
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(INITIAL_BACKOFF)
}

// The clients' configurations are alike, but each SDK crate has types of its own for them.
macro_rules! client {
    ($name:ident, $sdk:ident, $service:literal, $what:literal) => {
        impl Aws {
            #[doc = $what]
            #[must_use]
            pub fn $name(&self) -> $sdk::Client {
                let mut config = $sdk::Config::builder()
                    .behavior_version($sdk::config::BehaviorVersion::v2026_01_12())
                    .region($sdk::config::Region::new(self.region.clone()))
                    .credentials_provider(self.credentials.clone())
                    .http_client(self.http_client.clone())
                    .timeout_config(timeouts())
                    .retry_config(self.retries.clone());
                config.set_endpoint_url(endpoint($service));
                if let Some(calls) = &self.calls {
                    config = config.interceptor(calls.clone());
                }
                $sdk::Client::from_conf(config.build())
            }
        }
    };
}

client!(dynamodb, aws_sdk_dynamodb, "DYNAMODB", "Returns a client of `DynamoDB`.");
client!(sqs, aws_sdk_sqs, "SQS", "Returns a client of SQS.");
client!(secretsmanager, aws_sdk_secretsmanager, "SECRETS_MANAGER", "Returns a client of Secrets Manager.");
client!(eventbridge, aws_sdk_eventbridge, "EVENTBRIDGE", "Returns a client of `EventBridge`.");

impl Aws {
    /// Returns the configuration of a client that only one function uses, so that only its crate links that SDK.
    /// `service` is the suffix of the variable that overrides the service's endpoint.
    #[must_use]
    pub fn sdk_config(&self, service: &str) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(self.http_client.clone())
            .timeout_config(timeouts())
            .retry_config(self.retries.clone());
        config.set_endpoint_url(endpoint(service));
        config.build()
    }
}

#[cfg(test)]
impl Aws {
    /// Returns AWS for unit tests, over the network.
    pub(crate) fn for_tests() -> Self {
        Self::behind(http_client())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use rstest::rstest;

    use super::*;

    /// Returns the address of a server that accepts one connection, reads something, writes this response and then
    /// sends nothing more.
    fn server(response: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 10_000]);
            match response {
                Some(response) => connection.write_all(response.as_bytes()).unwrap(),
                None => std::thread::sleep(OPERATION_TIMEOUT * 2),
            }
        });
        address
    }

    #[rstest]
    #[case::refused("http://127.0.0.1:1".to_owned(), true)]
    #[case::no_such_host("http://nowhere.invalid".to_owned(), true)]
    #[case::no_tls(format!("https://{}", server(Some("HTTP/1.1 400 Bad Request\r\n\r\n"))), true)]
    #[case::silent_before_tls(format!("https://{}", server(None)), true)]
    #[case::silent(format!("http://{}", server(None)), false)]
    #[case::closed(format!("http://{}", server(Some(""))), false)]
    #[case::cut_off(
    format!("http://{}", server(Some("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{"))),
    false
)]
    #[case::no_http(format!("http://{}", server(Some("hello"))), false)]
    #[tokio::test]
    async fn a_call_without_a_connection_did_nothing(#[case] url: String, #[case] did_nothing: bool) {
        let aws = Aws::for_tests();
        let config = aws.sqs().config().to_builder().endpoint_url(url).retry_config(RetryConfig::disabled()).build();
        let client = aws_sdk_sqs::Client::from_conf(config);
        let error = client.send_message().queue_url("q").message_body("b").send().await.unwrap_err();
        assert_eq!(super::did_nothing(&error), did_nothing, "{}", transport_reason(&error));
    }
}
