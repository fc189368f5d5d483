//! The work on one chunk of a cancel: the writes of its items, its result and its events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::clock;
use shared::domain::cancel::{
    CancelAction, CancelCode, ChunkResult, ChunkState, ItemRef, code_for_card, code_for_missing_card, next_action,
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

/// The maximum number of rounds of writes. An item that was pending in the plan may have been issued since. The next
/// round then cancels its card. Cards can change too, but a card that is not unbound has a code, so nothing is left to
/// write for it. The third round repeats a write that was refused although the row, read again, can still be canceled.
const MAX_ROUNDS: usize = 3;
/// The number of items that the final check reads concurrently.
const CONCURRENT_READS: usize = 4;
/// The number of deliveries left when the worker stops retrying locked items. The last delivery reports them.
const REPORTING_DELIVERIES: u32 = 1;
/// The time to wait after giving up a chunk until no invocation can still change its items. Every invocation that
/// started without seeing that the chunk was given up has ended by then, and so have its calls. Invocations of any
/// version last less than half of this time (`FunctionTimeout` is at most 29 s: infra/template.yaml). The rest allows
/// for differences between clocks.
const SETTLE_TIME: Duration = Duration::from_secs(60);
/// The wait before the last delivery of a chunk that is given up. It is longer than [`SETTLE_TIME`], so that
/// `SETTLE_TIME` has passed even by the clock of the next delivery.
const FINAL_CHECK_DELAY: Duration = Duration::from_secs(75);

/// Items by their outcome.
type Outcomes = BTreeMap<CancelCode, Vec<ItemRef>>;

fn record(outcomes: &mut Outcomes, code: CancelCode, item: ItemRef) {
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
            // The table was restored to a time before the plan. A new plan may cut the bulk into other chunks.
            return Err(WorkerError::Permanent("the operation is not planned".to_owned()));
        }
        let outcomes = match self.store.chunk_state(org, id, accepted_at, chunk.number).await? {
            Some(ChunkState::Done(stored)) => return self.report(message, chunk, &stored).await,
            Some(ChunkState::Held { held_since }) => self.final_check(message, chunk, held_since).await?,
            None => self.cancel(message, chunk, delivery).await?,
        };
        let result = ChunkResult { at: clock::now(), items: outcomes };
        let stored = self.store.put_result(org, id, accepted_at, chunk.number, result).await?;
        self.report(message, chunk, &stored).await
    }

    /// Publishes the chunk's result and records the chunk as complete.
    async fn report(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        stored: &ChunkResult,
    ) -> Result<Completed, WorkerError> {
        let (org, id) = (&message.org_id, message.operation_id);
        if !is_of(stored, chunk) {
            return Err(WorkerError::Permanent("the stored result is for other items".to_owned()));
        }
        // Publish before the chunk counts as done: a client that reads SUCCEEDED may rely on the events.
        let events: Vec<Event> = stored.iter().map(|(code, item)| event(message, stored, code, item)).collect();
        self.bus.publish_all(&events).await?;
        let (all, changed) = (count(events.len())?, count(stored.count(CancelCode::is_change))?);
        let without_card = count(stored.count(|code| code == CancelCode::ExternalIdCanceled))?;
        let failed = count(stored.count(|code| code.status() == EventStatus::Failure))?;
        let counts = Counts { items: all, changed, without_card, failed };
        let operation = self.store.complete_chunk(org, id, chunk.number, counts).await?;
        self.end_if_complete(message, operation, "CHUNK_DONE").await
    }

    /// Cancels the chunk's items that can be canceled. Items that other transactions lock on every attempt are
    /// retried on later deliveries. If only the last delivery is left, the chunk is given up instead, and that delivery
    /// runs [`Self::final_check`]. If no delivery is left, the chunk is given up and its message is dead-lettered. A
    /// redrive then runs the final check.
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
                let reason = format!("{held} items are still locked by other transactions: giving up on them");
                return Err(WorkerError::RetryAfter(reason, FINAL_CHECK_DELAY));
            }
            return Err(WorkerError::Transient(format!("{held} items are locked by other transactions")));
        }
        record_missing(&mut outcomes, chunk);
        Ok(outcomes)
    }

    /// Cancels the items that can be canceled. Returns the outcomes, and the number of items that other transactions
    /// locked on every attempt.
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
                        record(&mut outcomes, CancelCode::ExternalIdCanceled, item);
                    }
                    (ItemCancelResult::Done, Target::Card(_)) => {
                        record(&mut outcomes, CancelCode::ExternalIdAndCardCanceled, item);
                    }
                    (ItemCancelResult::Busy, _) => held += 1,
                    (ItemCancelResult::Item(newer), target) => {
                        item.card_id = newer.card_id;
                        match next_action(&newer, message.acceptance()) {
                            CancelAction::Done(code) => record(&mut outcomes, code, item),
                            CancelAction::CancelCard(card) => open.push((item, Target::Card(card))),
                            CancelAction::CancelItem => open.push((item, target)),
                        }
                    }
                    (ItemCancelResult::Card(card), target) => match code_for_card(&card, message.acceptance()) {
                        Some(code) => record(&mut outcomes, code, item),
                        None => open.push((item, target)),
                    },
                    (ItemCancelResult::NoCard, _) => match self.without_card(message, &item).await? {
                        Some(code) => record(&mut outcomes, code, item),
                        None => held += 1,
                    },
                }
            }
            if open.is_empty() {
                return Ok((outcomes, held));
            }
        }
        Err(WorkerError::Unexpected("an item that could be canceled was refused".to_owned()))
    }

    /// Returns the outcome for an item whose card has no row, or `None` if the item was issued so recently that its
    /// card may not be visible yet ([`code_for_missing_card`]).
    async fn without_card(
        &self,
        message: &Message<CancelBulk>,
        item: &ItemRef,
    ) -> Result<Option<CancelCode>, WorkerError> {
        let target = Target::Item(item.external_id.clone());
        let found = self.store.read_current(&message.org_id, &message.instruction.bulk_id, &target).await?;
        Ok(match found {
            ItemCancelResult::Item(item) => code_for_missing_card(&item, clock::now()),
            ItemCancelResult::Done | ItemCancelResult::Card(_) | ItemCancelResult::NoCard | ItemCancelResult::Busy => {
                None
            }
        })
    }

    /// Returns the outcomes for a chunk that was given up, by reading its items and cards. Those that could still be
    /// canceled were locked: they get [`CancelCode::InvalidBulkItemStatus`]. This operation never cancels them.
    ///
    /// No other delivery can cancel an item after this check. Deliveries that started after `held_since` read that the
    /// chunk is given up, and change nothing. All earlier ones have ended by now. If it is too early for the check and
    /// no delivery is left, the message is dead-lettered. A redrive then runs the check.
    async fn final_check(
        &self,
        message: &Message<CancelBulk>,
        chunk: &CancelChunk,
        held_since: Timestamp,
    ) -> Result<Outcomes, WorkerError> {
        let since = Duration::from_millis(clock::now().milliseconds_since(held_since));
        if since < SETTLE_TIME {
            let reason = "another delivery may still cancel the locked items".to_owned();
            return Err(WorkerError::RetryAfter(reason, FINAL_CHECK_DELAY.saturating_sub(since)));
        }
        let reads: Vec<_> = chunk.items.iter().map(|item| self.read_outcome(message, item.clone())).collect();
        let mut outcomes = Outcomes::new();
        for (code, item) in stream::iter(reads).buffered(CONCURRENT_READS).try_collect::<Vec<_>>().await? {
            record(&mut outcomes, code, item);
        }
        record_missing(&mut outcomes, chunk);
        Ok(outcomes)
    }

    /// Returns the outcome for an item, or for its card, which may have been issued after the plan.
    async fn read_outcome(
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

/// Returns what to cancel: the item's card if the plan found one, or else the item.
fn target(item: &ItemRef) -> Target {
    item.card_id.map_or_else(|| Target::Item(item.external_id.clone()), Target::Card)
}

fn record_missing(outcomes: &mut Outcomes, chunk: &CancelChunk) {
    for id in &chunk.missing {
        record(outcomes, CancelCode::ExternalIdNotFound, ItemRef { external_id: id.clone(), card_id: None });
    }
}

/// Returns whether the result covers exactly the chunk's items. It does not if the bulk was planned again after a
/// restore of the table.
fn is_of(result: &ChunkResult, chunk: &CancelChunk) -> bool {
    let stored: BTreeSet<&ExternalId> = result.iter().map(|(_, item)| &item.external_id).collect();
    let requested = chunk.items.iter().map(|item| &item.external_id).chain(&chunk.missing);
    stored == requested.collect()
}

/// Returns the event of one item.
fn event(message: &Message<CancelBulk>, result: &ChunkResult, code: CancelCode, item: &ItemRef) -> Event {
    let CancelBulk { bulk_id, program_id, .. } = &message.instruction;
    let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
    message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data))
}
