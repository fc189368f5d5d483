//! Cancels the items of a bulk: the worker of the cancel-bulk queue.
//!
//! A **plan** message comes first. Of a FULL cancel it seals the bulk, so that nothing can be added and no
//! start begins any more, and cuts the bulk's items into chunks; of a PARTIAL one it takes the chunks of
//! names that the endpoint stored. Either way it first fixes on the operation which batches of the bulk
//! count, so that planning again gives the same chunks.
//!
//! A **chunk** cancels each item by one conditional write: the item, if it has no card yet, or else its card.
//! Items and cards only move forward, so a reading that is a moment old does no harm: the write's condition
//! fails and brings the row as it is. What the chunk came to is stored once, and published as it is stored,
//! and then the chunk is counted off, once.
//!
//! Whoever finds all chunks counted off ends the operation, once, together with the bulk's new state; and
//! whoever finds it ended publishes the event of that (again).

use std::collections::{BTreeMap, BTreeSet};

use shared::clock;
use shared::domain::bulk::{BulkItem, NamedChunk, PlanCursor};
use shared::domain::cancel::{CancelCode, Canceler, ChunkResult, ItemRef, Step, of_card, state_after, step};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameBulkCancellationData, NonameCancellationData};
use shared::domain::ids::ExternalId;
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::events::EventBus;
use shared::message::{BulkStep, CancelBulk, CancelStep, Message, NamedStep};
use shared::plan::plan_page;
use shared::queue::Queue;
use shared::store::{Cancellation, Consistency, Store, StoreError, Target, retrying};
use shared::worker::{Applied, Failure};

/// Rounds of writes for one chunk. An item that was read as pending may have been issued since, and its card
/// is tried then; further than that nothing moves.
const MAX_ROUNDS: usize = 3;

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct CancelBulkWorker {
    /// Seals bulks; cancels items and cards; counts operations off.
    pub store: Store,
    /// Its own queue, for the chunks.
    pub queue: Queue,
    /// Takes the events of the items.
    pub bus: EventBus,
}

/// What became of each item.
type Codes = BTreeMap<CancelCode, Vec<ItemRef>>;

impl CancelBulkWorker {
    /// Takes one step of an operation. At its message's last delivery, an item that other transactions hold
    /// all the time is refused; before that, it is tried again.
    ///
    /// # Errors
    /// [`Failure::Retry`] or [`Failure::Broken`].
    pub async fn apply(&self, message: Message<CancelBulk>, is_last_delivery: bool) -> Result<Applied, Failure> {
        let (org, bulk) = (&message.org_id, &message.instruction.bulk_id);
        match &message.instruction.step {
            CancelStep::All(BulkStep::Plan(cursor)) => self.plan_all(&message, cursor).await,
            CancelStep::Named(NamedStep::Plan { chunks }) => self.plan_named(&message, *chunks).await,
            CancelStep::All(BulkStep::Chunk(chunk)) => {
                let items = self.store.items_of(org, bulk, chunk, Consistency::Eventual).await?;
                self.chunk(&message, chunk.number, items, Codes::new(), is_last_delivery).await
            }
            CancelStep::Named(NamedStep::Chunk(chunk)) => {
                let (items, missing) = self.named(&message, chunk).await?;
                self.chunk(&message, chunk.number, items, missing, is_last_delivery).await
            }
        }
    }

    async fn plan_all(&self, message: &Message<CancelBulk>, from: &PlanCursor) -> Result<Applied, Failure> {
        let (org, id, bulk) = (&message.org_id, message.operation_id, &message.instruction.bulk_id);
        let operation = if from.after.is_some() {
            self.operation(message).await?
        } else {
            let bulk = self.store.seal(org, bulk, id).await?;
            self.store.begin(org, id, &bulk.batches).await?
        };
        if operation.state != OperationState::Running {
            return self.end_if_complete(message, operation, "ENDED").await;
        }
        let batches = &progress(&operation)?.batches;
        let step = |step| instruction(message, CancelStep::All(step));
        match plan_page(&self.store, &self.queue, message, bulk, batches, from.clone(), step).await? {
            Some(operation) => self.end_if_complete(message, operation, "PLANNED").await,
            None => Ok(Applied { outcome: "PLANNED_IN_PART", events: Vec::new() }),
        }
    }

