//! `POST /cards/v1/bulks/{bulkID}/start`: issues the cards of a bulk. A later start issues those that are missing.
//!
//! The endpoint stores the dates of issue and expiry with the operation, so that the cards and their events are the
//! same whenever the worker processes them.

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

/// The endpoint and the services that it uses.
#[derive(Debug, Clone)]
pub struct StartBulk {
    /// The store, for reading bulks and for reading and recording operations.
    pub store: Store,
    /// The queue for the instructions.
    pub queue: Queue,
    /// The validity of cards, in months.
    pub expiry_months: u32,
}

/// The bulk when the start was accepted, and the operation's ID.
#[derive(Serialize)]
struct Started {
    #[serde(flatten)]
    bulk: BulkBody,
    operation_id: OperationId,
}

impl Endpoint for StartBulk {
    const NAME: &'static str = "start-bulk";
    const SCOPE: Scope = Scope::CardsWrite;
    const TOKENS: u32 = 25;
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
        let response = accept(&self.store, &self.queue, context, &idempotency, subject, prepare).await?;
        response.with_body(&Started { bulk: bulk.into(), operation_id: idempotency.operation_id })
    }
}
