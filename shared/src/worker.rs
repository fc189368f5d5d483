//! What every worker does around its own instruction.
//!
//! 1. Each record of the batch is read on its own: one bad message never blocks or fails the others.
//! 2. All instructions of the batch are applied concurrently. Applying is the worker's own part; it
//!    must change nothing more when it is repeated, and answers the events that say what it came to.
//! 3. The events of all messages are published together. (What must follow its events, as the end of an
//!    operation follows those of its chunks, is the worker's own part, and so are those events.)
//! 4. A message is let go only if it was applied **and** all its events are out. Everything else comes
//!    back after the visibility timeout, or the time that its worker says, and so is repeated from the start.
//!
//! The race: the process can die between any two steps. What it had not let go is delivered again,
//! finds its own marks and its stored outcome, and publishes the same events once more.
//!
//! A message that can never be handled is put into the dead-letter queue here, with its reason, rather
//! than be tried until SQS moves it there without one. So is one whose last try failed. Should that
//! fail, SQS's redrive policy still moves it.

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
use crate::environment::Environment;
use crate::events::PublishError;
use crate::queue::SendError;
use crate::store::StoreError;
use crate::{Error, block_on, clock, telemetry};

pub use context::{Publishing, WorkerContext};
pub use message::{LogFields, QueueMessage};
use message::{other_kind, read};

// Of an invocation's time, some is kept back, so that each phase ends while the next can still be done.

/// For publishing.
const PUBLISH_BUDGET: Duration = Duration::from_millis(500);
/// For dead-lettering.
const DEAD_LETTER_BUDGET: Duration = Duration::from_millis(300);
/// For answering.
const RESPONSE_BUDGET: Duration = Duration::from_millis(100);
/// For all of these: what is left is for applying.
pub const RESERVED_TIME: Duration = RESPONSE_BUDGET.saturating_add(DEAD_LETTER_BUDGET).saturating_add(PUBLISH_BUDGET);

/// Deliveries of a message that find what cannot be before it is given up. Ours.
const MOST_UNEXPECTED: u32 = 3;

/// A worker: the function that applies the messages of one queue.
pub trait Worker: Sized + Send + Sync + 'static {
    /// The function's name. The variables of its queues derive from it.
    const NAME: &'static str;
    /// What every message calls, and so is connected to before the first.
    const CALLS: &'static [Service];
    /// How its events are published.
    const EVENTS: Publishing = Publishing::ON_THE_BUS;
    /// Whether [`WorkerError::RetryAfter`] says how long a message waits. Such a worker needs its queue's URL; without it, a message
    /// waits for the queue's visibility timeout.
    const SETS_DELAYS: bool = false;

    /// What it receives.
    type Message: QueueMessage;

    /// Makes the worker of what its environment names.
    ///
    /// # Errors
    /// If something of its own cannot be made; missing variables are noted in `environment`.
    fn from_env(environment: &Environment) -> Result<Self, Error>;

    /// Reads in advance what the first message would otherwise wait for. What fails here is left to that.
    fn warm_up(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Applies a message. It must change nothing more when it is repeated, and must return the same events.
    ///
    /// # Errors
    /// Says whether, and when, the message is to be tried again. A refused instruction is an outcome, not an error.
    fn apply(
        &self,
        message: Self::Message,
        attempt: DeliveryInfo,
    ) -> impl Future<Output = Result<Completed, WorkerError>>;
}

/// Why an instruction was not applied. A refusal is none of these: it is an outcome, with an event.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It may work later.
    #[error("{0}")]
    Transient(String),
    /// It may work after this time.
    #[error("{0}")]
    RetryAfter(String, Duration),
    /// What was found cannot be, unless it was not all to be seen yet. It is tried again a few times before it is given up,
    /// since nobody but an operator mends what is given up.
    #[error("{0}")]
    Unexpected(String),
    /// It will never work: a bug, or bad data.
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

/// Which delivery of its message a worker is at, and how long it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryInfo {
    /// Which delivery it is, from 1.
    pub receive_count: u32,
    /// Deliveries that are left before the message is given up.
    pub remaining: u32,
    /// The time that the invocation has: it ends before that.
    pub timeout: Duration,
}

/// What a message came to.
#[derive(Debug)]
pub struct Completed {
    /// One word for the log.
    pub outcome: &'static str,
    /// What is to be published before the message is let go.
    pub events: Vec<Event>,
}

/// Serves a worker's queue, until the runtime ends: all of its function's `main`.
///
/// # Errors
/// Names what the environment lacks; else those of the runtime.
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

/// Runs a batch. Boxed, so that the runtime is compiled here once, and not with each function.
type Batch<'a> = dyn Fn(LambdaEvent<SqsEvent>) -> LocalBoxFuture<'a, SqsBatchResponse> + 'a;

async fn run(batch: &Batch<'_>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event| Ok::<_, Error>(batch(event).await))).await
}

/// Runs a batch; see the module's own words.
pub async fn run_batch<W: Worker>(
    worker: &W,
    context: &WorkerContext,
    event: LambdaEvent<SqsEvent>,
) -> SqsBatchResponse {
    handle(context, event, &|record, attempt, until| deliver(worker, record, attempt, until).boxed_local()).await
}

