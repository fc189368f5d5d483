//! Batches of any messages, for any worker.
//!
//! Settings of an input:
//!
//! | | |
//! | --- | --- |
//! | `:worker NAME` | the function |
//! | `:receives NUMBER` | the receive count of the messages |
//! | `:dynamodb`, `:sqs`, `:events LETTERS` | the outcomes of calls: [`crate::aws::CallOutcome`] |
//! | `:response STATUS TEXT` | the response of a webhook's endpoint, and its `Retry-After`; without it: no response |
//! | `:card`, `:bulk`, … `JSON` | members of rows |
//! | `:expect WORD …` | in a seed: the outcome of each message: `done`, `back`, or `dead-lettered` |
//!
//! The body contains the messages, separated by a line `---`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lambda_events::sqs::SqsEvent;
use http::StatusCode;
use lambda_runtime::LambdaEvent;
use local_runner::{Visitor, visit};
use serde_json::{Value, json};
use shared::Error;
use shared::environment::Environment;
use shared::http::Endpoint;
use shared::worker::{
    Completed, DeliveryInfo, Publishing, QueueMessage, Worker, WorkerContext, WorkerError, run_batch,
};
use webhook_worker::client::{Response, SendError};
use webhook_worker::{BusEvent, WebhookWorker, classify_response};

use crate::Outcome;
use crate::aws::{Aws, Call, Service};
use crate::input::Input;
use crate::world::{self, DEAD_LETTERS, PIN, assert_no_secret, context, with_pin};

/// The separator of two messages.
pub(crate) const SEPARATOR: &str = "\n---\n";
/// Most messages in a batch: SQS's default.
const MAX_RECORDS: usize = 10;
/// Longest visibility timeout of a message (SQS).
const MAX_HIDDEN_SECONDS: i64 = 12 * 60 * 60;

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageOutcome {
    /// The message was deleted.
    Done,
    /// The message is received again after its visibility timeout.
    Retried,
    /// The message was dead-lettered.
    DeadLettered,
}

impl MessageOutcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "back",
            Self::DeadLettered => "dead-lettered",
        }
    }
}

/// All workers, set up as in their functions' `main`.
struct Workers {
    aws: Aws,
    endpoint: Arc<Mutex<Option<Response>>>,
    functions: BTreeMap<&'static str, Function>,
    /// Functions that return whether a text is a message of this kind.
    readers: BTreeMap<&'static str, fn(&str) -> bool>,
}

type Function = Box<dyn Fn(SqsEvent) -> Run + Send>;

/// The run of a batch.
struct Run {
    /// The message IDs that the worker reported as failed.
    named: Vec<String>,
    /// The IDs of each message's events. `None` if the message was not applied.
    applied: Vec<Option<Vec<String>>>,
}

static WORKERS: LazyLock<Mutex<Workers>> = LazyLock::new(|| Mutex::new(Workers::new()));

/// Returns whether a worker can read this text as a message of this kind.
#[must_use]
pub fn can_read(kind: &str, text: &str) -> bool {
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    workers.readers.get(kind).is_some_and(|read| read(text))
}

fn reads<M: QueueMessage>(text: &str) -> bool {
    serde_json::from_str::<M>(text.strip_prefix('\u{feff}').unwrap_or(text)).is_ok()
}

/// Runs the input's batch. The outcome's words are the outcomes of its messages. `None` if the input names no worker.
pub fn run(bytes: &[u8]) -> Option<Outcome> {
    let input = Input::read(bytes);
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let function = workers.functions.get(input.setting("worker")?)?;
    // SQS messages are text.
    let text = String::from_utf8_lossy(&with_pin(input.body)).into_owned();
    let bodies: Vec<&str> = text.split(SEPARATOR).take(MAX_RECORDS).collect();
    let receives = input.setting("receives").unwrap_or("1");
    let record = |(position, body): (usize, &&str)| {
        json!({
            "messageId": position.to_string(), "receiptHandle": "r", "body": body,
            "attributes": { "ApproximateReceiveCount": receives },
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
        })
    };
    let records: Vec<Value> = bodies.iter().enumerate().map(record).collect();
    let event = json!({ "Records": records }).to_string();

    workers.aws.begin(&input);
    *workers.endpoint.lock().unwrap() = input.setting("response").and_then(response);
    let _earlier = world::take_logs();
    let run = function(serde_json::from_str(&event).expect("an event that can be read"));
    let calls = workers.aws.take_calls();
    let logs = world::take_logs();
    let lines: Vec<String> = logs.lines().map(without_cid).collect();
    assert_no_secret(bytes, lines.iter().map(String::as_str));
    let words: Vec<_> = run.check(&bodies, &calls).into_iter().map(MessageOutcome::word).collect();
    let came_far = calls.iter().any(|call| call.service == Service::DynamoDb);
    Some(Outcome { word: words.join(" "), came_far })
}

