//! What must always hold.
//!
//! Any process may die at any time. So what can be seen of table, queues and bus in any state can be seen in one
//! in which nobody is at work: the properties are asked of these alone.

mod bulks;
mod cards;
mod ends;

use std::collections::BTreeSet;

use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use stateright::Property;

use crate::market;
use crate::model::{Bindery, done_by};
use crate::row::{Row, Tracked, Transition};
use crate::said::{are_out, said, said_at_end};
use crate::scenario::What;
use crate::world::{AnyMessage, Place, Told, World};
use crate::{orders, pins};

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
/// 12, rule 3.
pub const SEEN: &str = "what is told can be seen";
/// 13, rules 3 and 6.
pub const KNOWN: &str = "nothing is done for an operation that is not known";
/// 14, rule 9.
pub const PLANNED_ONCE: &str = "a page that is planned is not planned again";
/// 15, rule 6.
pub const SENT: &str = "what SQS may have taken is not told as not sent";
/// 16, rule 8.
pub const TRIED_ONCE: &str = "a try of a PIN counts once";
/// 17, rule 8.
pub const LOCKS_GROW: &str = "each lock in a row lasts longer";
/// 18, rule 8.
pub const WITHIN_THE_HOUR: &str = "no more PINs are told than an hour has room for";
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
        at_rest!(COUNTED, |_, world| bulks::are_counted(world) && market::are_noted(world)),
        at_rest!(ENDS, ends::ends),
        Property::always(SEEN, |_, world: &World| !world.is_quiet() || cards::are_seen(world)),
        at_rest!(KNOWN, |_, world| nothing_is_done_for_the_unknown(world)),
        at_rest!(PLANNED_ONCE, |_, world: &World| !world.planned_again),
        at_rest!(SENT, |_, world| orders::are_told_as_sent(world)),
        at_rest!(TRIED_ONCE, |_, world| pins::are_counted_once(world)),
        at_rest!(LOCKS_GROW, |_, world| pins::locks_grow(world)),
        at_rest!(WITHIN_THE_HOUR, |_, world| pins::are_within_the_hour(world)),
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

/// Whether the operation that the message is of has a row. (Its key may have been used again.)
fn has_row(world: &World, message: &AnyMessage) -> bool {
    let operation = world.operations.get(&message.operation_id);
    operation.is_some_and(|operation| operation.acceptance() == message.acceptance())
}

/// Operations that are gone have done no more since.
fn nothing_is_done_for_the_unknown(world: &World) -> bool {
    let mut gone = world.gone.iter().filter(|(operation, _)| !world.operations.contains_key(operation));
    gone.all(|(operation, done)| done_by(world, *operation) == *done)
}

fn have_one_fact(world: &World) -> bool {
    world.bus.values().all(|events| {
        let ids: BTreeSet<_> = events.iter().map(|event| event.event_id).collect();
        ids.len() == events.len()
    })
}

/// Whatever was published is what the table still calls for.
fn events_are_so(world: &World) -> bool {
    // What is said of an operation that is gone is not known any more.
    world.bus.iter().filter(|(operation, _)| world.operations.contains_key(operation)).all(|(operation, events)| {
        // Nor is what its key was used for before.
        let of = |message: &&AnyMessage| message.operation_id == *operation && has_row(world, message);
        let messages = || world.messages.keys().filter(of);
        let is_of = |event: &&Row<Event>| world.operations[operation].created_at == event.accepted_at;
        let events: BTreeSet<_> = events.iter().filter(is_of).cloned().collect();
        if world.gone.contains_key(operation) && messages().any(|message| said(world, message).is_none()) {
            // Recorded anew, and still to be carried out: what it said before is not in the table.
            return true;
        }
        let mut so: BTreeSet<_> = messages().filter_map(|message| said(world, message)).flatten().collect();
        so.extend(messages().filter_map(|message| said_at_end(world, message)));
        events.is_subset(&so)
    })
}

fn are_let_go_after_events(world: &World) -> bool {
    let mut done = world.messages.iter().filter(|(message, place)| **place == Place::Gone && has_row(world, message));
    // One that is recorded anew may still be to be carried out.
    let is_anew = |message: &AnyMessage| world.gone.contains_key(&message.operation_id);
    done.all(|(message, _)| match said(world, message) {
        Some(events) => are_out(world, message, &events),
        None => is_anew(message),
    })
}

fn are_handled(world: &World) -> bool {
    let dead = world.messages.iter().filter(|(_, place)| **place == Place::DeadLetters);
    dead.into_iter().all(|(message, _)| world.gone.contains_key(&message.operation_id))
}

fn answers_are_so(model: &Bindery, world: &World) -> bool {
    model.scenario.asked.iter().all(|asked| {
        let id = asked.operation.operation_id;
        let Some(told) = world.told.get(&id) else { return true };
        match (told, &asked.what) {
            (Told::RefusedAfterAll, _) => false,
            // An order that is refused has a wrong PIN, or a locked one, of which another copy of the request may have come
            // before the lock.
            (Told::Nothing | Told::NotFound, _) | (Told::Refused, What::CancelOrders(..)) => true,
            (_, What::Increment(item) | What::IncrementOnce(item)) => {
                world.item_named(item, &world.bulk.batches).is_some() == (*told == Told::Accepted)
            }
            (Told::Accepted, _) => world.operations.contains_key(&id) || world.gone.contains_key(&id),
            (Told::Refused, _) => world.cards.values().all(|card| by(card, Transition::Bound) != Some(id)),
        }
    })
}
