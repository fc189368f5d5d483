//! Accepting an instruction that a worker carries out. The order of steps makes a 202 response a
//! promise, and makes a retry harmless.

use super::{ApiResponse, IdempotencyRecord, Problem, Replay, RequestContext};
use crate::domain::operation::{Operation, OperationState, Subject};
use crate::domain::time::Timestamp;
use crate::message::{Instruction, Message};
use crate::queue::Queue;
use crate::store::{Recorded, Store};

/// The result of recording an instruction.
pub enum Accepted<T> {
    /// An earlier request was accepted already. This is its response.
    Replayed(ApiResponse),
    /// The operation is recorded. Write what its message depends on, then call [`send`].
    New(ToSend<T>),
}

/// The message of a recorded instruction.
pub struct ToSend<T> {
    /// The message to send.
    pub message: Message<T>,
    /// Tells whether another request may have recorded the operation.
    pub first: First,
}

/// The result of preparing a request: its instruction, checked.
pub struct Prepared<T> {
    /// The message's instruction.
    pub instruction: T,
    /// The time when the operation was first accepted, if its row was lost but its effect remains.
    pub accepted_at: Option<Timestamp>,
}

impl<T> Prepared<T> {
    /// Creates a prepared instruction without an earlier acceptance.
    pub const fn new(instruction: T) -> Self {
        Self { instruction, accepted_at: None }
    }
}

/// Records the instruction as an operation, sends its message and returns 202.
///
/// # Errors
/// Returns the errors of [`open`] and [`send`].
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
        Accepted::Replayed(response) => Ok(response),
        Accepted::New(to_send) => send(queue, &to_send).await,
    }
}

/// Records the instruction as an operation.
///
/// `prepare` reads what the instruction needs, checks it and creates the message. Its argument is true if the
/// operation was recorded before. Then it must not check any state, because changes by the first request must not
/// change the response.
///
/// If the function dies after writing the row and before sending the message, the client gets no 202. A retry with
/// the same key finds the row and sends the message again. A message sent twice has no further effect.
///
/// # Errors
/// Returns the errors of `prepare`, 422 if the key was used with another request, and 503 if DynamoDB fails.
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
        && idempotency.replay(recorded)? == Replay::RespondAgain
    {
        return Ok(before);
    }
    let Prepared { instruction, accepted_at } = match prepare(recorded.is_some()).await {
        Err(refusal) if recorded.is_none() => {
            // The state that prevents this request may come from this very operation: a duplicate of this request may
            // have recorded it since the first read.
            let since = self::recorded(store, context, idempotency).await?.ok_or(refusal)?;
            if idempotency.replay(&since)? == Replay::RespondAgain {
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
            (_, _, Replay::RespondAgain) => return Ok(before),
        }
    };
    Ok(Accepted::New(ToSend { message: Message::of(&operation, instruction), first }))
}

/// Sends the message of a recorded instruction, and returns 202.
///
/// # Errors
/// Returns 503 if the queue fails.
pub async fn send<T: Instruction>(queue: &Queue, to_send: &ToSend<T>) -> Result<ApiResponse, Problem> {
    let ToSend { message, first } = to_send;
    queue.send(message).await?;
    let response = ApiResponse::accepted(message.operation_id).counted(1, Vec::new());
    Ok(response.replayed(*first == First::Perhaps))
}

/// Returns the operation that an earlier request with the same key recorded.
///
/// # Errors
/// Returns the error of the store.
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

/// Returns the operation of a request, with its time of acceptance.
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

/// Tells whether this request was the first to record its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It was. No earlier request with its key has recorded the operation.
    Yes,
    /// Unknown. Another request with the same key, or an earlier attempt of the same call, may have recorded it.
    Perhaps,
}

/// Records the operation unless one with its ID exists. Returns the recorded operation and what is left to do for it.
///
/// # Errors
/// Returns 422 if the key was used with another request, and 503 if DynamoDB fails.
pub async fn record(
    store: &Store,
    context: &RequestContext,
    idempotency: &IdempotencyRecord,
    operation: Operation,
) -> Result<(Operation, First, Replay), Problem> {
    match store.record_operation(&operation, context.now).await? {
        Recorded::New => Ok((operation, First::Yes, Replay::SendAgain)),
        // Another request with the same key came first, or the SDK retried this call.
        Recorded::Existing(existing) => {
            let replay = idempotency.replay(&existing)?;
            Ok((*existing, First::Perhaps, replay))
        }
    }
}
