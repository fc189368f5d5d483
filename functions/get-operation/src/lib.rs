//! `GET /operations/{operationId}`: returns the progress and the outcome of an accepted instruction.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::bind::{BindOutcome, BindRefusal};
use shared::domain::bulk::{BulkCancellation, BulkStatus, CHUNK_ITEMS};
use shared::domain::cancel::{CancelCode, CancelType, ChunkResult, ItemRef};
use shared::domain::event::EventStatus;
use shared::domain::ids::{BulkId, CardId, ExternalId, OperationId, OrgId};
use shared::domain::operation::{Operation, OperationKind, OperationState, Progress, Subject};
use shared::domain::order::progress::{self, Stage, Summary};
use shared::domain::order::{CancellationCode, OrderRef};
use shared::domain::time::Timestamp;
use shared::environment::Environment;
use shared::http::{ApiResponse, Endpoint, Problem, RequestContext, Scope, cursor, page};
use shared::store::Store;
use uuid::Uuid;

/// The endpoint and the store that it uses.
#[derive(Debug, Clone)]
pub struct GetOperation {
    /// The store, for reading operations.
    pub store: Store,
}

#[derive(Serialize)]
struct Body {
    operation_id: OperationId,
    kind: OperationKind,
    status: OperationState,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_id: Option<BulkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_type: Option<CancelType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk_status: Option<BulkStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<BulkCancellation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Chunks>,
    counts: Counts,
    results: Vec<ItemResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// The progress of an operation on a bulk, in chunks.
#[derive(Serialize)]
struct Chunks {
    /// The number of chunks; left out until the operation is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u32>,
    done: usize,
}

/// The numbers of the operation's items.
#[derive(Default, Serialize)]
struct Counts {
    /// The number of items; left out until the operation is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u32>,
    done: u32,
    succeeded: u32,
    failed: u32,
}

/// The outcome for one item.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemResult {
    Bind {
        card_id: CardId,
        #[serde(skip_serializing_if = "Option::is_none")]
        reissued_card_id: Option<CardId>,
        status: EventStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_code: Option<BindRefusal>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    Order {
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        international_order_uid: Option<Uuid>,
        status: OrderState,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_code: Option<CancellationCode>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'static str>,
    },
    Cancellation {
        external_id: ExternalId,
        #[serde(skip_serializing_if = "Option::is_none")]
        card_id: Option<CardId>,
        status: EventStatus,
        message_code: CancelCode,
        message: &'static str,
    },
}

/// The state of an order's cancellation in the response.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum OrderState {
    /// The worker has not processed the message yet.
    Pending,
    /// The cancellation is requested from the order system.
    Requested,
    /// The order is canceled.
    Success,
    /// The order is not canceled.
    Failure,
}

impl From<Operation> for Body {
    fn from(operation: Operation) -> Self {
        let mut body = Self {
            operation_id: operation.operation_id,
            kind: operation.subject.kind(),
            status: operation.state,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
            bulk_id: None,
            cancel_type: None,
            bulk_status: None,
            cancellation: None,
            chunks: None,
            counts: Counts::default(),
            results: Vec::new(),
            cursor: None,
        };
        match operation.subject {
            Subject::BindCard { card_id, reissued_card_id, outcome } => {
                let done = u32::from(outcome.is_some());
                let failed = u32::from(matches!(outcome, Some(BindOutcome::Failure { .. })));
                body.counts = Counts { total: Some(1), done, succeeded: done - failed, failed };
                body.results.extend(outcome.map(|outcome| bind_result(card_id, reissued_card_id, &outcome)));
            }
            Subject::CreateBulk { bulk_id } | Subject::IncrementBulk { bulk_id } => body.bulk_id = Some(bulk_id),
            Subject::StartBulk { bulk_id, progress, .. } => {
                body.bulk_id = Some(bulk_id);
                body.counts = counts(&progress, progress.items_changed);
                body.chunks = Some(progress.into());
            }
            Subject::CancelBulk { bulk_id, cancel_type, bulk_status, cancellation, progress } => {
                (body.bulk_id, body.cancel_type, body.bulk_status) = (Some(bulk_id), Some(cancel_type), bulk_status);
                body.cancellation = cancellation;
                body.counts = counts(&progress, progress.items_done.saturating_sub(progress.items_failed));
                body.chunks = Some(progress.into());
            }
            Subject::CancelOrders { .. } => {}
        }
        body
    }
}

fn counts(progress: &Progress, succeeded: u32) -> Counts {
    Counts { total: progress.items_total, done: progress.items_done, succeeded, failed: progress.items_failed }
}

impl From<Progress> for Chunks {
    fn from(progress: Progress) -> Self {
        Self { total: progress.chunks, done: progress.done.len() }
    }
}

