//! One chunk of a cancel: its items' writes, its result, its events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::clock;
use shared::domain::cancel::{
    CancelAction, CancelCode, ChunkResult, ChunkState, ItemRef, code_for_card, next_action, of_no_card,
};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameCancellationData};
use shared::domain::ids::ExternalId;
use shared::domain::operation::OperationState;
use shared::domain::time::Timestamp;
use shared::message::{CancelBulk, CancelChunk, Message};
use shared::plan::{count, operation_of};
use shared::store::{Counts, ItemCancelResult, Target};
use shared::worker::{Completed, DeliveryInfo, WorkerError};

use super::CancelBulkWorker;

/// Rounds of writes. An item that the plan found pending may have been issued since, and its card is tried
/// then; further than that nothing moves.
const MAX_ROUNDS: usize = 3;
/// Items that are looked at at the same time.
const CONCURRENT_LOOKS: usize = 4;
/// Deliveries of a chunk that are left when its held items are given up: one, to say so.
const REPORTING_DELIVERIES: u32 = 1;
/// How long after a chunk is given up everybody has ended who had not read that, and so have their calls. An invocation of
/// any version is at work for less than half of it (`FunctionTimeout` is at most 29 s: infra/template.yaml); the rest is for
/// clocks that differ.
const ALL_KNOW_AFTER: Duration = Duration::from_secs(60);
/// How long a chunk that is given up waits for its last delivery, so that this comes after that by its own clock too.
const LOOK_AFTER: Duration = Duration::from_secs(75);

/// Items, by what became of them.
type Outcomes = BTreeMap<CancelCode, Vec<ItemRef>>;

fn note(outcomes: &mut Outcomes, code: CancelCode, item: ItemRef) {
    outcomes.entry(code).or_default().push(item);
}

impl CancelBulkWorker {
    pub(super) async fn chunk(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        delivery: DeliveryInfo,
    ) -> Result<Completed, WorkerError> {
        let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
        if operation_of(&self.store, message).await?.state == OperationState::Pending {
            // Its plan is still to be made: the table was restored to a time before it, and it may cut other chunks now.
            return Err(WorkerError::Permanent("the operation is not planned".to_owned()));
        }
        let outcomes = match self.store.chunk_state(org, id, accepted_at, chunk.number).await? {
            Some(ChunkState::Done(stored)) => return self.say(message, chunk, &stored).await,
            Some(ChunkState::Held { held_since }) => self.final_check(message, chunk, held_since).await?,
            None => self.cancel(message, chunk, delivery).await?,
        };
        let result = ChunkResult { at: clock::now(), items: outcomes };
        let stored = self.store.put_result(org, id, accepted_at, chunk.number, result).await?;
        self.say(message, chunk, &stored).await
    }

    /// Publishes what became of the chunk, and counts it off.
    async fn say(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        stored: &ChunkResult,
    ) -> Result<Completed, WorkerError> {
        let (org, id) = (&message.org_id, message.operation_id);
        if !is_of(stored, chunk) {
            return Err(WorkerError::Permanent("the chunk's result is that of other items".to_owned()));
        }
        // Published before the chunk counts as done: who reads SUCCEEDED may rely on the events.
        let events: Vec<Event> = stored.iter().map(|(code, item)| event(message, stored, code, item)).collect();
        self.bus.publish_all(&events).await?;
        let (all, changed) = (count(events.len())?, count(stored.count(CancelCode::is_change))?);
        let blank = count(stored.count(|code| code == CancelCode::ExternalIdCanceled))?;
        let failed = count(stored.count(|code| code.status() == EventStatus::Failure))?;
        let counts = Counts { items: all, changed, blank, failed };
        let operation = self.store.complete_chunk(org, id, chunk.number, counts).await?;
        self.end_if_complete(message, operation, "CHUNK_DONE").await
    }

    /// Cancels what may be canceled of the chunk. What others hold at every try is tried again at its next deliveries;
    /// if hardly any are left, the chunk is given up instead. See [`Self::look`].
    async fn cancel(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        delivery: DeliveryInfo,
    ) -> Result<Outcomes, WorkerError> {
        let (mut outcomes, held) = self.cancel_items(message, &chunk.items).await?;
        if held > 0 {
            if delivery.remaining <= REPORTING_DELIVERIES {
                let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
                self.store.put_held(org, id, accepted_at, chunk.number, clock::now()).await?;
                let reason = format!("{held} items are held by other transactions to the last");
                return Err(WorkerError::RetryAfter(reason, LOOK_AFTER));
            }
            return Err(WorkerError::Transient(format!("{held} items are held by other transactions")));
        }
        note_missing(&mut outcomes, chunk);
        Ok(outcomes)
    }

