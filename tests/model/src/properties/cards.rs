//! Properties of cards.

use std::collections::BTreeSet;

use shared::domain::cancel::CancelCode;
use shared::domain::card::{Card, CardStatus};
use shared::domain::event::{Effect, Event};
use shared::domain::ids::OperationId;
use shared::domain::operation::Subject;
use shared::message::BindCard;

use super::{by, is_life};
use crate::hashed::{Hashed, Tracked, Transition};
use crate::store::progress;
use crate::workers::bind::seen;
use crate::world::{Instruction, World};

/// Checks that at most one success is published, and that it matches what was done.
pub fn have_one_winner(world: &World) -> bool {
    world.cards.values().all(|card| {
        let done = [Transition::Bound, Transition::Canceled].into_iter().filter_map(|done| by(card, done)).count();
        published_binds(world, card) + stored_cancels(world, card) <= done && done <= 1
    })
}

fn published_binds(world: &World, card: &Tracked<Card>) -> usize {
    let is_success = |event: &Event| event.event_type == "bind_card" && event.data.effect() == Some(Effect::Applied);
    let binds = world.operations.values().filter(
        |operation| matches!(operation.subject, Subject::BindCard { card_id, .. } if card_id == card.row.card_id),
    );
    let published = |id| world.bus.get(&id).into_iter().flatten();
    binds.filter(|bind| published(bind.operation_id).any(|event| is_success(event))).count()
}

fn stored_cancels(world: &World, card: &Tracked<Card>) -> usize {
    let canceled = world.results.values().filter_map(|result| result.items.get(&CancelCode::ExternalIdAndCardCanceled));
    canceled.flatten().filter(|item| item.card_id == Some(card.row.card_id)).count()
}

/// Checks that marks match the history, that the status fits, and that nothing was done twice or undone.
pub fn move_forward(world: &World) -> bool {
    use Transition::{Bound, Canceled, Issued, Replaced};
    world.cards.values().all(|card| {
        let Card { bound, replaced, canceled, status, .. } = &card.row;
        let lives: [&[Transition]; 4] = [&[Issued], &[Issued, Canceled], &[Issued, Bound], &[Issued, Bound, Replaced]];
        lives.into_iter().any(|life| is_life(card, life))
            && by(card, Bound) == bound.as_ref().map(|mark| mark.by)
            && by(card, Replaced) == replaced.as_ref().map(|mark| mark.by)
            && by(card, Canceled) == canceled.as_ref().map(|mark| mark.by)
            && (*status == CardStatus::Unbound) == (bound.is_none() && canceled.is_none())
            && (*status == CardStatus::Canceled) == canceled.is_some()
    })
}

/// Checks that the cards an event reports are visible as reported.
pub fn are_seen(world: &World) -> bool {
    world.bus.iter().all(|(operation, events)| {
        let published = |event_type| {
            let is_so = |event: &Event| {
                event.event_type == event_type && !matches!(event.data.effect(), Some(Effect::Refused(_)))
            };
            events.iter().filter(|event| is_so(event)).count()
        };
        let seen = |done| world.cards.values().filter(|card| card.history.contains(&(done, *operation))).count();
        ends_are_seen(world, *operation, events)
            && published("create") <= seen(Transition::Issued)
            && published("bind_card") <= seen(Transition::Bound)
            && published("update") <= seen(Transition::Replaced)
    })
}

/// Checks that the end of an operation is not published while the header may not show it.
fn ends_are_seen(world: &World, id: OperationId, events: &BTreeSet<Hashed<Event>>) -> bool {
    let is_end = |event: &Hashed<Event>| ["noname_bulk_start", "noname_bulk_cancellation"].contains(&event.event_type);
    let Some(operation) = world.operations.get(&id).filter(|_| events.iter().any(is_end)) else { return true };
    let changed = progress(operation).items_changed;
    match operation.subject {
        Subject::StartBulk { .. } => world.bulk.issued >= changed,
        _ => world.bulk.canceled >= changed,
    }
}

/// Checks that an operation has replaced a card if and only if it has bound the new one.
pub fn change_both_or_none(world: &World) -> bool {
    let mut binds = world.messages.keys().filter_map(|message| match &message.instruction {
        Instruction::Bind(BindCard { bind, .. }) => Some((message.operation_id, bind)),
        Instruction::Start(_) | Instruction::Cancel(_) | Instruction::CancelOrder(_) | Instruction::ChangeOrder(_) => {
            None
        }
    });
    binds.all(|(id, bind)| {
        let Some(reissued) = bind.reissued_card_id else { return true };
        let is_bound = world.cards.get(&bind.card_id).and_then(|card| by(card, Transition::Bound)) == Some(id);
        let old = world.cards.get(&reissued);
        let is_replaced = old.and_then(|card| by(card, Transition::Replaced)) == Some(id);
        let new_card = seen(old).and_then(|card| card.replaced.as_ref()).map(|mark| mark.new_card_id);
        is_bound == is_replaced && (!is_replaced || new_card == Some(bind.card_id))
    })
}
