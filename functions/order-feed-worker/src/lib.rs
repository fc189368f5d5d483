//! Takes what the broker's order system tells of its orders: the worker of the order-feed queue.
//!
//! The order system owns status and version; a change that is older than what is known leaves them alone, in
//! whatever order changes come. One that ends a pending cancellation notes how, and under which version: the
//! same change, delivered again, publishes the same event again. The operation is told of the end as well.

mod feed;

use shared::aws::Service;
use shared::environment::Environment;
use shared::store::{Store, retrying};
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

pub use feed::OrderFeed;

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct OrderFeedWorker {
    /// Changes orders; notes ends beside their operations.
    pub store: Store,
}

impl Worker for OrderFeedWorker {
    const NAME: &'static str = "order-feed-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::EVENTBRIDGE];

    type Message = OrderFeed;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Applies a change; applied again, it changes nothing more and answers the same events.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    async fn apply(&self, feed: OrderFeed, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        let (org, change) = (&feed.org_id, &feed.change);
        let now = clock::now();
        let order = retrying(|| self.store.apply_change(org, change, now)).await?;
        // Before the event is published: whoever receives it may read the operation.
        for (operation, note) in order.ended_by_version(change.version) {
            self.store.note_stage(org, operation, order.order, note.stage()).await?;
        }
        let outcome = if order.version > change.version { "OLDER" } else { "APPLIED" };
        Ok(Completed { outcome, events: order.events_of_version(org, change.version) })
    }
}
