//! The Lambda function `start-bulk-worker`: wires, and nothing else.

use shared::aws::{Aws, Service};
use shared::queue::Queue;
use shared::store::Store;
use shared::worker::{self, Error, Outlets};
use shared::{config, telemetry};
use start_bulk_worker::StartBulkWorker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue] = config::required(["TABLE_NAME", "START_BULK_QUEUE_URL"])?;
    let aws = Aws::from_env()?;
    let outlets = Outlets::from_env(&aws, "START_BULK_DLQ_URL")?;
    let worker = StartBulkWorker {
        store: Store::new(aws.dynamodb(), table),
        queue: Queue::new(aws.sqs(), queue),
        bus: outlets.bus.clone(),
    };
    aws.warm_up(&[Service::DynamoDb, Service::Sqs, Service::EventBridge]).await;
    worker::run(&outlets, |message, _| worker.apply(message)).await
}
