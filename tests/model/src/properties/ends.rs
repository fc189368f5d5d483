//! Everything ends: what is accepted, and what follows from it.
//!
//! The checker's own `eventually` is of no use here: processes may die for ever. What is to be shown is that
//! everything ends once they do not. Of each state in which nobody is at work:
//!
//! - If something is left to be begun, then each such thing, left to itself, comes to its end in a bounded number
//!   of calls, and then less is left to be done ([`work`] falls). So from whatever has happened, in whatever order
//!   the rest is gone through, there is an end.
//! - If nothing is left, everything has ended, and all events are out.
//!
//! Processes that are at work beside each other end too: one makes a call again only if another has changed what it
//! read, and changes come to an end because rows only move forward.

use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::message::{CancelBulk, CancelStep, StartBulk, StartStep};

use super::has_row;
use crate::market;
use crate::model::Bindery;
use crate::row::Row;
use crate::said::{are_out, said, said_at_end};
use crate::world::{Instruction, Place, Task, Told, World};

/// Whether everything ends that has come so far.
pub fn ends(model: &Bindery, world: &World) -> bool {
    let open = open(model, world);
    let left = |world: &World| self::open(model, world).iter().map(|task| work(model, world, task)).sum::<usize>();
    let comes_nearer = |task| model.undisturbed(world, task).is_some_and(|after| left(&after) < left(world));
    if open.is_empty() { has_ended(world) } else { open.iter().all(comes_nearer) }
}

/// What is left to be begun: messages that are in a queue, and requests whose clients know nothing.
fn open(model: &Bindery, world: &World) -> Vec<Task> {
    let asked = model.scenario.asked.iter().filter(|asked| asked.is_keyed());
    let unanswered = |id: &OperationId| world.told.get(id) == Some(&Told::Nothing);
    let requests = asked.map(|asked| asked.operation.operation_id).filter(unanswered).map(Task::Request);
    let queued = world.messages.iter().filter(|(_, place)| **place == Place::Queue);
    requests.chain(queued.map(|(message, _)| Task::Message(message.clone()))).collect()
}

/// More than the work of all that the task can lead to: a plan sends a chunk for every item, and itself on.
fn work(model: &Bindery, world: &World, task: &Task) -> usize {
    match task {
        Task::Request(_) => 3 + model.scenario.start.named.values().map(Vec::len).sum::<usize>(),
        Task::Message(message) => match &message.instruction {
            Instruction::Start(StartBulk { step: StartStep::Plan(cursor), .. })
            | Instruction::Cancel(CancelBulk { step: CancelStep::PlanAll(cursor), .. }) => {
                1 + 2 * world.items_after(cursor.after.as_ref(), usize::MAX).0.len()
            }
            Instruction::Cancel(CancelBulk { step: CancelStep::PlanNamed(plan), .. }) => 1 + plan.chunks as usize,
            Instruction::Bind(_)
            | Instruction::Start(_)
            | Instruction::Cancel(_)
            | Instruction::CancelOrder(_)
            | Instruction::ChangeOrder(_) => 1,
        },
    }
}

/// Of an operation of orders, its notes of them say it.
fn has_ended_by_itself(world: &World, operation: &Row<Operation>) -> bool {
    let has_ended = matches!(operation.state, OperationState::Succeeded | OperationState::Failed);
    let is_of_orders = matches!(operation.subject, Subject::CancelOrders { .. });
    has_ended || is_of_orders && market::all_have_ended(world, operation)
}

fn has_ended(world: &World) -> bool {
    let is_sent =
        |id: &OperationId| world.messages.keys().any(|message| message.operation_id == *id && has_row(world, message));
    let is_accepted = |id: &OperationId| world.told.get(id) == Some(&Told::Accepted) || is_sent(id);
    let mut accepted = world.operations.values().filter(|operation| is_accepted(&operation.operation_id));
    accepted.all(|operation| has_ended_by_itself(world, operation))
        && world.messages.keys().filter(|message| has_row(world, message)).all(|message| {
            let at_end = said_at_end(world, message);
            said(world, message).is_some_and(|events| are_out(world, message, events.iter().chain(&at_end)))
        })
}