/// Delivers a message to the worker. Boxed like [`Batch`].
type Deliver<'a> = dyn Fn(SqsMessage, DeliveryInfo, Instant) -> LocalBoxFuture<'a, Delivery> + 'a;

async fn handle(context: &WorkerContext, event: LambdaEvent<SqsEvent>, deliver: &Deliver<'_>) -> SqsBatchResponse {
    let LambdaEvent { payload, context: lambda } = event;
    let (started, time) = (Instant::now(), clock::time_left(lambda.deadline));
    let reserving = |kept: Duration| started + time.saturating_sub(kept);
    let dead_letter_until = reserving(RESPONSE_BUDGET);
    let publish_until = reserving(RESPONSE_BUDGET + DEAD_LETTER_BUDGET);
    let apply_until = reserving(RESERVED_TIME);
    let attempt = |record: &SqsMessage| {
        let receive_count = receive_count(record);
        DeliveryInfo { receive_count, remaining: context.max_receives.saturating_sub(receive_count), timeout: time }
    };
    let delivering = |record| {
        let attempt = attempt(&record);
        deliver(record, attempt, apply_until)
    };
    let mut deliveries = join_all(payload.records.into_iter().map(delivering)).await;
    publish(context, &mut deliveries, publish_until).await;

    let failures = join_all(deliveries.into_iter().map(|delivery| settle(context, delivery, dead_letter_until))).await;
    context.metrics.flush();
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.into_iter().flatten().collect();
    response
}

/// One message on its way through an invocation.
struct Delivery {
    record: SqsMessage,
    started: Instant,
    /// The message's kind, as far as it is known.
    kind: Option<String>,
    /// Known once the message was read.
    about: Option<LogFields>,
    result: Result<Completed, WorkerError>,
}

async fn deliver<W: Worker>(worker: &W, record: SqsMessage, attempt: DeliveryInfo, until: Instant) -> Delivery {
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
            return Delivery { record, started, kind: other, about: None, result: Err(WorkerError::Permanent(reason)) };
        }
    };
    let (kind, about) = (Some(W::Message::KIND.to_owned()), Some(message.log_fields()));
    let applying = AssertUnwindSafe(async { worker.apply(message, attempt).await }).catch_unwind();
    let result = match tokio::time::timeout_at(until.into(), applying).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(WorkerError::Permanent("the worker panicked".to_owned())),
        Err(_elapsed) => Err(WorkerError::Transient("no time was left".to_owned())),
    };
    Delivery { record, started, kind, about, result }
}

async fn publish(context: &WorkerContext, deliveries: &mut [Delivery], until: Instant) {
    let (mut owners, mut events) = (Vec::new(), Vec::new());
    for (index, delivery) in deliveries.iter_mut().enumerate() {
        if let Ok(applied) = &mut delivery.result {
            for event in applied.events.drain(..) {
                owners.push(index);
                events.push(event);
            }
        }
    }
    if events.is_empty() {
        return;
    }
    for (owner, disposition) in owners.into_iter().zip(context.publish(events, until).await) {
        if let Err(failure) = disposition {
            deliveries[owner].result = Err(failure);
        }
    }
}

/// How often the message was delivered, this time included.
fn receive_count(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// What happens to a message next.
enum Disposition<'a> {
    /// It is done.
    Ack(&'static str),
    /// It comes back after the visibility timeout, or this time.
    Retry(&'a str, Option<Duration>),
    /// It goes into the dead-letter queue.
    DeadLetter(&'a str),
}

/// Lets the message go (`None`), or names it as failed.
async fn settle(context: &WorkerContext, delivery: Delivery, until: Instant) -> Option<BatchItemFailure> {
    let receive_count = receive_count(&delivery.record);
    let message_id = delivery.record.message_id.as_deref().unwrap_or_default();
    let is_last = receive_count >= context.max_receives;
    let disposition = match &delivery.result {
        Ok(applied) => Disposition::Ack(applied.outcome),
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
    let gone = match disposition {
        Disposition::Ack(_) => true,
        Disposition::Retry(_, time) => {
            context.metrics.retried();
            if let (Some(queue), Some(time)) = (&context.queue, time) {
                let handle = delivery.record.receipt_handle.as_deref().unwrap_or_default();
                if let Some(error) = in_time(queue.change_visibility(handle, time), until).await {
                    tracing::warn!(message_id, error, "comes back after the visibility timeout");
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
                    tracing::error!(message_id, error, "left for SQS to dead-letter");
                    context.metrics.failed();
                }
            }
            failure.is_none()
        }
    };
    let mut failure = BatchItemFailure::default();
    message_id.clone_into(&mut failure.item_identifier);
    (!gone).then_some(failure)
}

/// Why the call failed, if it did.
async fn in_time(call: impl Future<Output = Result<(), SendError>>, until: Instant) -> Option<String> {
    match tokio::time::timeout_at(until.into(), call).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_elapsed) => Some("no time was left".to_owned()),
    }
}

fn log(delivery: &Delivery, message_id: &str, receive_count: u32, disposition: &Disposition<'_>) {
    let (kind, about) = (delivery.kind.as_deref(), delivery.about.as_ref());
    let operation_id = about.and_then(|about| about.operation_id.as_deref());
    let tenant = about.map(|about| about.tenant.as_str());
    let cid = about.and_then(|about| about.cid.as_deref());
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
                "not yet"
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
                "given up"
            );
        }
    }
}
