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

use shared::aws::{Aws, Service};
use shared::domain::bind::BindOutcome;
use shared::domain::event::bind_events;
use shared::message::{BindCard, Message};
use shared::plan::operation_of;
use shared::store::Store;
use shared::worker::{self, Applied, Failure, Outlets};
use shared::{Error, clock, config, telemetry};

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct BindCardWorker {
    /// Changes cards; ends operations.
    pub store: Store,
}

impl BindCardWorker {
    /// Applies one instruction.
    ///
    /// # Errors
    /// [`Failure::Retry`] or [`Failure::Broken`]; a refused bind is an outcome, not an error.
    pub async fn apply(&self, message: Message<BindCard>) -> Result<Applied, Failure> {
        let BindCard { bind, card } = &message.instruction;
        let now = clock::now();
        operation_of(&self.store, &message).await?;
        let effect = self.store.bind(&message.org_id, message.acceptance(), bind, now).await?;
        let outcome = BindOutcome::of(&effect, now);
        let outcome = self.store.end_bind(&message.org_id, message.operation_id, outcome).await?;
        let events = bind_events(&message.event_context(), bind, card, &outcome, &effect)
            .map_err(|contradiction| Failure::Unexpected(contradiction.to_string()))?;
        Ok(Applied { outcome: outcome.name(), events })
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
    let outlets = Outlets::from_env(&aws, "BIND_CARD_DLQ_URL")?;
    let worker = BindCardWorker { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DYNAMODB, Service::EVENTBRIDGE]).await;
    worker::run(&outlets, |message, _| worker.apply(message)).await
}
