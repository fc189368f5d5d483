//! Applies binds: the worker of the bind-card queue.
//!
//! Five steps, of which the first three are here and the last two in [`shared::worker`]:
//!
//! 1. The operation is read. Without its row, an effect could have no outcome and no event.
//! 2. The conditional write. It binds the card, or finds this operation's mark on it, or finds why it
//!    cannot be.
//! 3. The outcome is stored on the operation if it has none yet; the stored one counts. This is what
//!    makes the event of a refusal the same at every delivery; a success has its mark.
//! 4. The events are made of what is stored, and published, even if the operation had ended before.
//! 5. The message is let go.
//!
//! Whatever step the process dies after, the next delivery starts at the first and comes to the same.

use shared::aws::Service;
use shared::domain::bind::BindOutcome;
use shared::domain::event::bind_events;
use shared::environment::Environment;
use shared::message::{BindCard, Message};
use shared::plan::operation_of;
use shared::store::Store;
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct BindCardWorker {
    /// Changes cards; ends operations.
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
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`]; a refused bind is an outcome, not an error.
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
