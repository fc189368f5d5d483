//! The properties that must always hold.
//!
//! Any process may crash at any time. So whatever is visible in the table, queues and bus in any state is also
//! visible in a state in which no process is running. The properties are checked in those states alone.

mod bulks;
mod cards;
mod ends;

use std::collections::BTreeSet;

use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use stateright::Property;

use crate::expected_events::{are_published, expected_end_event, expected_events};
use crate::hashed::{Hashed, Tracked, Transition};
use crate::market;
use crate::model::{Bindery, done_by};
use crate::scenario::RequestKind;
use crate::world::{AnyMessage, Place, Response, World};
use crate::{orders, pins};

/// Property 1, for rule 1.
pub const ONE_WINNER: &str = "of all binds and cancels of a card, one succeeds";
/// Property 2, for rules 2 and 4.
pub const FORWARD: &str = "cards and items only move forward, through each transition once";
/// Property 3, for rule 5.
pub const BOTH_OR_NONE: &str = "a reissue changes both cards or neither";
/// Property 4, for rule 3.
pub const ONE_FACT: &str = "an event ID stands for one fact";
/// Property 5, for rules 2 and 3.
pub const EVENTS_TRUE: &str = "every event is true";
/// Property 6, for rule 3.
pub const PUBLISHED_BEFORE_ACK: &str = "a message is deleted only after its events are published";
/// Property 7, for rule 6.
pub const HANDLED: &str = "no message is impossible to handle";
/// Property 8, for idempotency.
pub const RESPONSES_CONSISTENT: &str = "a client's responses are consistent, and true";
/// Property 9, for big bulks.
pub const GONE_THROUGH: &str = "an operation that succeeded has processed all its items and published their events";
/// Property 10, for big bulks.
pub const COUNTED: &str = "operations and the bulk count each change once";
/// Property 12, for rule 3.
pub const VISIBLE: &str = "what an event reports is visible";
/// Property 13, for rules 3 and 6.
pub const KNOWN: &str = "nothing is done for an operation without a row";
/// Property 14, for rule 9.
pub const PLANNED_ONCE: &str = "a page that is recorded as planned is not planned again";
/// Property 15, for rule 6.
pub const SENT: &str = "a message that SQS may have taken is not reported as not sent";
/// Property 16, for rule 8.
pub const TRIED_ONCE: &str = "an attempt to guess a PIN counts once";
/// Property 17, for rule 8.
pub const LOCKS_GROW: &str = "each lock in a series lasts longer";
/// Property 18, for rule 8.
pub const WITHIN_THE_HOUR: &str = "no more PINs are revealed than an hour has room for";
/// Property 11, for liveness.
pub const TERMINATES: &str = "every accepted operation ends, with all its events published";

/// Returns all properties.
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
        at_rest!(EVENTS_TRUE, |_, world| events_are_true(world) && bulks::results_are_true(world)),
        at_rest!(PUBLISHED_BEFORE_ACK, |_, world| are_published_before_ack(world)),
        at_rest!(HANDLED, |_, world| are_handled(world)),
        at_rest!(RESPONSES_CONSISTENT, responses_are_consistent),
        at_rest!(GONE_THROUGH, |_, world| bulks::are_gone_through(world)),
        at_rest!(COUNTED, |_, world| bulks::are_counted(world) && market::are_noted(world)),
        at_rest!(TERMINATES, ends::ends),
        Property::always(VISIBLE, |_, world: &World| !world.is_quiet() || cards::are_seen(world)),
        at_rest!(KNOWN, |_, world| nothing_is_done_for_the_unknown(world)),
        at_rest!(PLANNED_ONCE, |_, world: &World| !world.planned_again),
        at_rest!(SENT, |_, world| orders::are_reported_as_sent(world)),
        at_rest!(TRIED_ONCE, |_, world| pins::are_counted_once(world)),
        at_rest!(LOCKS_GROW, |_, world| pins::locks_grow(world)),
        at_rest!(WITHIN_THE_HOUR, |_, world| pins::are_within_the_hour(world)),
    ]
}

/// Returns the operation that made this transition of a card or an item, if one has.
fn by<T>(row: &Tracked<T>, done: Transition) -> Option<OperationId> {
    row.history.iter().find(|(transition, _)| *transition == done).map(|(_, by)| *by)
}

/// Returns whether these transitions, and no others, were made in this order.
fn is_life<T>(row: &Tracked<T>, life: &[Transition]) -> bool {
    row.history.iter().map(|(transition, _)| transition).eq(life)
}

/// Returns whether the message's operation has a row. Its key may have been used again for another operation.
fn has_row(world: &World, message: &AnyMessage) -> bool {
    let operation = world.operations.get(&message.operation_id);
    operation.is_some_and(|operation| operation.acceptance() == message.acceptance())
}

/// Checks that no missing operation has changed anything since its row went away.
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

/// Checks that the table still calls for every event that was published.
fn events_are_true(world: &World) -> bool {
    // What a missing operation calls for is no longer known.
    world.bus.iter().filter(|(operation, _)| world.operations.contains_key(operation)).all(|(operation, events)| {
        // Nor is what its key was used for before.
        let of = |message: &&AnyMessage| message.operation_id == *operation && has_row(world, message);
        let messages = || world.messages.keys().filter(of);
        let is_of = |event: &&Hashed<Event>| world.operations[operation].created_at == event.accepted_at;
        let events: BTreeSet<_> = events.iter().filter(is_of).cloned().collect();
        if world.gone.contains_key(operation) && messages().any(|message| expected_events(world, message).is_none()) {
            // The operation is recorded anew and still to be carried out. What it published before is not in the
            // table.
            return true;
        }
        let mut so: BTreeSet<_> = messages().filter_map(|message| expected_events(world, message)).flatten().collect();
        so.extend(messages().filter_map(|message| expected_end_event(world, message)));
        events.is_subset(&so)
    })
}

fn are_published_before_ack(world: &World) -> bool {
    let mut done = world.messages.iter().filter(|(message, place)| **place == Place::Gone && has_row(world, message));
    // A message whose operation is recorded anew may still be to be carried out.
    let is_anew = |message: &AnyMessage| world.gone.contains_key(&message.operation_id);
    done.all(|(message, _)| match expected_events(world, message) {
        Some(events) => are_published(world, message, &events),
        None => is_anew(message),
    })
}

fn are_handled(world: &World) -> bool {
    let dead = world.messages.iter().filter(|(_, place)| **place == Place::DeadLetters);
    dead.into_iter().all(|(message, _)| world.gone.contains_key(&message.operation_id))
}

fn responses_are_consistent(model: &Bindery, world: &World) -> bool {
    model.scenario.asked.iter().all(|asked| {
        let id = asked.operation.operation_id;
        let Some(response) = world.responses.get(&id) else { return true };
        match (response, &asked.kind) {
            (Response::Contradictory, _) => false,
            // A refused order has a wrong or locked PIN. Another copy of the request may have come before the lock.
            (Response::None | Response::NotFound, _) | (Response::Refused, RequestKind::CancelOrders(..)) => true,
            (_, RequestKind::Increment(item) | RequestKind::IncrementOnce(item)) => {
                world.item_named(item, &world.bulk.batches).is_some() == (*response == Response::Accepted)
            }
            (Response::Accepted, _) => world.operations.contains_key(&id) || world.gone.contains_key(&id),
            (Response::Refused, _) => world.cards.values().all(|card| by(card, Transition::Bound) != Some(id)),
        }
    })
}
