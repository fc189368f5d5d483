//! `POST /api/orders/cancellations`: cancels many orders. The response has one result per entry, in the same order.
//!
//! An accepted entry is an instruction. Only the market can confirm that an order is canceled. The endpoint decides
//! which entries it accepts, and records the decision before it sends anything. So a repeated request with the same
//! `Idempotency-Key` gets the same response, and its PINs are not tried again. (If no entry is accepted, nothing is
//! recorded.)

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
use wire::format::{ResponseFormat, of_content_type};
use wire::{Charset, Entry, EntryResult, Unreadable};

/// The endpoint and the services that it uses.
#[derive(Debug, Clone)]
pub struct CancelOrders {
    /// The store, for reading orders and persons, and for recording PIN attempts and operations.
    pub store: Store,
    /// The queue for the instructions.
    pub queue: Queue,
    /// The pepper for hashing PINs.
    pub pepper: PepperSecret,
}

/// The members of an entry that make up the request's fingerprint. The PIN is not one of them, because the hash of four
/// digits can be searched.
#[derive(Serialize)]
struct FingerprintedEntry(Option<i32>, Option<i32>, bool, Option<Uuid>);

impl Endpoint for CancelOrders {
    const NAME: &'static str = "cancel-orders";
    const SCOPE: Scope = Scope::OrdersCancel;
    const TOKENS: u32 = 200;
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
        let fingerprinted: Vec<Option<FingerprintedEntry>> =
            entries.iter().map(|entry| entry.as_ref().map(fingerprinted)).collect();
        let idempotency = context.idempotency(Self::NAME, &fingerprinted)?;
        let (operation, first) = if let Some(before) = recorded(&self.store, context, &idempotency).await? {
            (before, First::Perhaps)
        } else {
            let Decided { orders, statuses, accepted_at } =
                self.decide(context, idempotency.operation_id, &entries).await?;
            if !orders.is_empty() {
                let letters = entry_status::encode(&statuses);
                let subject = Subject::CancelOrders { orders, statuses: letters, repeated: false };
                let operation = operation(context, &idempotency, subject, accepted_at.unwrap_or(context.now));
                let (operation, first, _) = record(&self.store, context, &idempotency, operation).await?;
                (operation, first)
            // Another copy of this request may have recorded the operation since the first read, and its effect may be
            // the reason for these refusals.
            } else if let Some(since) = recorded(&self.store, context, &idempotency).await? {
                (since, First::Perhaps)
            } else {
                return Ok(counted(response(context, &entries, &statuses), &statuses));
            }
        };
        let replay = idempotency.replay(&operation)?;
        let statuses = match replay {
            Replay::SendAgain => self.send(context, operation, first, idempotency.keyed).await?,
            Replay::RespondAgain => recorded_orders(&operation)?.1,
        };
        let response = response(context, &entries, &statuses);
        let response = if replay == Replay::SendAgain { counted(response, &statuses) } else { response };
        let response = response.replayed(first == First::Perhaps);
        let has_accepted = statuses.contains(&EntryStatus::Accepted);
        Ok(if has_accepted { response.located(idempotency.operation_id) } else { response })
    }
}

impl CancelOrders {
    /// Sends the messages of a recorded operation; see [`Self::send_and_record`]. Once the first message is on its
    /// way, the outcome of any failure is unknown, also of a timeout (contract: 500).
    async fn send(
        &self,
        context: &RequestContext,
        operation: Operation,
        first: First,
        keyed: bool,
    ) -> Result<Vec<EntryStatus>, Problem> {
        let time = context.time_left().saturating_sub(RESERVED_TIME);
        let sent = tokio::time::timeout(time, self.send_and_record(operation, first, keyed)).await;
        sent.unwrap_or_else(|_elapsed| Err(Problem::broken("no time was left to send the messages")))
    }

