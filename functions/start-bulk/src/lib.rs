//! `POST /cards/v1/bulks/{bulkID}/start`: has the cards of a bulk issued. Started again, it issues what
//! is missing.
//!
//! The days of issue and expiry are fixed here, with the operation: its cards and their events must be
//! the same whenever a worker comes to make them.

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::bulk::PlanCursor;
use shared::domain::ids::{BulkId, OperationId};
use shared::domain::operation::{Progress, Subject};
use shared::environment::Environment;
use shared::http::bulk::BulkBody;
use shared::http::{ApiResponse, Endpoint, Prepared, Problem, ProblemCode, RequestContext, Scope, accept};
use shared::message::{self, StartStep};
use shared::queue::Queue;
use shared::store::Store;

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct StartBulk {
    /// Reads bulks; reads and records operations.
    pub store: Store,
    /// Takes the instructions.
    pub queue: Queue,
    /// How long cards are valid.
    pub expiry_months: u32,
}

/// The bulk, as it was when the start was accepted.
#[derive(Serialize)]
struct Started {
    #[serde(flatten)]
    bulk: BulkBody,
    operation_id: OperationId,
}

impl Endpoint for StartBulk {
    const NAME: &'static str = "start-bulk";
    const SCOPE: Scope = Scope::CardsWrite;
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS];

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self {
            store: environment.store(),
            queue: environment.queue(Self::NAME),
            expiry_months: environment.number("CARD_EXPIRY_MONTHS"),
        })
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let bulk_id: BulkId = context.path("bulkID").map_err(|_| Problem::not_found())?;
        let idempotency = context.idempotency(Self::NAME, &bulk_id)?;
        let issuing_date = context.now.date();
        let subject = Subject::StartBulk {
            bulk_id: bulk_id.clone(),
            issuing_date,
            expiration_date: issuing_date.plus_months(self.expiry_months),
            progress: Progress::default(),
        };
        let bulk = self.store.bulk(&context.identity.org_id, &bulk_id).await?.ok_or_else(Problem::not_found)?;
        let (bulk_id, is_sealed) = (&bulk_id, bulk.is_sealed());
        let prepare = |recorded: bool| async move {
            if !recorded && is_sealed {
                let detail = "The bulk is being canceled, or was canceled.";
                return Err(Problem::new(ProblemCode::BulkCanceled, detail));
            }
            let step = StartStep::Plan(PlanCursor::default());
            Ok(Prepared::new(message::StartBulk { bulk_id: bulk_id.clone(), step }))
        };
        let answer = accept(&self.store, &self.queue, context, &idempotency, subject, prepare).await?;
        answer.with_body(&Started { bulk: bulk.into(), operation_id: idempotency.operation_id })
    }
}
