//! The Lambda function `webhook-worker`: wires, and nothing else.

use shared::aws::{Aws, Service};
use shared::worker::{self, Error, Returns};
use shared::{config, telemetry};
use webhook_worker::WebhookWorker;
use webhook_worker::address::Reach;
use webhook_worker::client::{Client, Endpoint};
use webhook_worker::sign::{FRESH, Keyring};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [url, secret] = config::required(["WEBHOOK_URL", "WEBHOOK_SECRET"])?;
    let [queue, dead_letters] = config::required(["WEBHOOK_QUEUE_URL", "WEBHOOK_DLQ_URL"])?;
    let aws = Aws::from_env()?;
    let returns = Returns::from_env(&aws, Some(queue), dead_letters)?;
    let reach = Reach::of_this_build();
    let worker = WebhookWorker {
        client: Client::new(reach)?,
        endpoint: Endpoint::parse(&url, reach)?,
        keyring: Keyring::read(aws.secretsmanager(), secret, FRESH).await?,
    };
    aws.warm_up(&[Service::Sqs]).await;
    worker::run_without_events(&returns, |event, attempt| worker.apply(event, attempt)).await
}
