//! The worker bind-card-worker, with its part of `shared::store::cards`.

use shared::domain::acceptance::Acceptance;
use shared::domain::bind::{
    Bind, BindEffect, BindOutcome, HalfSeen, ReplacedCard, bound_by, check_card, check_reissued, reissued_before,
    replaced_by,
};
use shared::domain::card::{Bound, Card, CardStatus};
use shared::domain::event::{Event, bind_events};
use shared::domain::ids::CardId;
use shared::domain::time::Timestamp;
use shared::message::{BindCard, Message};

use super::{GONE, known};
use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::process::{Flow, Interrupt, Run};
use crate::transaction::Key;
use crate::world::{CardRow, Instruction, World};

/// Applies one instruction and returns its events.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &BindCard) -> Flow<Vec<Hashed<Event>>> {
    let BindCard { bind, card: facts } = instruction;
    let (id, now, context) = (message.operation_id, run.now()?, message.event_context());
    if run.is(Broken::PublishesBeforeWriting) {
        let success = BindEffect::Bound { at: now, replaced: None };
        let hasty = bind_events(&context, bind, facts, &BindOutcome::of(&success, now), &success);
        super::publish_all(run, id, &owned(hasty.unwrap_or_default()))?;
    }
    run.function("known", |run| known(run, message).map(|_| ()))?;
    let effect = run.function("bind", |run| self::bind(run, message.acceptance(), bind, now))?;
    let (outcome, row) = (Hashed::new(BindOutcome::of(&effect, now)), Key::Operation(id));
    let stored = if run.is(Broken::RefusalNotStored) && matches!(*outcome, BindOutcome::Failure { .. }) {
        // The write ends the operation, but the worker ignores the outcome that is stored.
        run.write("UpdateItem operation", &row, |world| world.end_bind(id, &outcome).map(|_| outcome.clone()))?
    } else {
        run.write("UpdateItem operation", &row, |world| world.end_bind(id, &outcome))?
    };
    let outcome = stored.ok_or(Interrupt::Permanent(GONE))?;
    let events = bind_events(&context, bind, facts, &outcome, &effect);
    events.map(owned).map_err(|_| Interrupt::Permanent("the stored outcome contradicts the card's marks"))
}

fn owned(events: Vec<Event>) -> Vec<Hashed<Event>> {
    events.into_iter().map(Hashed::new).collect()
}

fn bind(run: &mut Run, acceptance: Acceptance, bind: &Bind, now: Timestamp) -> Flow<Hashed<BindEffect>> {
    let mark = bind.mark(acceptance, now);
    let effect = match bind.reissued_card_id {
        None => bind_plain(run, acceptance, bind.card_id, &mark),
        Some(reissued) => run.retrying(|run| reissue(run, acceptance, bind, reissued, &mark)),
    };
    effect.map(Hashed::new)
}

/// Binds the card by one conditional write.
fn bind_plain(run: &mut Run, acceptance: Acceptance, card: CardId, mark: &Bound) -> Flow<BindEffect> {
    let changed = run.write("UpdateItem card", &Key::Card(card), |world| world.bind_change(card, mark))?;
    let Err(found) = changed else { return Ok(BindEffect::Bound { at: mark.at, replaced: None }) };
    let card = seen(found.as_ref());
    let mine = match card {
        Some(card) if run.is(Broken::MineByStatus) && card.status == CardStatus::Created => Some(mark.at),
        _ => bound_by(acceptance, card),
    };
    if let Some(at) = mine {
        return Ok(BindEffect::Bound { at, replaced: None });
    }
    match check_card(card) {
        Err(code) => Ok(BindEffect::refused(code, card)),
        Ok(_) => Err(Interrupt::Permanent("refused a card that is UNBOUND")),
    }
}

/// Reads both cards, decides, and writes both on the condition that they have not changed since.
fn reissue(run: &mut Run, acceptance: Acceptance, bind: &Bind, reissued: CardId, mark: &Bound) -> Flow<BindEffect> {
    let first = run.call("GetItem card", |world| world.card(bind.card_id))?;
    let last = run.call("GetItem card (reissued)", |world| world.card(reissued))?;
    let (card, old) = (seen(first.as_ref()), seen(last.as_ref()));
    let before = match reissued_before(acceptance, card, old) {
        // These two look at one card alone.
        _ if run.is(Broken::MineOfFirstRead) && bound_by(acceptance, card).is_none() => None,
        _ if run.is(Broken::MineOfLastRead) => replaced_by(acceptance, old).map(|replaced| {
            let at = old.and_then(|card| card.replaced.as_ref()).map_or(mark.at, |mark| mark.at);
            BindEffect::Bound { at, replaced: Some(replaced) }
        }),
        before => before.map_err(|HalfSeen| Interrupt::Conflict)?,
    };
    if let Some(mut before) = before {
        if let (true, BindEffect::Bound { replaced: Some(replaced), .. }) = (run.is(Broken::EventOfStatus), &mut before)
        {
            replaced.previous_status = old.map_or(CardStatus::Unbound, |card| card.status);
        }
        return Ok(before);
    }
    let (old, status) = match check_card(card).and_then(|_| check_reissued(old, bind)) {
        Ok(checked) => checked,
        Err(code) => return Ok(BindEffect::refused(code, card)),
    };
    let replaced = mark.replaces(bind.card_id, old.status);
    if run.is(Broken::ReissueInTwoWrites) {
        let row = Key::Card(bind.card_id);
        let bound = run.write("UpdateItem card", &row, |world| world.bind_change(bind.card_id, mark))?;
        bound.map_err(|_| Interrupt::Conflict)?;
        let replace = |world: &mut World| world.replace_change(reissued, bind, status, &replaced);
        let done = run.write("UpdateItem card (reissued)", &Key::Card(reissued), replace)?;
        done.map_err(|_| Interrupt::Conflict)?;
    } else {
        let marks = (mark, &replaced);
        let done = run.transact("TransactWriteItems reissue", |world| world.reissue(bind, reissued, status, marks))?;
        done.map_err(|_| Interrupt::Conflict)?;
    }
    let replaced = ReplacedCard { card_id: reissued, previous_status: old.status, facts: old.facts.clone() };
    Ok(BindEffect::Bound { at: mark.at, replaced: Some(replaced) })
}

/// Returns the part of a card's row that a worker sees.
pub fn seen(card: Option<&CardRow>) -> Option<&Card> {
    card.map(|card| &card.row)
}
