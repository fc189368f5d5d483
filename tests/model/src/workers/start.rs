//! The worker start-bulk-worker.

use shared::domain::bulk::{Bulk, BulkItem, ItemState, PlanCursor, PlannedItem, Range};
use shared::domain::card::{CardFacts, Mark};
use shared::domain::event::{Event, create_event, start_event};
use shared::domain::ids::CardId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::{Date, Timestamp};
use shared::message::{Message, StartBulk, StartChunk, StartStep};
use shared::store::Counts;

use super::plan::{self, Begun, Plan, batches, count, found, is_planned, publish_and_complete_chunk, see_end};
use super::{GONE, known};
use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::process::{Flow, Interrupt, Run};
use crate::store::{Conflict, progress};
use crate::transaction::Key;
use crate::world::{Instruction, ItemRow, World};

/// Takes one step of an operation. Returns the event of its end, if it has ended.
///
/// The code also reads the bulk before each chunk, for the parts that never change. The time of that read makes no
/// difference, so it is not a step.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &StartBulk) -> Flow<Vec<Hashed<Event>>> {
    let now = run.now()?;
    match &instruction.step {
        StartStep::Plan(cursor) => plan(run, message, cursor, now),
        StartStep::Chunk(chunk) => self::chunk(run, message, chunk, now),
        StartStep::Watch(_) => Ok(Vec::new()),
    }
}

fn plan(run: &mut Run, message: &Message<Instruction>, from: &PlanCursor, now: Timestamp) -> Flow<Vec<Hashed<Event>>> {
    let (id, row) = (message.operation_id, Key::Operation(message.operation_id));
    let (begun, batches) = run.function("begin", |run| {
        let bulk = run.call("GetItem bulk", |world| world.bulk.clone())?;
        let before = plan::known(run, message, from.after.is_none())?;
        let begun = if before.as_ref().is_some_and(|before| before.operation.state != OperationState::Pending) {
            before
        } else if bulk.is_sealed() {
            let refuse = |world: &mut World| world.refuse(id, bulk.items, now);
            run.write("UpdateItem operation refuse", &row, |world| refuse(world).map(|row| Begun::new(world, row)))?
        } else {
            plan::mark_running(run, id, &bulk.batches)?
        };
        let begun = begun.ok_or(Interrupt::Permanent(GONE))?;
        if begun.operation.state != OperationState::Running || is_planned(run, &begun.operation) {
            return Ok((begun, None));
        }
        let batches = if run.is(Broken::BatchesOfEachPlan) { bulk.batches.clone() } else { batches(&begun.operation) };
        Ok((begun, Some(batches)))
    })?;
    let Some(batches) = batches else { return end_if_complete(run, message, begun.operation, now) };
    let bulk_id = &run.world.bulk.bulk_id.clone();
    let instruction = |step| Instruction::Start(StartBulk { bulk_id: bulk_id.clone(), step });
    let chunk = |number, item: PlannedItem| {
        Range::of(&[item]).map(|range| instruction(StartStep::Chunk(StartChunk { number, range })))
    };
    let further = |cursor| instruction(StartStep::Plan(cursor));
    match (Plan { message, begun: &begun }).go(run, &batches, from, chunk, further)? {
        Some(operation) => end_if_complete(run, message, operation, now),
        None => Ok(Vec::new()),
    }
}

fn chunk(
    run: &mut Run,
    message: &Message<Instruction>,
    chunk: &StartChunk,
    now: Timestamp,
) -> Flow<Vec<Hashed<Event>>> {
    let id = message.operation_id;
    let known = known(run, message)?;
    let known = known.or_else(|| run.world.operation(id)).ok_or(Interrupt::Permanent(GONE))?;
    if !chunk.range.batches.is_subset(&progress(&known).batches) {
        return Err(Interrupt::Permanent("the operation is not planned with this chunk"));
    }
    let start = Start::of(run.world, &known).ok_or(Interrupt::Permanent(GONE))?;
    let mark = Mark::new(message.acceptance(), now);
    let items = run.function("issue", |run| run.retrying(|run| issue(run, &start, &chunk.range, &mark)))?;
    // The events are made once, not again at every step.
    let made = |item: &ItemRow| event(message, &start, &item.row);
    let events = run.function("events", |_| Ok(items.iter().filter_map(made).collect::<Vec<_>>()))?;
    let counts = Counts { items: count(items.len()), changed: count(events.len()), ..Counts::default() };
    let operation = publish_and_complete_chunk(run, id, &events, chunk.number, counts)?;
    end_if_complete(run, message, operation, now)
}

