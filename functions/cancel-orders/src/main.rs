//! The Lambda function `cancel-orders`: wires, and nothing else.

use cancel_orders::{CancelOrders, error};
use lambda_http::Error;
use shared::aws::{Aws, Service};
use shared::http::{self, Scope};
use shared::pin::Pepper;
use shared::queue::Queue;
use shared::store::Store;
use shared::{config, secret, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, queue_url, pepper] = config::required(["TABLE_NAME", "CANCEL_ORDERS_QUEUE_URL", "PIN_PEPPER_SECRET"])?;
    let aws = Aws::from_env()?;
    let endpoint = CancelOrders {
        store: Store::new(aws.dynamodb(), table),
        queue: Queue::new(aws.sqs(), queue_url),
        pepper: Pepper::new(&secret::read(&aws.secretsmanager(), &pepper).await?),
    };
    aws.warm_up(&[Service::DynamoDb, Service::Sqs]).await;
    http::run_saying(Scope::OrdersCancel, Some(error), move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
