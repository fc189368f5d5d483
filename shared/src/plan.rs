//! Planning an operation on a whole bulk: what the workers of such operations share.
//!
//! One page of items a message. A plan that went through many pages in one run would send all its chunks
//! again when it dies at the end.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::domain::bulk::PlanCursor;
use crate::domain::ids::BulkId;
use crate::domain::operation::Operation;
use crate::message::{BulkStep, Message};
use crate::queue::Queue;
use crate::store::Store;
use crate::worker::Failure;

/// Items planned in one run; then the plan goes on in a message of its own.
const PAGE_ITEMS: usize = 2000;

/// Cuts the bulk's next items into chunks and sends their messages, and that of the plan's next page; after
/// the last page notes on the operation how many chunks there are, and answers it.
///
/// `batches` must be the same whenever the plan is made again: then so are the chunks.
///
/// # Errors
/// [`Failure::Retry`] or [`Failure::Broken`].
pub async fn plan_page<T: Serialize + Sync>(
    store: &Store,
    queue: &Queue,
    message: &Message<T>,
    bulk: &BulkId,
    batches: &BTreeSet<u32>,
    from: PlanCursor,
    instruction: impl Fn(BulkStep) -> T,
) -> Result<Option<Operation>, Failure> {
    let (org, operation) = (&message.org_id, message.operation_id);
    let page = store.items_after(org, bulk, from.after.as_ref(), PAGE_ITEMS).await?;
    let (chunks, cursor) = from.advance(page.items, batches, !page.more);
    let (count, items) = (cursor.chunks, cursor.items);
    let mut steps: Vec<BulkStep> = chunks.into_iter().map(BulkStep::Chunk).collect();
    if page.more {
        steps.push(BulkStep::Plan(cursor));
    }
    let messages: Vec<_> = steps.into_iter().map(|step| message.next(instruction(step))).collect();
    queue.send_all(&messages).await?;
    if page.more {
        return Ok(None);
    }
    Ok(Some(store.set_chunks(org, operation, count, items).await?))
}
