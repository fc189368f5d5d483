//! `shared::plan`: what the workers of operations on a bulk share.

use std::collections::BTreeSet;

use shared::domain::bulk::{PlanCursor, PlannedItem};
use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use shared::domain::operation::Operation;
use shared::message::Message;

use super::{GONE, publish_all};
use crate::broken::Broken;
use crate::process::{Flow, Run, Stop};
use crate::row::Row;
use crate::store::{AsItIs, progress};
use crate::world::{Instruction, ItemRow};

/// Items planned in one run: 2,000 in the code.
const PAGE_ITEMS: usize = 1;

/// The operation that a write, or a read, answered.
pub fn found(operation: AsItIs) -> Flow<Row<Operation>> {
    operation.ok_or(Stop::Broken(GONE))
}

/// The batches that an operation is about.
pub fn batches(operation: &Operation) -> BTreeSet<u32> {
    progress(operation).batches.clone()
}

/// Whether a plan of the operation has nothing to do. In the code it does it all again.
pub fn is_planned(run: &Run, operation: &Operation) -> bool {
    run.is(Broken::PlannedOnceTotalIsSet) && progress(operation).chunks.is_some()
}

/// So many items, as operations count them.
pub fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Cuts the bulk's next items into chunks and sends their messages, and that of the plan's next page; after
/// the last page notes on the operation how many chunks there are, and answers it.
pub fn plan_page(
    run: &mut Run,
    message: &Message<Instruction>,
    batches: &BTreeSet<u32>,
    from: &PlanCursor,
    chunk: impl Fn(u32, PlannedItem) -> Option<Instruction>,
    further: impl Fn(PlanCursor) -> Instruction,
) -> Flow<Option<Row<Operation>>> {
    let (items, more) = run.call("Query items", |world| world.items_after(from.after.as_ref(), PAGE_ITEMS))?;
    let mut cursor = from.clone();
    let mut steps = Vec::new();
    // `PlanCursor::advance`, but with one item a chunk. That cuts come out the same however the pages fall is
    // tested beside it.
    for item in items.iter().map(|item: &ItemRow| &item.row) {
        cursor.after = Some(item.external_id.clone());
        if batches.contains(&item.batch) {
            steps.extend(chunk(cursor.chunks, item.clone().into()));
            (cursor.chunks, cursor.items) = (cursor.chunks + 1, cursor.items + 1);
        }
    }
    let total = (cursor.chunks, cursor.items);
    if more {
        steps.push(further(cursor));
        send_all(run, message, steps)?;
        return Ok(None);
    }
    send_all_and_set_chunks(run, message, steps, total).map(Some)
}

/// Sends the last of the chunks, and notes on the operation how many there are.
pub fn send_all_and_set_chunks(
    run: &mut Run,
    message: &Message<Instruction>,
    steps: Vec<Instruction>,
    (chunks, items): (u32, u32),
) -> Flow<Row<Operation>> {
    let id = message.operation_id;
    let set = |run: &mut Run| run.write("UpdateItem operation chunks", |world| world.set_chunks(id, chunks, items));
    if run.is(Broken::TotalBeforeChunks) || run.is(Broken::PlannedOnceTotalIsSet) {
        set(run)?;
    }
    send_all(run, message, steps)?;
    found(set(run)?)
}

/// Sends each of these. The queue takes or refuses each on its own, so each is a call.
fn send_all(run: &mut Run, message: &Message<Instruction>, steps: Vec<Instruction>) -> Flow<()> {
    run.function("send all", |run| {
        for step in steps {
            let next = Row::new(message.next(step));
            run.call("SendMessage", |world| world.send(&next))?;
        }
        Ok(())
    })
}

/// Publishes a chunk's events, then counts it off.
pub fn publish_and_count_off(
    run: &mut Run,
    operation: OperationId,
    events: &[Row<Event>],
    chunk: u32,
    counts: [u32; 3],
) -> Flow<Row<Operation>> {
    let count_off = |run: &mut Run| {
        let again = run.is(Broken::CountsOffAgain);
        run.write("UpdateItem operation count off", |world| world.count_off(operation, chunk, counts, again))
    };
    if run.is(Broken::CountsOffBeforePublishing) {
        let counted = found(count_off(run)?)?;
        publish_all(run, operation, events)?;
        return Ok(counted);
    }
    publish_all(run, operation, events)?;
    found(count_off(run)?)
}
