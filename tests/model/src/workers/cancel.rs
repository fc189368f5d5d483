//! cancel-bulk-worker.

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::bulk::{PlanCursor, PlannedItem};
use shared::domain::cancel::{
    CancelCode, CancelType, Canceler, ChunkResult, ItemRef, Step, of_card, state_after, step,
};
use shared::domain::card::Mark;
use shared::domain::event::{Event, EventData, EventStatus, NonameBulkCancellationData, NonameCancellationData};
use shared::domain::ids::ExternalId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::Timestamp;
use shared::message::{CancelBulk, CancelChunk, CancelStep, Message, NamedPlan};

use super::bind::seen;
use super::plan::{batches, count, found, is_planned, plan_page, publish_and_count_off, send_all_and_set_chunks};
use crate::broken::Broken;
use crate::process::{Flow, Run, Stop};
use crate::row::Row;
use crate::store::{ChunkState, progress};
use crate::world::{Instruction, ItemRow, World};

/// Items, by what became of them.
type Outcomes = BTreeMap<CancelCode, Vec<ItemRef>>;

/// A message of this worker.
struct Cancel<'a> {
    message: &'a Message<Instruction>,
    instruction: &'a CancelBulk,
    now: Timestamp,
}

/// Takes one step of an operation; answers its events.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &CancelBulk) -> Flow<Vec<Row<Event>>> {
    let cancel = Cancel { message, instruction, now: run.now()? };
    match &instruction.step {
        CancelStep::PlanAll(cursor) => cancel.plan_all(run, cursor),
        CancelStep::PlanNamed(plan) => cancel.plan_named(run, plan),
        CancelStep::Chunk(chunk) => cancel.chunk(run, chunk),
    }
}

