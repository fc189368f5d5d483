//! The endpoints, as far as the protocol needs them: `shared::http::accept` around the state checks of bind-card, and
//! the growth of a bulk.

use shared::domain::bind::{Bind, BindRefusal, carried_out_by, check_card, check_reissued};
use shared::domain::bulk::Bulk;
use shared::domain::card::CardFacts;
use shared::domain::ids::{ExternalId, OperationId};
use shared::domain::operation::{Operation, OperationState};
use shared::domain::time::Timestamp;
use shared::message::{BindCard, CancelBulk, CancelStep, Message, NamedPlan};

use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::orders;
use crate::process::{Flow, Interrupt, Run};
use crate::scenario::{ClientRequest, RequestKind, accepted_again_at, times};
use crate::store::{Committed, Recorded};
use crate::transaction::Key;
use crate::workers::bind::seen;
use crate::workers::plan::count;
use crate::world::{Instruction, Response, World};

/// The two ways to serve a repeated request.
#[derive(PartialEq, Eq)]
enum Replay {
    SendAgain,
    RespondAgain,
}

/// The outcome of an endpoint's checks.
struct Prepared {
    instruction: Instruction,
    /// The time of the earlier acceptance, if the operation's row is gone and its effect is still there.
    accepted_at: Option<Timestamp>,
}

/// Responds to a request.
pub fn respond(run: &mut Run, asked: &ClientRequest) -> Flow<()> {
    run.now()?;
    let id = asked.operation.operation_id;
    let response = match &asked.kind {
        RequestKind::Bind(bind) => accept(run, &asked.operation, |run, recorded| bind_card(run, id, bind, recorded))?,
        RequestKind::CancelNamed(names) => accept(run, &asked.operation, |run, _| cancel_bulk(run, names).map(Ok))?,
        RequestKind::Increment(item) => increment(run, &asked.operation, item)?,
        RequestKind::IncrementOnce(item) => {
            let is_added = run.function("add", |run| run.retrying(|run| add(run, item)))?;
            if is_added { Response::Accepted } else { Response::Refused }
        }
        RequestKind::CancelOrders(orders, pin) => orders::cancel_orders(run, &asked.operation, orders, *pin)?,
    };
    if asked.is_keyed() && response == Response::Accepted {
        // This response may be lost. So may any other, but then the client does not ask again, or nothing was
        // changed.
        return run.call("responds", |world| world.respond(id, response));
    }
    run.world.respond(id, response);
    Ok(())
}

/// Handles a request of increment-bulk.
fn increment(run: &mut Run, operation: &Hashed<Operation>, item: &ExternalId) -> Flow<Response> {
    let (id, once) = (operation.operation_id, run.is(Broken::IncrementLooksOnce));
    let ended = |before: &Hashed<Operation>| before.state != OperationState::Pending;
    let mut before = run.call("GetItem operation", |world| world.operation(id))?;
    if before.is_none() {
        if run.call("GetItem bulk", |world| world.bulk.is_sealed())? {
            if once {
                return Ok(Response::Refused);
            }
            // The bulk may have been sealed since this very operation was done by another copy of the request.
            before = run.call("GetItem operation since", |world| world.operation(id))?;
            if before.is_none() {
                return Ok(Response::Refused);
            }
        } else {
            let record = |world: &mut World| world.record_operation(operation);
            match run.write("PutItem operation", &Key::Operation(id), record)? {
                Recorded::New => {}
                Recorded::Existing(existing) if once && !ended(&existing) => {}
                Recorded::Existing(existing) => before = Some(existing),
            }
        }
    }
    if before.as_ref().is_some_and(ended) {
        return Ok(Response::Accepted);
    }
    let is_in = |world: &mut World| world.item_named(item, &world.bulk.batches).is_some();
    let done = run.function("add", |run| run.retrying(|run| add(run, item)))?
        // Another copy of the request may have added it.
        || !once && run.call("BatchGetItem items", is_in)?;
    if !done {
        return Ok(Response::Refused);
    }
    run.write("UpdateItem operation end", &Key::Operation(id), |world| world.end_request(id))?;
    Ok(Response::Accepted)
}

/// Adds the item, unless the bulk is sealed.
fn add(run: &mut Run, item: &ExternalId) -> Flow<bool> {
    let Some((mine, batches)) = run.write("UpdateItem bulk open", &Key::Bulk, World::open_batch)? else {
        return Ok(false);
    };
    let mut added = 1;
    if !run.call("INSERT item", |world| world.add_item(item, mine))? {
        let found = run.call("BatchGetItem items", |world| world.item(item))?;
        let other = found.ok_or(Interrupt::Permanent("the item has no row"))?.row.batch;
        let abort = |world: &mut World| world.abort_batch(other);
        if batches.contains(&other) || !run.write("UpdateItem bulk abort", &Key::Bulk, abort)? {
            added = 0;
        } else {
            let row = Key::Item(item.clone());
            let take = |world: &mut World| {
                world.take_over(item, other, mine) || world.item(item).is_some_and(|item| item.row.batch == mine)
            };
            if !run.write("UpdateItem item", &row, take)? {
                return Err(Interrupt::Conflict);
            }
        }
    }
    match run.write("UpdateItem bulk commit", &Key::Bulk, |world| world.commit_batch(mine, added))? {
        Committed::Yes => Ok(true),
        Committed::Closed => Ok(false),
        Committed::Aborted => Err(Interrupt::Conflict),
    }
}

