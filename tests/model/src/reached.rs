//! Conditions that must be reachable. A model that cannot reach them would make every property hold.

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::bind::{BindEffect, BindOutcome, BindRefusal};
use shared::domain::cancel::{CancelCode, CancelType, ChunkResult};
use shared::domain::card::{Card, CardStatus};
use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::order::CancellationCode;
use shared::domain::time::Timestamp;
use shared::message::{CancelStep, StartStep};

use crate::hashed::{Hashed, Transition};
use crate::market;
use crate::model::Bindery;
use crate::process::Process;
use crate::scenario::RequestKind;
use crate::store::{Conflict, outcome, progress};
use crate::transaction::{Key, Value};
use crate::workers::plan::Begun;
use crate::world::{Instruction, Place, Response, Task, World};

/// A condition that some state must meet.
pub type Reached = (&'static str, fn(&Bindery, &World) -> bool);

/// A bind succeeds.
pub const A_BIND_WINS: Reached = ("a bind wins", |_, world| any_outcome(world, |outcome| refusal(outcome).is_none()));
/// A bind comes too late.
pub const A_BIND_IS_REFUSED: Reached = ("a bind is refused", |_, world| is_refused(world, BindRefusal::CardNotUnbound));
/// A card is replaced.
pub const A_CARD_IS_REPLACED: Reached =
    ("a card is replaced", |_, world| world.cards.values().any(|card| card.row.replaced.is_some()));
/// A card that was blocked is replaced.
pub const A_BLOCKED_CARD_IS_REPLACED: Reached = ("a blocked card is replaced", |_, world| {
    let was_blocked =
        |card: &Card| card.replaced.as_ref().is_some_and(|mark| mark.previous_status == CardStatus::Blocked);
    world.cards.values().any(|card| was_blocked(&card.row))
});
/// A reissue comes second.
pub const ALREADY_REPLACED: Reached =
    ("a reissue comes second", |_, world| is_refused(world, BindRefusal::ReissuedCardAlreadyReplaced));
/// A reissue of a card that was terminated.
pub const NOT_ELIGIBLE: Reached =
    ("a reissue comes too late", |_, world| is_refused(world, BindRefusal::ReissuedCardNotEligible));
/// A delivery finds the mark that another has left.
pub const A_MARK_IS_MET: Reached = ("a delivery meets its mark", |_, world| {
    let at = |effect: &Hashed<BindEffect>| match **effect {
        BindEffect::Bound { at, .. } => Some(at),
        BindEffect::Refused { .. } => None,
    };
    world
        .processes
        .iter()
        .any(|process| process.remembered().filter_map(at).any(|at| clock(process).is_some_and(|now| now != at)))
});
/// A transaction is visible in part.
pub const HALF_SEEN: Reached = ("a transaction is seen in part", |_, world| world.prepared.len() == 1);
/// An operation that has changed something no longer has a row.
pub const GONE_AFTER_ITS_EFFECT: Reached =
    ("an operation is gone, and its effect is not", |_, world| world.gone.values().any(|done| *done > 0));
/// An operation whose row was gone has a row again.
pub const RECORDED_ANEW: Reached = ("an operation is recorded anew", |_, world| {
    world.gone.iter().any(|(operation, done)| *done > 0 && world.operations.contains_key(operation))
});
/// A message is about an operation that has no row.
pub const ABOUT_NOTHING: Reached = ("a message is about an operation that is gone", |_, world| {
    let dead = |place: &Place| *place == Place::DeadLetters;
    world.messages.iter().any(|(message, place)| dead(place) && world.gone.contains_key(&message.operation_id))
});
/// A plan continues from where its operation's row says.
pub const A_PLAN_IS_MET: Reached = ("a plan is made again, and continues where it was", |_, world| {
    let of_start = |(begun, _): &(Begun, Option<BTreeSet<u32>>)| begun.is_ahead();
    let of_cancel = |begun: &Option<Begun>| begun.as_ref().is_some_and(Begun::is_ahead);
    let mut processes = world.processes.iter();
    processes.any(|process| process.remembered().any(of_start) || process.remembered().any(of_cancel))
});
/// An operation with two chunks, both complete, is to be planned from its first page.
pub const PLANNED_ANEW: Reached = ("what is done is planned anew", |_, world| {
    world.operations.values().any(|operation| {
        let progress = progress(operation);
        progress.done.len() == 2 && progress.planned.is_none() && progress.chunks.is_none()
    })
});
/// A batch is aborted, and its item taken over.
pub const TAKEN_OVER: Reached =
    ("an item is taken over", |_, world| !world.aborted.is_empty() && world.bulk.batches.len() > 1);
/// An entry is reported as not sent.
pub const NOT_SENT: Reached = ("an entry is reported as not sent", |_, world| {
    world
        .operations
        .values()
        .any(|operation| matches!(&operation.subject, Subject::CancelOrders { statuses, .. } if statuses.contains('S')))
});
/// An order whose cancellation was requested in time is canceled, and its operation has recorded that.
pub const AN_ORDER_IS_CANCELED: Reached =
    ("an order is canceled", |_, world| market::has_noted(world, CancellationCode::Canceled));
/// A cancellation comes after the order's end.
pub const TOO_LATE_TO_CANCEL: Reached =
    ("an order was filled before", |_, world| market::has_noted(world, CancellationCode::TooLateToCancel));
/// A PIN is locked.
pub const LOCKED: Reached = ("a PIN is locked", |_, world| world.desk.pins.is_full());
/// A PIN is locked again, for longer.
pub const LOCKED_LONGER: Reached = ("a PIN is locked for longer", |_, world| world.desk.pins.lengths.len() > 1);
/// No more wrong PINs are revealed in this hour.
pub const AN_HOUR_IS_FULL: Reached =
    ("an hour is full", |_, world| Some(world.desk.pins.hour.len()) == world.desk.pins.most_an_hour);
/// A message is delivered twice at once.
pub const TWICE_AT_ONCE: Reached = ("a message is delivered twice at once", |_, world| {
    let is_message = |process: &Process| matches!(process.task, Task::Message(_));
    world.processes.windows(2).any(|pair| is_message(&pair[0]) && pair[0].task == pair[1].task)
});
/// A client gets 409.
pub const A_REQUEST_IS_REFUSED: Reached =
    ("a request is refused", |_, world| world.responses.values().any(|response| *response == Response::Refused));
/// A client gets 403: it asks too early.
pub const A_CARD_IS_NOT_FOUND: Reached =
    ("a card is not found", |_, world| world.responses.values().any(|response| *response == Response::NotFound));
/// A replay finds an operation whose message may not have been sent.
pub const A_REPLAY_FINDS_IT_PENDING: Reached = ("a replay finds it pending", |_, world| {
    let pending = |found: &Option<Hashed<Operation>>| {
        found.as_ref().is_some_and(|operation| operation.state == OperationState::Pending)
    };
    let is_request = |process: &&Process| matches!(process.task, Task::Request(_));
    world.processes.iter().filter(is_request).any(|process| process.remembered().any(pending))
});
/// The trap of rule 4: the card is bound before the chunk that issued it is delivered again.
pub const BOUND_BEFORE_REDELIVERY: Reached = ("bound before its issue is delivered again", |_, world| {
    let is_bound = |id: &OperationId| {
        let mut issued = world.cards.values().filter(|card| card.history.contains(&(Transition::Issued, *id)));
        issued.any(|card| card.row.bound.is_some())
    };
    let is_chunk = |instruction: &Instruction| match instruction {
        Instruction::Start(start) => matches!(start.step, StartStep::Chunk(_)),
        Instruction::Bind(_) | Instruction::Cancel(_) | Instruction::CancelOrder(_) | Instruction::ChangeOrder(_) => {
            false
        }
    };
    world.messages.iter().any(|(message, place)| {
        *place == Place::Queue && is_chunk(&message.instruction) && is_bound(&message.operation_id)
    })
});
/// An item is canceled before it has a card.
pub const AN_ITEM_IS_CANCELED: Reached =
    ("an item is canceled before its card", |_, world| has_code(world, CancelCode::ExternalIdCanceled));
/// An item is canceled with its card.
pub const A_CARD_IS_CANCELED: Reached =
    ("an item is canceled with its card", |_, world| has_code(world, CancelCode::ExternalIdAndCardCanceled));
/// An item was planned without a card, and is canceled with one.
pub const ISSUED_SINCE_THE_PLAN: Reached = ("an item is issued between plan and cancel", |_, world| {
    let planned_with = |id: OperationId| {
        world.messages.keys().filter(move |message| message.operation_id == id).any(|message| {
            let Instruction::Cancel(cancel) = &message.instruction else { return false };
            let CancelStep::Chunk(chunk) = &cancel.step else { return false };
            chunk.items.iter().any(|item| item.card_id.is_some())
        })
    };
    world.results.iter().any(|((id, _), result)| {
        result.items.contains_key(&CancelCode::ExternalIdAndCardCanceled) && !planned_with(*id)
    })
});
/// A cancel comes second.
pub const ALREADY_CANCELED: Reached =
    ("an item was canceled before", |_, world| has_code(world, CancelCode::AlreadyCanceled));
/// A cancel meets a bound card.
pub const A_CANCEL_IS_REFUSED: Reached =
    ("a cancel is refused", |_, world| has_code(world, CancelCode::InvalidCardStatusForCancellation));
/// A cancel names an item that does not exist.
pub const NOT_FOUND: Reached = ("an item is not found", |_, world| has_code(world, CancelCode::ExternalIdNotFound));
/// A cancel gives up a chunk with a locked item.
pub const REPORTED_HELD: Reached =
    ("an item is reported as held", |_, world| has_code(world, CancelCode::InvalidBulkItemStatus));
/// A chunk's result was stored by another delivery.
pub const A_RESULT_IS_MET: Reached = ("a delivery meets its result", |_, world| {
    world.processes.iter().any(|process| {
        process.remembered().any(|result: &Hashed<ChunkResult>| clock(process).is_some_and(|now| now != result.at))
    })
});
/// Another delivery changed the header, or ended the operation, between a read and a transaction.
pub const A_CONFLICT: Reached = ("a transaction meets a conflict", |_, world| {
    type Ended = Result<((), BTreeMap<Key, Value>), Conflict>;
    world.processes.iter().any(|process| process.remembered().any(|ended: &Ended| ended.is_err()))
});
/// Cards are issued.
pub const ISSUED: Reached = ("cards are issued", |_, world| world.bulk.issued > 0);
/// A start finds the bulk sealed.
pub const A_START_IS_REFUSED: Reached = ("a start is refused", |_, world| {
    let is_start = |operation: &Operation| matches!(operation.subject, Subject::StartBulk { .. });
    world.operations.values().any(|operation| is_start(operation) && operation.state == OperationState::Failed)
});
/// The bulk grows before it is sealed.
pub const THE_BULK_GROWS: Reached = ("the bulk grows", |_, world| world.bulk.batches.len() > 1);
/// The bulk has grown when a plan is made again.
pub const GROWN_SINCE_THE_PLAN: Reached = ("the bulk grows under a plan", |_, world| {
    let batches = |operation: &Operation| progress(operation).batches.len();
    world.operations.values().any(|operation| (1..world.bulk.batches.len()).contains(&batches(operation)))
});
/// An increment comes after the seal.
pub const AN_INCREMENT_IS_REFUSED: Reached = ("an increment is refused", |model, world| {
    let increments = model
        .scenario
        .asked
        .iter()
        .filter(|asked| matches!(asked.kind, RequestKind::Increment(_) | RequestKind::IncrementOnce(_)));
    increments.into_iter().any(|asked| world.responses.get(&asked.operation.operation_id) == Some(&Response::Refused))
});
/// A bulk is canceled whole.
pub const CANCELED: Reached = ("the bulk is canceled", |_, world| world.bulk.extent == Some(CancelType::Full));
/// A bulk is canceled in part.
pub const PARTIALLY_CANCELED: Reached =
    ("the bulk is canceled in part", |_, world| world.bulk.extent == Some(CancelType::Partial));

fn any_outcome(world: &World, is_so: impl Fn(&BindOutcome) -> bool) -> bool {
    world.operations.values().filter_map(|operation| outcome(operation)).any(is_so)
}

fn refusal(outcome: &BindOutcome) -> Option<BindRefusal> {
    match outcome {
        BindOutcome::Failure { code, .. } => Some(*code),
        BindOutcome::Success { .. } => None,
    }
}

fn is_refused(world: &World, code: BindRefusal) -> bool {
    any_outcome(world, |outcome| refusal(outcome) == Some(code))
}

fn has_code(world: &World, code: CancelCode) -> bool {
    world.results.values().any(|result| result.items.contains_key(&code))
}

fn clock(process: &Process) -> Option<Timestamp> {
    process.remembered().next().copied()
}
