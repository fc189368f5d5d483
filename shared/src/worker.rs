//! The parts of a worker that are the same for every instruction: reading, publishing, acknowledging, dead-lettering.
//!
//! 1. Each record of the batch is read on its own, so that one bad message never blocks or fails the others.
//! 2. All instructions of the batch are applied concurrently by [`Worker::apply`]. It must be idempotent, and it
//!    returns the events that report the outcome.
//! 3. The events of all messages are published together. A worker itself publishes events that must precede another
//!    write: for example, the events of a chunk precede the end of its operation.
//! 4. A message is acknowledged only if it was applied **and** all its events are published, or if it was sent to the
//!    dead-letter queue. SQS redelivers every other message after the visibility timeout, or after the delay that the
//!    worker returned, and all steps are repeated.
//!
//! The process can die between any two steps. SQS then redelivers the messages that were not acknowledged. The worker
//! finds its own marks and the stored outcome, and publishes the same events again.
//!
//! A message that can never be handled is sent to the dead-letter queue here, with the reason. SQS would move it
//! there too, but only after all its deliveries and without a reason. The same is done when the last delivery fails.
//! If the send fails, each later delivery tries again, and after the last one SQS moves the message without the reason.

mod age;
mod context;
mod message;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use lambda_runtime::{LambdaEvent, service_fn};

use crate::aws::Service;
use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use crate::environment::Environment;
use crate::events::PublishError;
use crate::queue::SendError;
use crate::store::StoreError;
use crate::{Error, block_on, clock, telemetry};

pub use context::{Publishing, WorkerContext};
pub use message::{LogFields, QueueMessage};
use message::{other_kind, read};

// Part of an invocation's time is reserved, so that each phase ends early enough for the next one.

/// Time reserved for publishing.
const PUBLISH_BUDGET: Duration = Duration::from_millis(500);
/// Time reserved for dead-lettering.
const DEAD_LETTER_BUDGET: Duration = Duration::from_millis(300);
/// Time reserved for returning the response.
const RESPONSE_BUDGET: Duration = Duration::from_millis(100);
/// Time reserved for all of these. The rest is for applying.
pub const RESERVED_TIME: Duration = RESPONSE_BUDGET.saturating_add(DEAD_LETTER_BUDGET).saturating_add(PUBLISH_BUDGET);

/// The delivery from which a message is dead-lettered if it finds an impossible state. Every receive of the message
/// counts, whatever it found. Chosen by us, not a limit of AWS's.
const MOST_UNEXPECTED: u32 = 3;

/// A worker: the function that applies the messages of one queue.
pub trait Worker: Sized + Send + Sync + 'static {
    /// The function's name. The names of its queue variables derive from it.
    const NAME: &'static str;
    /// The services that the worker's messages usually call. The connections to them are opened at start.
    const CALLS: &'static [Service];
    /// Determines whether it publishes events. Most workers do, on the bus.
    const EVENTS: Publishing = Publishing::ON_THE_BUS;
    /// True if [`WorkerError::RetryAfter`] sets the message's delay. Such a worker needs its queue's URL. If false,
    /// the queue's visibility timeout applies.
    const SETS_DELAYS: bool = false;

    /// The type of message that the worker receives.
    type Message: QueueMessage;

    /// Creates the worker from its environment.
    ///
    /// # Errors
    /// Returns an error if a part of the worker cannot be created. Missing variables are recorded in `environment`.
    fn from_env(environment: &Environment) -> Result<Self, Error>;

    /// Preloads what the first message needs. Errors are ignored; the first message then loads it.
    fn warm_up(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Applies a message. Applying it again must change nothing more and must return the same events.
    ///
    /// # Errors
    /// The error states whether and when the message is retried. A refused instruction is an outcome, not an error.
    fn apply(
        &self,
        message: Self::Message,
        delivery: DeliveryInfo,
    ) -> impl Future<Output = Result<Completed, WorkerError>>;
}

/// The reasons why an instruction was not applied. A refusal is not one of them: it is an outcome, with an event.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A retry may succeed.
    #[error("{0}")]
    Transient(String),
    /// A retry may succeed after this delay.
    #[error("{0}")]
    RetryAfter(String, Duration),
    /// The rows contradict each other. Either part of a transaction was not visible yet, or there is a bug. The message
    /// is dead-lettered only from its third delivery on, because only an operator can redrive a dead letter.
    #[error("{0}")]
    Unexpected(String),
    /// A retry can never succeed: there is a bug, or the data is bad.
    #[error("{0}")]
    Permanent(String),
}

impl From<StoreError> for WorkerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::Retry { .. } => Self::Transient(error.to_string()),
            StoreError::Unexpected { .. } => Self::Unexpected(error.to_string()),
            StoreError::Broken { .. } => Self::Permanent(error.to_string()),
        }
    }
}

