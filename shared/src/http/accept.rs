//! How an endpoint accepts an instruction that a worker will carry out: the order of work that makes a
//! 202 a promise, and a repeated request harmless.

use super::{ApiResponse, IdempotencyRecord, Problem, Replay, RequestContext};
use crate::domain::operation::{Operation, OperationState, Subject};
use crate::domain::time::Timestamp;
use crate::message::{Instruction, Message};
use crate::queue::Queue;
use crate::store::{Recorded, Store};

/// What became of recording an instruction.
pub enum Accepted<T> {
    /// It was accepted before; this is the answer.
    Replayed(ApiResponse),
    /// It is recorded. With all that its message needs written, it is to be sent by [`send`].
    New(ToSend<T>),
}

/// The message of a recorded instruction.
pub struct ToSend<T> {
    /// It.
    pub message: Message<T>,
    /// Whether another request may have recorded it.
    pub first: First,
}

/// What an endpoint makes of a request.
pub struct Prepared<T> {
    /// The message's instruction.
    pub instruction: T,
    /// When the operation was accepted before, if its row has gone away since and its effect has not.
    pub accepted_at: Option<Timestamp>,
}

impl<T> Prepared<T> {
    /// An instruction that is new, as far as anybody can know.
    pub const fn new(instruction: T) -> Self {
        Self { instruction, accepted_at: None }
    }
}

/// Records the instruction as an operation, sends its message, and answers 202.
///
/// # Errors
/// Those of [`open`] and [`send`].
pub async fn accept<T, Preparing>(
    store: &Store,
    queue: &Queue,
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
    subject: Subject,
    prepare: impl Fn(bool) -> Preparing,
) -> Result<ApiResponse, Problem>
where
    T: Instruction,
    Preparing: Future<Output = Result<Prepared<T>, Problem>>,
{
    match open(store, context, idempotency, subject, prepare).await? {
        Accepted::Replayed(answer) => Ok(answer),
        Accepted::New(to_send) => send(queue, &to_send).await,
    }
}

/// Records the instruction as an operation.
///
/// `prepare` reads what the instruction needs and makes it. It is told whether the operation was recorded
/// before: then it checks no state, because what the first request changed must not change its answer.
///
/// Should the function die between row and message, the client has no 202; a repetition with the same
/// key finds the row and sends the message (again), which changes nothing more.
///
/// # Errors
/// Those of `prepare`; 422 if the key came with another request; 503 if the table fails.
pub async fn open<T, Preparing>(
    store: &Store,
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
    subject: Subject,
    prepare: impl Fn(bool) -> Preparing,
) -> Result<Accepted<T>, Problem>
where
    Preparing: Future<Output = Result<Prepared<T>, Problem>>,
{
    let before = Accepted::Replayed(ApiResponse::accepted(idempotency.operation_id).replayed(true));
    let mut recorded = recorded(store, context, idempotency).await?;
    if let Some(recorded) = &recorded
        && idempotency.replay(recorded)? == Replay::AnswerAgain
    {
        return Ok(before);
    }
    let Prepared { instruction, accepted_at } = match prepare(recorded.is_some()).await {
        Err(refusal) if recorded.is_none() => {
            // What refuses may be this very operation, recorded since we looked by the same request sent
            // twice.
            let since = self::recorded(store, context, idempotency).await?.ok_or(refusal)?;
            if idempotency.replay(&since)? == Replay::AnswerAgain {
                return Ok(before);
            }
            recorded = Some(since);
            prepare(true).await?
        }
        prepared => prepared?,
    };
    let (operation, first) = if let Some(recorded) = recorded {
        (recorded, First::Perhaps)
    } else {
        let operation = operation(context, idempotency, subject, accepted_at.unwrap_or(context.now));
        match record(store, context, idempotency, operation).await? {
            (operation, first, Replay::SendAgain) => (operation, first),
            (_, _, Replay::AnswerAgain) => return Ok(before),
        }
    };
    Ok(Accepted::New(ToSend { message: Message::of(&operation, instruction), first }))
}

/// Sends the message of a recorded instruction, and answers 202.
///
/// # Errors
/// 503 if the queue fails.
pub async fn send<T: Instruction>(queue: &Queue, to_send: &ToSend<T>) -> Result<ApiResponse, Problem> {
    let ToSend { message, first } = to_send;
    queue.send(message).await?;
    let answer = ApiResponse::accepted(message.operation_id).counted(1, Vec::new());
    Ok(answer.replayed(*first == First::Perhaps))
}

/// The operation of an earlier request with the same key.
///
/// # Errors
/// Those of the table.
pub async fn recorded(
    store: &Store,
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
) -> Result<Option<Operation>, Problem> {
    if !idempotency.keyed {
        return Ok(None);
    }
    Ok(store.operation(&context.identity.org_id, idempotency.operation_id, context.now).await?)
}

/// Returns the operation of a request, accepted then.
#[must_use]
pub fn operation(
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
    subject: Subject,
    accepted_at: Timestamp,
) -> Operation {
    Operation {
        org_id: context.identity.org_id.clone(),
        operation_id: idempotency.operation_id,
        account_id: context.identity.account_id,
        state: OperationState::Pending,
        fingerprint: idempotency.fingerprint.clone(),
        cid: context.cid.clone(),
        created_at: accepted_at,
        ended_at: None,
        subject,
    }
}

/// Whether an operation was recorded by the call that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It was: no other request of its key has come this far before.
    Yes,
    /// Another request with the same key may have been first, or this call's own earlier try.
    Perhaps,
}

/// Records the operation if none of its ID is. Answers the recorded one, and what is left to do for it.
///
/// # Errors
/// 422 if the key came with another request; 503 if the table fails.
pub async fn record(
    store: &Store,
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
    operation: Operation,
) -> Result<(Operation, First, Replay), Problem> {
    match store.record_operation(&operation, context.now).await? {
        Recorded::New => Ok((operation, First::Yes, Replay::SendAgain)),
        // A request with the same key came between, or the SDK repeated its own context.
        Recorded::Existing(existing) => {
            let replay = idempotency.replay(&existing)?;
            Ok((*existing, First::Perhaps, replay))
        }
    }
}
