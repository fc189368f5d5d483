//! Issues the cards of a bulk: the worker of the start-bulk queue.
//!
//! A **plan** message comes first. The worker stores which batches of the bulk the operation covers, because the bulk
//! may grow in the meantime. It then pages through their items, and sends a **chunk** message for every hundred. The
//! set of batches does not change and items are never deleted, so planning again gives the same chunks.
//!
//! A chunk gives every pending item its card. One transaction writes the card's row and the item's link to it, on the
//! condition that the item is still pending. Items that another operation has issued or canceled do not change, nor
//! do those that an earlier delivery of this chunk issued. The events are built from the item's mark and from facts
//! that never change, not from the card, which may have been bound since. Then the chunk is recorded as complete, once.
//!
//! The delivery that finds all chunks complete ends the operation, once.

use shared::aws::Service;
use shared::domain::bulk::{Bulk, BulkItem, ItemState, PlanCursor, PlannedItem, Range};
use shared::domain::card::{Card, CardStatus, Mark};
use shared::domain::event::{Event, create_event, start_event};
use shared::domain::ids::CardId;
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::domain::time::Date;
use shared::environment::Environment;
use shared::events::EventBus;
use shared::message::{Message, StartBulk, StartChunk, StartStep, Watch};
use shared::metrics::Metrics;
use shared::plan::{self, Plan, count, operation_of, other_kind};
use shared::queue::Queue;
use shared::store::{CARDS_PER_TRANSACTION, Counts, Store, StoreError, retrying};
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerError};
use shared::{Error, clock};

/// The worker and the services that it uses.
#[derive(Debug, Clone)]
pub struct StartBulkWorker {
    /// The store, for reading bulks, issuing cards and recording progress.
    pub store: Store,
    /// The worker's own queue, for the chunk messages.
    pub queue: Queue,
    /// The event bus, for the events of the cards.
    pub bus: EventBus,
    /// The metrics, which count operations that should have ended.
    pub metrics: Metrics,
}

/// The data common to all cards of one start.
struct Start {
    bulk: Bulk,
    issuing_date: Date,
    expiration_date: Date,
    progress: Progress,
}

impl Worker for StartBulkWorker {
    const NAME: &'static str = "start-bulk-worker";
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS, Service::EVENTBRIDGE];

    type Message = Message<StartBulk>;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        let (queue, metrics) = (environment.queue(Self::NAME), environment.metrics.clone());
        Ok(Self { store: environment.store(), queue, bus: environment.bus(), metrics })
    }

    /// Takes one step of an operation.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    async fn apply(&self, message: Message<StartBulk>, delivery: DeliveryInfo) -> Result<Completed, WorkerError> {
        let operation = operation_of(&self.store, &message).await?;
        let bulk = self.store.bulk(&message.org_id, &message.instruction.bulk_id).await?;
        let bulk = bulk.ok_or_else(|| WorkerError::Permanent("the bulk has no row".to_owned()))?;
        match &message.instruction.step {
            StartStep::Plan(cursor) => self.plan(&message, operation, bulk, cursor, delivery).await,
            StartStep::Chunk(chunk) => self.chunk(&message, &operation, bulk, chunk).await,
            StartStep::Watch(_) => {
                let again = message.instruction.clone();
                plan::watch(&self.queue, &self.metrics, &message, &operation, again).await
            }
        }
    }
}

impl StartBulkWorker {
    async fn plan(
        &self,
        message: &Message<StartBulk>,
        mut operation: Operation,
        bulk: Bulk,
        from: &PlanCursor,
        delivery: DeliveryInfo,
    ) -> Result<Completed, WorkerError> {
        let (org, id) = (&message.org_id, message.operation_id);
        let instruction = |step| StartBulk { bulk_id: bulk.bulk_id.clone(), step };
        if operation.state == OperationState::Pending {
            plan::watch_later(&self.queue, message, instruction(StartStep::Watch(Watch {}))).await?;
            operation = if bulk.is_sealed() {
                self.store.refuse(org, id, bulk.items, clock::now()).await?
            } else {
                self.store.mark_running(&operation, &bulk.bulk_id, &bulk.batches, clock::now()).await?
            };
        }
        let Start { progress, .. } = start(&operation, bulk.clone())?;
        if operation.state != OperationState::Running || progress.is_planned() {
            return self.end_if_complete(message, operation, &bulk, "ENDED").await;
        }
        let chunk = |number, items: Vec<PlannedItem>| {
            Range::of(&items).map(|range| instruction(StartStep::Chunk(StartChunk { number, range })))
        };
        let next_page = |cursor| instruction(StartStep::Plan(cursor));
        let (store, queue, bulk_id) = (&self.store, &self.queue, &bulk.bulk_id);
        let plan = Plan { store, queue, message, bulk: bulk_id, progress: &progress, delivery };
        match plan.run(from, chunk, next_page).await? {
            Some(operation) => self.end_if_complete(message, operation, &bulk, "PLANNED").await,
            None => Ok(Completed { outcome: "PLANNED_IN_PART", events: Vec::new() }),
        }
    }