    /// Cancels what may be canceled of these items. Answers besides how many other transactions held at every try.
    async fn cancel_items(
        &self,
        message: &Message<CancelBulk>,
        items: &[ItemRef],
    ) -> Result<(Outcomes, usize), WorkerError> {
        let (org, bulk) = (&message.org_id, &message.instruction.bulk_id);
        let mark = Mark::new(message.acceptance(), clock::now());
        let (mut outcomes, mut held) = (Outcomes::new(), 0);
        let mut open: Vec<(ItemRef, Target)> = items.iter().map(|item| (item.clone(), target(item))).collect();
        for _ in 0..MAX_ROUNDS {
            let targets: Vec<Target> = open.iter().map(|(_, target)| target.clone()).collect();
            let cancellations = self.store.cancel(org, bulk, &targets, &mark).await?;
            for ((mut item, target), cancellation) in std::mem::take(&mut open).into_iter().zip(cancellations) {
                match (cancellation, target) {
                    (ItemCancelResult::Done, Target::Item(_)) => {
                        note(&mut outcomes, CancelCode::ExternalIdCanceled, item)
                    }
                    (ItemCancelResult::Done, Target::Card(_)) => {
                        note(&mut outcomes, CancelCode::ExternalIdAndCardCanceled, item);
                    }
                    (ItemCancelResult::Busy, _) => held += 1,
                    (ItemCancelResult::Item(newer), target) => {
                        item.card_id = newer.card_id;
                        match next_action(&newer, message.acceptance()) {
                            CancelAction::Done(code) => note(&mut outcomes, code, item),
                            CancelAction::CancelCard(card) => open.push((item, Target::Card(card))),
                            CancelAction::CancelItem => open.push((item, target)),
                        }
                    }
                    (ItemCancelResult::Card(card), target) => match code_for_card(&card, message.acceptance()) {
                        Some(code) => note(&mut outcomes, code, item),
                        None => open.push((item, target)),
                    },
                    (ItemCancelResult::NoCard, _) => match self.without_card(message, &item).await? {
                        Some(code) => note(&mut outcomes, code, item),
                        None => held += 1,
                    },
                }
            }
            if open.is_empty() {
                return Ok((outcomes, held));
            }
        }
        Err(WorkerError::Unexpected("an item was refused that could be canceled".to_owned()))
    }

    /// What it means that there is no row of an item's card; `None` if the card is about to be seen.
    async fn without_card(
        &self,
        message: &Message<CancelBulk>,
        item: &ItemRef,
    ) -> Result<Option<CancelCode>, WorkerError> {
        let target = Target::Item(item.external_id.clone());
        let found = self.store.read_current(&message.org_id, &message.instruction.bulk_id, &target).await?;
        Ok(match found {
            ItemCancelResult::Item(item) => of_no_card(&item, clock::now()),
            ItemCancelResult::Done | ItemCancelResult::Card(_) | ItemCancelResult::NoCard | ItemCancelResult::Busy => {
                None
            }
        })
    }

    /// What became of the items of a chunk that was given up: what is not canceled was held, and never will be.
    ///
    /// The race: another delivery, which had read nothing of the chunk's state, cancels an item after the look.
    /// None is at work any more: all that began after `held_since` have read that it is given up, and try nothing.
    async fn final_check(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        held_since: Timestamp,
    ) -> Result<Outcomes, WorkerError> {
        let since = Duration::from_millis(clock::now().milliseconds_since(held_since));
        if since < ALL_KNOW_AFTER {
            let reason = "another delivery may still cancel what is held".to_owned();
            return Err(WorkerError::RetryAfter(reason, LOOK_AFTER.saturating_sub(since)));
        }
        let looks: Vec<_> = chunk.items.iter().map(|item| self.look_at(message, item.clone())).collect();
        let mut outcomes = Outcomes::new();
        for (code, item) in stream::iter(looks).buffered(CONCURRENT_LOOKS).try_collect::<Vec<_>>().await? {
            note(&mut outcomes, code, item);
        }
        note_missing(&mut outcomes, chunk);
        Ok(outcomes)
    }

    /// What became of an item, or of its card, which may have been issued after the plan.
    async fn look_at(
        &self,
        message: &Message<CancelBulk>,
        mut item: ItemRef,
    ) -> Result<(CancelCode, ItemRef), WorkerError> {
        let (org, bulk, acceptance) = (&message.org_id, &message.instruction.bulk_id, message.acceptance());
        let mut found = self.store.read_current(org, bulk, &target(&item)).await?;
        if let ItemCancelResult::Item(newer) = &found
            && let CancelAction::CancelCard(card) = next_action(newer, acceptance)
        {
            item.card_id = Some(card);
            found = self.store.read_current(org, bulk, &Target::Card(card)).await?;
        }
        let code = match found {
            ItemCancelResult::Item(newer) => match next_action(&newer, acceptance) {
                CancelAction::Done(code) => Some(code),
                CancelAction::CancelItem | CancelAction::CancelCard(_) => None,
            },
            ItemCancelResult::Card(card) => code_for_card(&card, acceptance),
            ItemCancelResult::NoCard => self.without_card(message, &item).await?,
            ItemCancelResult::Done | ItemCancelResult::Busy => None,
        };
        Ok((code.unwrap_or(CancelCode::InvalidBulkItemStatus), item))
    }
}

/// What is to be canceled of an item, as far as is known.
fn target(item: &ItemRef) -> Target {
    item.card_id.map_or_else(|| Target::Item(item.external_id.clone()), Target::Card)
}

fn note_missing(outcomes: &mut Outcomes, chunk: &CancelChunk) {
    for id in &chunk.missing {
        note(outcomes, CancelCode::ExternalIdNotFound, ItemRef { external_id: id.clone(), card_id: None });
    }
}

/// Whether a result is of these items. It is not if the plan was made anew since, after a restore of the table.
fn is_of(result: &ChunkResult, chunk: &CancelChunk) -> bool {
    let stored: BTreeSet<&ExternalId> = result.iter().map(|(_, item)| &item.external_id).collect();
    let asked = chunk.items.iter().map(|item| &item.external_id).chain(&chunk.missing);
    stored == asked.collect()
}

/// What is said of one item.
fn event(message: &Message<CancelBulk>, result: &ChunkResult, code: CancelCode, item: &ItemRef) -> Event {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
    message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data))
}