impl Cancel<'_> {
    fn next(&self, step: CancelStep) -> Instruction {
        let CancelBulk { bulk_id, program_id, .. } = self.instruction;
        Instruction::Cancel(CancelBulk { bulk_id: bulk_id.clone(), program_id: *program_id, step })
    }

    fn plan_all(&self, run: &mut Run, from: &PlanCursor) -> Flow<Vec<Row<Event>>> {
        let id = self.message.operation_id;
        let begun = run.function("begin", |run| {
            let operation = if from.after.is_some() {
                run.call("GetItem operation", |world| world.operation(id))?
            } else {
                let bulk = if run.is(Broken::PlansWithoutSeal) {
                    run.call("GetItem bulk", |world| world.bulk.clone())?
                } else {
                    run.write("UpdateItem bulk seal", |world| world.seal(id))?
                };
                run.write("UpdateItem operation begin", |world| world.begin(id, &bulk.batches))?
            };
            Ok(running(run, found(operation)?))
        })?;
        let batches = match begun {
            Ok(batches) => batches,
            Err(ended) => return self.end_if_complete(run, ended),
        };
        let chunk = |number, item: PlannedItem| {
            let items = vec![ItemRef::from(item)];
            Some(self.next(CancelStep::Chunk(CancelChunk { number, items, missing: Vec::new() })))
        };
        let further = |cursor| self.next(CancelStep::PlanAll(cursor));
        match plan_page(run, self.message, &batches, from, chunk, further)? {
            Some(operation) => self.end_if_complete(run, operation),
            None => Ok(Vec::new()),
        }
    }

    /// The rows of the chunks of names never change, so that they are read is not a step. Here, a chunk is a
    /// name.
    fn plan_named(&self, run: &mut Run, plan: &NamedPlan) -> Flow<Vec<Row<Event>>> {
        let id = self.message.operation_id;
        let begun = run.write("UpdateItem operation begin", |world| world.begin(id, &plan.batches))?;
        let mut batches = match running(run, found(begun)?) {
            Ok(batches) => batches,
            Err(ended) => return self.end_if_complete(run, ended),
        };
        if run.is(Broken::BatchesOfEachPlan) {
            batches.clone_from(&plan.batches);
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
        let total = (plan.chunks, count(names.len()));
        let operation = send_all_and_set_chunks(run, self.message, steps, total)?;
        self.end_if_complete(run, operation)
    }

    fn chunk(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Vec<Row<Event>>> {
        let id = self.message.operation_id;
        let stored = run.function("result", |run| {
            let items = match run.call("GetItem result", |world| world.chunk_state(id, chunk.number))? {
                ChunkState::Done(stored) => return Ok(stored),
                ChunkState::HeldOfLate if !run.is(Broken::HeldSaidAtOnce) => return Err(Stop::Back),
                ChunkState::HeldOfLate | ChunkState::HeldForLong => self.look(run, chunk)?,
                ChunkState::Open => self.cancel(run, chunk)?,
            };
            let (result, over) = (Row::new(ChunkResult { at: self.now, items }), run.is(Broken::ResultOverwritten));
            run.write("PutItem result", |world| world.put_result(id, chunk.number, &result, over))
        })?;
        // Made once, not again at every step.
        let events = run.function("events", |_| Ok(events(self.message, self.instruction, &stored)))?;
        let failed = stored.count(|code| code.status() == EventStatus::Failure);
        let counts = [count(events.len()), count(stored.count(CancelCode::is_change)), count(failed)];
        let operation = publish_and_count_off(run, id, &events, chunk.number, counts)?;
        self.end_if_complete(run, operation)
    }

    fn cancel(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Outcomes> {
        let mut outcomes = missing(chunk);
        for item in &chunk.items {
            let Some((code, item)) = self.cancel_item(run, item)? else {
                run.write("PutItem held", |world| world.put_held(self.message.operation_id, chunk.number))?;
                return Err(Stop::Back);
            };
            outcomes.entry(code).or_default().push(item);
        }
        Ok(outcomes)
    }

    /// Cancels the item, if it may be; answers what became of it, and the item as it was found; nothing if it is held.
    /// (The code does this with all items of the chunk at once.)
    fn cancel_item(&self, run: &mut Run, item: &ItemRef) -> Flow<Option<(CancelCode, ItemRef)>> {
        let mark = Mark { by: self.message.operation_id, at: self.now };
        let unguarded = run.is(Broken::CancelsUnguarded);
        let mut item = item.clone();
        let card = if let Some(card) = item.card_id {
            card
        } else {
            let cancel = |world: &mut World| world.cancel_item(&item.external_id, &mark, unguarded);
            let Some(changed) = run.contended("UPDATE item", cancel)? else { return Ok(None) };
            let Err(newer) = changed else { return Ok(Some((CancelCode::ExternalIdCanceled, item))) };
            let newer = newer.ok_or(Stop::Broken("the item has no row"))?;
            item.card_id = newer.row.card_id;
            match step(&newer.row, &self.canceler()) {
                Step::Done(code) => return Ok(Some((code, item))),
                Step::CancelCard(card) => card,
                Step::CancelItem => return Err(Stop::Broken("an item was refused that could be canceled")),
            }
        };
        let cancel = |world: &mut World| world.cancel_card(card, &mark, unguarded);
        let Some(changed) = run.contended("UPDATE card", cancel)? else { return Ok(None) };
        let Err(found) = changed else { return Ok(Some((CancelCode::ExternalIdAndCardCanceled, item))) };
        let code = of_card(seen(found.as_ref()), &self.canceler());
        Ok(Some((code.ok_or(Stop::Broken("a card was refused that could be canceled"))?, item)))
    }

    /// What became of the items of a chunk that was given up.
    fn look(&self, run: &mut Run, chunk: &CancelChunk) -> Flow<Outcomes> {
        let mut outcomes = missing(chunk);
        for item in &chunk.items {
            let (code, item) = self.look_at(run, item.clone())?;
            outcomes.entry(code).or_default().push(item);
        }
        Ok(outcomes)
    }

    /// What became of an item, or of its card.
    fn look_at(&self, run: &mut Run, mut item: ItemRef) -> Flow<(CancelCode, ItemRef)> {
        let refused = |item| Ok((CancelCode::InvalidBulkItemStatus, item));
        if run.is(Broken::HeldWithoutLook) {
            return refused(item);
        }
        let card = if let Some(card) = item.card_id {
            card
        } else {
            let row = run.call("BatchGetItem items", |world| world.item(&item.external_id))?;
            match step(&row.ok_or(Stop::Broken("the item has no row"))?.row, &self.canceler()) {
                Step::Done(code) => return Ok((code, item)),
                Step::CancelCard(card) if !run.is(Broken::HeldLooksAtItemAlone) => card,
                Step::CancelCard(_) | Step::CancelItem => return refused(item),
            }
        };
        item.card_id = Some(card);
        let found = run.call("GetItem card", |world| world.card(card))?;
        match of_card(seen(found.as_ref()), &self.canceler()) {
            Some(code) => Ok((code, item)),
            None => refused(item),
        }
    }

    fn canceler(&self) -> Canceler {
        Canceler { operation_id: self.message.operation_id, accepted_at: self.message.accepted_at }
    }

    /// Ends the operation if all is done; if it has ended, says so in an event.
    fn end_if_complete(&self, run: &mut Run, mut operation: Row<Operation>) -> Flow<Vec<Row<Event>>> {
        if run.is(Broken::EndSaidOnce) && operation.state == OperationState::Succeeded {
            return Ok(Vec::new());
        }
        if operation.state == OperationState::Running && progress(&operation).is_complete() {
            operation = run.function("end", |run| run.retrying(|run| self.end(run, &operation)))?;
        }
        Ok(end_event(self.message, self.instruction, &operation).into_iter().collect())
    }

    fn end(&self, run: &mut Run, operation: &Row<Operation>) -> Flow<Row<Operation>> {
        let (id, now, progress) = (operation.operation_id, self.now, progress(operation));
        let bulk = run.call("GetItem bulk", |world| world.bulk.clone())?;
        let state = state_after(&bulk, id, cancel_type(operation), progress);
        let mut ended = operation.clone();
        ended.edit(|operation| {
            if let Subject::CancelBulk { bulk_status, .. } = &mut operation.subject {
                *bulk_status = Some(state);
            }
            (operation.state, operation.ended_at) = (OperationState::Succeeded, Some(now));
        });
        let changed = progress.items_changed;
        if run.is(Broken::EndsInTwoWrites) {
            run.call("UpdateItem operation end", |world| world.end_running(id, now, Some(state)))?.ok();
            run.call("UpdateItem bulk end", |world| world.count_canceled(id, (&bulk, state, changed)))?;
            return Ok(ended);
        }
        let guarded = !run.is(Broken::EndsOnOldHeader);
        let header = (&*bulk, state, changed);
        if run.call("TransactWriteItems end cancel", |world| world.end_cancel(id, header, now, guarded))?.is_ok() {
            return Ok(ended);
        }
        // Somebody else who found it complete may have ended it.
        let operation = found(run.call("GetItem operation", |world| world.operation(id))?)?;
        if operation.state == OperationState::Succeeded { Ok(operation) } else { Err(Stop::Conflict) }
    }
}

/// What is known of a chunk's items before any is tried: that some are not there.
fn missing(chunk: &CancelChunk) -> Outcomes {
    let missing = chunk.missing.iter().map(|id| ItemRef { external_id: id.clone(), card_id: None });
    let of_code = |items: Vec<_>| (CancelCode::ExternalIdNotFound, items);
    (!chunk.missing.is_empty()).then(|| of_code(missing.collect())).into_iter().collect()
}

/// The batches of an operation that is still running.
fn running(run: &Run, operation: Row<Operation>) -> Result<BTreeSet<u32>, Row<Operation>> {
    let is_open = operation.state == OperationState::Running && !is_planned(run, &operation);
    if is_open { Ok(batches(&operation)) } else { Err(operation) }
}

fn cancel_type(operation: &Operation) -> CancelType {
    match operation.subject {
        Subject::CancelBulk { cancel_type, .. } => cancel_type,
        _ => CancelType::Full,
    }
}

/// What is said of a chunk's items.
pub fn events(message: &Message<Instruction>, instruction: &CancelBulk, result: &ChunkResult) -> Vec<Row<Event>> {
    let CancelBulk { bulk_id, program_id, .. } = instruction;
    let event = |(code, item): (CancelCode, &ItemRef)| {
        let data = NonameCancellationData::new(bulk_id.clone(), *program_id, item, code);
        Row::new(message.event_context().event(result.at, &item.external_id, EventData::NonameCancellation(data)))
    };
    result.iter().map(event).collect()
}

/// What is said of the whole operation, once it has ended.
pub fn end_event(
    message: &Message<Instruction>,
    instruction: &CancelBulk,
    operation: &Operation,
) -> Option<Row<Event>> {
    let Subject::CancelBulk { bulk_id, cancel_type, bulk_status, progress } = &operation.subject else { return None };
    let data = NonameBulkCancellationData {
        bulk_id: bulk_id.clone(),
        program_id: instruction.program_id,
        operation_id: operation.operation_id,
        cancel_type: *cancel_type,
        bulk_status: (*bulk_status)?,
        requested: progress.items_done,
        canceled: progress.items_done - progress.items_failed,
        failed: progress.items_failed,
    };
    let data = EventData::NonameBulkCancellation(data);
    Some(Row::new(message.event_context().event(operation.ended_at?, bulk_id, data)))
}