/// Returns the chunk's items once every pending one of them has its card, and the cards are visible.
fn issue(run: &mut Run, start: &Start, range: &Range, mark: &Mark) -> Flow<Vec<ItemRow>> {
    let mut items = run.call("Query range", |world| world.items_of(range))?;
    if items.len() != range.items {
        return Err(Interrupt::Permanent("the range's items changed"));
    }
    let is_mine = |issued: &Mark| issued.by == mark.by && issued.accepted_at == mark.accepted_at;
    let mine = |item: &ItemRow| item.row.issued.as_ref().is_some_and(is_mine);
    let found = |item: &ItemRow| item.row.card_id.filter(|_| mine(item));
    let before: Vec<CardId> = items.iter().filter_map(found).collect();
    if !before.is_empty() && !run.is(Broken::CreateBeforeCard) {
        let are_there = |world: &mut World| before.iter().all(|card| world.cards.contains_key(card));
        if !run.call("BatchGetItem cards", are_there)? {
            return Err(Interrupt::Conflict);
        }
    }
    for item in &mut items {
        if item.row.state != ItemState::Pending && !run.is(Broken::IssuesUnguarded) {
            continue;
        }
        let (id, facts) = (item.row.external_id.clone(), start.facts(&item.row));
        let unguarded = run.is(Broken::IssuesUnguarded);
        let issued = run.transact("TransactWriteItems issue", |world| {
            if unguarded { world.put_card(&id, &facts, mark).ok_or(Conflict) } else { world.issue(&id, &facts, mark) }
        })?;
        *item = issued.map_err(|_| Interrupt::Conflict)?;
    }
    Ok(items)
}

/// Ends the operation if all chunks are complete. Returns its final event once it has ended.
fn end_if_complete(
    run: &mut Run,
    message: &Message<Instruction>,
    mut operation: Hashed<Operation>,
    now: Timestamp,
) -> Flow<Vec<Hashed<Event>>> {
    if operation.state == OperationState::Running && progress(&operation).is_complete() {
        operation = run.function("end", |run| run.retrying(|run| end(run, &operation, now)))?;
    } else if operation.state == OperationState::Succeeded {
        see_end(run)?;
    }
    if run.is(Broken::EndOfStartUnpublished) {
        return Ok(Vec::new());
    }
    Ok(end_event(run.world, message, &operation).into_iter().collect())
}

fn end(run: &mut Run, operation: &Hashed<Operation>, now: Timestamp) -> Flow<Hashed<Operation>> {
    let (id, issued) = (operation.operation_id, progress(operation).items_changed);
    let mut ended = operation.clone();
    ended.edit(|operation| (operation.state, operation.ended_at) = (OperationState::Succeeded, Some(now)));
    if run.is(Broken::EndsInTwoWrites) {
        run.call("UpdateItem operation end", |world| world.end_running(id, now, None))?.ok();
        run.call("UpdateItem bulk end", |world| world.count_issued(id, issued))?;
        return Ok(ended);
    }
    let done = run.transact("TransactWriteItems end start", |world| world.end_start(id, issued, now))?;
    if done.is_ok() {
        return Ok(ended);
    }
    // Another delivery that found it complete may have ended it.
    let operation = found(run.call("GetItem operation", |world| world.operation(id))?)?;
    if operation.state != OperationState::Succeeded {
        return Err(Interrupt::Conflict);
    }
    see_end(run).map(|()| operation)
}

/// Returns the event for the whole operation, once it has ended. It contains only parts of the bulk that no longer
/// change.
pub fn end_event(world: &World, message: &Message<Instruction>, operation: &Operation) -> Option<Hashed<Event>> {
    start_event(&message.event_context(), operation, &world.bulk).map(Hashed::new)
}

/// The data that all cards of one start share.
#[derive(Debug, Clone, Hash)]
pub struct Start {
    bulk: Hashed<Bulk>,
    issuing_date: Date,
    expiration_date: Date,
}

impl Start {
    /// Returns the data of this operation's start.
    pub fn of(world: &World, operation: &Operation) -> Option<Self> {
        match operation.subject {
            Subject::StartBulk { issuing_date, expiration_date, .. } => {
                Some(Self { bulk: world.bulk.clone(), issuing_date, expiration_date })
            }
            _ => None,
        }
    }

    fn facts(&self, item: &BulkItem) -> CardFacts {
        self.bulk.card_facts(item, self.issuing_date, self.expiration_date)
    }
}

/// Returns the event of the item's card, if this operation issued it.
pub fn event(message: &Message<Instruction>, start: &Start, item: &BulkItem) -> Option<Hashed<Event>> {
    create_event(&message.event_context(), &start.bulk, item, start.issuing_date, start.expiration_date)
        .map(Hashed::new)
}
