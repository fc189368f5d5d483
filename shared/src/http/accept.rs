//! How an endpoint accepts an instruction that a worker will carry out: the order of work that makes a
//! 202 a promise, and a repeated request harmless.

use serde::Serialize;

use super::{Answer, Call, Problem, Replay, Ticket};
use crate::domain::operation::{Operation, OperationState, Subject};
use crate::message::{Message, Version1};
use crate::queue::Queue;
use crate::store::{Recorded, Store};

/// Records the instruction as an operation, sends its message, and answers 202.
///
/// `prepare` reads what the instruction needs and makes it. It is told whether the operation was recorded
/// before: then it checks no state, because what the first request changed must not change its answer.
///
/// Should the function die between row and message, the client has no 202; a repetition with the same
/// key finds the row and sends the message (again), which changes nothing more.
///
/// # Errors
/// Those of `prepare`; 422 if the key came with another request; 503 if the table or the queue fails.
pub async fn accept<T: Serialize + Sync>(
    store: &Store,
    queue: &Queue,
    call: &Call,
    ticket: &Ticket,
    subject: Subject,
    prepare: impl AsyncFnOnce(bool) -> Result<T, Problem>,
) -> Result<Answer, Problem> {
    let accepted = Ok(Answer::accepted(ticket.operation_id));
    let recorded = recorded(store, call, ticket).await?;
    if let Some(recorded) = &recorded
        && ticket.replay(recorded)? == Replay::AnswerAgain
    {
        return accepted;
    }
    let instruction = match prepare(recorded.is_some()).await {
        Ok(instruction) => instruction,
        Err(refusal) => {
            // What refuses may be this very operation, recorded since we looked by the same request sent
            // twice.
            let recorded = self::recorded(store, call, ticket).await?.ok_or(refusal)?;
            return ticket.replay(&recorded).and(accepted);
        }
    };
    let operation = match recorded {
        Some(recorded) => recorded,
        None => match record(store, call, ticket, subject).await? {
            (operation, Replay::SendAgain) => operation,
            (_, Replay::AnswerAgain) => return accepted,
        },
    };
    let message = Message {
        version: Version1,
        org_id: operation.org_id,
        operation_id: operation.operation_id,
        cid: operation.cid,
        accepted_at: operation.created_at,
        instruction,
    };
    queue.send(&message).await?;
    accepted
}

/// The operation of an earlier request with the same key.
///
/// # Errors
/// Those of the table.
pub async fn recorded(store: &Store, call: &Call, ticket: &Ticket) -> Result<Option<Operation>, Problem> {
    if !ticket.keyed {
        return Ok(None);
    }
    Ok(store.operation(&call.identity.org_id, ticket.operation_id, call.now).await?)
}

/// Records the operation if none of its ID is. Answers the recorded one, and what is left to do for it.
///
/// # Errors
/// 422 if the key came with another request; 503 if the table fails.
pub async fn record(
    store: &Store,
    call: &Call,
    ticket: &Ticket,
    subject: Subject,
) -> Result<(Operation, Replay), Problem> {
    let operation = Operation {
        org_id: call.identity.org_id.clone(),
        operation_id: ticket.operation_id,
        state: OperationState::Pending,
        fingerprint: ticket.fingerprint.clone(),
        cid: call.cid.clone(),
        created_at: call.now,
        ended_at: None,
        subject,
    };
    match store.record_operation(&operation, call.now).await? {
        Recorded::New => Ok((operation, Replay::SendAgain)),
        // A request with the same key came between, or the SDK repeated its own call.
        Recorded::Existing(existing) => {
            let replay = ticket.replay(&existing)?;
            Ok((*existing, replay))
        }
    }
}