    async fn plan_named(&self, message: &Message<CancelBulk>, chunks: u32) -> Result<Applied, Failure> {
        let (org, id) = (&message.org_id, message.operation_id);
        let bulk = self.store.bulk(org, &message.instruction.bulk_id).await?;
        let bulk = bulk.ok_or_else(|| Failure::Broken("the bulk has no row".to_owned()))?;
        let operation = self.store.begin(org, id, &bulk.batches).await?;
        if operation.state != OperationState::Running {
            return self.end_if_complete(message, operation, "ENDED").await;
        }
        let batches = &progress(&operation)?.batches;
        let named = self.store.named_chunks(org, id, chunks).await?;
        let items = count(named.iter().map(Vec::len).sum())?;
        let messages: Vec<_> = (0..)
            .zip(named)
            .map(|(number, ids)| {
                let step = NamedStep::Chunk(NamedChunk { number, ids, batches: batches.clone() });
                message.next(instruction(message, CancelStep::Named(step)))
            })
            .collect();
        self.queue.send_all(&messages).await?;
        let operation = self.store.set_chunks(org, id, chunks, items).await?;
        self.end_if_complete(message, operation, "PLANNED").await
    }

    /// The chunk's items, and the names that are none.
    async fn named(
        &self,
        message: &Message<CancelBulk>,
        chunk: &NamedChunk,
    ) -> Result<(Vec<BulkItem>, Codes), Failure> {
        let (org, bulk) = (&message.org_id, &message.instruction.bulk_id);
        let counts = |item: &BulkItem| chunk.batches.contains(&item.batch);
        let mut items = self.store.items(org, bulk, &chunk.ids, Consistency::Eventual).await?;
        items.retain(counts);
        let unseen = |items: &[BulkItem]| {
            let seen: BTreeSet<&ExternalId> = items.iter().map(|item| &item.external_id).collect();
            chunk.ids.iter().filter(|id| !seen.contains(id)).cloned().collect::<Vec<_>>()
        };
        // What seems to be missing may be newer than the read.
        let missing = unseen(&items);
        if !missing.is_empty() {
            let newer = self.store.items(org, bulk, &missing, Consistency::Strong).await?;
            items.extend(newer.into_iter().filter(counts));
        }
        let missing = unseen(&items).into_iter().map(|external_id| ItemRef { external_id, card_id: None });
        Ok((items, Codes::from([(CancelCode::ExternalIdNotFound, missing.collect())])))
    }

    async fn chunk(
        &self,
        message: &Message<CancelBulk>,
        number: u32,
        items: Vec<BulkItem>,
        mut codes: Codes,
        is_last_delivery: bool,
    ) -> Result<Applied, Failure> {
        let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
        let busy = self.cancel(message, items, &mut codes).await?;
        if !busy.is_empty() {
            if !is_last_delivery {
                return Err(Failure::Retry(format!("{} items are held by other transactions", busy.len())));
            }
            codes.entry(CancelCode::InvalidBulkItemStatus).or_default().extend(busy);
        }
        codes.retain(|_, items| !items.is_empty());
        let result = ChunkResult { at: clock::now(), items: codes };
        let result = self.store.put_result(org, id, accepted_at, number, result).await?;
        // Published before the chunk counts as done: who reads SUCCEEDED may rely on the events.
        let events: Vec<Event> = result.iter().map(|(code, item)| event(message, &result, code, item)).collect();
        self.bus.publish_all(&events).await?;
        let (all, changed) = (count(events.len())?, count(result.count(CancelCode::is_change))?);
        let failed = count(result.count(|code| code.status() == EventStatus::Failure))?;
        let operation = self.store.count_off(org, id, number, all, changed, failed).await?;
        self.end_if_complete(message, operation, "CHUNK_DONE").await
    }

