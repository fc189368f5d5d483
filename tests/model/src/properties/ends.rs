//! Everything ends: each accepted operation, and everything that follows from it.
//!
//! The checker's own `eventually` is of no use here, because processes may crash without end. What we show is that
//! everything ends once they no longer crash. In each state in which no process is running:
//!
//! - If something is still to be started, each such task, run alone, finishes in a limited number of calls, and then
//!   less is left to do ([`work`] decreases). So whatever has happened before, and in whatever order the rest runs,
//!   there is an end.
//! - If nothing is left, everything has ended, and all events are published.
//!
//! Processes that run concurrently end too: one repeats a call only if another has changed what it read, and changes
//! end because rows only move forward.

use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::message::{CancelBulk, CancelStep, StartBulk, StartStep};

use super::has_row;
use crate::expected_events::{are_published, expected_end_event, expected_events};
use crate::hashed::Hashed;
use crate::market;
use crate::model::Bindery;
use crate::world::{Instruction, Place, Response, Task, World};

/// Checks that everything accepted so far ends.
pub fn ends(model: &Bindery, world: &World) -> bool {
    let open = open(model, world);
    let left = |world: &World| self::open(model, world).iter().map(|task| work(model, world, task)).sum::<usize>();
    let comes_nearer = |task| model.undisturbed(world, task).is_some_and(|after| left(&after) < left(world));
    if open.is_empty() { has_ended(world) } else { open.iter().all(comes_nearer) }
}

/// Returns the tasks still to be started: messages in a queue, and requests whose clients have no response.
fn open(model: &Bindery, world: &World) -> Vec<Task> {
    let asked = model.scenario.asked.iter().filter(|asked| asked.is_keyed());
    let without_response = |id: &OperationId| world.responses.get(id) == Some(&Response::None);
    let requests = asked.map(|asked| asked.operation.operation_id).filter(without_response).map(Task::Request);
    let queued = world.messages.iter().filter(|(_, place)| **place == Place::Queue);
    requests.chain(queued.map(|(message, _)| Task::Message(message.clone()))).collect()
}

/// Returns an upper bound on the work that the task leads to: a plan sends a chunk for every item, and its own next
/// message.
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

/// Returns whether the operation has ended. For an operation on orders, its records of them decide.
fn has_ended_by_itself(world: &World, operation: &Hashed<Operation>) -> bool {
    let has_ended = matches!(operation.state, OperationState::Succeeded | OperationState::Failed);
    let is_of_orders = matches!(operation.subject, Subject::CancelOrders { .. });
    has_ended || is_of_orders && market::all_have_ended(world, operation)
}

fn has_ended(world: &World) -> bool {
    let is_sent =
        |id: &OperationId| world.messages.keys().any(|message| message.operation_id == *id && has_row(world, message));
    let is_accepted = |id: &OperationId| world.responses.get(id) == Some(&Response::Accepted) || is_sent(id);
    let mut accepted = world.operations.values().filter(|operation| is_accepted(&operation.operation_id));
    accepted.all(|operation| has_ended_by_itself(world, operation))
        && world.messages.keys().filter(|message| has_row(world, message)).all(|message| {
            let at_end = expected_end_event(world, message);
            expected_events(world, message)
                .is_some_and(|events| are_published(world, message, events.iter().chain(&at_end)))
        })
}
