//! `shared::plan`: the code that workers of operations on a bulk share.

use std::collections::BTreeSet;

use shared::domain::bulk::{PlanCursor, Planned, PlannedItem};
use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState};
use shared::message::{CancelBulk, CancelStep, Message, StartBulk, StartStep};
use shared::store::Counts;

use super::{GONE, publish_all};
use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::process::{CallOutcome, Flow, Interrupt, Run};
use crate::store::{CurrentOperation, progress};
use crate::transaction::Key;
use crate::world::{Instruction, ItemRow, World};

/// Items of a page: 2,000 in the code.
const PAGE_ITEMS: usize = 1;

/// Returns the operation that a write or a read has found.
pub fn found(operation: CurrentOperation) -> Flow<Hashed<Operation>> {
    operation.ok_or(Interrupt::Permanent(GONE))
}

/// Returns the batches of an operation.
pub fn batches(operation: &Operation) -> BTreeSet<u32> {
    progress(operation).batches.clone()
}

/// Returns whether the last page of the operation is planned, so that nothing is left to plan.
pub fn is_planned(run: &Run, operation: &Operation) -> bool {
    !run.is(Broken::PlansAgain) && progress(operation).chunks.is_some()
}

/// Converts a number of items to the type in which operations count them.
pub fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// The operation as a delivery of a plan found it.
#[derive(Debug, Clone, Hash)]
pub struct Begun {
    /// The operation's row.
    pub operation: Hashed<Operation>,
    /// The number of chunks that were known to be planned then. For the properties alone.
    known: u32,
}

impl Begun {
    /// Returns the operation as it was found.
    pub fn new(world: &World, operation: Hashed<Operation>) -> Self {
        let known = world.planned.get(&operation.operation_id).copied().flatten().unwrap_or_default();
        Self { operation, known }
    }

    /// Returns whether something was planned before.
    pub(crate) fn is_ahead(&self) -> bool {
        progress(&self.operation).planned.is_some()
    }
}

/// Returns the operation that a delivery of a plan finds, at its first page or a later one (see [`super::known`]).
pub fn known(run: &mut Run, message: &Message<Instruction>, is_first: bool) -> Flow<Option<Begun>> {
    let id = message.operation_id;
    let begun = |world: &mut World| world.operation(id).map(|operation| Begun::new(world, operation));
    if is_first && !run.world.may_miss {
        // The write that begins the operation, on the condition that it is PENDING, returns it as well.
        return Ok(None);
    }
    let found = run.call("GetItem operation", begun)?;
    if run.is(Broken::EffectBeforeOperation) {
        return Ok(found);
    }
    let any = run.is(Broken::AnyAcceptance);
    let is_this = |begun: &Begun| any || begun.operation.acceptance() == message.acceptance();
    found.filter(is_this).map(Some).ok_or(Interrupt::Permanent(GONE))
}

/// Begins an operation on the bulk. Returns the current operation, whichever delivery began it, or `None` if it has
/// no row.
pub fn mark_running(run: &mut Run, id: OperationId, batches: &BTreeSet<u32>) -> Flow<Option<Begun>> {
    if run.is(Broken::BeginsInTwoWrites) {
        let begun = run.call("UpdateItem operation begin", |world| world.begin_alone(id, batches).map_err(|_| ()))?;
        run.call("UpdateItem bulk begin", |world| begun.is_ok().then(|| world.note_under_way(id)))?;
    } else {
        let mark_running = |world: &mut World| world.mark_running(id, batches).map(|begun| Begun::new(world, begun));
        if let Ok(begun) = run.transact("TransactWriteItems begin", mark_running)? {
            return Ok(Some(begun));
        }
    }
    let found = |world: &mut World| world.operation(id).map(|operation| Begun::new(world, operation));
    let found = run.call("GetItem operation begun", found)?;
    match found {
        // Other transactions hold the rows. The code tries again.
        Some(begun) if begun.operation.state == OperationState::Pending => Err(Interrupt::Conflict),
        found => Ok(found),
    }
}

/// Waits with `TransactGetItems` until the end that another delivery wrote is visible on the operation and the
/// header.
pub fn see_end(run: &mut Run) -> Flow<()> {
    if run.is(Broken::EndBeforeHeader) {
        return Ok(());
    }
    run.call_so("TransactGetItems end", |outcome, world| {
        (outcome == CallOutcome::Success && !world.prepared.contains_key(&Key::Bulk)).then_some(())
    })
}

/// A plan, which makes its messages.
pub struct Plan<'a> {
    /// The plan's own message.
    pub message: &'a Message<Instruction>,
    /// The operation as the delivery found it.
    pub begun: &'a Begun,
}

