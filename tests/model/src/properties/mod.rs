//! What must always hold.
//!
//! Any process may die at any time. So what can be seen of table, queues and bus in any state can be seen in one
//! in which nobody is at work: the properties are asked of these alone.

mod bulks;
mod cards;
mod ends;

use std::collections::BTreeSet;

use shared::domain::ids::OperationId;
use stateright::Property;

use crate::model::Bindery;
use crate::row::{Tracked, Transition};
use crate::said::{are_out, said, said_at_end};
use crate::scenario::What;
use crate::world::{Place, Told, World};

/// 1, rule 1.
pub const ONE_WINNER: &str = "of all binds and cancels of a card, one has its way";
/// 2, rules 2 and 4.
pub const FORWARD: &str = "cards and items only move forward, through each transition once";
/// 3, rule 5.
pub const BOTH_OR_NONE: &str = "a reissue changes both cards or none";
/// 4, rule 3.
pub const ONE_FACT: &str = "an event ID has one fact";
/// 5, rules 2 and 3.
pub const SO: &str = "an event says what is so";
/// 6, rule 3.
pub const OUT: &str = "a message is let go after its events are out";
/// 7, rule 6.
pub const HANDLED: &str = "no message is beyond handling";
/// 8, idempotency.
pub const ANSWERED: &str = "a client is told one thing, and it is so";
/// 9, big bulks.
pub const GONE_THROUGH: &str = "an operation that succeeded has gone through all its items, and its events are out";
/// 10, big bulks.
pub const COUNTED: &str = "operations and the bulk count what was done, once";
/// 11, liveness.
pub const ENDS: &str = "what was accepted ends, with all its events";

/// All of them.
pub(crate) fn always() -> Vec<Property<Bindery>> {
    macro_rules! at_rest {
        ($name:expr, $holds:expr) => {
            Property::always($name, |model: &Bindery, world: &World| !world.is_at_rest() || $holds(model, world))
        };
    }
    vec![
        at_rest!(ONE_WINNER, |_, world| cards::have_one_winner(world)),
        at_rest!(FORWARD, |_, world| cards::move_forward(world) && bulks::items_move_forward(world)),
        at_rest!(BOTH_OR_NONE, |_, world| cards::change_both_or_none(world)),
        at_rest!(ONE_FACT, |_, world| have_one_fact(world)),
        at_rest!(SO, |_, world| events_are_so(world) && bulks::results_are_so(world)),
        at_rest!(OUT, |_, world| are_let_go_after_events(world)),
        at_rest!(HANDLED, |_, world| are_handled(world)),
        at_rest!(ANSWERED, answers_are_so),
        at_rest!(GONE_THROUGH, |_, world| bulks::are_gone_through(world)),
        at_rest!(COUNTED, |_, world| bulks::are_counted(world)),
        at_rest!(ENDS, ends::ends),
    ]
}

/// Who did this to a card or an item, if anybody did.
fn by<T>(row: &Tracked<T>, done: Transition) -> Option<OperationId> {
    row.history.iter().find(|(transition, _)| *transition == done).map(|(_, by)| *by)
}

/// Whether this, and nothing else, was done to it, in this order.
fn is_life<T>(row: &Tracked<T>, life: &[Transition]) -> bool {
    row.history.iter().map(|(transition, _)| transition).eq(life)
}

fn have_one_fact(world: &World) -> bool {
    world.bus.values().all(|events| {
        let ids: BTreeSet<_> = events.iter().map(|event| event.event_id).collect();
        ids.len() == events.len()
    })
}

/// Whatever was published is what the table still calls for.
fn events_are_so(world: &World) -> bool {
    world.bus.iter().all(|(operation, events)| {
        let messages = || world.messages.keys().filter(|message| message.operation_id == *operation);
        let mut so: BTreeSet<_> = messages().filter_map(|message| said(world, message)).flatten().collect();
        so.extend(messages().filter_map(|message| said_at_end(world, message)));
        events.is_subset(&so)
    })
}

fn are_let_go_after_events(world: &World) -> bool {
    let mut gone = world.messages.iter().filter(|(_, place)| **place == Place::Gone);
    gone.all(|(message, _)| said(world, message).is_some_and(|events| are_out(world, message, &events)))
}

fn are_handled(world: &World) -> bool {
    world.messages.values().all(|place| *place != Place::DeadLetters)
}

fn answers_are_so(model: &Bindery, world: &World) -> bool {
    model.scenario.asked.iter().all(|asked| {
        let id = asked.operation.operation_id;
        let Some(told) = world.told.get(&id) else { return true };
        match (told, &asked.what) {
            (Told::RefusedAfterAll, _) => false,
            (Told::Nothing | Told::NotFound, _) => true,
            (_, What::Increment(item)) => {
                world.item_named(item, &world.bulk.batches).is_some() == (*told == Told::Accepted)
            }
            (Told::Accepted, _) => world.operations.contains_key(&id),
            (Told::Refused, _) => world.cards.values().all(|card| by(card, Transition::Bound) != Some(id)),
        }
    })
}
