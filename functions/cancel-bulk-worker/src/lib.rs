//! Cancels the items of a bulk: the worker of the cancel-bulk queue.
//!
//! A **plan** message comes first. For a FULL cancel, the worker seals the bulk, so that no items can be added, and
//! cuts the whole bulk into chunks. For a PARTIAL cancel, it looks up the named items. In both cases it first stores
//! on the operation which batches of the bulk count, so that planning again gives the same chunks.
//!
//! A **chunk** message cancels each item by one conditional write: the item itself if it has no card yet, or else its
//! card. The plan's data may be outdated by then. That does no harm, because items and cards only move forward: the
//! write's condition fails and returns the current row. The worker stores the chunk's result once, publishes the stored
//! result, and records the chunk as complete once. A chunk with a stored result changes nothing more.
//!
//! The delivery that finds all chunks complete ends the operation, once, together with the bulk's new state. Every
//! delivery that finds it ended publishes the event of the end (again).

mod chunk;

use shared::aws::Service;
use shared::domain::bulk::{PlanCursor, PlannedItem};
use shared::domain::cancel::{ItemRef, bulk_after};
use shared::domain::event::{Event, EventData, NonameBulkCancellationData};
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::environment::Environment;
use shared::events::EventBus;
use shared::message::{CancelBulk, CancelChunk, CancelStep, Message, NamedPlan, Watch};
use shared::metrics::Metrics;
use shared::plan::{self, Plan, count, operation_of, other_kind};
use shared::queue::Queue;
use shared::store::{Store, StoreError, retrying};
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and the services that it uses.
#[derive(Debug, Clone)]
pub struct CancelBulkWorker {
    /// The store, for sealing bulks, canceling items and cards, and recording progress.
    pub store: Store,
    /// The worker's own queue, for the chunk messages.
    pub queue: Queue,
    /// The event bus, for the events of the items.
    pub bus: EventBus,
    /// The metrics, which count operations that should have ended.
    pub metrics: Metrics,
}

impl Worker for CancelBulkWorker {
    const NAME: &'static str = "cancel-bulk-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS, Service::EVENTBRIDGE];
    // A chunk that is given up sets the delay of its last delivery.
    const SETS_DELAYS: bool = true;

    type Message = Message<CancelBulk>;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        let (queue, metrics) = (environment.queue(Self::NAME), environment.metrics.clone());
        Ok(Self { store: environment.store(), queue, bus: environment.bus(), metrics })
    }

    /// Takes one step of an operation. Items that other transactions lock are retried. If they are still locked when
    /// only the last delivery is left, they are refused.
    ///
    /// # Errors
    /// [`WorkerError`]; [`WorkerError::RetryAfter`] if the chunk is given up and needs its final check.
    async fn apply(&self, message: Message<CancelBulk>, delivery: DeliveryInfo) -> Result<Completed, WorkerError> {
        match &message.instruction.step {
            CancelStep::PlanAll(cursor) => self.plan_all(&message, cursor, delivery).await,
            CancelStep::PlanNamed(plan) => self.plan_named(&message, plan).await,
            CancelStep::Chunk(chunk) => self.chunk(&message, chunk, delivery).await,
            CancelStep::Watch(_) => {
                let operation = operation_of(&self.store, &message).await?;
                let again = message.instruction.clone();
                plan::watch(&self.queue, &self.metrics, &message, &operation, again).await
            }
        }
    }
}

impl CancelBulkWorker {
    async fn plan_all(
        &self,
        message: &Message<CancelBulk>,
        from: &PlanCursor,
        delivery: DeliveryInfo,
    ) -> Result<Completed, WorkerError> {
        let (org, id, bulk) = (&message.org_id, message.operation_id, &message.instruction.bulk_id);
        let mut operation = operation_of(&self.store, message).await?;
        if operation.state == OperationState::Pending {
            self.watch_later(message).await?;
            let header = self.store.seal(org, bulk, id).await?;
            operation = self.store.mark_running(&operation, bulk, &header.batches, clock::now()).await?;
        }
        let progress = progress(&operation)?;
        if operation.state != OperationState::Running || progress.is_planned() {
            return self.end_if_complete(message, operation, "ENDED").await;
        }
        let chunk = |number, items: Vec<PlannedItem>| {
            let items = items.into_iter().map(ItemRef::from).collect();
            Some(instruction(message, CancelStep::Chunk(CancelChunk { number, items, missing: Vec::new() })))
        };
        let next_page = |cursor| instruction(message, CancelStep::PlanAll(cursor));
        let plan = Plan { store: &self.store, queue: &self.queue, message, bulk, progress, delivery };
        match plan.run(from, chunk, next_page).await? {
            Some(operation) => self.end_if_complete(message, operation, "PLANNED").await,
            None => Ok(Completed { outcome: "PLANNED_IN_PART", events: Vec::new() }),
        }
    }

    async fn watch_later(&self, message: &Message<CancelBulk>) -> Result<(), WorkerError> {
        plan::watch_later(&self.queue, message, instruction(message, CancelStep::Watch(Watch {}))).await
    }

