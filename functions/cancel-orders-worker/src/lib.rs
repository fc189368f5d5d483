//! Asks for orders to be canceled: the worker of the cancel-orders queue.
//!
//! One conditional write has the order's cancellation pending for this operation, or one more notes that it could
//! not be. Either is noted with the order under the operation, once, and the event is made of that note alone. The
//! same is noted beside the operation, for who asks for it. What the market says comes through the order feed.

use shared::aws::Service;
use shared::domain::acceptance::Acceptance;
use shared::domain::order::OrderCancellation;
use shared::environment::Environment;
use shared::message::{CancelOrder, Message};
use shared::store::Store;
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct CancelOrdersWorker {
    /// Requests cancellations of orders, and notes the stage of each beside its operation.
    pub store: Store,
}

impl Worker for CancelOrdersWorker {
    const NAME: &'static str = "cancel-orders-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::EVENTBRIDGE];

    type Message = Message<CancelOrder>;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Applies an instruction; applied again, it changes nothing more and answers the same events.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    async fn apply(&self, message: Message<CancelOrder>, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        let (org, id, order) = (&message.org_id, message.operation_id, message.instruction.order);
        let (cid, accepted_at) = (message.cid.clone(), message.accepted_at);
        let note = OrderCancellation { cid, accepted_at, requested_at: None, outcome: None };
        let mut order = self.store.request_cancellation(org, &order, id, note.clone(), clock::now()).await?;
        if order.cancellation(id, accepted_at).is_none() {
            // Its row is full of notes: what is said must be the same at every delivery without one.
            let outcome = order.outcome_without_note(accepted_at);
            order.cancellations.insert(id, OrderCancellation { outcome, ..note });
        }
        let (outcome, event) = match order.request_event(org, id) {
            Some(event) => ("REQUESTED", event),
            None => match order.outcome_event(org, id) {
                Some(event) => ("REFUSED", event),
                None => {
                    return Err(WorkerError::Permanent("the order's note of the operation says nothing".to_owned()));
                }
            },
        };
        // Before the event is published: whoever receives it may read the operation.
        if let Some(note) = order.cancellations.get(&id) {
            let operation = Acceptance { operation_id: id, accepted_at };
            self.store.note_stage(org, operation, order.order, note.stage()).await?;
        }
        Ok(Completed { outcome, events: vec![event] })
    }
}
