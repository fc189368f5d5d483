//! Applies binds: the worker of the bind-card queue.
//!
//! A bind takes five steps. This file has the first three, and builds the events of the fourth. [`shared::worker`]
//! publishes them and acknowledges the message.
//!
//! 1. Read the operation. Without its row, the effect would have no outcome and no event.
//! 2. Make the conditional write. It binds the card, or finds this operation's mark on the card, or finds why the bind
//!    is refused.
//! 3. Store the outcome on the operation, unless one is stored already. The stored outcome counts. So the event of a
//!    refusal is the same on every delivery. (A success has its mark on the card.)
//! 4. Build the events from what is stored and publish them, even if the operation had ended before.
//! 5. Acknowledge (delete) the message.
//!
//! After a crash at any step, the next delivery starts at step 1 and has the same result.

use shared::aws::Service;
use shared::domain::bind::BindOutcome;
use shared::domain::event::bind_events;
use shared::environment::Environment;
use shared::message::{BindCard, Message};
use shared::plan::operation_of;
use shared::store::Store;
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and the store that it uses.
#[derive(Debug, Clone)]
pub struct BindCardWorker {
    /// The store, for changing cards and ending operations.
    pub store: Store,
}

impl Worker for BindCardWorker {
    const NAME: &'static str = "bind-card-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::EVENTBRIDGE];

    type Message = Message<BindCard>;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Applies one instruction.
    ///
    /// # Errors
    /// [`WorkerError::Transient`], [`WorkerError::Permanent`] or [`WorkerError::Unexpected`]. A refused bind is an
    /// outcome, not an error.
    async fn apply(&self, message: Message<BindCard>, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        let BindCard { bind, card } = &message.instruction;
        let now = clock::now();
        operation_of(&self.store, &message).await?;
        let effect = self.store.bind(&message.org_id, message.acceptance(), bind, now).await?;
        let outcome = BindOutcome::of(&effect, now);
        let outcome = self.store.end_bind(&message.org_id, message.operation_id, outcome).await?;
        let events = bind_events(&message.event_context(), bind, card, &outcome, &effect)
            .map_err(|contradiction| WorkerError::Unexpected(contradiction.to_string()))?;
        Ok(Completed { outcome: outcome.name(), events })
    }
}
