//! Planning an operation on a whole bulk: what the workers of such operations share.
//!
//! A plan goes through the bulk page by page. After each page it notes on the operation how far it has come, once SQS has
//! the messages of the page's chunks. So a delivery that dies, or whose messages SQS does not take, costs one page sent
//! twice, and a second delivery of the same plan sends nothing that the first is known to have sent. A plan goes on in the
//! invocation that it began in while there is time, and then in a message of its own.
//!
//! No delivery lets its message go because another is further: they may be two deliveries of one message, and letting go
//! would delete it for both. It goes on from there instead.

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

/// Items of a page. One Query answers no more than 1 MB of them (AWS limit), so with long external IDs it is fewer.
const PAGE_ITEMS: usize = 2000;
/// The part of an invocation's time after which no page is begun, as a divisor. The messages beside a plan's in its batch
/// are let go when it has ended; and a page takes a fraction of a second.
const SHARE_OF_TIME: u32 = 2;

/// After how long an operation is looked at, and looked at again: the longest that SQS delays a message (AWS limit).
pub const WATCH_AFTER: Duration = Duration::from_secs(15 * 60);
/// After how long an operation should have ended. Ours: one on the largest bulk takes minutes.
const LONGEST_OPERATION: Duration = Duration::from_secs(60 * 60);

/// The operation that the message belongs to, as it was accepted then.
///
/// A worker asks for it before it changes anything: what it does must be told, and can be only if it is known. An operation
/// has no row if the table was restored to a time before it; and one that was accepted again since is another.
///
/// # Errors
/// [`WorkerError::Permanent`] if it has no row.
pub async fn operation_of<T>(store: &Store, message: &Message<T>) -> Result<Operation, WorkerError> {
    let operation = store.operation(&message.org_id, message.operation_id, clock::now()).await?;
    match operation {
        Some(operation) if operation.acceptance() == message.acceptance() => Ok(operation),
        Some(_) => Err(WorkerError::Permanent("the operation has no row: its key was used again".to_owned())),
        None => Err(WorkerError::Permanent("the operation has no row".to_owned())),
    }
}

/// Has somebody look whether the operation has ended, some time from now: `watch` is what the message says.
///
/// A worker does so before its operation begins. However its messages may be lost then, the operation is not forgotten.
///
/// # Errors
/// [`WorkerError::Transient`] if SQS did not take the message.
pub async fn watch_later<T: Instruction>(queue: &Queue, message: &Message<T>, watch: T) -> Result<(), WorkerError> {
    Ok(queue.send_later(&message.next(watch), WATCH_AFTER).await?)
}

/// Looks whether the operation has ended. One that has not is looked at again, and is counted if it should have.
///
/// # Errors
/// [`WorkerError::Transient`] if SQS did not take the message of the next look.
pub async fn watch<T: Instruction>(
    queue: &Queue,
    metrics: &Metrics,
    message: &Message<T>,
    operation: &Operation,
    watch: T,
) -> Result<Completed, WorkerError> {
    let applied = |outcome| Ok(Completed { outcome, events: Vec::new() });
    match operation.state {
        OperationState::Pending | OperationState::Running => {}
        OperationState::Succeeded | OperationState::Failed => return applied("ENDED"),
    }
    watch_later(queue, message, watch).await?;
    let age = Duration::from_millis(clock::now().milliseconds_since(operation.created_at));
    if age < LONGEST_OPERATION {
        return applied("NOT_ENDED");
    }
    metrics.stuck();
    applied("STUCK")
}

/// That the operation is not one of the worker's.
#[must_use]
pub fn other_kind() -> WorkerError {
    WorkerError::Permanent("the operation is of another kind".to_owned())
}

/// So many items, as operations count them.
///
/// # Errors
/// [`WorkerError::Permanent`] beyond 32 bits.
pub fn count(items: usize) -> Result<u32, WorkerError> {
    u32::try_from(items).map_err(|error| WorkerError::Permanent(error.to_string()))
}

/// A delivery of a plan.
#[derive(Debug)]
pub struct Plan<'a, T> {
    /// Reads the bulk's items; keeps how far the plan has come.
    pub store: &'a Store,
    /// The worker's own queue.
    pub queue: &'a Queue,
    /// The plan's message.
    pub message: &'a Message<T>,
    /// The bulk.
    pub bulk: &'a BulkId,
    /// How far the operation had come when the delivery began. Its batches are those that count, and the same whenever the
    /// plan is made again: then so are the chunks.
    pub progress: &'a Progress,
    /// Which delivery it is, and how long it can be.
    pub delivery: DeliveryInfo,
}

impl<T: Instruction> Plan<'_, T> {
    /// Cuts the bulk's items into chunks and sends their messages, made by `chunk`: from this cursor on, or from where the
    /// operation's row says. After the last page notes on the operation how many chunks there are, and answers it. If time
    /// runs out before, sends the message of the plan's next page, made by `further`, and answers nothing.
    ///
    /// # Errors
    /// [`WorkerError::Transient`] or [`WorkerError::Permanent`].
    pub async fn go(
        &self,
        from: &PlanCursor,
        chunk: impl Fn(u32, Vec<PlannedItem>) -> Option<T>,
        further: impl Fn(PlanCursor) -> T,
    ) -> Result<Option<Operation>, WorkerError> {
        let (org, operation, batches) = (&self.message.org_id, self.message.operation_id, &self.progress.batches);
        let until = Instant::now() + self.delivery.timeout / SHARE_OF_TIME;
        let mut cursor = from.clone().go_on(self.progress.planned.as_ref());
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
            // Of a page of which nothing counts, nothing is noted.
            if let Some(planned) = planned {
                self.store.note_planned(org, operation, &planned).await?;
            }
            if Instant::now() >= until {
                // Sent last, and by itself: what was planned before it is noted.
                self.queue.send(&self.message.next(further(next))).await?;
                return Ok(None);
            }
            cursor = next;
        }
    }
}
