//! `GET /operations/{operationId}`: how far an accepted instruction has come, and what came of it.

use serde::Serialize;
use shared::domain::bind::{BindOutcome, BindRefusal};
use shared::domain::ids::{BulkId, CardId, OperationId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::Timestamp;
use shared::http::{Answer, Call, Problem};
use shared::store::Store;

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct GetOperation {
    /// Reads operations.
    pub store: Store,
}

#[derive(Serialize)]
struct Body {
    operation_id: OperationId,
    kind: &'static str,
    status: OperationState,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_id: Option<BulkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Chunks>,
    counts: Counts,
    results: Vec<ItemResult>,
}

/// How far an operation on a bulk has come.
#[derive(Serialize)]
struct Chunks {
    /// Null until it is planned.
    total: Option<u32>,
    done: usize,
}

/// Items of the operation.
#[derive(Default, Serialize)]
struct Counts {
    /// Null until it is planned.
    total: Option<u32>,
    done: u32,
    succeeded: u32,
    failed: u32,
}

/// What became of one item.
#[derive(Serialize)]
struct ItemResult {
    card_id: CardId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reissued_card_id: Option<CardId>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_code: Option<BindRefusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<Operation> for Body {
    fn from(operation: Operation) -> Self {
        let mut body = Self {
            operation_id: operation.operation_id,
            kind: "",
            status: operation.state,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
            bulk_id: None,
            chunks: None,
            counts: Counts::default(),
            results: Vec::new(),
        };
        match operation.subject {
            Subject::BindCard { card_id, reissued_card_id, outcome } => {
                body.kind = "BIND_CARD";
                let result = outcome.map(|outcome| bind_result(card_id, reissued_card_id, &outcome));
                let failed = result.iter().filter(|result| result.message_code.is_some()).count() == 1;
                let done = u32::from(result.is_some());
                body.counts =
                    Counts { total: Some(1), done, succeeded: done - u32::from(failed), failed: u32::from(failed) };
                body.results.extend(result);
            }
            Subject::CreateBulk { bulk_id } => {
                body.kind = "CREATE_BULK";
                body.bulk_id = Some(bulk_id);
            }
            Subject::IncrementBulk { bulk_id } => {
                body.kind = "INCREMENT_BULK";
                body.bulk_id = Some(bulk_id);
            }
            Subject::StartBulk { bulk_id, progress, .. } => {
                body.kind = "START_BULK";
                body.bulk_id = Some(bulk_id);
                body.chunks = Some(Chunks { total: progress.chunks, done: progress.done.len() });
                let (done, succeeded) = (progress.items_done, progress.items_changed);
                body.counts = Counts { total: progress.items_total, done, succeeded, failed: 0 };
            }
        }
        body
    }
}

fn bind_result(card_id: CardId, reissued_card_id: Option<CardId>, outcome: &BindOutcome) -> ItemResult {
    let message_code = match outcome {
        BindOutcome::Success { .. } => None,
        BindOutcome::Failure { code, .. } => Some(*code),
    };
    ItemResult {
        card_id,
        reissued_card_id,
        status: outcome.name(),
        message_code,
        message: message_code.map(|code| code.to_string()),
    }
}

impl GetOperation {
    /// Answers a request.
    ///
    /// # Errors
    /// 404 if the organisation has no such operation, or it has expired.
    pub async fn handle(&self, call: &Call) -> Result<Answer, Problem> {
        let operation_id = call.path("operationId").map_err(|_| Problem::not_found())?;
        let operation = self.store.operation(&call.identity.org_id, operation_id, call.now).await?;
        Answer::ok(&Body::from(operation.ok_or_else(Problem::not_found)?))
    }
}