impl From<PublishError> for WorkerError {
    fn from(error: PublishError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<SendError> for WorkerError {
    fn from(error: SendError) -> Self {
        Self::Transient(error.to_string())
    }
}

/// The current delivery of a message, and the time that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// The delivery's number, counted from 1.
    pub receive_count: u32,
    /// Deliveries that remain before the message is dead-lettered.
    pub remaining: u32,
    /// The time that the invocation had left when it began. Applying is cut off earlier ([`RESERVED_TIME`]).
    pub timeout: Duration,
}

/// The result of applying a message.
#[derive(Debug)]
pub struct Completed {
    /// The outcome for the log, as one word.
    pub outcome: &'static str,
    /// The events to publish before the message is acknowledged.
    pub events: Vec<Event>,
}

/// Serves a worker's queue until the runtime ends. This is all that the `main` of a worker's function calls.
///
/// # Errors
/// Returns the environment's missing or invalid variables, or an error of the runtime.
pub fn serve<W: Worker>() -> Result<(), Error> {
    telemetry::init();
    block_on(async {
        let environment = Environment::of_process()?;
        let (worker, context) =
            environment.make(|environment| Ok((W::from_env(environment)?, WorkerContext::of::<W>(environment))))?;
        tokio::join!(worker.warm_up(), environment.aws.warm_up(W::CALLS));
        run(&|event| run_batch(&worker, &context, event).boxed_local()).await
    })
}

/// A closure that runs a batch. It is passed as `&dyn Fn` and returns a boxed future, so that the runtime is compiled
/// once, here, and not for each function.
type Batch<'a> = dyn Fn(LambdaEvent<SqsEvent>) -> LocalBoxFuture<'a, SqsBatchResponse> + 'a;

async fn run(batch: &Batch<'_>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event| Ok::<_, Error>(batch(event).await))).await
}

/// Runs a batch, as the module's documentation describes.
pub async fn run_batch<W: Worker>(
    worker: &W,
    context: &WorkerContext,
    event: LambdaEvent<SqsEvent>,
) -> SqsBatchResponse {
    handle(context, event, &|record, info, until| deliver(worker, record, info, until).boxed_local()).await
}

/// A closure that delivers a message to the worker. It is passed as `&dyn Fn`, like [`Batch`].
type Deliver<'a> = dyn Fn(SqsMessage, DeliveryInfo, Instant) -> LocalBoxFuture<'a, Delivery> + 'a;

async fn handle(context: &WorkerContext, event: LambdaEvent<SqsEvent>, deliver: &Deliver<'_>) -> SqsBatchResponse {
    let LambdaEvent { payload, context: lambda } = event;
    let (started, time) = (Instant::now(), clock::time_left(lambda.deadline));
    let reserving = |reserved: Duration| started + time.saturating_sub(reserved);
    let dead_letter_until = reserving(RESPONSE_BUDGET);
    let publish_until = reserving(RESPONSE_BUDGET + DEAD_LETTER_BUDGET);
    let apply_until = reserving(RESERVED_TIME);
    let delivery_info = |record: &SqsMessage| {
        let receive_count = receive_count(record);
        DeliveryInfo { receive_count, remaining: context.max_receives.saturating_sub(receive_count), timeout: time }
    };
    let delivering = |record| {
        let info = delivery_info(&record);
        deliver(record, info, apply_until)
    };
    let mut deliveries = join_all(payload.records.into_iter().map(delivering)).await;
    publish(context, &mut deliveries, publish_until).await;

    let failures = join_all(deliveries.into_iter().map(|delivery| settle(context, delivery, dead_letter_until))).await;
    context.metrics.flush();
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.into_iter().flatten().collect();
    response
}

/// A message on its way through an invocation.
struct Delivery {
    record: SqsMessage,
    started: Instant,
    /// The message's kind, if it is known.
    kind: Option<String>,
    /// The fields for the log, known once the message is read.
    fields: Option<LogFields>,
    /// The time from which the message waits, if the message states it.
    waits_since: Option<Timestamp>,
    result: Result<Completed, WorkerError>,
}

async fn deliver<W: Worker>(worker: &W, record: SqsMessage, info: DeliveryInfo, until: Instant) -> Delivery {
    let started = Instant::now();
    let body = record.body.as_deref().unwrap_or_default();
    let body = body.strip_prefix(crate::BYTE_ORDER_MARK).unwrap_or(body);
    let message: W::Message = match read(body) {
        Ok(message) => message,
        Err(reason) => {
            let other = other_kind(body, W::Message::KIND);
            let reason = match &other {
                Some(kind) => format!("a {kind} message in the queue of {}", W::NAME),
                None => format!("unreadable message: {reason}"),
            };
            return Delivery {
                record,
                started,
                kind: other,
                fields: None,
                waits_since: None,
                result: Err(WorkerError::Permanent(reason)),
            };
        }
    };
    let (kind, fields) = (Some(W::Message::KIND.to_owned()), Some(message.log_fields()));
    let waits_since = message.waits_since();
    let applying = AssertUnwindSafe(async { worker.apply(message, info).await }).catch_unwind();
    let result = match tokio::time::timeout_at(until.into(), applying).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(WorkerError::Permanent("the worker panicked".to_owned())),
        Err(_elapsed) => Err(WorkerError::Transient("no time was left".to_owned())),
    };
    Delivery { record, started, kind, fields, waits_since, result }
}

