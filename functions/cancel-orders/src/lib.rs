//! `POST /api/orders/cancellations`: has many orders canceled. One result for each entry, in their order.
//!
//! An accepted entry is an instruction, not yet a fact: only the market can say that an order is canceled. Which
//! entries are accepted is decided here and recorded before anything is sent, so a repeated request with the
//! same `Idempotency-Key` is told the same, and tries no PIN again. (If none was accepted nothing is recorded.)

mod decide;
mod entry;
pub mod entry_status;
mod pins;
pub mod wire;

use std::time::Duration;

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::order::OrderRef;
use shared::environment::Environment;
use shared::http::{
    ApiResponse, Endpoint, ErrorBody, First, HeaderMap, Problem, ProblemCode, Replay, RequestContext, Scope, operation,
    record, recorded, text_of,
};
use shared::message::{CancelOrder, Message};
use shared::pin::PepperSecret;
use shared::queue::{Effect, Queue, SendError};
use shared::store::Store;
use uuid::Uuid;

use decide::Decided;
pub use decide::MAX_PINS;
use entry_status::EntryStatus;
pub use wire::MAX_ENTRIES;
use wire::format::{Answering, of_content_type};
use wire::{Charset, Entry, EntryResult, Unreadable};

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct CancelOrders {
    /// Reads orders and persons; judges PINs; records operations.
    pub store: Store,
    /// Takes the instructions.
    pub queue: Queue,
    /// What PINs are hashed with.
    pub pepper: PepperSecret,
}

/// What makes an entry what it is: all but the PIN, since a hash of four digits can be searched.
#[derive(Serialize)]
struct Asked(Option<i32>, Option<i32>, bool, Option<Uuid>);

impl Endpoint for CancelOrders {
    const NAME: &'static str = "cancel-orders";
    const SCOPE: Scope = Scope::OrdersCancel;
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS];
    const MAX_BODY_BYTES: usize = 1024 * 1024;
    const ERRORS: Option<ErrorBody> = Some(error);

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        let pepper = PepperSecret::new(environment.aws.secretsmanager(), environment.text("PIN_PEPPER_SECRET"));
        Ok(Self { store: environment.store(), queue: environment.queue(Self::NAME), pepper })
    }

    async fn warm_up(&self) {
        let _ = self.pepper.get().await;
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let entries = read(context)?;
        let asked: Vec<Option<Asked>> = entries.iter().map(|entry| entry.as_ref().map(asked)).collect();
        let idempotency = context.idempotency(Self::NAME, &asked)?;
        let (operation, first) = if let Some(before) = recorded(&self.store, context, &idempotency).await? {
            (before, First::Perhaps)
        } else {
            let Decided { orders, told, accepted_at } =
                self.decide(context, idempotency.operation_id, &entries).await?;
            if !orders.is_empty() {
                let subject = Subject::CancelOrders { orders, told: entry_status::written(&told), repeated: false };
                let operation = operation(context, &idempotency, subject, accepted_at.unwrap_or(context.now));
                let (operation, first, _) = record(&self.store, context, &idempotency, operation).await?;
                (operation, first)
            // What refuses them may be this very operation, recorded since we looked by the same request sent twice.
            } else if let Some(since) = recorded(&self.store, context, &idempotency).await? {
                (since, First::Perhaps)
            } else {
                return Ok(counted(answer(context, &entries, &told), &told));
            }
        };
        let replay = idempotency.replay(&operation)?;
        let told = match replay {
            Replay::SendAgain => self.send(context, operation, first, idempotency.keyed).await?,
            Replay::RespondAgain => recorded_orders(&operation)?.1,
        };
        let answer = answer(context, &entries, &told);
        let answer = if replay == Replay::SendAgain { counted(answer, &told) } else { answer };
        let answer = answer.replayed(first == First::Perhaps);
        Ok(if told.contains(&EntryStatus::Accepted) { answer.located(idempotency.operation_id) } else { answer })
    }
}

impl CancelOrders {
    /// Sends the messages of a recorded operation; see [`Self::send_and_record`]. From the first message on, whatever fails
    /// leaves it unknown what happens (contract: 500): so does time that is up.
    async fn send(
        &self,
        context: &RequestContext,
        operation: Operation,
        first: First,
        keyed: bool,
    ) -> Result<Vec<EntryStatus>, Problem> {
        let time = context.time_left().saturating_sub(SAYING_TIME);
        let sent = tokio::time::timeout(time, self.send_and_record(operation, first, keyed)).await;
        sent.unwrap_or_else(|_elapsed| Err(Problem::broken("no time was left to send the messages")))
    }

