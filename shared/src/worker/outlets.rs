//! What a worker is given by its environment: where its events and its messages go.

use crate::aws::Aws;
use crate::config::{self, ConfigError};
use crate::events::EventBus;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Where a worker's results go.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// The bus that events are published on.
    pub bus: EventBus,
    /// Where messages go that were not handled.
    pub returns: Returns,
}

/// Where messages go that were not handled.
#[derive(Debug, Clone)]
pub struct Returns {
    /// The worker's own queue, of a worker that says how long a message waits.
    pub queue: Option<Queue>,
    /// Where messages end that cannot be handled.
    pub dead_letters: Queue,
    /// The queue's `maxReceiveCount`: the delivery after which SQS gives a message up.
    pub max_receives: u32,
    /// Counts what becomes of messages, and, with the bus, of instructions.
    pub metrics: Metrics,
}

impl Outlets {
    /// Those of the environment; `dead_letters` is the variable that names the dead-letter queue.
    ///
    /// # Errors
    /// Names the variables that are missing.
    pub fn from_env(aws: &Aws, dead_letters: &'static str) -> Result<Self, ConfigError> {
        let [bus, dead_letters] = config::required(["EVENT_BUS_NAME", dead_letters])?;
        let returns = Returns::from_env(aws, None, dead_letters)?;
        Ok(Self { bus: EventBus::new(aws.eventbridge(), bus, returns.metrics.clone()), returns })
    }
}

impl Returns {
    /// To these queues, by their URLs; the rest is the environment's.
    ///
    /// # Errors
    /// Names the variables that are missing.
    pub fn from_env(aws: &Aws, queue: Option<String>, dead_letters: String) -> Result<Self, ConfigError> {
        Ok(Self {
            queue: queue.map(|queue| Queue::new(aws.sqs(), queue)),
            dead_letters: Queue::new(aws.sqs(), dead_letters),
            max_receives: config::required_number("MAX_RECEIVES")?,
            metrics: Metrics::from_env()?,
        })
    }
}
