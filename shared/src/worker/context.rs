//! What surrounds a worker: where its events go, and where messages go that were not handled.

use std::fmt;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{Worker, WorkerError};
use crate::domain::event::Event;
use crate::environment::Environment;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Publishes events until then; returns what became of each.
type Publish = Box<dyn Fn(Vec<Event>, Instant) -> LocalBoxFuture<'static, Vec<Result<(), WorkerError>>> + Send + Sync>;

/// How a worker's events are published. (Not an enum, or every worker would link the client of `EventBridge`.)
#[derive(Debug, Clone, Copy)]
pub struct Publishing(fn(&Environment) -> Publish);

impl Publishing {
    /// On the bus.
    pub const ON_THE_BUS: Self = Self(|environment| {
        let bus = environment.bus();
        Box::new(move |events, until| {
            let bus = bus.clone();
            async move {
                let published = bus.publish(&events, until).await;
                published.into_iter().map(|result| result.map_err(WorkerError::from)).collect()
            }
            .boxed_local()
        })
    });
    /// Not at all: the worker has no events.
    pub const NONE: Self = Self(|_| {
        Box::new(|events, _| {
            let lost = |_| Err(WorkerError::Permanent("an event of a worker that publishes none".to_owned()));
            std::future::ready(events.iter().map(lost).collect()).boxed_local()
        })
    });
}

/// What surrounds a worker.
pub struct WorkerContext {
    publish: Publish,
    /// The worker's own queue, of a worker that says how long a message waits.
    pub(super) queue: Option<Queue>,
    /// Where messages end that cannot be handled.
    pub(super) dead_letters: Queue,
    /// The queue's `maxReceiveCount`: the delivery after which SQS gives a message up.
    pub(super) max_receives: u32,
    /// Counts what becomes of messages, and, with the bus, of instructions.
    pub(super) metrics: Metrics,
}

impl WorkerContext {
    /// Returns that of this worker.
    #[must_use]
    pub fn of<W: Worker>(environment: &Environment) -> Self {
        Self {
            publish: (W::EVENTS.0)(environment),
            queue: W::SETS_DELAYS.then(|| environment.queue(W::NAME)),
            dead_letters: environment.dead_letters(W::NAME),
            max_receives: environment.number("MAX_RECEIVES"),
            metrics: environment.metrics.clone(),
        }
    }

    /// Publishes the events until then; returns what became of each.
    pub(super) async fn publish(&self, events: Vec<Event>, until: Instant) -> Vec<Result<(), WorkerError>> {
        (self.publish)(events, until).await
    }
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, dead_letters, max_receives, .. } = self;
        let mut form = f.debug_struct("WorkerContext");
        form.field("queue", queue).field("dead_letters", dead_letters).field("max_receives", max_receives).finish()
    }
}