    /// Sends the messages of a recorded operation; answers what the client is told of each entry then. One that SQS did not
    /// take did not happen: that is recorded too. With a key it is also recorded that all is sent, so that a repetition
    /// need not send it again.
    ///
    /// That SQS did not take an entry can be said only while nobody else may have sent it: a repetition of the request says
    /// so on the operation before it sends anything.
    async fn send_and_record(
        &self,
        mut operation: Operation,
        first: First,
        keyed: bool,
    ) -> Result<Vec<EntryStatus>, Problem> {
        let (org, id) = (operation.org_id.clone(), operation.operation_id);
        if first == First::Perhaps {
            operation = self.store.note_repeated(&org, id).await?;
            if operation.state != OperationState::Pending {
                return Ok(recorded_orders(&operation)?.1);
            }
        }
        let (orders, mut told) = recorded_orders(&operation)?;
        let message = |order: &OrderRef| Message::of(&operation, CancelOrder { order: *order });
        let messages: Vec<_> = orders.iter().map(message).collect();
        let refused = self.queue.send_each(&messages).await.map_err(unanswered)?;
        if refused.is_empty() && !keyed {
            return Ok(told);
        }
        if !refused.is_empty() && first == First::Perhaps {
            return Err(unknown());
        }
        let accepted = told.iter_mut().filter(|told| **told == EntryStatus::Accepted).enumerate();
        for (_, told) in accepted.filter(|(position, _)| refused.contains_key(position)) {
            *told = EntryStatus::NotSent;
        }
        let left: Vec<OrderRef> = orders
            .iter()
            .enumerate()
            .filter(|(position, _)| !refused.contains_key(position))
            .map(|(_, order)| *order)
            .collect();
        // Another copy of the request may have been first: all of them are told the same.
        let (letters, all_sent) = (entry_status::written(&told), refused.is_empty());
        let recording = self.store.set_told(&org, id, &left, &letters, all_sent).await;
        let operation = recording.map_err(Problem::broken)?;
        if !all_sent && operation.state == OperationState::Pending {
            return Err(unknown());
        }
        Ok(recorded_orders(&operation)?.1)
    }
}

/// A call got no answer. One that sent nothing for sure can be repeated, as any that something unavailable ended (contract:
/// 503); of another nobody knows what happens (contract: 500).
fn unanswered(error: SendError) -> Problem {
    match error.effect() {
        Effect::Nothing => Problem::unavailable(error),
        Effect::Unknown => Problem::broken(error),
    }
}

/// Kept back of the answer's time for saying that it did not suffice (ours): who cuts it off says that nothing was done.
const SAYING_TIME: Duration = Duration::from_millis(50);

/// SQS did not take an entry, and another copy of the request may have sent it (contract: 500).
fn unknown() -> Problem {
    Problem::broken("an entry was not sent, but may have been by another copy of the request")
}

fn recorded_orders(operation: &Operation) -> Result<(&[OrderRef], Vec<EntryStatus>), Problem> {
    match &operation.subject {
        Subject::CancelOrders { orders, told, .. } => Ok((orders, entry_status::read(told))),
        _ => Err(Problem::broken("the operation is of another kind")),
    }
}

fn read(context: &RequestContext) -> Result<Vec<Option<Entry>>, Problem> {
    let body = context.bytes()?;
    let content_type = context.optional_header("content-type");
    let format = match content_type.and_then(of_content_type) {
        Some(format) => format,
        None if body.is_empty() => return Err(Problem::new(ProblemCode::InvalidRequest, "The request has no body.")),
        None => {
            let detail = "The Content-Type must be that of JSON or of XML.";
            return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
        }
    };
    let charset = content_type.map(Charset::of_content_type).unwrap_or_default();
    wire::read(format, charset, body).map_err(|error| {
        let code = if error == Unreadable::TooMany { ProblemCode::TooMany } else { ProblemCode::InvalidRequest };
        Problem::new(code, error)
    })
}

fn asked(entry: &Entry) -> Asked {
    Asked(entry.order_id, entry.creator_id, entry.is_international, entry.international_order_uid)
}

fn answer(context: &RequestContext, entries: &[Option<Entry>], told: &[EntryStatus]) -> ApiResponse {
    let result = |(entry, told): (&Option<Entry>, &EntryStatus)| EntryResult {
        order_id: entry.as_ref().and_then(|entry| entry.order_id),
        international_order_uid: entry.as_ref().and_then(|entry| entry.international_order_uid),
        errors: told.errors().to_vec(),
    };
    let results: Vec<_> = entries.iter().zip(told).map(result).collect();
    let answering = Answering::negotiate(context.optional_header("accept"), context.optional_header("content-type"));
    ApiResponse::text(content_type(answering), wire::results(answering.format, &results))
}

fn counted(answer: ApiResponse, told: &[EntryStatus]) -> ApiResponse {
    let refused: Vec<_> = told.iter().filter_map(|told| told.refusal()).collect();
    answer.counted(u32::try_from(told.len() - refused.len()).unwrap_or(u32::MAX), refused)
}

fn content_type(answering: Answering) -> String {
    format!("{}; charset=utf-8", answering.media_type)
}

/// An error as this contract has it: a bare string in the format that is asked for.
#[must_use]
pub fn error(headers: &HeaderMap, text: &str) -> (String, String) {
    let answering = Answering::negotiate(text_of(headers, "accept"), text_of(headers, "content-type"));
    (content_type(answering), wire::error(answering.format, text))
}
