//! Issues the cards of a bulk: the worker of the start-bulk queue.
//!
//! A **plan** message comes first. It fixes which batches of the bulk the operation is about (the bulk may
//! grow meanwhile), pages through their items, and sends a **chunk** message for every hundred. The
//! batches are fixed and items never go away, so planning again gives the same chunks.
//!
//! A chunk gives every pending item its card: card row and link in one transaction, on the condition that
//! the item is still pending. What another operation issued or canceled meanwhile is left alone, and so
//! is what this one issued before it died: its events are made of the item's mark and of facts that
//! never change, not of the card, which may have been bound since. Then the chunk is counted off, once.
//!
//! Whoever finds all chunks counted off ends the operation, once.

use shared::clock;
use shared::domain::bulk::{Bulk, BulkItem, BulkState, Chunk, ItemMark, ItemState, cut};
use shared::domain::card::{Card, CardFacts, CardStatus};
use shared::domain::event::{CardCreateData, Event, EventData};
use shared::domain::ids::CardId;
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::domain::time::Date;
use shared::message::{BulkStep, Message, PlanCursor, StartBulk};
use shared::queue::Queue;
use shared::store::{CARDS_PER_TRANSACTION, Store, StoreError, retrying};
use shared::worker::{Applied, Failure};

/// Items planned in one run; then the plan goes on in a message of its own.
const PAGE_ITEMS: usize = 1000;

/// The worker and what it may touch.
#[derive(Debug, Clone)]
pub struct StartBulkWorker {
    /// Reads bulks; issues cards; counts operations off.
    pub store: Store,
    /// Its own queue, for the chunks.
    pub queue: Queue,
}

/// What is true of all cards of one start.
struct Start {
    bulk: Bulk,
    issuing_date: Date,
    expiration_date: Date,
    progress: Progress,
}

impl StartBulkWorker {
    /// Takes one step of an operation.
    ///
    /// # Errors
    /// [`Failure::Retry`] or [`Failure::Broken`].
    pub async fn apply(&self, message: Message<StartBulk>) -> Result<Applied, Failure> {
        let bulk = self.store.bulk(&message.org_id, &message.instruction.bulk_id).await?;
        let bulk = bulk.ok_or_else(|| Failure::Broken("the bulk has no row".to_owned()))?;
        match &message.instruction.step {
            BulkStep::Plan(cursor) => self.plan(&message, bulk, cursor).await,
            BulkStep::Chunk(chunk) => self.chunk(&message, bulk, chunk).await,
        }
    }

    async fn plan(&self, message: &Message<StartBulk>, bulk: Bulk, from: &PlanCursor) -> Result<Applied, Failure> {
        let (org, id) = (&message.org_id, message.operation_id);
        let operation = if bulk.is_sealed() {
            self.store.refuse(org, id, clock::now()).await?
        } else {
            self.store.begin(org, id, &bulk.batches).await?
        };
        if operation.state != OperationState::Running {
            return Ok(Applied { outcome: "ENDED", events: Vec::new() });
        }
        let Start { bulk, progress, .. } = start(&operation, bulk)?;
        if bulk.state == BulkState::Created {
            self.store.mark_started(org, &bulk.bulk_id).await?;
        }

        let page = self.store.items_after(org, &bulk.bulk_id, from.after.as_ref(), PAGE_ITEMS).await?;
        let after = page.items.last().map(|item| item.external_id.clone()).or_else(|| from.after.clone());
        let ids = page.items.into_iter().filter(|item| progress.batches.contains(&item.batch));
        let next = from.chunks + u32::from(from.open.is_some());
        let (mut chunks, mut open) = cut(from.open.clone(), next, ids.map(|item| item.external_id));
        if !page.more {
            chunks.extend(open.take());
        }
        let sent = |items: usize| from.items.saturating_add(u32::try_from(items).unwrap_or(u32::MAX));
        let cursor = PlanCursor {
            chunks: chunks.last().map_or(from.chunks, |chunk| chunk.number + 1),
            items: sent(chunks.iter().map(|chunk| chunk.items).sum()),
            open,
            after,
        };
        let mut steps: Vec<_> = chunks.into_iter().map(BulkStep::Chunk).collect();
        if page.more {
            steps.push(BulkStep::Plan(cursor.clone()));
        }
        let messages: Vec<_> = steps.into_iter().map(|step| next_step(message, step)).collect();
        self.queue.send_all(&messages).await.map_err(|error| Failure::Retry(error.to_string()))?;
        if page.more {
            return Ok(Applied { outcome: "PLANNED_IN_PART", events: Vec::new() });
        }
        let operation = self.store.set_chunks(org, id, cursor.chunks, cursor.items).await?;
        self.end_if_complete(message, operation).await?;
        Ok(Applied { outcome: "PLANNED", events: Vec::new() })
    }

