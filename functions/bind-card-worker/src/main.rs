//! The Lambda function `bind-card-worker`: wires, and nothing else.

use aws_lambda_events::sqs::SqsEvent;
use bind_card_worker::BindCardWorker;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::aws::Aws;
use shared::events::EventBus;
use shared::queue::Queue;
use shared::store::Store;
use shared::worker::{Outlets, run_batch};
use shared::{config, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let [table, bus, dead_letters] = config::required(["TABLE_NAME", "EVENT_BUS_NAME", "BIND_CARD_DLQ_URL"])?;
    let aws = Aws::from_env()?;
    let worker = BindCardWorker { store: Store::new(aws.dynamodb(), table) };
    let outlets = Outlets {
        bus: EventBus::new(aws.eventbridge(), bus),
        dead_letters: Queue::new(aws.sqs(), dead_letters),
        max_receives: config::required_number("MAX_RECEIVES")?,
    };
    let (worker, outlets) = (&worker, &outlets);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<SqsEvent>| {
        Ok::<_, Error>(run_batch(outlets, event, |message, _| worker.apply(message)).await)
    }))
    .await
}
