//! One chunk of a cancel: its items' writes, its result, its events.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::clock;
use shared::domain::cancel::{CancelCode, Canceler, ChunkResult, ChunkState, ItemRef, Step, of_card, step};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameCancellationData};
use shared::domain::time::Timestamp;
use shared::message::{CancelBulk, CancelChunk, Message};
use shared::plan::count;
use shared::store::{Cancellation, Target};
use shared::worker::{Applied, Attempt, Failure};

use super::CancelBulkWorker;

/// Rounds of writes. An item that the plan found pending may have been issued since, and its card is tried
/// then; further than that nothing moves.
const MAX_ROUNDS: usize = 3;
/// Items that are looked at at the same time.
const CONCURRENT_LOOKS: usize = 4;
/// Deliveries of a chunk that are left when its held items are given up: one, to say so.
const LEFT_TO_SAY_SO: u32 = 1;
/// After so many timeouts of the function, whoever had not read that a chunk is given up has ended, and so have its calls.
const TIMEOUTS: u32 = 2;

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
        attempt: Attempt,
    ) -> Result<Applied, Failure> {
        let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
        let outcomes = match self.store.chunk_state(org, id, accepted_at, chunk.number).await? {
            Some(ChunkState::Done(stored)) => return self.say(message, chunk, &stored).await,
            Some(ChunkState::Held { held_since }) => self.look(message, chunk, held_since, attempt.timeout).await?,
            None => self.cancel(message, chunk, attempt).await?,
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
    ) -> Result<Applied, Failure> {
        let (org, id) = (&message.org_id, message.operation_id);
        // Published before the chunk counts as done: who reads SUCCEEDED may rely on the events.
        let events: Vec<Event> = stored.iter().map(|(code, item)| event(message, stored, code, item)).collect();
        self.bus.publish_all(&events).await?;
        let (all, changed) = (count(events.len())?, count(stored.count(CancelCode::is_change))?);
        let failed = count(stored.count(|code| code.status() == EventStatus::Failure))?;
        let operation = self.store.count_off(org, id, chunk.number, all, changed, failed).await?;
        self.end_if_complete(message, operation, "CHUNK_DONE").await
    }

    /// Cancels what may be canceled of the chunk. What others hold at every try is tried again at its next deliveries;
    /// if hardly any are left, the chunk is given up instead. See [`Self::look`].
    async fn cancel(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        attempt: Attempt,
    ) -> Result<Outcomes, Failure> {
        let (mut outcomes, held) = self.cancel_items(message, &chunk.items).await?;
        if held > 0 {
            if attempt.left <= LEFT_TO_SAY_SO {
                let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
                self.store.put_held(org, id, accepted_at, chunk.number, clock::now()).await?;
            }
            return Err(Failure::Retry(format!("{held} items are held by other transactions")));
        }
        note_missing(&mut outcomes, chunk);
        Ok(outcomes)
    }

    /// Cancels what may be canceled of these items. Answers besides how many other transactions held at every try.
    async fn cancel_items(
        &self,
        message: &Message<CancelBulk>,
        items: &[ItemRef],
    ) -> Result<(Outcomes, usize), Failure> {
        let (org, bulk) = (&message.org_id, &message.instruction.bulk_id);
        let mark = Mark { by: message.operation_id, at: clock::now() };
        let (mut outcomes, mut held) = (Outcomes::new(), 0);
        let mut open: Vec<(ItemRef, Target)> = items.iter().map(|item| (item.clone(), target(item))).collect();
        for _ in 0..MAX_ROUNDS {
            let targets: Vec<Target> = open.iter().map(|(_, target)| target.clone()).collect();
            let cancellations = self.store.cancel(org, bulk, &targets, &mark).await?;
            for ((mut item, target), cancellation) in std::mem::take(&mut open).into_iter().zip(cancellations) {
                match (cancellation, target) {
                    (Cancellation::Done, Target::Item(_)) => note(&mut outcomes, CancelCode::ExternalIdCanceled, item),
                    (Cancellation::Done, Target::Card(_)) => {
                        note(&mut outcomes, CancelCode::ExternalIdAndCardCanceled, item);
                    }
                    (Cancellation::Busy, _) => held += 1,
                    (Cancellation::Item(newer), target) => {
                        item.card_id = newer.card_id;
                        match step(&newer, &canceler(message)) {
                            Step::Done(code) => note(&mut outcomes, code, item),
                            Step::CancelCard(card) => open.push((item, Target::Card(card))),
                            Step::CancelItem => open.push((item, target)),
                        }
                    }
                    (Cancellation::Card(card), target) => match of_card(card.as_ref(), &canceler(message)) {
                        Some(code) => note(&mut outcomes, code, item),
                        None => open.push((item, target)),
                    },
                }
            }
            if open.is_empty() {
                return Ok((outcomes, held));
            }
        }
        Err(Failure::Broken("an item was refused that could be canceled".to_owned()))
    }

    /// What became of the items of a chunk that was given up: what is not canceled was held, and never will be.
    ///
    /// The race: another delivery, which had read nothing of the chunk's state, cancels an item after the look.
    /// None is at work any more: all that began after `held_since` have read that it is given up, and try nothing.
    async fn look(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        held_since: Timestamp,
        timeout: Duration,
    ) -> Result<Outcomes, Failure> {
        if u128::from(clock::now().milliseconds_since(held_since)) < (timeout * TIMEOUTS).as_millis() {
            return Err(Failure::Retry("another delivery may still cancel what is held".to_owned()));
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
    ) -> Result<(CancelCode, ItemRef), Failure> {
        let (org, bulk, canceler) = (&message.org_id, &message.instruction.bulk_id, canceler(message));
        let mut found = self.store.as_it_is(org, bulk, &target(&item)).await?;
        if let Cancellation::Item(newer) = &found
            && let Step::CancelCard(card) = step(newer, &canceler)
        {
            item.card_id = Some(card);
            found = self.store.as_it_is(org, bulk, &Target::Card(card)).await?;
        }
        let code = match found {
            Cancellation::Item(newer) => match step(&newer, &canceler) {
                Step::Done(code) => Some(code),
                Step::CancelItem | Step::CancelCard(_) => None,
            },
            Cancellation::Card(card) => of_card(card.as_ref(), &canceler),
            Cancellation::Done | Cancellation::Busy => None,
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

fn canceler(message: &Message<CancelBulk>) -> Canceler {
    Canceler { operation_id: message.operation_id, accepted_at: message.accepted_at }
}

/// What is said of one item.
fn event(message: &Message<CancelBulk>, result: &ChunkResult, code: CancelCode, item: &ItemRef) -> Event {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
    message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data))
}
