//! Takes what the broker's order system tells of its orders: the worker of the order-feed queue.
//!
//! The order system owns status and version; a change that is older than what is known leaves them alone, in
//! whatever order changes come. One that ends a pending cancellation notes how, and under which version: the
//! same change, delivered again, publishes the same event again. The operation is told of the end as well.

use shared::aws::{Aws, Service};
use shared::message::OrderFeed;
use shared::store::{Store, retrying};
use shared::worker::{self, Applied, Failure, Outlets};
use shared::{Error, clock, config, telemetry};

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct OrderFeedWorker {
    /// Changes orders; notes ends beside their operations.
    pub store: Store,
}

impl OrderFeedWorker {
    /// Applies a change; applied again, it changes nothing more and answers the same events.
    ///
    /// # Errors
    /// [`Failure::Retry`] or [`Failure::Broken`].
    pub async fn apply(&self, feed: OrderFeed) -> Result<Applied, Failure> {
        let (org, change) = (&feed.org_id, &feed.change);
        let now = clock::now();
        let order = retrying(|| self.store.apply_change(org, change, now)).await?;
        // Before the event is published: whoever receives it may read the operation.
        for (operation, note) in order.ended_by_version(change.version) {
            self.store.note_stage(org, operation, order.order, note.stage()).await?;
        }
        let outcome = if order.version > change.version { "OLDER" } else { "APPLIED" };
        Ok(Applied { outcome, events: order.events_of_version(org, change.version) })
    }
}

/// Serves what Lambda hands to this function, until the process is stopped.
///
/// # Errors
///
/// Returns an error if the environment lacks something, or Lambda cannot be reached.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let [table] = config::required(["TABLE_NAME"])?;
    let aws = Aws::from_env()?;
    let outlets = Outlets::from_env(&aws, "ORDER_FEED_DLQ_URL")?;
    let worker = OrderFeedWorker { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DYNAMODB, Service::EVENTBRIDGE]).await;
    worker::run(&outlets, |message, _| worker.apply(message)).await
}
