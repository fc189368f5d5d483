//! Planning an operation on a whole bulk: what the workers of such operations share.
//!
//! One page of items a message. A plan that went through many pages in one run would send all its chunks
//! again when it dies at the end.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::clock;
use crate::domain::bulk::{PlanCursor, PlannedItem};
use crate::domain::ids::BulkId;
use crate::domain::operation::Operation;
use crate::message::Message;
use crate::queue::Queue;
use crate::store::Store;
use crate::worker::Failure;

/// Items planned in one run; then the plan goes on in a message of its own.
const PAGE_ITEMS: usize = 2000;

/// The operation that the message belongs to.
///
/// # Errors
/// [`Failure::Broken`] if it has no row.
pub async fn operation_of<T>(store: &Store, message: &Message<T>) -> Result<Operation, Failure> {
    let operation = store.operation(&message.org_id, message.operation_id, clock::now()).await?;
    operation.ok_or_else(|| Failure::Broken("the operation has no row".to_owned()))
}

/// That the operation is not one of the worker's.
#[must_use]
pub fn other_kind() -> Failure {
    Failure::Broken("the operation is of another kind".to_owned())
}

/// So many items, as operations count them.
///
/// # Errors
/// [`Failure::Broken`] beyond 32 bits.
pub fn count(items: usize) -> Result<u32, Failure> {
    u32::try_from(items).map_err(|error| Failure::Broken(error.to_string()))
}

/// Cuts the bulk's next items into chunks and sends their messages, made by `chunk`, and that of the plan's
/// next page, made by `further`; after the last page notes on the operation how many chunks there are, and
/// answers it.
///
/// `batches` must be the same whenever the plan is made again: then so are the chunks.
///
/// # Errors
/// [`Failure::Retry`] or [`Failure::Broken`].
pub async fn plan_page<T: Serialize + Sync>(
    (store, queue): (&Store, &Queue),
    message: &Message<T>,
    bulk: &BulkId,
    batches: &BTreeSet<u32>,
    from: PlanCursor,
    chunk: impl Fn(u32, Vec<PlannedItem>) -> Option<T>,
    further: impl Fn(PlanCursor) -> T,
) -> Result<Option<Operation>, Failure> {
    let (org, operation) = (&message.org_id, message.operation_id);
    let page = store.items_after(org, bulk, from.after.as_ref(), PAGE_ITEMS).await?;
    let (chunks, cursor) = from.advance(page.items, batches, !page.more);
    let (count, items) = (cursor.chunks, cursor.items);
    let mut steps: Vec<T> = chunks.into_iter().filter_map(|(number, items)| chunk(number, items)).collect();
    if page.more {
        steps.push(further(cursor));
    }
    let messages: Vec<_> = steps.into_iter().map(|step| message.next(step)).collect();
    queue.send_all(&messages).await?;
    if page.more {
        return Ok(None);
    }
    Ok(Some(store.set_chunks(org, operation, count, items).await?))
}
