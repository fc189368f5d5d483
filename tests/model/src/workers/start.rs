//! start-bulk-worker.

use shared::domain::bulk::{Bulk, BulkItem, BulkState, ItemState, PlanCursor, PlannedItem, Range};
use shared::domain::card::{CardFacts, Mark};
use shared::domain::event::{CardCreateData, Event, EventData};
use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::{Date, Timestamp};
use shared::message::{Message, StartBulk, StartChunk, StartStep};

use super::GONE;
use super::plan::{batches, count, found, is_planned, plan_page, publish_and_count_off};
use crate::broken::Broken;
use crate::process::{Flow, Run, Stop};
use crate::row::Row;
use crate::store::{Conflict, progress};
use crate::world::{Instruction, ItemRow, World};

/// Takes one step of an operation.
///
/// The code reads the bulk and the operation before each chunk too, for what never changes of them. That is
/// not a step: it makes no difference when it is done.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &StartBulk) -> Flow<()> {
    let now = run.now()?;
    match &instruction.step {
        StartStep::Plan(cursor) => plan(run, message, cursor, now),
        StartStep::Chunk(chunk) => self::chunk(run, message, chunk, now),
    }
}

fn plan(run: &mut Run, message: &Message<Instruction>, from: &PlanCursor, now: Timestamp) -> Flow<()> {
    let id = message.operation_id;
    let batches = run.function("begin", |run| {
        let bulk = run.call("GetItem bulk", |world| world.bulk.clone())?;
        let operation = found(if from.after.is_some() {
            run.call("GetItem operation", |world| world.operation(id))?
        } else if bulk.is_sealed() {
            run.write("UpdateItem operation refuse", |world| world.refuse(id, now))?
        } else {
            run.write("UpdateItem operation begin", |world| world.begin(id, &bulk.batches))?
        })?;
        if operation.state != OperationState::Running || is_planned(run, &operation) {
            return Ok(None);
        }
        if bulk.state == BulkState::Created {
            run.write("UpdateItem bulk start", World::mark_started)?;
        }
        Ok(Some(if run.is(Broken::BatchesOfEachPlan) { bulk.batches.clone() } else { batches(&operation) }))
    })?;
    let Some(batches) = batches else { return Ok(()) };
    let bulk_id = &run.world.bulk.bulk_id.clone();
    let instruction = |step| Instruction::Start(StartBulk { bulk_id: bulk_id.clone(), step });
    let chunk = |number, item: PlannedItem| {
        Range::of(&[item]).map(|range| instruction(StartStep::Chunk(StartChunk { number, range })))
    };
    let further = |cursor| instruction(StartStep::Plan(cursor));
    match plan_page(run, message, &batches, from, chunk, further)? {
        Some(operation) => end_if_complete(run, &operation, now),
        None => Ok(()),
    }
}

fn chunk(run: &mut Run, message: &Message<Instruction>, chunk: &StartChunk, now: Timestamp) -> Flow<()> {
    let id = message.operation_id;
    let start = Start::of(run.world, id).ok_or(Stop::Broken(GONE))?;
    let mark = Mark { by: id, at: now };
    let items = run.function("issue", |run| run.retrying(|run| issue(run, &start, &chunk.range, &mark)))?;
    // Made once, not again at every step.
    let made = |item: &ItemRow| event(message, &start, &item.row);
    let events = run.function("events", |_| Ok(items.iter().filter_map(made).collect::<Vec<_>>()))?;
    let counts = [count(items.len()), count(events.len()), 0];
    let operation = publish_and_count_off(run, id, &events, chunk.number, counts)?;
    end_if_complete(run, &operation, now)
}

/// The chunk's items, once every one of them that was pending has its card.
fn issue(run: &mut Run, start: &Start, range: &Range, mark: &Mark) -> Flow<Vec<ItemRow>> {
    let mut items = run.call("Query range", |world| world.items_of(range))?;
    if items.len() != range.items {
        return Err(Stop::Broken("the range's items changed"));
    }
    for item in &mut items {
        if item.row.state != ItemState::Pending && !run.is(Broken::IssuesUnguarded) {
            continue;
        }
        let (id, facts) = (item.row.external_id.clone(), start.facts(&item.row));
        let issued = if run.is(Broken::IssuesUnguarded) {
            run.call("TransactWriteItems issue", |world| world.put_card(&id, &facts, mark).ok_or(Conflict))?
        } else {
            run.call("TransactWriteItems issue", |world| world.issue(&id, &facts, mark))?
        };
        *item = issued.map_err(|_| Stop::Conflict)?;
    }
    Ok(items)
}

fn end_if_complete(run: &mut Run, operation: &Operation, now: Timestamp) -> Flow<()> {
    let (id, progress) = (operation.operation_id, progress(operation));
    if operation.state != OperationState::Running || !progress.is_complete() {
        return Ok(());
    }
    let issued = progress.items_changed;
    if run.is(Broken::EndsInTwoWrites) {
        run.call("UpdateItem operation end", |world| world.end_running(id, now, None))?.ok();
        return run.call("UpdateItem bulk end", |world| world.count_issued(issued));
    }
    run.retrying(|run| {
        let ended = run.call("TransactWriteItems end start", |world| world.end_start(id, issued, now))?;
        if ended.is_ok() {
            return Ok(());
        }
        // Somebody else who found it complete may have ended it.
        let operation = found(run.call("GetItem operation", |world| world.operation(id))?)?;
        if operation.state == OperationState::Succeeded { Ok(()) } else { Err(Stop::Conflict) }
    })
}

/// What is true of all cards of one start.
pub struct Start {
    bulk: Row<Bulk>,
    issuing_date: Date,
    expiration_date: Date,
}

impl Start {
    /// That of this operation.
    pub fn of(world: &World, operation: OperationId) -> Option<Self> {
        match world.operations.get(&operation)?.subject {
            Subject::StartBulk { issuing_date, expiration_date, .. } => {
                Some(Self { bulk: world.bulk.clone(), issuing_date, expiration_date })
            }
            _ => None,
        }
    }

    fn facts(&self, item: &BulkItem) -> CardFacts {
        CardFacts {
            program_id: self.bulk.settings.program_id,
            bulk_id: Some(self.bulk.bulk_id.clone()),
            external_id: Some(item.external_id.clone()),
            contactless_enabled: self.bulk.settings.contactless_enabled,
            issuing_date: self.issuing_date,
            expiration_date: self.expiration_date,
        }
    }
}

/// The event of the item's card, if this operation issued it.
pub fn event(message: &Message<Instruction>, start: &Start, item: &BulkItem) -> Option<Row<Event>> {
    let (card_id, mark) = item.card_id.zip(item.issued.as_ref())?;
    if !mark.is_of(message.operation_id, message.accepted_at) {
        return None;
    }
    let data = CardCreateData::new(
        card_id,
        start.bulk.bulk_id.clone(),
        item.external_id.clone(),
        &start.bulk.settings,
        start.issuing_date,
        start.expiration_date,
    );
    Some(Row::new(message.event_context().event(mark.at, &item.external_id, EventData::Create(data))))
}
