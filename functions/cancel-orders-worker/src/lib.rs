//! Requests the cancellation of orders: the worker of the cancel-orders queue.
//!
//! One conditional write makes this operation the order's pending cancellation. If the order cannot be canceled,
//! another write stores that outcome. Either result is stored once with the order, under the operation's ID, and the
//! event is built from that note alone. The worker also stores the stage next to the operation, for clients that read
//! it. The market's decision comes through the order feed.

use shared::aws::Service;
use shared::domain::acceptance::Acceptance;
use shared::domain::order::OrderCancellation;
use shared::environment::Environment;
use shared::message::{CancelOrder, Message};
use shared::store::Store;
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and the store that it uses.
#[derive(Debug, Clone)]
pub struct CancelOrdersWorker {
    /// The store, for requesting cancellations and storing the stage of each next to its operation.
    pub store: Store,
}

impl Worker for CancelOrdersWorker {
    const NAME: &'static str = "cancel-orders-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::EVENTBRIDGE];

    type Message = Message<CancelOrder>;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Applies an instruction. Applied again, it changes nothing more and returns the same events.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    async fn apply(&self, message: Message<CancelOrder>, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        let (org, id, order) = (&message.org_id, message.operation_id, message.instruction.order);
        let (cid, accepted_at) = (message.cid.clone(), message.accepted_at);
        let note = OrderCancellation { cid, accepted_at, requested_at: None, outcome: None };
        let mut order = self.store.request_cancellation(org, &order, id, note.clone(), clock::now()).await?;
        if order.cancellation(id, accepted_at).is_none() {
            // The order's row is full of notes. Without a note, the event must still be the same on every delivery.
            let outcome = order.outcome_without_note(accepted_at);
            order.cancellations.insert(id, OrderCancellation { outcome, ..note });
        }
        let (outcome, event) = match order.request_event(org, id) {
            Some(event) => ("REQUESTED", event),
            None => match order.outcome_event(org, id) {
                Some(event) => ("REFUSED", event),
                None => {
                    return Err(WorkerError::Permanent(
                        "the order's note of the operation has no request and no outcome".to_owned(),
                    ));
                }
            },
        };
        // Do this before the event is published, because its consumer may read the operation.
        if let Some(note) = order.cancellations.get(&id) {
            let operation = Acceptance { operation_id: id, accepted_at };
            self.store.note_stage(org, operation, order.order, note.stage()).await?;
        }
        Ok(Completed { outcome, events: vec![event] })
    }
}
