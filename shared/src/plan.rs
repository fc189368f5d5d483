//! Planning an operation on a whole bulk: code shared by the workers of such operations.
//!
//! A plan processes the bulk page by page. After each page, once SQS has the messages of the page's chunks, it
//! records its progress with the operation. If a delivery dies, or SQS does not accept its messages, at most one page
//! is sent twice. A second delivery of the same plan sends nothing that is recorded as sent. A plan continues in the
//! same invocation while there is time, and then in a message of its own.
//!
//! A delivery never acknowledges its message because another delivery is ahead. Both may be deliveries of the same
//! message, and acknowledging it would delete it for both. The delivery continues from the recorded progress instead.

use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::bulk::{PlanCursor, PlannedItem};
use crate::domain::ids::BulkId;
use crate::domain::operation::{Operation, OperationState, Progress};
use crate::message::{Instruction, Message};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::store::Store;
use crate::worker::{Completed, DeliveryInfo, WorkerError};

/// Items in a page. A Query returns at most 1 MB (AWS limit), so with long external IDs there are fewer.
const PAGE_ITEMS: usize = 2000;
/// Fraction of an invocation's time after which no further page starts, as a divisor. The other messages of the batch
/// are acknowledged only when the plan's delivery has ended. A page takes a fraction of a second.
const SHARE_OF_TIME: u32 = 2;

/// Interval after which an operation is checked, and checked again. It is the maximum delay of a message (AWS limit).
pub const WATCH_AFTER: Duration = Duration::from_secs(15 * 60);
/// Time within which an operation should end. Our limit: an operation on the largest bulk takes minutes.
const LONGEST_OPERATION: Duration = Duration::from_secs(60 * 60);

/// Returns the message's operation, with the message's time of acceptance.
///
/// A worker calls this before it changes anything, because it must be able to report its changes, which requires the
/// operation. The operation has no row if the table was restored to an earlier time. An operation with the same ID
/// that was accepted again since then is a different one.
///
/// # Errors
/// Returns [`WorkerError::Permanent`] if the operation has no row.
pub async fn operation_of<T>(store: &Store, message: &Message<T>) -> Result<Operation, WorkerError> {
    let operation = store.operation(&message.org_id, message.operation_id, clock::now()).await?;
    match operation {
        Some(operation) if operation.acceptance() == message.acceptance() => Ok(operation),
        Some(_) => Err(WorkerError::Permanent("the operation has no row: its key was used again".to_owned())),
        None => Err(WorkerError::Permanent("the operation has no row".to_owned())),
    }
}

/// Sends a delayed message, `watch`, whose worker checks that the operation has ended.
///
/// A worker calls this before its operation begins, so that the operation is not forgotten even if its messages are
/// lost.
///
/// # Errors
/// Returns [`WorkerError::Transient`] if SQS did not accept the message.
pub async fn watch_later<T: Instruction>(queue: &Queue, message: &Message<T>, watch: T) -> Result<(), WorkerError> {
    Ok(queue.send_later(&message.next(watch), WATCH_AFTER).await?)
}

/// Checks whether the operation has ended. If it has not, schedules another check, and counts the operation in the
/// metrics if it should have ended.
///
/// # Errors
/// Returns [`WorkerError::Transient`] if SQS did not accept the message of the next check.
pub async fn watch<T: Instruction>(
    queue: &Queue,
    metrics: &Metrics,
    message: &Message<T>,
    operation: &Operation,
    watch: T,
) -> Result<Completed, WorkerError> {
    let completed = |outcome| Ok(Completed { outcome, events: Vec::new() });
    match operation.state {
        OperationState::Pending | OperationState::Running => {}
        OperationState::Succeeded | OperationState::Failed => return completed("ENDED"),
    }
    watch_later(queue, message, watch).await?;
    let age = Duration::from_millis(clock::now().milliseconds_since(operation.created_at));
    if age < LONGEST_OPERATION {
        return completed("NOT_ENDED");
    }
    metrics.stuck();
    completed("STUCK")
}

/// Returns the error for an operation of a kind that this worker does not handle.
#[must_use]
pub fn other_kind() -> WorkerError {
    WorkerError::Permanent("the operation is of another kind".to_owned())
}

/// Converts a number of items to the type that operations use.
///
/// # Errors
/// Returns [`WorkerError::Permanent`] if the number exceeds 32 bits.
pub fn count(items: usize) -> Result<u32, WorkerError> {
    u32::try_from(items).map_err(|error| WorkerError::Permanent(error.to_string()))
}

/// A plan in one delivery of its message.
#[derive(Debug)]
pub struct Plan<'a, T> {
    /// The store, which has the bulk's items and the plan's progress.
    pub store: &'a Store,
    /// The worker's own queue.
    pub queue: &'a Queue,
    /// The plan's message.
    pub message: &'a Message<T>,
    /// The bulk's ID.
    pub bulk: &'a BulkId,
    /// The operation's progress when the delivery began. Only items of its batches count. They never change, so that
    /// repeating the plan yields the same chunks.
    pub progress: &'a Progress,
    /// The delivery's number and its time limit.
    pub delivery: DeliveryInfo,
}

impl<T: Instruction> Plan<'_, T> {
    /// Divides the bulk's items into chunks and sends their messages, created by `chunk`. Starts at this cursor or at
    /// the progress in the operation's row. After the last page, records the number of chunks with the operation and
    /// returns it. If time runs out before that, sends the message of the plan's next page, created by `next_page`,
    /// and returns `None`.
    ///
    /// # Errors
    /// Returns [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    pub async fn run(
        &self,
        from: &PlanCursor,
        chunk: impl Fn(u32, Vec<PlannedItem>) -> Option<T>,
        next_page: impl Fn(PlanCursor) -> T,
    ) -> Result<Option<Operation>, WorkerError> {
        let (org, operation, batches) = (&self.message.org_id, self.message.operation_id, &self.progress.batches);
        let until = Instant::now() + self.delivery.timeout / SHARE_OF_TIME;
        let mut cursor = from.clone().resume_from(self.progress.planned.as_ref());
        loop {
            let page = self.store.items_after(org, self.bulk, cursor.after.as_ref(), PAGE_ITEMS).await?;
            let (chunks, next) = cursor.advance(page.items, batches, !page.more);
            let planned = next.planned(&chunks);
            let steps = chunks.into_iter().filter_map(|(number, items)| chunk(number, items));
            let messages: Vec<_> = steps.map(|step| self.message.next(step)).collect();
            self.queue.send_all(&messages).await?;
            if !page.more {
                return Ok(Some(self.store.set_chunks(org, operation, next.chunks, next.items).await?));
            }
            // For a page that yields no chunk, no progress is recorded.
            if let Some(planned) = planned {
                self.store.note_planned(org, operation, &planned).await?;
            }
            if Instant::now() >= until {
                // This message is sent last and alone, after the progress before it is recorded.
                self.queue.send(&self.message.next(next_page(next))).await?;
                return Ok(None);
            }
            cursor = next;
        }
    }
}
