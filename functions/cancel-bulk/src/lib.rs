//! `POST /cards/v1/bulks/{bulkID}/cancel`: cancels all items of a bulk, or the named ones.
//!
//! The endpoint stores the names next to the operation, one chunk per row, before it sends the operation's only
//! message. A thousand names can be larger than a message.

use std::collections::BTreeSet;

use shared::Error;
use shared::aws::Service;
use shared::domain::bulk::{CHUNK_ITEMS, PlanCursor};
use shared::domain::cancel::CancelType;
use shared::domain::ids::{BulkId, ExternalId};
use shared::domain::operation::{Progress, Subject};
use shared::environment::Environment;
use shared::http::bulk::{ExternalIds, MAX_BULK_BODY_BYTES, check_count, external_ids};
use shared::http::{
    Accepted, ApiResponse, Endpoint, Invalid, Prepared, Problem, ProblemCode, RequestContext, Scope, open, send,
};
use shared::message::{self, CancelStep, NamedPlan};
use shared::queue::Queue;
use shared::store::Store;

/// The endpoint and the services that it uses.
#[derive(Debug, Clone)]
pub struct CancelBulk {
    /// The store, for reading bulks and for reading and recording operations.
    pub store: Store,
    /// The queue for the instructions.
    pub queue: Queue,
}

/// The items to cancel.
enum Request {
    Full,
    Partial {
        ids: BTreeSet<ExternalId>,
        /// The number of names in the request. A repeated name counts twice towards the limit of a thousand.
        sent: usize,
    },
}

impl Endpoint for CancelBulk {
    const NAME: &'static str = "cancel-bulk";
    const SCOPE: Scope = Scope::CardsWrite;
    const TOKENS: u32 = 200;
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS];
    const MAX_BODY_BYTES: usize = MAX_BULK_BODY_BYTES;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store(), queue: environment.queue(Self::NAME) })
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let bulk_id: BulkId = context.path("bulkID").map_err(|_| Problem::not_found())?;
        let request = read(context)?;
        let (cancel_type, ids) = match &request {
            Request::Full => (CancelType::Full, Vec::new()),
            Request::Partial { ids, .. } => (CancelType::Partial, ids.iter().cloned().collect()),
        };
        let idempotency = context.idempotency(Self::NAME, &(&bulk_id, cancel_type, &ids))?;
        if let Request::Partial { sent, .. } = request {
            check_count(sent).map_or(Ok(()), |detail| {
                Err(Problem::new(ProblemCode::OutOfRange, format!("external_ids {detail}.")))
            })?;
        }
        let chunks: Vec<Vec<ExternalId>> = ids.chunks(CHUNK_ITEMS).map(<[_]>::to_vec).collect();
        let count = u32::try_from(chunks.len()).map_err(Problem::broken)?;

        let (org, progress) = (&context.identity.org_id, Progress::default());
        let subject = Subject::CancelBulk {
            bulk_id: bulk_id.clone(),
            cancel_type,
            bulk_status: None,
            cancellation: None,
            progress,
        };
        let bulk_id = &bulk_id;
        let prepare = |_recorded| async move {
            let bulk = self.store.bulk(org, bulk_id).await?.ok_or_else(Problem::not_found)?;
            let step = match cancel_type {
                CancelType::Full => CancelStep::PlanAll(PlanCursor::default()),
                CancelType::Partial => CancelStep::PlanNamed(NamedPlan { chunks: count, batches: bulk.batches }),
            };
            let program_id = bulk.settings.program_id;
            Ok(Prepared::new(message::CancelBulk { bulk_id: bulk.bulk_id, program_id, step }))
        };
        let to_send = match open(&self.store, context, &idempotency, subject, prepare).await? {
            Accepted::Replayed(response) => return Ok(response),
            Accepted::New(to_send) => to_send,
        };
        let message = &to_send.message;
        // Not earlier: a request that misuses an idempotency key must not overwrite the names of another request.
        self.store.put_named_chunks(org, message.operation_id, message.accepted_at, &chunks).await?;
        send(&self.queue, &to_send).await
    }
}

fn read(context: &RequestContext) -> Result<Request, Problem> {
    let invalid = |place: &str, detail: &str| Problem::invalid(vec![Invalid::body(place, detail)]);
    let members = context.json_object()?.ok_or_else(|| invalid("", "is required"))?;
    match members.value::<String>("cancel_type").as_deref() {
        // A client that names items may not mean all of them (contract).
        Some("FULL") if members.contains("external_ids") => {
            Err(invalid("/external_ids", "must be left out when cancel_type is FULL"))
        }
        Some("FULL") => Ok(Request::Full),
        Some("PARTIAL") => {
            let ExternalIds { ids, sent, .. } = external_ids(&members).map_err(Problem::invalid)?;
            Ok(Request::Partial { ids, sent })
        }
        _ => Err(invalid("/cancel_type", "must be FULL or PARTIAL")),
    }
}
