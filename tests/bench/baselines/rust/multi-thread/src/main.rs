//! A variant of `bind-card` on tokio's multi-threaded scheduler.

use bind_card::BindCard;
use lambda_http::{Error, lambda_runtime};
use shared::aws::Aws;
use shared::http::{self, Admission, Verifier};
use shared::metrics::Metrics;
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, telemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url] = config::required(["TABLE_NAME", "BIND_CARD_QUEUE_URL"])?;
    let aws = Aws::from_env()?;
    let (dynamodb, sqs) = (aws.dynamodb(), aws.sqs());
    let endpoint = BindCard { store: Store::new(dynamodb, table), queue: Queue::new(sqs, queue_url) };
    let metrics = Metrics::new("bench".to_owned(), "bind-card".to_owned());
    let admission = Admission::new::<BindCard>(endpoint.store.clone(), None);
    lambda_runtime::run(http::service(endpoint, Verifier::from_env()?, admission, metrics)).await
}