async fn publish(context: &WorkerContext, deliveries: &mut [Delivery], until: Instant) {
    let (mut owners, mut events) = (Vec::new(), Vec::new());
    for (index, delivery) in deliveries.iter_mut().enumerate() {
        if let Ok(completed) = &mut delivery.result {
            for event in completed.events.drain(..) {
                owners.push(index);
                events.push(event);
            }
        }
    }
    if events.is_empty() {
        return;
    }
    for (owner, result) in owners.into_iter().zip(context.publish(events, until).await) {
        if let Err(error) = result {
            deliveries[owner].result = Err(error);
        }
    }
}

/// Returns how often the message has been received, including this delivery.
fn receive_count(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// The next step for a message.
enum Disposition<'a> {
    /// The message is acknowledged.
    Ack(&'static str),
    /// The message is redelivered after the visibility timeout, or after this delay.
    Retry(&'a str, Option<Duration>),
    /// The message is sent to the dead-letter queue.
    DeadLetter(&'a str),
}

/// Acknowledges the message by returning `None`, or returns it as a batch item failure.
async fn settle(context: &WorkerContext, delivery: Delivery, until: Instant) -> Option<BatchItemFailure> {
    let receive_count = receive_count(&delivery.record);
    let message_id = delivery.record.message_id.as_deref().unwrap_or_default();
    let is_last = receive_count >= context.max_receives;
    let disposition = match &delivery.result {
        Ok(completed) => Disposition::Ack(completed.outcome),
        Err(WorkerError::Transient(reason)) if !is_last => Disposition::Retry(reason, None),
        Err(WorkerError::RetryAfter(reason, time)) if !is_last => Disposition::Retry(reason, Some(*time)),
        Err(WorkerError::Unexpected(reason)) if !is_last && receive_count < MOST_UNEXPECTED => {
            Disposition::Retry(reason, None)
        }
        Err(
            WorkerError::Transient(reason)
            | WorkerError::RetryAfter(reason, _)
            | WorkerError::Unexpected(reason)
            | WorkerError::Permanent(reason),
        ) => Disposition::DeadLetter(reason),
    };
    log(&delivery, message_id, receive_count, &disposition);
    let is_done = match disposition {
        Disposition::Ack(_) => true,
        Disposition::Retry(_, time) => {
            context.metrics.retried(age::at_retry(&delivery.record, delivery.waits_since, time, clock::now()));
            if let (Some(queue), Some(time)) = (&context.queue, time) {
                let handle = delivery.record.receipt_handle.as_deref().unwrap_or_default();
                if let Some(error) = in_time(queue.change_visibility(handle, time), until).await {
                    tracing::warn!(message_id, error, "the delay was not set: retried after the visibility timeout");
                }
            }
            false
        }
        Disposition::DeadLetter(reason) => {
            let body = delivery.record.body.as_deref().unwrap_or_default();
            let failure = in_time(context.dead_letters.dead_letter(body, reason, message_id), until).await;
            match &failure {
                None => context.metrics.dead_lettered(),
                Some(error) => {
                    tracing::error!(
                        message_id,
                        error,
                        "not sent to the dead-letter queue: the next delivery tries again, or SQS moves it"
                    );
                    context.metrics.failed();
                }
            }
            failure.is_none()
        }
    };
    let mut failure = BatchItemFailure::default();
    message_id.clone_into(&mut failure.item_identifier);
    (!is_done).then_some(failure)
}

/// Returns the error of a call that failed or did not end in time.
async fn in_time(call: impl Future<Output = Result<(), SendError>>, until: Instant) -> Option<String> {
    match tokio::time::timeout_at(until.into(), call).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_elapsed) => Some("no time was left".to_owned()),
    }
}

fn log(delivery: &Delivery, message_id: &str, receive_count: u32, disposition: &Disposition<'_>) {
    let (kind, fields) = (delivery.kind.as_deref(), delivery.fields.as_ref());
    let operation_id = fields.and_then(|fields| fields.operation_id.as_deref());
    let tenant = fields.map(|fields| fields.tenant.as_str());
    let cid = fields.and_then(|fields| fields.cid.as_deref());
    let duration_ms = u64::try_from(delivery.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match disposition {
        Disposition::Ack(outcome) => {
            tracing::info!(
                message_id,
                kind,
                operation_id,
                tenant,
                cid,
                receive_count,
                outcome,
                duration_ms,
                "message handled"
            );
        }
        Disposition::Retry(reason, time) => {
            let (outcome, wait_s) = ("RETRY", time.map(|time| time.as_secs()));
            tracing::warn!(
                message_id,
                kind,
                operation_id,
                tenant,
                cid,
                receive_count,
                outcome,
                reason,
                wait_s,
                duration_ms,
                "will be retried"
            );
        }
        Disposition::DeadLetter(reason) => {
            let outcome = "DEAD_LETTER";
            tracing::error!(
                message_id,
                kind,
                operation_id,
                tenant,
                cid,
                receive_count,
                outcome,
                reason,
                duration_ms,
                "moving to the dead-letter queue"
            );
        }
    }
}
