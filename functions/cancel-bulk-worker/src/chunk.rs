//! One chunk of a cancel: its items' writes, its result, its events.

use std::collections::BTreeMap;

use shared::clock;
use shared::domain::cancel::{CancelCode, Canceler, ChunkResult, ItemRef, Step, of_card, step};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameCancellationData};
use shared::message::{CancelBulk, CancelChunk, Message};
use shared::plan::count;
use shared::store::{Cancellation, Target};
use shared::worker::{Applied, Failure};

use super::CancelBulkWorker;

/// Rounds of writes. An item that the plan found pending may have been issued since, and its card is tried
/// then; further than that nothing moves.
const MAX_ROUNDS: usize = 3;

/// What became of items.
#[derive(Default)]
struct Outcomes {
    codes: BTreeMap<CancelCode, Vec<ItemRef>>,
    /// Those that other transactions held at every try.
    busy: Vec<(ItemRef, Target)>,
}

impl Outcomes {
    fn note(&mut self, code: CancelCode, item: ItemRef) {
        self.codes.entry(code).or_default().push(item);
    }
}

impl CancelBulkWorker {
    pub(super) async fn chunk(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        is_last_delivery: bool,
    ) -> Result<Applied, Failure> {
        let (org, id, accepted_at) = (&message.org_id, message.operation_id, message.accepted_at);
        let stored = if let Some(stored) = self.store.result(org, id, accepted_at, chunk.number).await? {
            stored
        } else {
            let result = self.cancel(message, chunk, is_last_delivery).await?;
            self.store.put_result(org, id, accepted_at, chunk.number, result).await?
        };
        // Published before the chunk counts as done: who reads SUCCEEDED may rely on the events.
        let events: Vec<Event> = stored.iter().map(|(code, item)| event(message, &stored, code, item)).collect();
        self.bus.publish_all(&events).await?;
        let (all, changed) = (count(events.len())?, count(stored.count(CancelCode::is_change))?);
        let failed = count(stored.count(|code| code.status() == EventStatus::Failure))?;
        let operation = self.store.count_off(org, id, chunk.number, all, changed, failed).await?;
        self.end_if_complete(message, operation, "CHUNK_DONE").await
    }

    async fn cancel(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        is_last_delivery: bool,
    ) -> Result<ChunkResult, Failure> {
        let Outcomes { mut codes, busy } = self.cancel_items(message, &chunk.items).await?;
        if !busy.is_empty() && !is_last_delivery {
            return Err(Failure::Retry(format!("{} items are held by other transactions", busy.len())));
        }
        for (item, target) in busy {
            let (code, item) = self.of_busy(message, item, target).await?;
            codes.entry(code).or_default().push(item);
        }
        if !chunk.missing.is_empty() {
            let missing = chunk.missing.iter().map(|id| ItemRef { external_id: id.clone(), card_id: None });
            codes.insert(CancelCode::ExternalIdNotFound, missing.collect());
        }
        Ok(ChunkResult { at: clock::now(), items: codes })
    }

    /// Cancels what may be canceled of these items.
    async fn cancel_items(&self, message: &Message<CancelBulk>, items: &[ItemRef]) -> Result<Outcomes, Failure> {
        let (org, bulk) = (&message.org_id, &message.instruction.bulk_id);
        let mark = Mark { by: message.operation_id, at: clock::now() };
        let mut outcomes = Outcomes::default();
        let mut open: Vec<(ItemRef, Target)> = items
            .iter()
            .map(|item| {
                let target = item.card_id.map_or_else(|| Target::Item(item.external_id.clone()), Target::Card);
                (item.clone(), target)
            })
            .collect();
        for _ in 0..MAX_ROUNDS {
            let targets: Vec<Target> = open.iter().map(|(_, target)| target.clone()).collect();
            let cancellations = self.store.cancel(org, bulk, &targets, &mark).await?;
            for ((mut item, target), cancellation) in std::mem::take(&mut open).into_iter().zip(cancellations) {
                match (cancellation, target) {
                    (Cancellation::Done, Target::Item(_)) => outcomes.note(CancelCode::ExternalIdCanceled, item),
                    (Cancellation::Done, Target::Card(_)) => outcomes.note(CancelCode::ExternalIdAndCardCanceled, item),
                    (Cancellation::Busy, target) => outcomes.busy.push((item, target)),
                    (Cancellation::Item(newer), target) => {
                        item.card_id = newer.card_id;
                        match step(&newer, &canceler(message)) {
                            Step::Done(code) => outcomes.note(code, item),
                            Step::CancelCard(card) => open.push((item, Target::Card(card))),
                            Step::CancelItem => open.push((item, target)),
                        }
                    }
                    (Cancellation::Card(card), target) => match of_card(card.as_ref(), &canceler(message)) {
                        Some(code) => outcomes.note(code, item),
                        None => open.push((item, target)),
                    },
                }
            }
            if open.is_empty() {
                return Ok(outcomes);
            }
        }
        Err(Failure::Broken("an item was refused that could be canceled".to_owned()))
    }

    /// What is said of an item that was held to the last. An earlier try may have canceled it; or its card, which was
    /// issued after the plan.
    async fn of_busy(
        &self,
        message: &Message<CancelBulk>,
        mut item: ItemRef,
        mut target: Target,
    ) -> Result<(CancelCode, ItemRef), Failure> {
        let (org, bulk, canceler) = (&message.org_id, &message.instruction.bulk_id, canceler(message));
        let mut found = self.store.as_it_is(org, bulk, &target).await?;
        if let Cancellation::Item(newer) = &found
            && let Step::CancelCard(card) = step(newer, &canceler)
        {
            (item.card_id, target) = (Some(card), Target::Card(card));
            found = self.store.as_it_is(org, bulk, &target).await?;
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

fn canceler(message: &Message<CancelBulk>) -> Canceler {
    Canceler { operation_id: message.operation_id, accepted_at: message.accepted_at }
}

/// What is said of one item.
fn event(message: &Message<CancelBulk>, result: &ChunkResult, code: CancelCode, item: &ItemRef) -> Event {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
    message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data))
}
