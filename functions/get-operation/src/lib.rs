//! `GET /operations/{operationId}`: how far an accepted instruction has come, and what came of it.

use serde::Serialize;
use shared::domain::bind::{BindOutcome, BindRefusal};
use shared::domain::ids::{CardId, OperationId};
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
    counts: Counts,
    results: Vec<ItemResult>,
}

/// Items of the operation.
#[derive(Debug, Default, Serialize)]
struct Counts {
    total: u64,
    succeeded: u64,
    failed: u64,
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
        let Subject::BindCard { card_id, reissued_card_id, outcome } = operation.subject;
        let mut counts = Counts { total: 1, ..Counts::default() };
        let result = outcome.map(|outcome| {
            let code = match outcome {
                BindOutcome::Success { .. } => None,
                BindOutcome::Failure { code, .. } => Some(code),
            };
            *(if code.is_none() { &mut counts.succeeded } else { &mut counts.failed }) += 1;
            ItemResult {
                card_id,
                reissued_card_id,
                status: outcome.name(),
                message_code: code,
                message: code.map(|code| code.to_string()),
            }
        });
        Self {
            operation_id: operation.operation_id,
            kind: "BIND_CARD",
            status: operation.state,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
            counts,
            results: result.into_iter().collect(),
        }
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
