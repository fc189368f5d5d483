//! The worker cancel-bulk-worker.

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::bulk::{PlanCursor, PlannedItem};
use shared::domain::cancel::{
    CancelAction, CancelCode, CancelType, ChunkResult, ItemRef, bulk_after, code_for_card, next_action,
};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameBulkCancellationData, NonameCancellationData};
use shared::domain::ids::ExternalId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::Timestamp;
use shared::message::{CancelBulk, CancelChunk, CancelStep, Message, NamedPlan};
use shared::store::Counts;

use super::bind::seen;
use super::plan::{self, Plan, batches, count, found, is_planned, publish_and_complete_chunk, see_end};
use super::{GONE, known};
use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::process::{Flow, Interrupt, Run};
use crate::store::{ChunkState, progress};
use crate::transaction::Key;
use crate::world::{Instruction, ItemRow, World};

/// Items by the outcome of their cancellation.
type Outcomes = BTreeMap<CancelCode, Vec<ItemRef>>;

/// A message of this worker.
struct Cancel<'a> {
    message: &'a Message<Instruction>,
    instruction: &'a CancelBulk,
    now: Timestamp,
}

/// Takes one step of an operation and returns its events.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &CancelBulk) -> Flow<Vec<Hashed<Event>>> {
    let cancel = Cancel { message, instruction, now: run.now()? };
    match &instruction.step {
        CancelStep::PlanAll(cursor) => cancel.plan_all(run, cursor),
        CancelStep::PlanNamed(plan) => cancel.plan_named(run, plan),
        CancelStep::Chunk(chunk) => cancel.chunk(run, chunk),
        CancelStep::Watch(_) => Ok(Vec::new()),
    }
}

