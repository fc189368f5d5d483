//! The Lambda function `order-feed-worker`: wires, and nothing else.

use order_feed_worker::OrderFeedWorker;
use shared::aws::{Aws, Service};
use shared::store::Store;
use shared::worker::{self, Error, Outlets};
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table] = config::required(["TABLE_NAME"])?;
    let aws = Aws::from_env()?;
    let outlets = Outlets::from_env(&aws, "ORDER_FEED_DLQ_URL")?;
    let worker = OrderFeedWorker { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DynamoDb, Service::EventBridge]).await;
    worker::run(&outlets, |message, _| worker.apply(message)).await
}
