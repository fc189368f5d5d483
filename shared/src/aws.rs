//! How the AWS clients are made: one HTTP client, one set of time limits, credentials and addresses
//! from the environment.
//!
//! `aws-config` is left out on purpose. A Lambda function finds its credentials and region in the
//! environment and nowhere else; the crate's other sources (profiles, SSO, instance metadata) would
//! cost a megabyte of every function's binary and time of every cold start.

use std::time::Duration;
use std::{error::Error, iter::successors};

use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use futures_util::future::{BoxFuture, join_all};

use crate::config::{self, ConfigError};
use crate::connections;

// A call must give up before its function does, or all that is seen is "Task timed out". The shortest
// function timeout in use is 3 seconds (infra/samconfig.toml).

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time for one try of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Longest time for a call with all its tries.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(2500);
/// Tries of one call; the SDK waits between them with jitter.
const MAX_ATTEMPTS: u32 = 3;
/// Longest wait before the second try, doubled before the third. The SDK's own second would leave no
/// time for a third try.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Longest time to connect in advance: if AWS is slow, the first event may as well wait for it.
const WARM_UP_TIMEOUT: Duration = Duration::from_millis(800);

/// What a function calls with every event: how to connect to it. (Not an enum, or every function would link the clients
/// of all services.)
#[derive(Debug, Clone, Copy)]
pub struct Service(fn(&Aws) -> BoxFuture<'_, ()>);

/// Sends the call as a ping, over the connections that all clients share. It must be one that answers nothing: an answer
/// that cannot be read would have the SDK drop its connection.
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

service!(DYNAMODB, "`DynamoDB`.", aws_sdk_dynamodb, dynamodb, |client: aws_sdk_dynamodb::Client| client
    .untag_resource()
    .resource_arn("-"));
service!(SQS, "SQS.", aws_sdk_sqs, sqs, |client: aws_sdk_sqs::Client| client.change_message_visibility());
service!(EVENTBRIDGE, "`EventBridge`.", aws_sdk_eventbridge, eventbridge, |client: aws_sdk_eventbridge::Client| client
    .enable_rule());

/// What all AWS clients of a function share.
#[derive(Debug, Clone)]
pub struct Aws {
    http_client: SharedHttpClient,
    region: String,
    credentials: Credentials,
    retries: RetryConfig,
}

impl Aws {
    /// From the variables that Lambda sets. `AWS_ENDPOINT_URL`, or `AWS_ENDPOINT_URL_DYNAMODB`, `_SQS`
    /// and `_EVENTBRIDGE`, lead to another address than AWS's own, as in all SDKs.
    ///
    /// # Errors
    /// Names the missing variables.
    pub fn from_env() -> Result<Self, ConfigError> {
        let [region, key, secret] = config::required(["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])?;
        Ok(Self {
            http_client: http_client(),
            region,
            credentials: Credentials::new(key, secret, config::optional("AWS_SESSION_TOKEN"), None, "environment"),
            retries: retries(),
        })
    }

    /// Returns AWS as this HTTP client has it, for tests. Each call is tried once.
    #[must_use]
    pub fn behind(http_client: SharedHttpClient) -> Self {
        Self {
            http_client,
            region: "eu-central-1".to_owned(),
            credentials: Credentials::new("test", "test", None, None, "test"),
            retries: RetryConfig::disabled(),
        }
    }
}

fn http_client() -> SharedHttpClient {
    connections::renewed(|| {
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    })
}

impl Aws {
    /// Connects to these services before the first event, which would otherwise wait for as many TLS handshakes: the
    /// dearest part of a cold start. Whatever fails here is left to the first call. `WARM_UP=off` leaves all of it.
    pub async fn warm_up(&self, services: &[Service]) {
        if config::optional("WARM_UP").as_deref() == Some("off") {
            return;
        }
        let connecting = services.iter().map(|Service(connect)| connect(self));
        if tokio::time::timeout(WARM_UP_TIMEOUT, join_all(connecting)).await.is_err() {
            tracing::warn!("could not connect to AWS in advance");
        }
    }
}

/// Makes of a call the one that does nothing: AWS's services answer `GET /ping` to anybody, for nothing.
fn as_ping(request: &mut HttpRequest) {
    let uri = format!("{}/ping", request.uri().trim_end_matches('/'));
    for header in ["content-length", "content-type", "x-amz-target"] {
        request.headers_mut().remove(header);
    }
    *request.body_mut() = SdkBody::empty();
    // What cannot be set leaves a call that names nothing, and so does nothing either.
    let _ = request.set_uri(uri);
    let _ = request.set_method("GET");
}

fn endpoint(service: &str) -> Option<String> {
    config::optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| config::optional("AWS_ENDPOINT_URL"))
}

/// Why a call got no answer, in a few words that carry nothing of its content.
pub(crate) fn transport_reason<E, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::TimeoutError(_) => "timed out".to_owned(),
        SdkError::DispatchFailure(failure) => {
            format!("not sent: {}", failure.as_connector_error().map(|error| causes(error)).unwrap_or_default())
        }
        SdkError::ConstructionFailure(_) => "the request could not be made".to_owned(),
        _ => "no usable answer".to_owned(),
    }
}

/// Whether a call, tried once, has done nothing for sure: it could not be made, there was no connection to send it over, or
/// the service answered that it refuses it. What else there is, a failure of the service's own included, may have come after
/// the deed.
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

/// What an error says, and then what caused it.
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
                $sdk::Client::from_conf(config.build())
            }
        }
    };
}

client!(dynamodb, aws_sdk_dynamodb, "DYNAMODB", "A client of `DynamoDB`.");
client!(sqs, aws_sdk_sqs, "SQS", "A client of SQS.");
client!(secretsmanager, aws_sdk_secretsmanager, "SECRETS_MANAGER", "A client of Secrets Manager.");
client!(eventbridge, aws_sdk_eventbridge, "EVENTBRIDGE", "A client of `EventBridge`.");

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

    /// The address of a server that accepts one connection, reads something, and answers this; then it keeps silent.
    fn server(answer: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 10_000]);
            match answer {
                Some(answer) => connection.write_all(answer.as_bytes()).unwrap(),
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
    #[case::cut_off(format!("http://{}", server(Some("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{"))), false)]
    #[case::no_http(format!("http://{}", server(Some("hello"))), false)]
    #[tokio::test]
    async fn what_needs_a_connection_did_nothing_without_one(#[case] url: String, #[case] did_nothing: bool) {
        let aws = Aws::for_tests();
        let config = aws.sqs().config().to_builder().endpoint_url(url).retry_config(RetryConfig::disabled()).build();
        let client = aws_sdk_sqs::Client::from_conf(config);
        let error = client.send_message().queue_url("q").message_body("b").send().await.unwrap_err();
        assert_eq!(super::did_nothing(&error), did_nothing, "{}", transport_reason(&error));
    }
}
