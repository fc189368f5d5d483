//! The endpoints, as far as they are a part of the protocol: `shared::http::accept` around the state checks
//! of bind-card, and the growth of a bulk.

use shared::domain::bind::{Bind, BindRefusal, check_card, check_reissued};
use shared::domain::bulk::Bulk;
use shared::domain::card::CardFacts;
use shared::domain::ids::ExternalId;
use shared::domain::operation::{Operation, OperationState};
use shared::message::{BindCard, CancelBulk, CancelStep, Message, NamedPlan};

use crate::broken::Broken;
use crate::process::{Flow, Run, Stop};
use crate::row::Row;
use crate::scenario::{Asked, What};
use crate::store::Recorded;
use crate::workers::bind::seen;
use crate::workers::plan::count;
use crate::world::{Instruction, Told, World};

/// What a repeated request needs.
#[derive(PartialEq, Eq)]
enum Replay {
    SendAgain,
    AnswerAgain,
}

/// Answers a request.
pub fn answer(run: &mut Run, asked: &Asked) -> Flow<()> {
    run.now()?;
    let id = asked.operation.operation_id;
    let told = match &asked.what {
        What::Bind(bind) => accept(run, &asked.operation, |run, recorded| bind_card(run, bind, recorded))?,
        What::CancelNamed(names) => accept(run, &asked.operation, |run, _| cancel_bulk(run, names).map(Ok))?,
        What::Increment(item) => increment(run, item)?,
    };
    if asked.is_keyed() && told == Told::Accepted {
        // This answer may be lost. So may any other; but then nobody asks again, or nothing had been changed.
        return run.call("answers", |world| world.tell(id, told));
    }
    run.world.tell(id, told);
    Ok(())
}

/// increment-bulk: whether the item is in the bulk now.
fn increment(run: &mut Run, item: &ExternalId) -> Flow<Told> {
    let Some(batch) = run.write("UpdateItem bulk open", World::open_batch)? else { return Ok(Told::Refused) };
    run.call("INSERT item", |world| world.add_item(item, batch))?;
    let committed = run.write("UpdateItem bulk commit", |world| world.commit_batch(batch, 1))?;
    Ok(if committed { Told::Accepted } else { Told::Refused })
}

/// Accepts the instruction that `prepare` makes, or says why not. If the operation was recorded before, `prepare`
/// checks no state.
fn accept(
    run: &mut Run,
    operation: &Row<Operation>,
    prepare: impl Fn(&mut Run, bool) -> Flow<Result<Instruction, BindRefusal>>,
) -> Flow<Told> {
    let id = operation.operation_id;
    let mut recorded = run.call("GetItem operation", |world| world.operation(id))?;
    if let Some(recorded) = &recorded
        && replay(run, recorded) == Replay::AnswerAgain
    {
        return Ok(Told::Accepted);
    }
    let instruction = match prepare(run, recorded.is_some())? {
        Err(refusal) if recorded.is_none() => {
            // What refuses may be this very operation, recorded since we looked by the same request sent twice.
            let Some(since) = run.call("GetItem operation since", |world| world.operation(id))? else {
                return Ok(told(refusal));
            };
            if replay(run, &since) == Replay::AnswerAgain {
                return Ok(Told::Accepted);
            }
            recorded = Some(since);
            prepare(run, true)?
        }
        prepared => prepared,
    };
    let instruction = instruction.map_err(|_| Stop::Broken("the operation's card is gone"))?;
    let send = |run: &mut Run, operation: &Operation| {
        let message = Row::new(Message::of(operation, instruction.clone()));
        run.call("SendMessage", |world| world.send(&message))
    };
    if run.is(Broken::SendsBeforeRow) {
        send(run, operation)?;
    }
    let operation = match recorded {
        Some(recorded) => recorded,
        None => match run.write("PutItem operation", |world| world.record_operation(operation))? {
            Recorded::New => operation.clone(),
            Recorded::Existing(existing) if replay(run, &existing) == Replay::SendAgain => existing,
            Recorded::Existing(_) => return Ok(Told::Accepted),
        },
    };
    send(run, &operation)?;
    Ok(Told::Accepted)
}

fn told(refusal: BindRefusal) -> Told {
    match refusal {
        BindRefusal::CardNotFound | BindRefusal::ReissuedCardNotFound => Told::NotFound,
        BindRefusal::CardNotUnbound
        | BindRefusal::ReissuedCardNotEligible
        | BindRefusal::ReissuedCardAlreadyReplaced => Told::Refused,
    }
}

fn replay(run: &Run, recorded: &Operation) -> Replay {
    match recorded.state {
        OperationState::Pending if !run.is(Broken::ReplayOnlyAnswers) => Replay::SendAgain,
        _ => Replay::AnswerAgain,
    }
}

/// bind-card's instruction, or why there is none.
fn bind_card(run: &mut Run, bind: &Bind, recorded: bool) -> Flow<Result<Instruction, BindRefusal>> {
    run.function("prepare", |run| {
        let card = run.call("GetItem card", |world| world.card(bind.card_id))?;
        if !recorded {
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
        let facts = seen(card.as_ref()).map(|card| Row::new(card.facts.clone()));
        Ok(facts.ok_or(BindRefusal::CardNotFound))
    })
    .map(|prepared| {
        prepared.map(|facts| Instruction::Bind(BindCard { bind: bind.clone(), card: CardFacts::clone(&facts) }))
    })
}

/// The instruction of cancel-bulk, PARTIAL. The names are put beside the operation before the message is sent;
/// as nobody looks for them before that, it is not a step.
fn cancel_bulk(run: &mut Run, names: &[ExternalId]) -> Flow<Instruction> {
    let batches = run.call("GetItem bulk", |world| world.bulk.batches.clone())?;
    let plan = NamedPlan { chunks: count(names.len()), batches };
    let Bulk { bulk_id, settings, .. } = Bulk::clone(&run.world.bulk);
    let step = CancelStep::PlanNamed(plan);
    Ok(Instruction::Cancel(CancelBulk { bulk_id, program_id: settings.program_id, step }))
}