    /// Sends the messages of a recorded operation. Returns the status of each entry after that. An entry that SQS did
    /// not accept has no effect, and this is recorded. With a key, it is also recorded that all messages are sent, so
    /// that a repetition need not send them again.
    ///
    /// An entry can be reported as not sent only if no other copy of the request may have sent it. So a repeated
    /// request first records on the operation that it is repeated, and then sends the messages.
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
        let (orders, mut statuses) = recorded_orders(&operation)?;
        let message = |order: &OrderRef| Message::of(&operation, CancelOrder { order: *order });
        let messages: Vec<_> = orders.iter().map(message).collect();
        let refused = self.queue.send_each(&messages).await.map_err(send_failed)?;
        if refused.is_empty() && !keyed {
            return Ok(statuses);
        }
        if !refused.is_empty() && first == First::Perhaps {
            return Err(outcome_unknown());
        }
        let accepted = statuses.iter_mut().filter(|status| **status == EntryStatus::Accepted).enumerate();
        for (_, status) in accepted.filter(|(position, _)| refused.contains_key(position)) {
            *status = EntryStatus::NotSent;
        }
        let left: Vec<OrderRef> = orders
            .iter()
            .enumerate()
            .filter(|(position, _)| !refused.contains_key(position))
            .map(|(_, order)| *order)
            .collect();
        // Another copy of the request may have recorded its statuses first. All copies respond with the recorded ones.
        let (letters, all_sent) = (entry_status::encode(&statuses), refused.is_empty());
        let recording = self.store.set_entry_statuses(&org, id, &left, &letters, all_sent).await;
        let operation = recording.map_err(Problem::broken)?;
        if !all_sent && operation.state == OperationState::Pending {
            return Err(outcome_unknown());
        }
        Ok(recorded_orders(&operation)?.1)
    }
}

/// Returns the problem for a failed call. If it certainly sent nothing, the client can retry, as with any unavailable
/// service (contract: 503). Otherwise the outcome is unknown (contract: 500).
fn send_failed(error: SendError) -> Problem {
    match error.effect() {
        Effect::Nothing => Problem::unavailable(error),
        Effect::Unknown => Problem::broken(error),
    }
}

/// The time reserved for a response after a timeout (our limit). Without it, the caller of `handle` would cut the
/// request off and respond that nothing was done.
const RESERVED_TIME: Duration = Duration::from_millis(50);

/// Returns the problem for an entry that SQS did not accept, but that another copy of the request may have sent
/// (contract: 500).
fn outcome_unknown() -> Problem {
    Problem::broken("an entry was not sent, but another copy of the request may have sent it")
}

fn recorded_orders(operation: &Operation) -> Result<(&[OrderRef], Vec<EntryStatus>), Problem> {
    match &operation.subject {
        Subject::CancelOrders { orders, statuses, .. } => Ok((orders, entry_status::decode(statuses))),
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
            let detail = "The Content-Type must be a media type of JSON or XML.";
            return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
        }
    };
    let charset = content_type.map(Charset::of_content_type).unwrap_or_default();
    wire::read(format, charset, body).map_err(|error| {
        let code = if error == Unreadable::TooMany { ProblemCode::TooMany } else { ProblemCode::InvalidRequest };
        Problem::new(code, error)
    })
}

fn fingerprinted(entry: &Entry) -> FingerprintedEntry {
    FingerprintedEntry(entry.order_id, entry.creator_id, entry.is_international, entry.international_order_uid)
}

fn response(context: &RequestContext, entries: &[Option<Entry>], statuses: &[EntryStatus]) -> ApiResponse {
    let result = |(entry, status): (&Option<Entry>, &EntryStatus)| EntryResult {
        order_id: entry.as_ref().and_then(|entry| entry.order_id),
        international_order_uid: entry.as_ref().and_then(|entry| entry.international_order_uid),
        errors: status.errors().to_vec(),
    };
    let results: Vec<_> = entries.iter().zip(statuses).map(result).collect();
    let (accept, sent) = (context.optional_header("accept"), context.optional_header("content-type"));
    let negotiated = ResponseFormat::negotiate(accept, sent);
    ApiResponse::text(content_type(negotiated), wire::results(negotiated.format, &results))
}

fn counted(response: ApiResponse, statuses: &[EntryStatus]) -> ApiResponse {
    let refused: Vec<_> = statuses.iter().filter_map(|status| status.refusal()).collect();
    response.counted(u32::try_from(statuses.len() - refused.len()).unwrap_or(u32::MAX), refused)
}

fn content_type(negotiated: ResponseFormat) -> String {
    format!("{}; charset=utf-8", negotiated.media_type)
}

/// Returns an error as this contract defines it: a bare string in the format that the client accepts.
#[must_use]
pub fn error(headers: &HeaderMap, text: &str) -> (String, String) {
    let negotiated = ResponseFormat::negotiate(text_of(headers, "accept"), text_of(headers, "content-type"));
    (content_type(negotiated), wire::error(negotiated.format, text))
}
