//! The events that the current table calls for.

use shared::domain::bind::{BindEffect, BindRefusal, bound_by, replaced_by};
use shared::domain::bulk::ItemState;
use shared::domain::event::{Event, bind_events};
use shared::domain::ids::CardId;
use shared::domain::operation::Operation;
use shared::message::{BindCard, CancelStep, Message, StartStep};

use crate::hashed::Hashed;
use crate::market;
use crate::store::outcome;
use crate::workers::bind::seen;
use crate::workers::{cancel, start};
use crate::world::{AnyMessage, Instruction, World};

/// Returns the events of a message's work, derived from the current table. `None` if they are not decided yet.
pub fn expected_events(world: &World, message: &AnyMessage) -> Option<Vec<Hashed<Event>>> {
    let operation = world.operations.get(&message.operation_id)?;
    if operation.acceptance() != message.acceptance() {
        return None;
    }
    match &message.instruction {
        Instruction::Bind(bind) => expected_of_bind(world, message, operation, bind),
        Instruction::Start(instruction) => match &instruction.step {
            StartStep::Plan(_) | StartStep::Watch(_) => Some(Vec::new()),
            StartStep::Chunk(chunk) => {
                let (start, items) = (start::Start::of(world, operation)?, world.items_of(&chunk.range));
                let open = items.iter().any(|item| item.row.state == ItemState::Pending);
                let events = items.iter().filter_map(|item| start::event(message, &start, &item.row));
                (!open).then(|| events.collect())
            }
        },
        Instruction::Cancel(instruction) => match &instruction.step {
            CancelStep::PlanAll(_) | CancelStep::PlanNamed(_) | CancelStep::Watch(_) => Some(Vec::new()),
            CancelStep::Chunk(chunk) => {
                let result = world.results.get(&(message.operation_id, chunk.number))?;
                Some(cancel::events(message, instruction, result))
            }
        },
        Instruction::CancelOrder(order) => market::expected_of_request(world, message, *order),
        Instruction::ChangeOrder(change) => market::expected_of_change(world, message, change),
    }
}

fn expected_of_bind(
    world: &World,
    message: &Message<Instruction>,
    operation: &Operation,
    BindCard { bind, card: facts }: &BindCard,
) -> Option<Vec<Hashed<Event>>> {
    let outcome = outcome(operation)?;
    let card = |id: CardId| seen(world.cards.get(&id));
    let acceptance = operation.acceptance();
    let replaced = bind.reissued_card_id.and_then(|old| replaced_by(acceptance, card(old)));
    let effect = match bound_by(acceptance, card(bind.card_id)) {
        Some(at) => BindEffect::Bound { at, replaced },
        None => BindEffect::Refused { code: BindRefusal::CardNotFound, card_status: None },
    };
    let events = bind_events(&message.event_context(), bind, facts, outcome, &effect).ok()?;
    Some(events.into_iter().map(Hashed::new).collect())
}

/// Returns the event of the operation's end, if it has ended and has one.
pub fn expected_end_event(world: &World, message: &AnyMessage) -> Option<Hashed<Event>> {
    let operation = world.operations.get(&message.operation_id)?;
    match &message.instruction {
        Instruction::Cancel(instruction) => cancel::end_event(message, instruction, operation),
        Instruction::Start(_) => start::end_event(world, message, operation),
        Instruction::Bind(_) | Instruction::CancelOrder(_) | Instruction::ChangeOrder(_) => None,
    }
}

/// Returns whether all of these events are published.
pub fn are_published<'a>(
    world: &World,
    message: &AnyMessage,
    events: impl IntoIterator<Item = &'a Hashed<Event>>,
) -> bool {
    let out = world.bus.get(&message.operation_id);
    events.into_iter().all(|event| out.is_some_and(|out| out.contains(event)))
}