    async fn chunk(&self, message: &Message<StartBulk>, bulk: Bulk, chunk: &Chunk) -> Result<Applied, Failure> {
        let (org, id) = (&message.org_id, message.operation_id);
        let operation = self.store.operation(org, id, clock::now()).await?;
        let operation = operation.ok_or_else(|| Failure::Broken("the operation has no row".to_owned()))?;
        let start = start(&operation, bulk)?;
        let items = retrying(|| self.issue(message, &start, chunk)).await?;

        let events: Vec<Event> = items.iter().filter_map(|item| event(message, &start, item)).collect();
        let (all, mine) = (items.len(), events.len());
        let count = |items: usize| u32::try_from(items).map_err(|error| Failure::Broken(error.to_string()));
        let operation = self.store.count_off(org, id, chunk.number, count(all)?, count(mine)?).await?;
        self.end_if_complete(message, operation).await?;
        Ok(Applied { outcome: "CHUNK_DONE", events })
    }

    /// The chunk's items, once every one of them that was pending has its card.
    async fn issue(
        &self,
        message: &Message<StartBulk>,
        start: &Start,
        chunk: &Chunk,
    ) -> Result<Vec<BulkItem>, StoreError> {
        let (org, bulk) = (&message.org_id, &start.bulk.bulk_id);
        let mut items = self.store.items_of(org, bulk, chunk, &start.progress.batches).await?;
        if items.len() != chunk.items {
            return Err(StoreError::Broken { call: "Query chunk", reason: "the chunk's items changed".to_owned() });
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
            let mark = ItemMark { by: message.operation_id, at: clock::now() };
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

    async fn end_if_complete(&self, message: &Message<StartBulk>, operation: Operation) -> Result<(), Failure> {
        let Subject::StartBulk { bulk_id, progress, .. } = &operation.subject else {
            return Err(other_kind());
        };
        if operation.state != OperationState::Running || !progress.is_complete() {
            return Ok(());
        }
        let (org, id, now) = (&message.org_id, message.operation_id, clock::now());
        let end = || async {
            match self.store.end_start(org, id, bulk_id, progress.items_changed, now).await {
                // Somebody else who found it complete may have ended it.
                Err(StoreError::Conflict { call }) => match self.store.operation(org, id, now).await? {
                    Some(operation) if operation.state == OperationState::Succeeded => Ok(()),
                    _ => Err(StoreError::Conflict { call }),
                },
                result => result,
            }
        };
        Ok(retrying(end).await?)
    }
}

fn start(operation: &Operation, bulk: Bulk) -> Result<Start, Failure> {
    let Subject::StartBulk { issuing_date, expiration_date, progress, .. } = &operation.subject else {
        return Err(other_kind());
    };
    Ok(Start { bulk, issuing_date: *issuing_date, expiration_date: *expiration_date, progress: progress.clone() })
}

fn other_kind() -> Failure {
    Failure::Broken("the operation is of another kind".to_owned())
}

fn next_step(message: &Message<StartBulk>, step: BulkStep) -> Message<StartBulk> {
    let instruction = StartBulk { bulk_id: message.instruction.bulk_id.clone(), step };
    Message { instruction, ..message.clone() }
}

fn new_card(start: &Start, item: &BulkItem, card_id: CardId) -> Card {
    Card {
        card_id,
        status: CardStatus::Unbound,
        facts: CardFacts {
            program_id: start.bulk.settings.program_id,
            bulk_id: Some(start.bulk.bulk_id.clone()),
            external_id: Some(item.external_id.clone()),
            contactless_enabled: start.bulk.settings.contactless_enabled,
            issuing_date: start.issuing_date,
            expiration_date: start.expiration_date,
        },
        bound: None,
        replaced: None,
    }
}

/// The event of the item's card, if this operation issued it.
fn event(message: &Message<StartBulk>, start: &Start, item: &BulkItem) -> Option<Event> {
    let (card_id, at) = item.issued_by(message.operation_id)?;
    let data = CardCreateData::new(
        card_id,
        start.bulk.bulk_id.clone(),
        item.external_id.clone(),
        &start.bulk.settings,
        start.issuing_date,
        start.expiration_date,
    );
    Some(message.event_context().event(at, &item.external_id, EventData::Create(data)))
}
