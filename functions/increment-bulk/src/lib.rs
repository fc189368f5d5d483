//! `PUT /cards/v1/bulks/{bulkID}`: adds items to a bulk. Items whose IDs the bulk already has do not change.
//!
//! The endpoint writes the items under a new batch, and then commits the batch on the header, which makes all items
//! visible together. After a crash in between, nothing is visible.
//!
//! If two requests name the same ID, the item belongs to the batch that wrote it first, and the other request finds
//! it there. If that batch is committed, the ID is in the bulk already. If not, the other request aborts the batch
//! permanently and takes over the item. The aborted batch's own request, if it still runs, notices this at its commit
//! and starts again. So every ID is added once and counted once, and no request loses it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use shared::Error;
use shared::aws::Service;
use shared::domain::bulk::{Bulk, BulkItem, MAX_ITEMS};
use shared::domain::ids::{BulkId, ExternalId, OrgId};
use shared::domain::operation::{Operation, Subject};
use shared::environment::Environment;
use shared::http::bulk::{BulkBody, MAX_BULK_BODY_BYTES, counted_external_ids};
use shared::http::{
    ApiResponse, Endpoint, First, Invalid, Problem, ProblemCode, Replay, RequestContext, Scope, operation, record,
    recorded,
};
use shared::store::{Committed, Opened, Store};

/// The maximum number of batches per request. A batch can be aborted by another request that names the same IDs.
const MAX_ATTEMPTS: u32 = 5;
/// The maximum wait before the second attempt, and its increase for each further one. The wait is random below that.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// The maximum number of rounds for taking over items, whose batches can change in the meantime.
const MAX_ROUNDS: usize = 5;

/// The number of items taken over at the same time.
const CONCURRENT_CALLS: usize = 16;

/// The endpoint and the store that it uses.
#[derive(Debug, Clone)]
pub struct IncrementBulk {
    /// The store, for recording operations and changing bulks and items.
    pub store: Store,
}

impl Endpoint for IncrementBulk {
    const NAME: &'static str = "increment-bulk";
    const SCOPE: Scope = Scope::CardsWrite;
    const TOKENS: u32 = 1_250;
    const CALLS: &'static [Service] = &[Service::DYNAMODB];
    const MAX_BODY_BYTES: usize = MAX_BULK_BODY_BYTES;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let org = &context.identity.org_id;
        let bulk_id: BulkId = context.path("bulkID").map_err(|_| Problem::not_found())?;
        let ids: Vec<ExternalId> = read(context)?.into_iter().collect();
        let idempotency = context.idempotency(Self::NAME, &(&bulk_id, &ids))?;

        let is_complete = |before: &Option<Operation>| match before {
            Some(before) => idempotency.replay(before).map(|replay| replay == Replay::RespondAgain),
            None => Ok(false),
        };
        let mut before = recorded(&self.store, context, &idempotency).await?;
        let mut first = First::Perhaps;
        if before.is_none() {
            let bulk = self.bulk(org, &bulk_id).await?;
            if bulk.is_sealed() || !self.has_room(org, &bulk, &ids).await? {
                // Another copy of this request may have recorded the operation since the first read, before the bulk
                // was closed.
                before = recorded(&self.store, context, &idempotency).await?;
                if before.is_none() {
                    return Err(closed());
                }
            } else if idempotency.keyed {
                let subject = Subject::IncrementBulk { bulk_id: bulk_id.clone() };
                let operation = operation(context, &idempotency, subject, context.now);
                let (operation, is_first, _) = record(&self.store, context, &idempotency, operation).await?;
                (before, first) = (Some(operation), is_first);
            } else {
                first = First::Yes;
            }
        }
        if is_complete(&before)? {
            return Ok(response(self.bulk(org, &bulk_id).await?)?.replayed(true));
        }
        let bulk = match self.add(org, &bulk_id, &ids).await {
            // Another copy of the request may have added the items. Then this one responds as that copy did, or would
            // have done if it had not crashed.
            Err(refusal) if idempotency.keyed => {
                let bulk = self.bulk(org, &bulk_id).await?;
                if self.missing(org, &bulk, &ids).await? > 0 {
                    return Err(refusal);
                }
                bulk
            }
            added => added?,
        };
        if idempotency.keyed {
            self.store.end_request(org, idempotency.operation_id, context.now).await?;
        }
        Ok(response(bulk)?.counted(1, Vec::new()).replayed(first == First::Perhaps))
    }
}

impl IncrementBulk {
    async fn bulk(&self, org: &OrgId, bulk_id: &BulkId) -> Result<Bulk, Problem> {
        self.store.bulk(org, bulk_id).await?.ok_or_else(Problem::not_found)
    }