/// Returns the response of a webhook's endpoint.
fn response(setting: &str) -> Option<Response> {
    let (status, retry_after) = setting.split_once(' ').unwrap_or((setting, ""));
    let retry_after = (!retry_after.is_empty()).then(|| retry_after.to_owned());
    Some(Response { status: StatusCode::from_bytes(status.as_bytes()).ok()?, retry_after })
}

/// Returns a line of the log without the correlation ID, which comes from the message.
fn without_cid(line: &str) -> String {
    let mut line: Value = serde_json::from_str(line).expect("a log in JSON");
    line["fields"]["cid"] = Value::Null;
    line.to_string()
}

impl Run {
    /// Returns the outcome of each message. Panics if a message was lost, or a promise broken.
    fn check(&self, bodies: &[&str], calls: &[Call]) -> Vec<MessageOutcome> {
        let named: BTreeSet<usize> = self.named.iter().map(|id| id.parse().expect("an ID of the batch's")).collect();
        assert_eq!(named.len(), self.named.len(), "an ID was named twice");
        assert!(named.iter().all(|position| *position < bodies.len()), "an ID that is not the batch's");
        let sent = calls.iter().filter(|call| call.service == Service::Sqs).flat_map(|call| &call.effects);
        let dead_lettered: Vec<usize> = sent.filter_map(|message| dead_letter_of(message, bodies)).collect();
        let hidden = calls
            .iter()
            .filter_map(|call| serde_json::from_str::<Value>(&call.request).unwrap()["VisibilityTimeout"].as_i64());
        hidden.for_each(|seconds| assert!((0..=MAX_HIDDEN_SECONDS).contains(&seconds), "hidden for {seconds} s"));
        let published: BTreeSet<&str> = calls
            .iter()
            .filter(|call| call.service == Service::EventBridge)
            .flat_map(|call| &call.effects)
            .map(|event| event["event_id"].as_str().unwrap())
            .collect();
        let outcome = |(position, applied): (usize, &Option<Vec<String>>)| {
            let times = dead_lettered.iter().filter(|other| **other == position).count();
            assert!(times + usize::from(named.contains(&position)) <= 1, "message {position} is in two places");
            if times == 1 {
                return MessageOutcome::DeadLettered;
            }
            if named.contains(&position) {
                return MessageOutcome::Retried;
            }
            let events = applied.as_ref().unwrap_or_else(|| panic!("message {position} is lost"));
            assert!(events.iter().all(|id| published.contains(id.as_str())), "an event of message {position} is lost");
            MessageOutcome::Done
        };
        assert_eq!(self.applied.len(), bodies.len());
        self.applied.iter().enumerate().map(outcome).collect()
    }
}

/// Returns the position of the message that this dead letter carries, if it is one. Checks that the body is
/// unchanged, and that the reason is one SQS accepts and reveals nothing of the message.
fn dead_letter_of(message: &Value, bodies: &[&str]) -> Option<usize> {
    if message["QueueUrl"] != DEAD_LETTERS {
        return None;
    }
    let attribute = |name: &str| message["MessageAttributes"][name]["StringValue"].as_str().unwrap();
    let position: usize = attribute("source_message_id").parse().expect("an ID of the batch's");
    assert_eq!(message["MessageBody"], bodies[position]);
    let reason = attribute("reason");
    assert!(!reason.is_empty() && reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reason}");
    assert!(!reason.contains(PIN) && !reason.contains("panicked"), "{reason}");
    Some(position)
}