impl Plan<'_> {
    /// Divides the bulk's items into chunks and sends their messages. Starts from the cursor, or from where the
    /// operation's row says it is planned to, if that is further. After the last page, records on the operation how
    /// many chunks there are, and returns it. If time runs out before, sends a message that continues the plan, and
    /// returns `None`.
    pub fn go(
        &self,
        run: &mut Run,
        batches: &BTreeSet<u32>,
        from: &PlanCursor,
        chunk: impl Fn(u32, PlannedItem) -> Option<Instruction>,
        further: impl Fn(PlanCursor) -> Instruction,
    ) -> Flow<Option<Hashed<Operation>>> {
        let again = run.is(Broken::PlansAgain);
        let planned = progress(&self.begun.operation).planned.as_ref().filter(|_| !again);
        let mut cursor = if again { from.clone() } else { from.clone().resume_from(planned) };
        loop {
            let after = cursor.after.clone();
            let (items, more) = run.call("Query items", |world| world.items_after(after.as_ref(), PAGE_ITEMS))?;
            let mut steps = Vec::new();
            // This is `PlanCursor::advance` with one item a chunk. Its own tests show that the division does not
            // depend on pages.
            for item in items.iter().map(|item: &ItemRow| &item.row) {
                cursor.after = Some(item.external_id.clone());
                if batches.contains(&item.batch) {
                    steps.extend(chunk(cursor.chunks, item.clone().into()));
                    (cursor.chunks, cursor.items) = (cursor.chunks + 1, cursor.items + 1);
                }
            }
            if !more {
                return self.send_all_and_set_chunks(run, steps, (cursor.chunks, cursor.items)).map(Some);
            }
            if again {
                steps.push(further(cursor));
                self.send_all(run, steps)?;
                return Ok(None);
            }
            // A page without counted items is not recorded. Here, its time never runs out.
            let is_new = !steps.is_empty();
            self.send_all(run, steps)?;
            if is_new && !self.note(run, &cursor)? {
                self.send_all(run, vec![further(cursor)])?;
                return Ok(None);
            }
        }
    }

    /// Records on the operation how far it is planned. Returns whether time is left for another page.
    fn note(&self, run: &mut Run, cursor: &PlanCursor) -> Flow<bool> {
        let (id, Some(after)) = (self.message.operation_id, cursor.after.clone()) else { return Ok(true) };
        let planned = Planned { chunks: cursor.chunks, items: cursor.items, after };
        run.call_so("UpdateItem operation planned", |outcome, world| {
            let is_time_left = match outcome {
                CallOutcome::Success => true,
                CallOutcome::OutOfTime => false,
                _ => return None,
            };
            world.note_planned(id, &planned).then_some(is_time_left)
        })
    }

    /// Sends the last chunks, and records on the operation how many there are.
    pub fn send_all_and_set_chunks(
        &self,
        run: &mut Run,
        steps: Vec<Instruction>,
        (chunks, items): (u32, u32),
    ) -> Flow<Hashed<Operation>> {
        let id = self.message.operation_id;
        let set = |run: &mut Run| {
            let row = Key::Operation(id);
            run.write("UpdateItem operation chunks", &row, |world| world.set_chunks(id, chunks, items))
        };
        if run.is(Broken::TotalBeforeChunks) {
            set(run)?;
        }
        self.send_all(run, steps)?;
        found(set(run)?)
    }

    /// Sends each of these messages. The queue takes or refuses each on its own, so each is a call.
    fn send_all(&self, run: &mut Run, steps: Vec<Instruction>) -> Flow<()> {
        let known = self.begun.known;
        run.function("send all", |run| {
            for step in steps {
                let chunk = chunk_number(&step);
                let next = Hashed::new(self.message.next(step));
                run.call("SendMessage", |world| {
                    world.planned_again |= chunk.is_some_and(|chunk| chunk < known);
                    world.send(&next);
                })?;
            }
            Ok(())
        })
    }
}

fn chunk_number(step: &Instruction) -> Option<u32> {
    match step {
        Instruction::Start(StartBulk { step: StartStep::Chunk(chunk), .. }) => Some(chunk.number),
        Instruction::Cancel(CancelBulk { step: CancelStep::Chunk(chunk), .. }) => Some(chunk.number),
        _ => None,
    }
}

/// Publishes a chunk's events, then records the chunk as complete.
pub fn publish_and_complete_chunk(
    run: &mut Run,
    operation: OperationId,
    events: &[Hashed<Event>],
    chunk: u32,
    counts: Counts,
) -> Flow<Hashed<Operation>> {
    let complete_chunk = |run: &mut Run| {
        let (again, row) = (run.is(Broken::CompletesAgain), Key::Operation(operation));
        let complete_chunk = |world: &mut World| world.complete_chunk(operation, chunk, counts, again);
        run.write("UpdateItem operation complete chunk", &row, complete_chunk)
    };
    if run.is(Broken::CompletesBeforePublishing) {
        let counted = found(complete_chunk(run)?)?;
        publish_all(run, operation, events)?;
        return Ok(counted);
    }
    publish_all(run, operation, events)?;
    found(complete_chunk(run)?)
}