    /// Returns whether the bulk has room for these items. Check this before writing: items that can never be committed
    /// would permanently obstruct the bulk.
    async fn has_room(&self, org: &OrgId, bulk: &Bulk, ids: &[ExternalId]) -> Result<bool, Problem> {
        let room = MAX_ITEMS.saturating_sub(bulk.items) as usize;
        if ids.len() <= room {
            return Ok(true);
        }
        Ok(self.missing(org, bulk, ids).await? <= room)
    }

    /// Returns how many of these items are not in the bulk.
    async fn missing(&self, org: &OrgId, bulk: &Bulk, ids: &[ExternalId]) -> Result<usize, Problem> {
        let items = self.store.items(org, &bulk.bulk_id, ids).await?;
        let present = items.iter().filter(|item| bulk.batches.contains(&item.batch)).count();
        Ok(ids.len() - present)
    }

    /// Adds the items, all in one batch.
    async fn add(&self, org: &OrgId, bulk_id: &BulkId, ids: &[ExternalId]) -> Result<Bulk, Problem> {
        for attempt in 0..MAX_ATTEMPTS {
            // Requests that aborted each other must not meet again at once.
            let longest = LONGEST_WAIT * attempt;
            tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
            let (bulk, aborted) = match self.store.open_batch(org, bulk_id).await? {
                Opened::Yes { bulk, aborted } => (bulk, aborted),
                Opened::Unknown => return Err(Problem::not_found()),
                Opened::Closed => return Err(closed()),
            };
            if !self.has_room(org, &bulk, ids).await? {
                return Err(closed());
            }
            let batch = bulk.last_batch;
            let present = self.store.add_items(org, bulk_id, batch, ids).await?;
            let written = ids.len() - present.len();
            let added = written + self.take_over(org, &bulk, aborted, present).await?;
            let added = u32::try_from(added).map_err(Problem::broken)?;
            match self.store.commit_batch(org, bulk_id, batch, added).await? {
                Committed::Yes(bulk) => return Ok(*bulk),
                Committed::Aborted => {}
                Committed::Closed => return Err(closed()),
            }
        }
        Err(Problem::unavailable("other requests kept aborting the batch"))
    }

    /// Moves those of the items that are in no committed batch to the bulk's last batch, and returns their number.
    /// `aborted` are the batches known to be aborted.
    async fn take_over(
        &self,
        org: &OrgId,
        bulk: &Bulk,
        mut aborted: BTreeSet<u32>,
        mut ids: Vec<ExternalId>,
    ) -> Result<usize, Problem> {
        let mine = bulk.last_batch;
        let mut taken = 0;
        for _ in 0..MAX_ROUNDS {
            if ids.is_empty() {
                return Ok(taken);
            }
            let items = self.store.items(org, &bulk.bulk_id, &ids).await?;
            // This request's own earlier attempt wrote these, but its response was lost.
            taken += items.iter().filter(|item| item.batch == mine).count();
            let others = items.iter().map(|item| item.batch).filter(|batch| *batch != mine);
            let open: BTreeSet<u32> =
                others.filter(|batch| !bulk.batches.contains(batch) && !aborted.contains(batch)).collect();
            aborted.extend(self.store.abort_batches(org, bulk, open).await?);
            let open: Vec<&BulkItem> = items.iter().filter(|item| aborted.contains(&item.batch)).collect();
            let calls: Vec<_> = open.iter().map(|item| self.store.take_over(org, &bulk.bulk_id, item, mine)).collect();
            let took: Vec<bool> = stream::iter(calls).buffered(CONCURRENT_CALLS).try_collect().await?;
            taken += took.iter().filter(|took| **took).count();
            let left = open.into_iter().zip(took).filter(|(_, took)| !took);
            ids = left.map(|(item, _)| item.external_id.clone()).collect();
        }
        if ids.is_empty() { Ok(taken) } else { Err(Problem::unavailable("other requests kept taking the same items")) }
    }
}

fn read(context: &RequestContext) -> Result<BTreeSet<ExternalId>, Problem> {
    let missing = || Problem::invalid(vec![Invalid::body("", "is required")]);
    let members = context.json_object()?.ok_or_else(missing)?;
    counted_external_ids(&members).map_err(Problem::invalid)
}

fn response(bulk: Bulk) -> Result<ApiResponse, Problem> {
    Ok(ApiResponse::ok(&BulkBody::from(bulk))?.created())
}

fn closed() -> Problem {
    let detail = "The bulk is being canceled, was canceled, or would hold too many items.";
    Problem::new(ProblemCode::BulkClosed, detail)
}
