//! The workers: `shared::worker` around each worker's own instruction.

pub mod bind;
pub mod cancel;
pub mod plan;
pub mod start;

use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use shared::domain::operation::Operation;
use shared::message::Message;

use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::market;
use crate::process::{Flow, Interrupt, Run};
use crate::world::{AnyMessage, Instruction, World};

/// The error for an operation that has no row. Updates never create one.
const GONE: &str = "the operation has no row";

/// Checks that the operation has a row, and is still the message's operation: its key may have been used again.
/// Otherwise the message is dead-lettered. Returns the operation, if it was read.
pub fn known(run: &mut Run, message: &Message<Instruction>) -> Flow<Option<Hashed<Operation>>> {
    if run.is(Broken::EffectBeforeOperation) {
        return Ok(None);
    }
    let read = |world: &mut World| world.operation(message.operation_id);
    let found = if run.world.may_miss { run.call("GetItem operation", read)? } else { read(run.world) };
    let any = run.is(Broken::AnyAcceptance);
    let is_this = |operation: &Hashed<Operation>| any || operation.acceptance() == message.acceptance();
    found.filter(is_this).map(Some).ok_or(Interrupt::Permanent(GONE))
}

/// Handles a message: applies it, publishes its events, and deletes it.
pub fn handle(run: &mut Run, message: &AnyMessage) -> Flow<()> {
    let events = run.function("apply", |run| match &message.instruction {
        Instruction::Bind(bind) => bind::apply(run, message, bind),
        Instruction::Start(start) => start::apply(run, message, start),
        Instruction::Cancel(cancel) => cancel::apply(run, message, cancel),
        Instruction::CancelOrder(order) => market::request(run, message, *order),
        Instruction::ChangeOrder(change) => market::change(run, message, change),
    })?;
    if run.is(Broken::AcksBeforePublishing) {
        run.call("DeleteMessage", |world| world.delete_message(message))?;
        return publish_all(run, message.operation_id, &events);
    }
    publish_all(run, message.operation_id, &events)?;
    run.call("DeleteMessage", |world| world.delete_message(message))
}

/// Publishes each of these events. The bus takes or refuses each on its own, so each is a call.
fn publish_all(run: &mut Run, operation: OperationId, events: &[Hashed<Event>]) -> Flow<()> {
    run.function("publish all", |run| {
        for event in events {
            run.call("PutEvents", |world| world.publish(operation, event))?;
        }
        Ok(())
    })
}
