//! The Lambda function `cancel-bulk`: wires, and nothing else.

use cancel_bulk::CancelBulk;
use lambda_http::Error;
use shared::aws::{Aws, Service};
use shared::http::{self, Scope};
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url] = config::required(["TABLE_NAME", "CANCEL_BULK_QUEUE_URL"])?;
    let aws = Aws::from_env()?;
    let endpoint = CancelBulk { store: Store::new(aws.dynamodb(), table), queue: Queue::new(aws.sqs(), queue_url) };
    aws.warm_up(&[Service::DynamoDb, Service::Sqs]).await;
    http::run(Scope::CardsWrite, move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
