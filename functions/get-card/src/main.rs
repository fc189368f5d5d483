//! The Lambda function `get-card`: wires, and nothing else.

use get_card::GetCard;
use lambda_http::Error;
use shared::aws::{Aws, Service};
use shared::http::{self, Scope};
use shared::store::Store;
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table] = config::required(["TABLE_NAME"])?;
    let aws = Aws::from_env()?;
    let endpoint = GetCard { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DynamoDb]).await;
    http::run(Scope::CardsRead, move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
