//! `POST /cards/v1/bulks`: creates a bulk of blank cards. No card is issued until the bulk is started.
//!
//! The endpoint writes the items first, and then the header, which makes all items visible together. After a crash in
//! between, nothing is visible. With an `Idempotency-Key`, the bulk's ID is recorded before anything else, so that a
//! repeated request completes the same bulk.

pub mod settings;

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::bulk::{Bulk, BulkSettings, FIRST_BATCH};
use shared::domain::ids::{BulkId, ExternalId};
use shared::domain::operation::Subject;
use shared::environment::Environment;
use shared::http::bulk::{BulkBody, MAX_BULK_BODY_BYTES, counted_external_ids};
use shared::http::{ApiResponse, Endpoint, First, Invalid, Problem, Replay, RequestContext, Scope, operation, record};
use shared::store::Store;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The endpoint and the store that it uses.
#[derive(Debug, Clone)]
pub struct CreateBulk {
    /// The store, for recording operations and writing bulks and items.
    pub store: Store,
}

#[derive(Serialize)]
struct Request {
    settings: BulkSettings,
    external_ids: BTreeSet<ExternalId>,
}

impl Endpoint for CreateBulk {
    const NAME: &'static str = "create-bulk";
    const SCOPE: Scope = Scope::CardsWrite;
    const TOKENS: u32 = 556;
    const CALLS: &'static [Service] = &[Service::DYNAMODB];
    const MAX_BODY_BYTES: usize = MAX_BULK_BODY_BYTES;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let org = &context.identity.org_id;
        let request = read(context)?;
        let idempotency = context.idempotency(Self::NAME, &request)?;
        let (mut bulk_id, mut is_first) = (BulkId::from_uuid(Uuid::now_v7()), true);
        if idempotency.keyed {
            let operation = operation(context, &idempotency, Subject::CreateBulk { bulk_id }, context.now);
            let (operation, first, replay) = record(&self.store, context, &idempotency, operation).await?;
            let Subject::CreateBulk { bulk_id: recorded } = operation.subject else {
                return Err(Problem::broken("the operation is of another kind"));
            };
            bulk_id = recorded;
            if replay == Replay::RespondAgain {
                return Ok(self.response(context, &bulk_id).await?.replayed(true));
            }
            is_first = first == First::Yes;
        }

        let ids: Vec<ExternalId> = request.external_ids.into_iter().collect();
        // Items that exist already are from an earlier attempt at the same request.
        self.store.add_items(org, &bulk_id, FIRST_BATCH, &ids).await?;
        let items = u32::try_from(ids.len()).map_err(Problem::broken)?;
        let bulk = Bulk::new(bulk_id.clone(), request.settings, items);
        self.store.put_bulk(org, &bulk).await?;
        if !idempotency.keyed {
            return Ok(ApiResponse::ok(&BulkBody::from(bulk))?.created().counted(1, Vec::new()));
        }
        self.store.end_request(org, idempotency.operation_id, context.now).await?;
        // An earlier attempt may have created the bulk, and other requests may have changed it since.
        Ok(self.response(context, &bulk_id).await?.counted(1, Vec::new()).replayed(!is_first))
    }
}

impl CreateBulk {
    /// Returns a response with the current state of the bulk.
    async fn response(&self, context: &RequestContext, bulk_id: &BulkId) -> Result<ApiResponse, Problem> {
        let bulk = self.store.bulk(&context.identity.org_id, bulk_id).await?;
        let bulk = bulk.ok_or_else(|| Problem::broken("the created bulk is gone"))?;
        Ok(ApiResponse::ok(&BulkBody::from(bulk))?.created())
    }
}

fn read(context: &RequestContext) -> Result<Request, Problem> {
    let missing = || Problem::invalid(vec![Invalid::body("", "is required")]);
    let members = context.json_object()?.ok_or_else(missing)?;
    let mut invalid = Vec::new();
    let ids = counted_external_ids(&members).map_err(|mut errors| invalid.append(&mut errors));
    match (ids, settings::read(&members, &mut invalid)) {
        (Ok(external_ids), Some(settings)) if invalid.is_empty() => Ok(Request { settings, external_ids }),
        _ => Err(Problem::invalid(invalid)),
    }
}