/// Accepts the instruction that `prepare` returns, or returns the response to its refusal. `prepare` checks no state
/// if the operation is already recorded.
fn accept(
    run: &mut Run,
    operation: &Hashed<Operation>,
    prepare: impl Fn(&mut Run, bool) -> Flow<Result<Prepared, BindRefusal>>,
) -> Flow<Response> {
    let id = operation.operation_id;
    let mut recorded = run.call("GetItem operation", |world| world.operation(id))?;
    if let Some(recorded) = &recorded
        && replay(run, recorded) == Replay::RespondAgain
    {
        return Ok(Response::Accepted);
    }
    let instruction = match prepare(run, recorded.is_some())? {
        Err(refusal) if recorded.is_none() => {
            // The refusal may come from this very operation, recorded meanwhile by another copy of the request.
            let Some(since) = run.call("GetItem operation since", |world| world.operation(id))? else {
                return Ok(response_to(refusal));
            };
            if replay(run, &since) == Replay::RespondAgain {
                return Ok(Response::Accepted);
            }
            recorded = Some(since);
            prepare(run, true)?
        }
        prepared => prepared,
    };
    let Prepared { instruction, accepted_at } =
        instruction.map_err(|_| Interrupt::Permanent("the operation's card is gone"))?;
    // A key used again after its operation's row is gone makes a new operation, unless the effect is still there.
    let now = if run.world.gone.contains_key(&id) { accepted_again_at() } else { operation.created_at };
    let mut operation = operation.clone();
    operation.edit(|operation| operation.created_at = accepted_at.unwrap_or(now));
    let operation = &operation;
    let send = |run: &mut Run, operation: &Operation| {
        let message = Hashed::new(Message::of(operation, instruction.clone()));
        run.call("SendMessage", |world| world.send(&message))
    };
    if run.is(Broken::SendsBeforeRow) {
        send(run, operation)?;
    }
    let operation = match recorded {
        Some(recorded) => recorded,
        None => match run.write("PutItem operation", &Key::Operation(id), |world| world.record_operation(operation))? {
            Recorded::New => operation.clone(),
            Recorded::Existing(existing) if replay(run, &existing) == Replay::SendAgain => existing,
            Recorded::Existing(_) => return Ok(Response::Accepted),
        },
    };
    send(run, &operation)?;
    Ok(Response::Accepted)
}

fn response_to(refusal: BindRefusal) -> Response {
    match refusal {
        BindRefusal::CardNotFound | BindRefusal::ReissuedCardNotFound => Response::NotFound,
        BindRefusal::CardNotUnbound
        | BindRefusal::ReissuedCardNotEligible
        | BindRefusal::ReissuedCardAlreadyReplaced => Response::Refused,
    }
}

fn replay(run: &Run, recorded: &Operation) -> Replay {
    match recorded.state {
        OperationState::Pending if !run.is(Broken::ReplayOnlyResponds) => Replay::SendAgain,
        _ => Replay::RespondAgain,
    }
}

/// Returns bind-card's instruction, or the refusal.
///
/// If the operation's row is gone, the cards may still show that it was carried out. Then it is recorded anew.
fn bind_card(run: &mut Run, id: OperationId, bind: &Bind, recorded: bool) -> Flow<Result<Prepared, BindRefusal>> {
    run.function("prepare", |run| {
        let card = run.call("GetItem card", |world| world.card(bind.card_id))?;
        let mut before = None;
        if !recorded {
            before = carried_out_by(id, bind, seen(card.as_ref()), times()[0]).filter(|_| !run.is(Broken::GoneIsNew));
        }
        if !recorded && before.is_none() {
            if let Err(refusal) = check_card(seen(card.as_ref())) {
                return Ok(Err(refusal));
            }
            if let Some(reissued) = bind.reissued_card_id {
                let reissued = run.call("GetItem card (reissued)", |world| world.card(reissued))?;
                if let Err(refusal) = check_reissued(seen(reissued.as_ref()), bind) {
                    return Ok(Err(refusal));
                }
            }
        }
        let facts = seen(card.as_ref()).map(|card| Hashed::new(card.facts.clone()));
        Ok(facts.map(|facts| (facts, before)).ok_or(BindRefusal::CardNotFound))
    })
    .map(|prepared| {
        prepared.map(|(facts, accepted_at)| {
            let card = CardFacts::clone(&facts);
            Prepared { instruction: Instruction::Bind(BindCard { bind: bind.clone(), card }), accepted_at }
        })
    })
}

/// Returns the instruction of a PARTIAL cancel-bulk. The names are stored next to the operation before the message is
/// sent. Nothing reads them before that, so storing them is not a step.
fn cancel_bulk(run: &mut Run, names: &[ExternalId]) -> Flow<Prepared> {
    let batches = run.call("GetItem bulk", |world| world.bulk.batches.clone())?;
    let plan = NamedPlan { chunks: count(names.len()), batches };
    let Bulk { bulk_id, settings, .. } = Bulk::clone(&run.world.bulk);
    let step = CancelStep::PlanNamed(plan);
    let instruction = Instruction::Cancel(CancelBulk { bulk_id, program_id: settings.program_id, step });
    Ok(Prepared { instruction, accepted_at: None })
}