    async fn chunk(
        &self,
        message: &Message<StartBulk>,
        operation: &Operation,
        bulk: Bulk,
        chunk: &StartChunk,
    ) -> Result<Completed, WorkerError> {
        let (org, id) = (&message.org_id, message.operation_id);
        let start = start(operation, bulk)?;
        if !chunk.range.batches.is_subset(&start.progress.batches) {
            // The table was restored to a time before the plan. A new plan cuts the bulk into other chunks.
            return Err(WorkerError::Permanent("the operation is not planned with this chunk".to_owned()));
        }
        let items = retrying(|| self.issue(message, &start, &chunk.range)).await?;

        let (context, Start { bulk, issuing_date, expiration_date, .. }) = (message.event_context(), &start);
        let event = |item| create_event(&context, bulk, item, *issuing_date, *expiration_date);
        let events: Vec<Event> = items.iter().filter_map(event).collect();
        // Publish before the chunk counts as done: a client that reads SUCCEEDED may rely on the events.
        self.bus.publish_all(&events).await?;
        let (all, mine) = (count(items.len())?, count(events.len())?);
        let counts = Counts { items: all, changed: mine, ..Counts::default() };
        let operation = self.store.complete_chunk(org, id, chunk.number, counts).await?;
        self.end_if_complete(message, operation, &start.bulk, "CHUNK_DONE").await
    }

    /// Issues a card for each pending item of the chunk. Returns all items of the chunk, once their cards are visible.
    async fn issue(
        &self,
        message: &Message<StartBulk>,
        start: &Start,
        range: &Range,
    ) -> Result<Vec<BulkItem>, StoreError> {
        let (org, bulk) = (&message.org_id, &start.bulk.bulk_id);
        let mut items = self.store.items_of(org, bulk, range).await?;
        // This delivery also publishes the events of cards that an earlier one issued, so those cards must be
        // visible. A transaction's rows can become visible one by one, so the item may be visible before its card.
        let is_mine = |item: &&BulkItem| item.issued.as_ref().is_some_and(|mark| mark.is_of(message.acceptance()));
        let before: Vec<CardId> = items.iter().filter(is_mine).filter_map(|item| item.card_id).collect();
        if self.store.cards(org, &before).await?.len() < before.len() {
            return Err(StoreError::Conflict { call: "BatchGetItem cards" });
        }
        let mut pending: Vec<&mut BulkItem> =
            items.iter_mut().filter(|item| item.state == ItemState::Pending).collect();
        if pending.is_empty() {
            return Ok(items);
        }
        let count = u32::try_from(pending.len()).unwrap_or(u32::MAX);
        let mut card_ids = (self.store.new_card_ids(org, count).await?..).filter_map(CardId::new);
        for group in pending.chunks_mut(CARDS_PER_TRANSACTION) {
            let cards: Vec<_> = group
                .iter()
                .zip(card_ids.by_ref())
                .map(|(item, card_id)| (&**item, new_card(start, item, card_id)))
                .collect();
            let mark = Mark::new(message.acceptance(), clock::now());
            self.store.issue(org, bulk, &cards, &mark).await?;
            let card_ids: Vec<CardId> = cards.into_iter().map(|(_, card)| card.card_id).collect();
            for (item, card_id) in group.iter_mut().zip(card_ids) {
                item.state = ItemState::Issued;
                item.card_id = Some(card_id);
                item.issued = Some(mark.clone());
            }
        }
        Ok(items)
    }

    /// Ends the operation if all chunks are complete. If it has ended, returns the event of the end.
    async fn end_if_complete(
        &self,
        message: &Message<StartBulk>,
        mut operation: Operation,
        bulk: &Bulk,
        outcome: &'static str,
    ) -> Result<Completed, WorkerError> {
        let Subject::StartBulk { progress, .. } = &operation.subject else {
            return Err(other_kind());
        };
        if operation.state == OperationState::Running && progress.is_complete() {
            operation = retrying(|| self.end(message, &operation, progress)).await?;
        } else if operation.state == OperationState::Succeeded {
            retrying(|| self.store.see_end(&message.org_id, message.operation_id, &bulk.bulk_id)).await?;
        }
        let event = start_event(&message.event_context(), &operation, bulk);
        Ok(Completed { outcome, events: event.into_iter().collect() })
    }

    async fn end(
        &self,
        message: &Message<StartBulk>,
        operation: &Operation,
        progress: &Progress,
    ) -> Result<Operation, StoreError> {
        let (org, id, bulk, now) = (&message.org_id, message.operation_id, &message.instruction.bulk_id, clock::now());
        let ended = Operation { state: OperationState::Succeeded, ended_at: Some(now), ..operation.clone() };
        match self.store.end_start(org, id, bulk, progress, now).await {
            Ok(()) => Ok(ended),
            // Another delivery that found all chunks complete may have ended it.
            Err(StoreError::Conflict { call }) => match self.store.operation(org, id, now).await? {
                Some(operation) if operation.state == OperationState::Succeeded => {
                    self.store.see_end(org, id, bulk).await.map(|()| operation)
                }
                _ => Err(StoreError::Conflict { call }),
            },
            Err(error) => Err(error),
        }
    }
}

fn start(operation: &Operation, bulk: Bulk) -> Result<Start, WorkerError> {
    let Subject::StartBulk { issuing_date, expiration_date, progress, .. } = &operation.subject else {
        return Err(other_kind());
    };
    Ok(Start { bulk, issuing_date: *issuing_date, expiration_date: *expiration_date, progress: progress.clone() })
}

fn new_card(start: &Start, item: &BulkItem, card_id: CardId) -> Card {
    Card {
        card_id,
        status: CardStatus::Unbound,
        facts: start.bulk.card_facts(item, start.issuing_date, start.expiration_date),
        bound: None,
        replaced: None,
        canceled: None,
    }
}