    async fn plan_named(&self, message: &Message<CancelBulk>, plan: &NamedPlan) -> Result<Completed, WorkerError> {
        let (org, id, bulk) = (&message.org_id, message.operation_id, &message.instruction.bulk_id);
        let mut operation = operation_of(&self.store, message).await?;
        if operation.state == OperationState::Pending {
            self.watch_later(message).await?;
            operation = self.store.mark_running(&operation, bulk, &plan.batches, clock::now()).await?;
        }
        if operation.state != OperationState::Running || progress(&operation)?.is_planned() {
            return self.end_if_complete(message, operation, "ENDED").await;
        }
        let chunks = self.store.named_chunks(org, id, plan.chunks).await?;
        let names = chunks.concat();
        let mut found = self.store.items_named(org, bulk, &names, &progress(&operation)?.batches).await?;
        let mut messages = Vec::with_capacity(chunks.len());
        for (number, names) in (0..).zip(chunks) {
            let (mut items, mut missing) = (Vec::new(), Vec::new());
            for name in names {
                match found.remove(&name) {
                    Some(item) => items.push(ItemRef { external_id: name, card_id: item.card_id }),
                    None => missing.push(name),
                }
            }
            messages
                .push(message.next(instruction(message, CancelStep::Chunk(CancelChunk { number, items, missing }))));
        }
        self.queue.send_all(&messages).await?;
        let operation = self.store.set_chunks(org, id, plan.chunks, count(names.len())?).await?;
        self.end_if_complete(message, operation, "PLANNED").await
    }

    /// Ends the operation if all chunks are complete. If it has ended, returns the event of the end.
    async fn end_if_complete(
        &self,
        message: &Message<CancelBulk>,
        mut operation: Operation,
        outcome: &'static str,
    ) -> Result<Completed, WorkerError> {
        if operation.state == OperationState::Running && progress(&operation)?.is_complete() {
            operation = retrying(|| self.end(message, &operation)).await?;
        } else if operation.state == OperationState::Succeeded {
            let bulk = &message.instruction.bulk_id;
            retrying(|| self.store.see_end(&message.org_id, message.operation_id, bulk)).await?;
        }
        let events = end_event(message, &operation)?;
        Ok(Completed { outcome, events: events.into_iter().collect() })
    }

    async fn end(&self, message: &Message<CancelBulk>, operation: &Operation) -> Result<Operation, StoreError> {
        let broken = |reason: &str| StoreError::Broken { call: "end cancel", reason: reason.to_owned() };
        let (org, id, now) = (&message.org_id, message.operation_id, clock::now());
        let mut ended = operation.clone();
        let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, cancellation, progress } = &mut ended.subject
        else {
            return Err(broken("the operation is of another kind"));
        };
        let bulk = self.store.bulk(org, bulk_id).await?.ok_or_else(|| broken("the bulk has no row"))?;
        let after = bulk_after(&bulk, id, *cancel_type, progress);
        (*bulk_status, *cancellation) = (Some(after.status()), after.cancellation());
        (ended.state, ended.ended_at) = (OperationState::Succeeded, Some(now));
        match self.store.end_cancel(org, id, (&bulk, &after), now).await {
            Ok(()) => Ok(ended),
            // Another delivery that found all chunks complete may have ended it.
            Err(StoreError::Conflict { call }) => match self.store.operation(org, id, now).await? {
                Some(operation) if operation.state == OperationState::Succeeded => {
                    self.store.see_end(org, id, bulk_id).await.map(|()| operation)
                }
                _ => Err(StoreError::Conflict { call }),
            },
            Err(error) => Err(error),
        }
    }
}

fn instruction(message: &Message<CancelBulk>, step: CancelStep) -> CancelBulk {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    CancelBulk { bulk_id: bulk_id.clone(), program_id: *program_id, step }
}

fn progress(operation: &Operation) -> Result<&Progress, WorkerError> {
    match &operation.subject {
        Subject::CancelBulk { progress, .. } => Ok(progress),
        _ => Err(other_kind()),
    }
}

/// Returns the event of the operation's end, or `None` if it has not ended.
fn end_event(message: &Message<CancelBulk>, operation: &Operation) -> Result<Option<Event>, WorkerError> {
    let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, cancellation, progress } = &operation.subject else {
        return Err(other_kind());
    };
    let (Some((bulk_status, cancellation)), Some(ended_at)) = (bulk_status.zip(*cancellation), operation.ended_at)
    else {
        return Ok(None);
    };
    let data = NonameBulkCancellationData {
        bulk_id: bulk_id.clone(),
        program_id: message.instruction.program_id,
        operation_id: operation.operation_id,
        cancel_type: *cancel_type,
        bulk_status,
        cancellation,
        requested: progress.items_done,
        canceled: progress.items_done.saturating_sub(progress.items_failed),
        failed: progress.items_failed,
    };
    Ok(Some(message.event_context().event(ended_at, bulk_id, EventData::NonameBulkCancellation(data))))
}