impl Cancel<'_> {
    fn next(&self, step: CancelStep) -> Instruction {
        let CancelBulk { bulk_id, program_id, .. } = self.instruction;
        Instruction::Cancel(CancelBulk { bulk_id: bulk_id.clone(), program_id: *program_id, step })
    }

    fn plan_all(&self, run: &mut Run, from: &PlanCursor) -> Flow<Vec<Hashed<Event>>> {
        let id = self.message.operation_id;
        let begun = run.function("begin", |run| {
            let before = plan::known(run, self.message, from.after.is_none())?;
            if before.as_ref().is_some_and(|before| before.operation.state != OperationState::Pending) {
                return Ok(before);
            }
            let bulk = if run.is(Broken::PlansWithoutSeal) {
                run.call("GetItem bulk", |world| world.bulk.clone())?
            } else {
                run.write("UpdateItem bulk seal", &Key::Bulk, |world| world.seal(id))?
            };
            plan::mark_running(run, id, &bulk.batches)
        })?;
        let begun = begun.ok_or(Interrupt::Permanent(GONE))?;
        let Some(batches) = running(run, &begun.operation) else {
            return self.end_if_complete(run, begun.operation);
        };
        let chunk = |number, item: PlannedItem| {
            let items = vec![ItemRef::from(item)];
            Some(self.next(CancelStep::Chunk(CancelChunk { number, items, missing: Vec::new() })))
        };
        let further = |cursor| self.next(CancelStep::PlanAll(cursor));
        match (Plan { message: self.message, begun: &begun }).go(run, &batches, from, chunk, further)? {
            Some(operation) => self.end_if_complete(run, operation),
            None => Ok(Vec::new()),
        }
    }

    /// Plans a PARTIAL cancel. The rows with the names never change, so reading them is not a step. Here, a chunk has
    /// one name.
    fn plan_named(&self, run: &mut Run, asked: &NamedPlan) -> Flow<Vec<Hashed<Event>>> {
        let id = self.message.operation_id;
        let begun = run.function("begin", |run| {
            let before = plan::known(run, self.message, true)?;
            if before.as_ref().is_some_and(|before| before.operation.state != OperationState::Pending) {
                return Ok(before);
            }
            plan::mark_running(run, id, &asked.batches)
        })?;
        let begun = begun.ok_or(Interrupt::Permanent(GONE))?;
        let Some(mut batches) = running(run, &begun.operation) else {
            return self.end_if_complete(run, begun.operation);
        };
        if run.is(Broken::BatchesOfEachPlan) {
            batches.clone_from(&asked.batches);
        }
        let names = run.world.named.get(&id).cloned().unwrap_or_default();
        let find = |world: &mut World| names.iter().map(|name| world.item_named(name, &batches)).collect::<Vec<_>>();
        let items = run.call("Query named", find)?;
        let chunk = |(number, (name, item)): (u32, (&ExternalId, &Option<ItemRow>))| {
            let (items, missing) = match item {
                Some(item) => (vec![ItemRef { external_id: name.clone(), card_id: item.row.card_id }], Vec::new()),
                None => (Vec::new(), vec![name.clone()]),
            };
            self.next(CancelStep::Chunk(CancelChunk { number, items, missing }))
        };
        let steps = (0..).zip(names.iter().zip(&items)).map(chunk).collect();
        let total = (asked.chunks, count(names.len()));
        let plan = Plan { message: self.message, begun: &begun };
        let operation = plan.send_all_and_set_chunks(run, steps, total)?;
        self.end_if_complete(run, operation)
    }

    fn chunk(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Vec<Hashed<Event>>> {
        let id = self.message.operation_id;
        let is_pending = |operation: Hashed<Operation>| operation.state == OperationState::Pending;
        if run.function("known", |run| Ok(known(run, self.message)?.is_some_and(is_pending)))? {
            return Err(Interrupt::Permanent("the operation is not planned"));
        }
        let stored = run.function("result", |run| {
            let items = match run.call("GetItem result", |world| world.chunk_state(id, chunk.number))? {
                ChunkState::Done(stored) => return Ok(stored),
                ChunkState::HeldOfLate if !run.is(Broken::HeldReportedAtOnce) => return Err(Interrupt::Retry),
                ChunkState::HeldOfLate | ChunkState::HeldForLong => self.final_check(run, chunk)?,
                ChunkState::Open => self.cancel(run, chunk)?,
            };
            let (result, over) = (Hashed::new(ChunkResult { at: self.now, items }), run.is(Broken::ResultOverwritten));
            let put = |world: &mut World| world.put_result(id, chunk.number, &result, over);
            run.write("PutItem result", &Key::Alone, put)
        })?;
        if !is_of(&stored, chunk) {
            return Err(Interrupt::Permanent("the stored result is for other items"));
        }
        // The events are made once, not again at every step.
        let events = run.function("events", |_| Ok(events(self.message, self.instruction, &stored)))?;
        let failed = stored.count(|code| code.status() == EventStatus::Failure);
        let without_card = count(stored.count(|code| code == CancelCode::ExternalIdCanceled));
        let (items, changed) = (count(events.len()), count(stored.count(CancelCode::is_change)));
        let counts = Counts { items, changed, without_card, failed: count(failed) };
        let operation = publish_and_complete_chunk(run, id, &events, chunk.number, counts)?;
        self.end_if_complete(run, operation)
    }

    fn cancel(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Outcomes> {
        let mut outcomes = missing(chunk);
        for item in &chunk.items {
            let Some((code, item)) = self.cancel_item(run, item)? else {
                let id = self.message.operation_id;
                run.write("PutItem held", &Key::Alone, |world| world.put_held(id, chunk.number))?;
                return Err(Interrupt::Retry);
            };
            outcomes.entry(code).or_default().push(item);
        }
        Ok(outcomes)
    }

    /// Cancels the item, if its state allows it. Returns the outcome and the item as it was found, or `None` if the
    /// item is locked. The code does this for all items of the chunk at once.
    fn cancel_item(&self, run: &mut Run, item: &ItemRef) -> Flow<Option<(CancelCode, ItemRef)>> {
        let mark = Mark::new(self.message.acceptance(), self.now);
        let unguarded = run.is(Broken::CancelsUnguarded);
        let mut item = item.clone();
        let card = if let Some(card) = item.card_id {
            card
        } else {
            let cancel = |world: &mut World| world.cancel_item(&item.external_id, &mark, unguarded);
            let row = Key::Item(item.external_id.clone());
            let Some(changed) = run.contended("UPDATE item", &row, cancel)? else { return Ok(None) };
            let Err(newer) = changed else { return Ok(Some((CancelCode::ExternalIdCanceled, item))) };
            let newer = newer.ok_or(Interrupt::Permanent("the item has no row"))?;
            item.card_id = newer.row.card_id;
            match next_action(&newer.row, self.message.acceptance()) {
                CancelAction::Done(code) => return Ok(Some((code, item))),
                CancelAction::CancelCard(card) => card,
                CancelAction::CancelItem => {
                    return Err(Interrupt::Permanent("an item that could be canceled was refused"));
                }
            }
        };
        let cancel = |world: &mut World| world.cancel_card(card, &mark, unguarded);
        let Some(changed) = run.contended("UPDATE card", &Key::Card(card), cancel)? else { return Ok(None) };
        let Err(found) = changed else { return Ok(Some((CancelCode::ExternalIdAndCardCanceled, item))) };
        let code = match seen(found.as_ref()) {
            Some(card) => code_for_card(card, self.message.acceptance()),
            // The item is being issued: its card becomes visible soon.
            None if run.is(Broken::CardToBeIsMissing) => Some(CancelCode::CardNotFoundForCancellation),
            None => return Ok(None),
        };
        Ok(Some((code.ok_or(Interrupt::Permanent("a card was refused that could be canceled"))?, item)))
    }

    /// Returns the outcomes for the items of a chunk that was given up.
    fn final_check(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Outcomes> {
        let mut outcomes = missing(chunk);
        for item in &chunk.items {
            let (code, item) = self.look_at(run, item.clone())?;
            outcomes.entry(code).or_default().push(item);
        }
        Ok(outcomes)
    }

    /// Returns the outcome for one item, or for its card.
    fn look_at(&self, run: &mut Run, mut item: ItemRef) -> Flow<(CancelCode, ItemRef)> {
        let refused = |item| Ok((CancelCode::InvalidBulkItemStatus, item));
        if run.is(Broken::HeldWithoutLook) {
            return refused(item);
        }
        let card = if let Some(card) = item.card_id {
            card
        } else {
            let row = run.call("BatchGetItem items", |world| world.item(&item.external_id))?;
            match next_action(&row.ok_or(Interrupt::Permanent("the item has no row"))?.row, self.message.acceptance()) {
                CancelAction::Done(code) => return Ok((code, item)),
                CancelAction::CancelCard(card) if !run.is(Broken::HeldLooksAtItemAlone) => card,
                CancelAction::CancelCard(_) | CancelAction::CancelItem => return refused(item),
            }
        };
        item.card_id = Some(card);
        let found = run.call("GetItem card", |world| world.card(card))?;
        match seen(found.as_ref()) {
            None if run.is(Broken::CardToBeIsMissing) => Ok((CancelCode::CardNotFoundForCancellation, item)),
            None => refused(item),
            Some(card) => match code_for_card(card, self.message.acceptance()) {
                Some(code) => Ok((code, item)),
                None => refused(item),
            },
        }
    }

    /// Ends the operation if all chunks are complete. Returns its final event once it has ended.
    fn end_if_complete(&self, run: &mut Run, mut operation: Hashed<Operation>) -> Flow<Vec<Hashed<Event>>> {
        if run.is(Broken::EndReportedOnce) && operation.state == OperationState::Succeeded {
            return Ok(Vec::new());
        }
        if operation.state == OperationState::Running && progress(&operation).is_complete() {
            operation = run.function("end", |run| run.retrying(|run| self.end(run, &operation)))?;
        } else if operation.state == OperationState::Succeeded {
            see_end(run)?;
        }
        Ok(end_event(self.message, self.instruction, &operation).into_iter().collect())
    }

    fn end(&self, run: &mut Run, operation: &Hashed<Operation>) -> Flow<Hashed<Operation>> {
        let (id, now, progress) = (operation.operation_id, self.now, progress(operation));
        let bulk = run.call("GetItem bulk", |world| world.bulk.clone())?;
        let after = bulk_after(&bulk, id, cancel_type(operation), progress);
        let mut ended = operation.clone();
        ended.edit(|operation| {
            if let Subject::CancelBulk { bulk_status, cancellation, .. } = &mut operation.subject {
                (*bulk_status, *cancellation) = (Some(after.status()), after.cancellation());
            }
            (operation.state, operation.ended_at) = (OperationState::Succeeded, Some(now));
        });
        if run.is(Broken::EndsInTwoWrites) {
            run.call("UpdateItem operation end", |world| world.end_running(id, now, Some(&after)))?.ok();
            run.call("UpdateItem bulk end", |world| world.count_canceled(id, &after))?;
            return Ok(ended);
        }
        let guarded = !run.is(Broken::EndsOnOldHeader);
        let end = |world: &mut World| world.end_cancel(id, (&bulk, &after), now, guarded);
        if run.transact("TransactWriteItems end cancel", end)?.is_ok() {
            return Ok(ended);
        }
        // Another delivery that found it complete may have ended it.
        let operation = found(run.call("GetItem operation", |world| world.operation(id))?)?;
        if operation.state != OperationState::Succeeded {
            return Err(Interrupt::Conflict);
        }
        see_end(run).map(|()| operation)
    }
}

/// Returns whether a result is for these items.
fn is_of(result: &ChunkResult, chunk: &CancelChunk) -> bool {
    let in_result: BTreeSet<_> = result.iter().map(|(_, item)| &item.external_id).collect();
    in_result == chunk.items.iter().map(|item| &item.external_id).chain(&chunk.missing).collect()
}

/// Returns the outcomes that are known before any item is tried: those of items that do not exist.
fn missing(chunk: &CancelChunk) -> Outcomes {
    let missing = chunk.missing.iter().map(|id| ItemRef { external_id: id.clone(), card_id: None });
    let of_code = |items: Vec<_>| (CancelCode::ExternalIdNotFound, items);
    (!chunk.missing.is_empty()).then(|| of_code(missing.collect())).into_iter().collect()
}

/// Returns the batches of an operation, if it is still to be planned.
fn running(run: &Run, operation: &Operation) -> Option<BTreeSet<u32>> {
    let is_open = operation.state == OperationState::Running && !is_planned(run, operation);
    is_open.then(|| batches(operation))
}

fn cancel_type(operation: &Operation) -> CancelType {
    match operation.subject {
        Subject::CancelBulk { cancel_type, .. } => cancel_type,
        _ => CancelType::Full,
    }
}

/// Returns the events for a chunk's items.
pub fn events(message: &Message<Instruction>, instruction: &CancelBulk, result: &ChunkResult) -> Vec<Hashed<Event>> {
    let CancelBulk { bulk_id, program_id, .. } = instruction;
    let event = |(code, item): (CancelCode, &ItemRef)| {
        let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
        Hashed::new(message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data)))
    };
    result.iter().map(event).collect()
}

/// Returns the event for the whole operation, once it has ended.
pub fn end_event(
    message: &Message<Instruction>,
    instruction: &CancelBulk,
    operation: &Operation,
) -> Option<Hashed<Event>> {
    let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, cancellation, progress } = &operation.subject else {
        return None;
    };
    let data = NonameBulkCancellationData {
        bulk_id: bulk_id.clone(),
        program_id: instruction.program_id,
        operation_id: operation.operation_id,
        cancel_type: *cancel_type,
        bulk_status: (*bulk_status)?,
        cancellation: (*cancellation)?,
        requested: progress.items_done,
        canceled: progress.items_done - progress.items_failed,
        failed: progress.items_failed,
    };
    let data = EventData::NonameBulkCancellation(data);
    Some(Hashed::new(message.event_context().event(operation.ended_at?, bulk_id, data)))
}
