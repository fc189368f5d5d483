//! `bindery resume`: plans an operation on a bulk again after its messages were lost.
//!
//! The plan starts over and sends a message for every chunk. Chunks that are done change nothing more. They only
//! publish their results again, as on any repeated delivery.

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
    /// The operation's ID.
    operation: OperationId,
    /// The ID of the operation's organization.
    #[arg(long, env = "BINDERY_TENANT")]
    tenant: OrgId,
}

impl Resume {
    /// Sends the plan's message again after the operator confirms.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let store = Store::new(stack.dynamodb(), stack.output("TableName")?.to_owned());
        let (org, id) = (&self.tenant, self.operation);
        let operation = store.operation(org, id, clock::now()).await.map_err(failed)?;
        let operation = operation.ok_or_else(|| CliError::new(format!("{org} has no operation {id}")))?;
        if !matches!(operation.state, OperationState::Pending | OperationState::Running) {
            return Err(CliError::new(format!("operation {id} has ended: there is nothing to resume")));
        }
        let ask = || confirm(&format!("Plan operation {id} again in {}", stack.name), yes);
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
                    // The endpoint may have crashed before it stored all names. Then only the client has them.
                    CancelType::Partial if operation.state == OperationState::Pending => {
                        return Err(CliError::new(
                            "the cancel has not begun, and some of its items' names may not be stored",
                        )
                        .help("nothing was changed; ask the client to repeat the request with its Idempotency-Key"));
                    }
                    CancelType::Partial => {
                        let chunks = store.count_named_chunks(org, id, operation.created_at).await.map_err(failed)?;
                        // The operation's row already holds the batches that count.
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
                return Err(CliError::new("only an operation that starts or cancels a bulk can be resumed")
                    .help("see `bindery dead-letters` and `bindery redrive` for the message of any other operation"));
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

/// Resets the operation's plan and sends the plan's first message. Also sends a new watch message, because the old one
/// may be lost, too.
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
    sent.await.map_err(|error| {
        CliError::new(error.to_string()).help("the plan is reset, but its messages may not be sent: repeat the command")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn failed(error: StoreError) -> CliError {
    CliError::new(error.to_string())
}