    /// Cancels what may be canceled of these items; notes what became of each, and answers those that were
    /// held by other transactions at every try.
    async fn cancel(
        &self,
        message: &Message<CancelBulk>,
        mut open: Vec<BulkItem>,
        codes: &mut Codes,
    ) -> Result<Vec<ItemRef>, Failure> {
        let canceler = Canceler { operation_id: message.operation_id, accepted_at: message.accepted_at };
        let mark = Mark { by: message.operation_id, at: clock::now() };
        let mut note = |item: BulkItem, code| {
            let item = ItemRef { external_id: item.external_id, card_id: item.card_id };
            codes.entry(code).or_default().push(item);
        };
        let mut busy = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let (mut tried, mut targets) = (Vec::new(), Vec::new());
            for item in std::mem::take(&mut open) {
                match step(&item, &canceler) {
                    Step::Done(code) => {
                        note(item, code);
                        continue;
                    }
                    Step::CancelItem => targets.push(Target::Item(item.external_id.clone())),
                    Step::CancelCard(card_id) => targets.push(Target::Card(card_id)),
                }
                tried.push(item);
            }
            let cancellations =
                self.store.cancel(&message.org_id, &message.instruction.bulk_id, &targets, &mark).await?;
            for ((item, target), cancellation) in tried.into_iter().zip(targets).zip(cancellations) {
                match (cancellation, target) {
                    (Cancellation::Done, Target::Item(_)) => note(item, CancelCode::ExternalIdCanceled),
                    (Cancellation::Done, Target::Card(_)) => note(item, CancelCode::ExternalIdAndCardCanceled),
                    (Cancellation::Busy, _) => {
                        busy.push(ItemRef { external_id: item.external_id, card_id: item.card_id });
                    }
                    (Cancellation::Item(newer), _) => open.push(newer),
                    (Cancellation::Card(card), _) => match of_card(card.as_ref(), &canceler) {
                        Some(code) => note(item, code),
                        None => return Err(Failure::Broken("a card that is UNBOUND was refused".to_owned())),
                    },
                }
            }
            if open.is_empty() {
                return Ok(busy);
            }
        }
        Err(Failure::Broken("an item that is PENDING was refused".to_owned()))
    }

    async fn operation(&self, message: &Message<CancelBulk>) -> Result<Operation, Failure> {
        let operation = self.store.operation(&message.org_id, message.operation_id, clock::now()).await?;
        operation.ok_or_else(|| Failure::Broken("the operation has no row".to_owned()))
    }

    /// Ends the operation if all is done; if it has ended, says so in an event.
    async fn end_if_complete(
        &self,
        message: &Message<CancelBulk>,
        mut operation: Operation,
        outcome: &'static str,
    ) -> Result<Applied, Failure> {
        if operation.state == OperationState::Running && progress(&operation)?.is_complete() {
            operation = retrying(|| self.end(message, &operation)).await?;
        }
        let events = end_event(message, &operation)?;
        Ok(Applied { outcome, events: events.into_iter().collect() })
    }

    async fn end(&self, message: &Message<CancelBulk>, operation: &Operation) -> Result<Operation, StoreError> {
        let broken = |reason: &str| StoreError::Broken { call: "end cancel", reason: reason.to_owned() };
        let (org, id, now) = (&message.org_id, message.operation_id, clock::now());
        let mut ended = operation.clone();
        let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, progress } = &mut ended.subject else {
            return Err(broken("the operation is of another kind"));
        };
        let bulk = self.store.bulk(org, bulk_id).await?.ok_or_else(|| broken("the bulk has no row"))?;
        let state = state_after(&bulk, id, *cancel_type, progress);
        *bulk_status = Some(state);
        (ended.state, ended.ended_at) = (OperationState::Succeeded, Some(now));
        match self.store.end_cancel(org, id, &bulk, state, progress.items_changed, now).await {
            Ok(()) => Ok(ended),
            // Somebody else who found it complete may have ended it.
            Err(StoreError::Conflict { call }) => match self.store.operation(org, id, now).await? {
                Some(operation) if operation.state == OperationState::Succeeded => Ok(operation),
                _ => Err(StoreError::Conflict { call }),
            },
            Err(error) => Err(error),
        }
    }
}

fn instruction(message: &Message<CancelBulk>, step: CancelStep) -> CancelBulk {
    CancelBulk { step, ..message.instruction.clone() }
}

fn progress(operation: &Operation) -> Result<&Progress, Failure> {
    match &operation.subject {
        Subject::CancelBulk { progress, .. } => Ok(progress),
        _ => Err(other_kind()),
    }
}

fn other_kind() -> Failure {
    Failure::Broken("the operation is of another kind".to_owned())
}

fn count(items: usize) -> Result<u32, Failure> {
    u32::try_from(items).map_err(|error| Failure::Broken(error.to_string()))
}

/// What is said of one item.
fn event(message: &Message<CancelBulk>, result: &ChunkResult, code: CancelCode, item: &ItemRef) -> Event {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
    message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data))
}

/// What is said of the whole operation, once it has ended.
fn end_event(message: &Message<CancelBulk>, operation: &Operation) -> Result<Option<Event>, Failure> {
    let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, progress } = &operation.subject else {
        return Err(other_kind());
    };
    let (Some(bulk_status), Some(ended_at)) = (*bulk_status, operation.ended_at) else { return Ok(None) };
    let data = NonameBulkCancellationData {
        bulk_id: bulk_id.clone(),
        program_id: message.instruction.program_id,
        operation_id: operation.operation_id,
        cancel_type: *cancel_type,
        bulk_status,
        requested: progress.items_done,
        canceled: progress.items_done - progress.items_failed,
        failed: progress.items_failed,
    };
    Ok(Some(message.event_context().event(ended_at, bulk_id, EventData::NonameBulkCancellation(data))))
}