/// A worker that records the events of each message that it applied.
struct Watched<W> {
    worker: W,
    applied: Mutex<Vec<Option<Vec<String>>>>,
}

impl<W: Worker> Worker for Watched<W> {
    const NAME: &'static str = W::NAME;
    const CALLS: &'static [shared::aws::Service] = W::CALLS;
    const EVENTS: Publishing = W::EVENTS;
    const SETS_DELAYS: bool = W::SETS_DELAYS;

    type Message = W::Message;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { worker: W::from_env(environment)?, applied: Mutex::default() })
    }

    async fn apply(&self, message: W::Message, delivery: DeliveryInfo) -> Result<Completed, WorkerError> {
        // A batch's messages are applied in their order, each as far as it gets.
        let position = self.note(None, None);
        let result = self.worker.apply(message, delivery).await;
        let ids = |done: &Completed| done.events.iter().map(|event| event.event_id.to_string()).collect();
        self.note(Some(position), result.as_ref().ok().map(ids));
        result
    }
}

impl<W> Watched<W> {
    /// Records the result of a message, in its position or a new one. Returns the position.
    fn note(&self, position: Option<usize>, events: Option<Vec<String>>) -> usize {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let position = position.unwrap_or(applied.len());
        let length = applied.len().max(position + 1);
        applied.resize(length, None);
        applied[position] = events;
        position
    }
}

/// Returns a function that runs batches with this worker and records its results.
fn function<W: Worker>(worker: Watched<W>, surroundings: WorkerContext) -> Function {
    Box::new(move |event| {
        let readable: Vec<bool> = event
            .records
            .iter()
            .map(|record| reads::<W::Message>(record.body.as_deref().unwrap_or_default()))
            .collect();
        worker.applied.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let batch = run_batch(&worker, &surroundings, LambdaEvent::new(event, context()));
        let response = world::runtime().block_on(batch);
        let named = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        let applied = std::mem::take(&mut *worker.applied.lock().unwrap_or_else(PoisonError::into_inner));
        let mut applied = applied.into_iter();
        let applied = readable.into_iter().map(|readable| if readable { applied.next().unwrap() } else { None });
        Run { named, applied: applied.collect() }
    })
}

/// The worker of webhooks, without the network.
struct Webhook(Arc<Mutex<Option<Response>>>);

impl Worker for Webhook {
    const NAME: &'static str = WebhookWorker::NAME;
    const CALLS: &'static [shared::aws::Service] = WebhookWorker::CALLS;
    const EVENTS: Publishing = WebhookWorker::EVENTS;
    const SETS_DELAYS: bool = WebhookWorker::SETS_DELAYS;

    type Message = BusEvent;

    fn from_env(_: &Environment) -> Result<Self, Error> {
        Ok(Self(Arc::default()))
    }

    async fn apply(&self, _: BusEvent, delivery: DeliveryInfo) -> Result<Completed, WorkerError> {
        let response = self.0.lock().unwrap().clone().ok_or(SendError::Time);
        classify_response(response, delivery.receive_count)
    }
}

impl Visitor for Workers {
    fn endpoint<E: Endpoint>(&mut self) {}

    fn worker<W: Worker>(&mut self) {
        self.readers.insert(W::Message::KIND, reads::<W::Message>);
        let environment = world::environment(&self.aws.clients, W::NAME);
        let function = if W::NAME == WebhookWorker::NAME {
            let worker = Watched { worker: Webhook(Arc::clone(&self.endpoint)), applied: Mutex::default() };
            function(worker, WorkerContext::of::<Webhook>(&environment))
        } else {
            let worker = environment.make(Watched::<W>::from_env).unwrap();
            function(worker, WorkerContext::of::<W>(&environment))
        };
        self.functions.insert(W::NAME, function);
    }
}

impl Workers {
    fn new() -> Self {
        world::keep_logs();
        let (functions, readers) = (BTreeMap::new(), BTreeMap::new());
        let mut workers = Self { aws: Aws::new(), endpoint: Arc::default(), functions, readers };
        visit(&mut workers);
        workers
    }
}
