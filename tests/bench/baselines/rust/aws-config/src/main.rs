//! A variant of `bind-card` in which `aws-config` finds region, credentials and endpoints.

use aws_config::BehaviorVersion;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bind_card::BindCard;
use lambda_http::{Error, lambda_runtime};
use shared::http::{self, Admission, Verifier};
use shared::metrics::Metrics;
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url] = config::required(["TABLE_NAME", "BIND_CARD_QUEUE_URL"])?;
    let http_client =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client).load().await;
    let (dynamodb, sqs) = (aws_sdk_dynamodb::Client::new(&aws), aws_sdk_sqs::Client::new(&aws));
    let endpoint = BindCard { store: Store::new(dynamodb, table), queue: Queue::new(sqs, queue_url) };
    let metrics = Metrics::new("bench".to_owned(), "bind-card".to_owned());
    let admission = Admission::new::<BindCard>(endpoint.store.clone(), None);
    lambda_runtime::run(http::service(endpoint, Verifier::from_env()?, admission, metrics)).await
}
