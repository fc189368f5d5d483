//! Applies changes that the broker's order system sends: the worker of the order-feed queue.
//!
//! The order system owns the status and the version of an order. Changes can arrive in any order, and an older change
//! does not overwrite a newer one. A change that ends a pending cancellation stores the outcome and the change's
//! version, so that a repeated delivery publishes the same event again. The worker also stores the end next to the
//! operation.

mod feed;

use shared::aws::Service;
use shared::environment::Environment;
use shared::store::{Store, retrying};
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

pub use feed::OrderFeed;

/// The worker and the store that it uses.
#[derive(Debug, Clone)]
pub struct OrderFeedWorker {
    /// The store, for changing orders and storing ends next to their operations.
    pub store: Store,
}

impl Worker for OrderFeedWorker {
    const NAME: &'static str = "order-feed-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::EVENTBRIDGE];

    type Message = OrderFeed;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Applies a change. Applied again, it changes nothing more and returns the same events.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    async fn apply(&self, feed: OrderFeed, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        let (org, change) = (&feed.org_id, &feed.change);
        let now = clock::now();
        let order = retrying(|| self.store.apply_change(org, change, now)).await?;
        // Do this before the event is published, because its consumer may read the operation.
        for (operation, note) in order.ended_by_version(change.version) {
            self.store.note_stage(org, operation, order.order, note.stage()).await?;
        }
        let outcome = if order.version > change.version { "OLDER" } else { "APPLIED" };
        Ok(Completed { outcome, events: order.events_of_version(org, change.version) })
    }
}
