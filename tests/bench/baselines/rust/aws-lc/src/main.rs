//! A variant of `bind-card` with TLS by aws-lc.

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bind_card::BindCard;
use lambda_http::{Error, lambda_runtime};
use shared::http::{self, Admission, Verifier};
use shared::metrics::Metrics;
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, telemetry};

macro_rules! client {
    ($sdk:ident, $http_client:expr, $credentials:expr, $region:expr, $endpoint:literal) => {{
        let mut config = $sdk::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new($region.clone()))
            .credentials_provider($credentials.clone())
            .http_client($http_client.clone());
        config.set_endpoint_url(config::optional($endpoint).or_else(|| config::optional("AWS_ENDPOINT_URL")));
        $sdk::Client::from_conf(config.build())
    }};
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url] = config::required(["TABLE_NAME", "BIND_CARD_QUEUE_URL"])?;
    let [region, key, secret] = config::required(["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])?;
    let http_client =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let credentials = Credentials::new(key, secret, config::optional("AWS_SESSION_TOKEN"), None, "environment");
    let dynamodb = client!(aws_sdk_dynamodb, http_client, credentials, region, "AWS_ENDPOINT_URL_DYNAMODB");
    let sqs = client!(aws_sdk_sqs, http_client, credentials, region, "AWS_ENDPOINT_URL_SQS");
    let endpoint = BindCard { store: Store::new(dynamodb, table), queue: Queue::new(sqs, queue_url) };
    let metrics = Metrics::new("bench".to_owned(), "bind-card".to_owned());
    let admission = Admission::new::<BindCard>(endpoint.store.clone(), None);
    lambda_runtime::run(http::service(endpoint, Verifier::from_env()?, admission, metrics)).await
}