fn bind_result(card_id: CardId, reissued_card_id: Option<CardId>, outcome: &BindOutcome) -> ItemResult {
    let (status, message_code) = match outcome {
        BindOutcome::Success { .. } => (EventStatus::Success, None),
        BindOutcome::Failure { code, .. } => (EventStatus::Failure, Some(*code)),
    };
    let message = message_code.map(|code| code.to_string());
    ItemResult::Bind { card_id, reissued_card_id, status, message_code, message }
}

impl Body {
    /// Sets the state and the counts from the orders' stages, because an operation on orders has no counts of its own.
    fn sum_up(&mut self, orders: &[OrderRef], stages: &BTreeMap<OrderRef, Stage>) {
        let Summary { state, ended_at, total, done, succeeded } = progress::summary(self.status, orders, stages);
        (self.status, self.ended_at) = (state, ended_at);
        self.counts = Counts { total: Some(total), done, succeeded, failed: done - succeeded };
    }
}

fn order_result(order: OrderRef, stage: Option<&Stage>) -> ItemResult {
    let (order_id, international_order_uid) = order.ids();
    let (status, code) = match stage {
        None => (OrderState::Pending, None),
        Some(Stage::Requested) => (OrderState::Requested, None),
        Some(Stage::Ended { code, .. }) => match code.status() {
            EventStatus::Success => (OrderState::Success, Some(*code)),
            EventStatus::Failure => (OrderState::Failure, Some(*code)),
        },
    };
    let message = code.map(CancellationCode::message);
    ItemResult::Order { order_id, international_order_uid, status, message_code: code, message }
}

fn cancellation_result(code: CancelCode, item: ItemRef) -> ItemResult {
    let (external_id, card_id) = (item.external_id, item.card_id);
    ItemResult::Cancellation {
        external_id,
        card_id,
        status: code.status(),
        message_code: code,
        message: code.message(),
    }
}

impl Endpoint for GetOperation {
    const NAME: &'static str = "get-operation";
    const SCOPE: Scope = Scope::OperationsRead;
    const TOKENS: u32 = 17;
    const CALLS: &'static [Service] = &[Service::DYNAMODB];

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Returns the operation and a page of its results.
    ///
    /// # Errors
    /// 400 if `limit` or `cursor` is malformed. 404 if the organization has no such operation, if it has expired, or
    /// if an account other than the token's requested it.
    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let org = &context.identity.org_id;
        let operation_id = context.path("operationId").map_err(|_| Problem::not_found())?;
        let (limit, from) = page(context).map_err(|invalid| Problem::invalid(vec![invalid]))?;
        let operation = self.store.operation(org, operation_id, context.now).await?;
        let operation = operation.filter(|operation| operation.is_known_to(context.identity.account_id));
        let operation = operation.ok_or_else(Problem::not_found)?;
        let from: usize = from.unwrap_or(0);
        let subject = operation.subject.clone();
        let (has_ended, acceptance) = (operation.ended_at.is_some(), operation.acceptance());
        let mut body = Body::from(operation);
        let total = match subject {
            // While the operation runs, chunks end in any order, and pages could miss some.
            Subject::CancelBulk { .. } if has_ended => {
                let total = body.counts.done as usize;
                body.results = self.results(org, operation_id, from, limit, total).await?;
                total
            }
            // The orders' rows have the same stages, but are large.
            Subject::CancelOrders { orders, .. } => {
                let stages = self.store.stages(org, acceptance).await?;
                body.sum_up(&orders, &stages);
                let page = orders.iter().skip(from).take(limit);
                body.results = page.map(|order| order_result(*order, stages.get(order))).collect();
                orders.len()
            }
            _ => return ApiResponse::ok(&body),
        };
        let next = from.saturating_add(limit);
        body.cursor = (next < total).then(|| cursor(&next));
        ApiResponse::ok(&body)
    }
}

impl GetOperation {
    /// Returns the outcomes for up to `limit` items of a cancel, starting at item `from`. All chunks but the last are
    /// full.
    async fn results(
        &self,
        org: &OrgId,
        operation: OperationId,
        from: usize,
        limit: usize,
        total: usize,
    ) -> Result<Vec<ItemResult>, Problem> {
        let (first, skipped) = (from / CHUNK_ITEMS, from % CHUNK_ITEMS);
        let rows = (skipped + limit).div_ceil(CHUNK_ITEMS);
        let chunks = self.store.results(org, operation, first, total.div_ceil(CHUNK_ITEMS), rows).await?;
        let items = chunks.iter().flat_map(ChunkResult::iter);
        let page = items.skip(skipped).take(limit);
        Ok(page.map(|(code, item)| cancellation_result(code, item.clone())).collect())
    }
}
