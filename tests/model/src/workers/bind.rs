//! bind-card-worker, and what of it is `shared::store::cards`.

use shared::domain::bind::{
    Bind, BindEffect, BindOutcome, BindRefusal, ReplacedCard, check_card, check_reissued, events,
};
use shared::domain::card::{Bound, Card, CardStatus, Replaced};
use shared::domain::event::Event;
use shared::domain::ids::{CardId, OperationId};
use shared::domain::time::Timestamp;
use shared::message::{BindCard, Message};

use super::GONE;
use crate::broken::Broken;
use crate::process::{Flow, Run, Stop};
use crate::row::Row;
use crate::world::{CardRow, Instruction};

/// Applies one instruction; answers its events.
pub fn apply(run: &mut Run, message: &Message<Instruction>, instruction: &BindCard) -> Flow<Vec<Row<Event>>> {
    let BindCard { bind, card: facts } = instruction;
    let (id, now, context) = (message.operation_id, run.now()?, message.event_context());
    if run.is(Broken::PublishesBeforeWriting) {
        let success = BindEffect::Bound { at: now, replaced: None };
        let hasty = events(&context, bind, facts, &BindOutcome::of(&success, now), &success);
        super::publish_all(run, id, &owned(hasty.unwrap_or_default()))?;
    }
    let effect = run.function("bind", |run| self::bind(run, id, bind, now))?;
    let outcome = Row::new(BindOutcome::of(&effect, now));
    let stored = if run.is(Broken::RefusalNotStored) && matches!(*outcome, BindOutcome::Failure { .. }) {
        // It ends the operation, but does not care what that says.
        run.write("UpdateItem operation", |world| world.end_bind(id, &outcome).map(|_| outcome.clone()))?
    } else {
        run.write("UpdateItem operation", |world| world.end_bind(id, &outcome))?
    };
    let outcome = stored.ok_or(Stop::Broken(GONE))?;
    let events = events(&context, bind, facts, &outcome, &effect);
    events.map(owned).map_err(|_| Stop::Broken("the stored outcome contradicts the card's marks"))
}

fn owned(events: Vec<Event>) -> Vec<Row<Event>> {
    events.into_iter().map(Row::new).collect()
}

fn bind(run: &mut Run, operation: OperationId, bind: &Bind, now: Timestamp) -> Flow<Row<BindEffect>> {
    let mark = Bound { by: operation, at: now, account_id: bind.account_id, customer_id: bind.customer_id };
    let effect = match bind.reissued_card_id {
        None => bind_plain(run, bind.card_id, &mark),
        Some(reissued) => run.retrying(|run| reissue(run, bind, reissued, &mark)),
    };
    effect.map(Row::new)
}

/// One conditional write.
fn bind_plain(run: &mut Run, card: CardId, mark: &Bound) -> Flow<BindEffect> {
    let changed = run.write("UpdateItem card", |world| world.bind_change(card, mark))?;
    let Err(found) = changed else { return Ok(BindEffect::Bound { at: mark.at, replaced: None }) };
    let card = seen(found.as_ref());
    let mine = match card {
        Some(card) if run.is(Broken::MineByStatus) && card.status == CardStatus::Created => Some(mark.at),
        _ => marked(card, mark.by),
    };
    if let Some(at) = mine {
        return Ok(BindEffect::Bound { at, replaced: None });
    }
    match check_card(card) {
        Err(code) => Ok(refused(code, card)),
        Ok(_) => Err(Stop::Broken("refused a card that is UNBOUND")),
    }
}

/// Reads both cards, decides, and writes both on the condition that they are as they were read.
fn reissue(run: &mut Run, bind: &Bind, reissued: CardId, mark: &Bound) -> Flow<BindEffect> {
    let first = run.call("GetItem card", |world| world.card(bind.card_id))?;
    let last = run.call("GetItem card (reissued)", |world| world.card(reissued))?;
    let (card, old) = (seen(first.as_ref()), seen(last.as_ref()));
    let asked = !run.is(Broken::MineOfFirstRead) || marked(card, mark.by).is_some();
    if let Some((at, mut replaced)) = replaced_before(old, mark.by).filter(|_| asked) {
        if run.is(Broken::EventOfStatus) {
            replaced.previous_status = old.map_or(CardStatus::Unbound, |card| card.status);
        }
        return Ok(BindEffect::Bound { at, replaced: Some(replaced) });
    }
    let (old, status) = match check_card(card).and_then(|_| check_reissued(old, bind)) {
        Ok(checked) => checked,
        Err(code) => return Ok(refused(code, card)),
    };
    let replaced = Replaced { by: mark.by, at: mark.at, new_card_id: bind.card_id, previous_status: old.status };
    if run.is(Broken::ReissueInTwoWrites) {
        let bound = run.write("UpdateItem card", |world| world.bind_change(bind.card_id, mark))?;
        bound.map_err(|_| Stop::Conflict)?;
        let done =
            run.write("UpdateItem card (reissued)", |world| world.replace_change(reissued, bind, status, &replaced))?;
        done.map_err(|_| Stop::Conflict)?;
    } else {
        let marks = (mark, &replaced);
        let done = run.call("TransactWriteItems reissue", |world| world.reissue(bind, reissued, status, marks))?;
        done.map_err(|_| Stop::Conflict)?;
    }
    let replaced = ReplacedCard {
        card_id: reissued,
        previous_status: old.status,
        contactless_enabled: old.facts.contactless_enabled,
    };
    Ok(BindEffect::Bound { at: mark.at, replaced: Some(replaced) })
}

/// What a worker sees of a card.
pub fn seen(card: Option<&CardRow>) -> Option<&Card> {
    card.map(|card| &card.row)
}

/// When this operation bound the card, if it did.
pub fn marked(card: Option<&Card>, operation: OperationId) -> Option<Timestamp> {
    card?.bound.as_ref().filter(|bound| bound.by == operation).map(|bound| bound.at)
}

/// The card as this operation replaced it, and when, if it did.
pub fn replaced_before(card: Option<&Card>, operation: OperationId) -> Option<(Timestamp, ReplacedCard)> {
    let card = card?;
    let mark = card.replaced.as_ref().filter(|mark| mark.by == operation)?;
    let replaced = ReplacedCard {
        card_id: card.card_id,
        previous_status: mark.previous_status,
        contactless_enabled: card.facts.contactless_enabled,
    };
    Some((mark.at, replaced))
}

fn refused(code: BindRefusal, card: Option<&Card>) -> BindEffect {
    BindEffect::Refused { code, card_status: card.map(|card| card.status) }
}
