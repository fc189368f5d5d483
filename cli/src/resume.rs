//! `bindery resume`: has an operation on a bulk planned again, whose messages are lost.
//!
//! The plan begins anew and sends a message for every chunk. Those of chunks that are done change nothing any more, and say
//! once more what came of them, as any message does that is delivered again.

use clap::Args;
use serde_json::json;
use shared::clock;
use shared::domain::bulk::{Bulk, PlanCursor};
use shared::domain::cancel::CancelType;
use shared::domain::ids::{BulkId, OperationId, OrgId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::message::{CancelBulk, CancelStep, Instruction, Message, NamedPlan, StartBulk, StartStep, Watch};
use shared::plan::WATCH_AFTER;
use shared::queue::Queue;
use shared::store::{Store, StoreError};

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// Flags of `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The operation.
    operation: OperationId,
    /// Its organisation.
    #[arg(long, env = "BINDERY_TENANT")]
    tenant: OrgId,
}

impl Resume {
    /// Sends the plan's message again, once the operator agrees.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        let (org, id) = (&self.tenant, self.operation);
        let operation = store.operation(org, id, clock::now()).await.map_err(failed)?;
        let operation = operation.ok_or_else(|| CliError::new(format!("{org} has no operation {id}")))?;
        if !matches!(operation.state, OperationState::Pending | OperationState::Running) {
            return Err(CliError::new(format!("operation {id} has ended")));
        }
        let ask = || confirm(&format!("Have operation {id} planned again in {}", stack.name), yes);
        match &operation.subject {
            Subject::StartBulk { bulk_id, .. } => {
                ask()?;
                let start = |step| StartBulk { bulk_id: bulk_id.clone(), step };
                let messages = [StartStep::Plan(PlanCursor::default()), StartStep::Watch(Watch {})].map(start);
                plan_again(stack, &store, &operation, messages).await?;
            }
            Subject::CancelBulk { bulk_id, cancel_type, .. } => {
                let Bulk { settings, batches, .. } = bulk(&store, org, bulk_id).await?;
                let plan = match cancel_type {
                    CancelType::Full => CancelStep::PlanAll(PlanCursor::default()),
                    // The endpoint may have died before it had stored all names: then nobody but the client has them.
                    CancelType::Partial if operation.state == OperationState::Pending => {
                        return Err(CliError::new(
                            "the cancel was not begun, and the names of its items may not all be stored",
                        )
                        .help("have its client repeat the request with its Idempotency-Key"));
                    }
                    CancelType::Partial => {
                        let chunks = store.count_named_chunks(org, id, operation.created_at).await.map_err(failed)?;
                        // The batches that count are on the operation's row already.
                        CancelStep::PlanNamed(NamedPlan { chunks, batches })
                    }
                };
                ask()?;
                let cancel = |step| CancelBulk { bulk_id: bulk_id.clone(), program_id: settings.program_id, step };
                let messages = [plan, CancelStep::Watch(Watch {})].map(cancel);
                plan_again(stack, &store, &operation, messages).await?;
            }
            Subject::BindCard { .. }
            | Subject::CreateBulk { .. }
            | Subject::IncrementBulk { .. }
            | Subject::CancelOrders { .. } => {
                return Err(CliError::new("only starts and cancels of bulks have a plan")
                    .help("the message of any other operation is in its queue, or in its dead-letter queue: redrive"));
            }
        }
        output.object(&json!({ "operation_id": id, "resumed": true }));
        Ok(())
    }
}

async fn bulk(store: &Store, org: &OrgId, bulk: &BulkId) -> Result<Bulk, CliError> {
    let found = store.bulk(org, bulk).await.map_err(failed)?;
    found.ok_or_else(|| CliError::new(format!("{org} has no bulk {bulk}")))
}

/// Forgets how far the operation is planned, and sends the message that it began with, and one that watches it: the old
/// one may be lost, too.
async fn plan_again<T: Instruction>(
    stack: &Stack,
    store: &Store,
    operation: &Operation,
    [plan, watch]: [T; 2],
) -> Result<(), CliError> {
    store.forget_plan(&operation.org_id, operation.operation_id).await.map_err(failed)?;
    let queue = Queue::new(stack.sqs(), stack.queue_url(T::KIND)?.to_owned());
    let message = Message::of(operation, plan);
    let sent = async {
        queue.send_later(&message.next(watch), WATCH_AFTER).await?;
        queue.send(&message).await
    };
    sent.await.map_err(|error| CliError::new(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn failed(error: StoreError) -> CliError {
    CliError::new(error.to_string())
}
