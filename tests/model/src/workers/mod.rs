//! The workers: `shared::worker` around the instruction of each.

pub mod bind;
pub mod cancel;
pub mod plan;
pub mod start;

use shared::domain::event::Event;
use shared::domain::ids::OperationId;

use crate::broken::Broken;
use crate::process::{Flow, Run};
use crate::row::Row;
use crate::world::{AnyMessage, Instruction};

/// What is said of an operation that is updated and has no row.
const GONE: &str = "the operation has no row";

/// Handles a message: applies it, publishes its events, and lets it go.
pub fn handle(run: &mut Run, message: &AnyMessage) -> Flow<()> {
    let events = run.function("apply", |run| match &message.instruction {
        Instruction::Bind(bind) => bind::apply(run, message, bind),
        Instruction::Start(start) => start::apply(run, message, start).map(|()| Vec::new()),
        Instruction::Cancel(cancel) => cancel::apply(run, message, cancel),
    })?;
    if run.is(Broken::LetsGoBeforePublishing) {
        run.call("DeleteMessage", |world| world.let_go(message))?;
        return publish_all(run, message.operation_id, &events);
    }
    publish_all(run, message.operation_id, &events)?;
    run.call("DeleteMessage", |world| world.let_go(message))
}

/// Publishes each of these. The bus takes or refuses each on its own, so each is a call.
fn publish_all(run: &mut Run, operation: OperationId, events: &[Row<Event>]) -> Flow<()> {
    run.function("publish all", |run| {
        for event in events {
            run.call("PutEvents", |world| world.publish(operation, event))?;
        }
        Ok(())
    })
}
