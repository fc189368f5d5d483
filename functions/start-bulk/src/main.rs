//! The Lambda function `start-bulk`: wires, and nothing else.

use lambda_http::Error;
use shared::aws::{Aws, Service};
use shared::http::{self, Scope};
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, telemetry};
use start_bulk::StartBulk;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url] = config::required(["TABLE_NAME", "START_BULK_QUEUE_URL"])?;
    let expiry_months = config::required_number("CARD_EXPIRY_MONTHS")?;
    let aws = Aws::from_env()?;
    let endpoint =
        StartBulk { store: Store::new(aws.dynamodb(), table), queue: Queue::new(aws.sqs(), queue_url), expiry_months };
    aws.warm_up(&[Service::DynamoDb, Service::Sqs]).await;
    http::run(Scope::CardsWrite, move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
