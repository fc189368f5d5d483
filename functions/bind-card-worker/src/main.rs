//! The Lambda function `bind-card-worker`: wires, and nothing else.

use bind_card_worker::BindCardWorker;
use shared::aws::{Aws, Service};
use shared::store::Store;
use shared::worker::{self, Error, Outlets};
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table] = config::required(["TABLE_NAME"])?;
    let aws = Aws::from_env()?;
    let outlets = Outlets::from_env(&aws, "BIND_CARD_DLQ_URL")?;
    let worker = BindCardWorker { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DynamoDb, Service::EventBridge]).await;
    worker::run(&outlets, |message, _| worker.apply(message)).await
}
