//! A worker's event bus, queues and metrics.

use std::fmt;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{Worker, WorkerError};
use crate::domain::event::Event;
use crate::environment::Environment;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// A function that publishes events until the given time and returns a result for each event.
type Publish = Box<dyn Fn(Vec<Event>, Instant) -> LocalBoxFuture<'static, Vec<Result<(), WorkerError>>> + Send + Sync>;

/// The way in which a worker publishes events. An enum would make every worker link the `EventBridge` client.
#[derive(Debug, Clone, Copy)]
pub struct Publishing(fn(&Environment) -> Publish);

impl Publishing {
    /// Publishes on the event bus.
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
    /// Publishes nothing, because the worker has no events.
    pub const NONE: Self = Self(|_| {
        Box::new(|events, _| {
            let lost = |_| Err(WorkerError::Permanent("this worker publishes no events".to_owned()));
            std::future::ready(events.iter().map(lost).collect()).boxed_local()
        })
    });
}

/// The worker's event bus, queues and metrics.
pub struct WorkerContext {
    publish: Publish,
    /// The worker's own queue, if the worker sets the delays of messages.
    pub(super) queue: Option<Queue>,
    /// The dead-letter queue.
    pub(super) dead_letters: Queue,
    /// The queue's `maxReceiveCount`. After that many deliveries, SQS dead-letters a message.
    pub(super) max_receives: u32,
    /// The metrics of messages and, together with the bus, of instructions.
    pub(super) metrics: Metrics,
}

impl WorkerContext {
    /// Returns the context of worker `W`.
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

    /// Publishes the events until the given time, and returns a result for each.
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
