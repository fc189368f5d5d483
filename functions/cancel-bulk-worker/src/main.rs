//! The Lambda function `cancel-bulk-worker`: wires, and nothing else.

use cancel_bulk_worker::CancelBulkWorker;
use shared::aws::{Aws, Service};
use shared::queue::Queue;
use shared::store::Store;
use shared::worker::{self, Error, Outlets};
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue] = config::required(["TABLE_NAME", "CANCEL_BULK_QUEUE_URL"])?;
    let aws = Aws::from_env()?;
    let outlets = Outlets::from_env(&aws, "CANCEL_BULK_DLQ_URL")?;
    let worker = CancelBulkWorker {
        store: Store::new(aws.dynamodb(), table),
        queue: Queue::new(aws.sqs(), queue),
        bus: outlets.bus.clone(),
    };
    aws.warm_up(&[Service::DynamoDb, Service::Sqs, Service::EventBridge]).await;
    worker::run(&outlets, |message, attempt| worker.apply(message, attempt)).await
}
