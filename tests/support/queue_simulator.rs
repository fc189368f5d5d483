//! A simulated queue. A test delivers its messages repeatedly, in random batches and order, to functions that it kills
//! at random. Messages that a function does not acknowledge return to the queue, and messages that it sends are added.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use crate::contract::queue_of;
use crate::function::{Function, Invocation};
use crate::lineage::Lineage;
use crate::payloads::{Sent, batch_of, failed};
use crate::proxy::{Call, Moment, Proxy, Step};
use crate::test_env::{TestEnv, drain};

/// A function whose calls go through a proxy, and that can be killed between any two of them. It sees a transaction's
/// rows become visible one by one, as all such functions of its environment do.
pub struct KillableFunction {
    function: Function,
    /// The number of moments, before or after a call, until it is killed.
    kill_after: Arc<Mutex<Option<u32>>>,
}

impl KillableFunction {
    /// Creates the function of this name, with this environment's resources. `hook` is the proxy's hook.
    pub async fn new(
        env: &TestEnv,
        name: &str,
        mut hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static,
    ) -> Self {
        let kill_after = Arc::new(Mutex::new(None::<u32>));
        let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
        let (burning, kill) = (Arc::clone(&kill_after), Arc::clone(&killer));
        let headers = Arc::clone(&env.trace_headers);
        let url = Proxy::before(&env.dynamodb_url)
            .commits(&env.commits)
            .start(move |call, moment| {
                let mut burning = burning.lock().unwrap();
                match *burning {
                    Some(0) => {
                        kill.get().unwrap()();
                        return Step::Cut;
                    }
                    Some(left) => *burning = Some(left - 1),
                    None => {}
                }
                if moment == Moment::Before && call.target == "AmazonSQS.SendMessageBatch" {
                    let messages = messages_of(&serde_json::from_slice(call.body).unwrap()).into_iter();
                    headers.lock().unwrap().extend(messages.filter_map(|sent| Some((sent.body, sent.trace_header?))));
                }
                hook(call, moment)
            })
            .await;
        let function = Function::new(name, env.environment_behind(&url)).await;
        killer.set(Box::new(function.killer())).ok().unwrap();
        Self { function, kill_after }
    }

    /// Returns the function with its clock off by this many seconds.
    #[must_use]
    pub fn skewed(self, seconds: i64) -> Self {
        Self { function: self.function.skewed(seconds), ..self }
    }

    /// Returns the function without `RecursiveLoop: Allow`.
    #[must_use]
    pub fn terminated(self) -> Self {
        Self { function: self.function.terminated(), ..self }
    }

    /// Returns the function with the longest timeout that the template allows.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { function: self.function.patient(), ..self }
    }

    /// Invokes it with this event, and kills it after `kill_after` moments, each before or after a call.
    pub async fn invoke(&self, event: Value, kill_after: Option<u32>) -> Invocation {
        *self.kill_after.lock().unwrap() = kill_after;
        self.function.invoke(event).await
    }
}

/// Returns the messages of a `SendMessageBatch` request.
#[must_use]
pub fn messages_of(request: &Value) -> Vec<Sent> {
    let header =
        |entry: &Value| entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].as_str().map(Into::into);
    let body = |entry: &Value| entry["MessageBody"].as_str().unwrap().to_owned();
    let entries = request["Entries"].as_array().unwrap().iter();
    entries.map(|entry| Sent { body: body(entry), trace_header: header(entry) }).collect()
}

/// The way in which messages are delivered. By default each is delivered once, and no function crashes.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Most messages of one batch.
    pub batch: usize,
    /// The number of copies of each message that a worker sends.
    pub copies: usize,
    /// Moments, before or after a call, in which a crash can happen for each message.
    pub moments: u32,
    /// The probability that an invocation crashes.
    pub crash: f64,
    /// The visibility timeout: the time until a message that was not acknowledged can be received again.
    pub visibility: Duration,
    /// The longest time from sending a message until it can be received.
    pub delay: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { batch: 10, copies: 1, moments: 1, crash: 0.0, visibility: Duration::ZERO, delay: Duration::ZERO }
    }
}

/// A message that waits for a worker.
#[derive(Debug)]
struct Waiting {
    message: Sent,
    /// The name of its queue.
    queue: String,
    /// The number of times it was received before.
    receive_count: u32,
    /// The time from which it can be received.
    visible: Instant,
}

impl Waiting {
    fn new(message: Sent) -> Self {
        let queue = queue_of(&message.body);
        Self { message, queue, receive_count: 0, visible: Instant::now() }
    }
}

/// The counts of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryStats {
    /// Messages that were passed to a worker.
    pub deliveries: usize,
    /// Invocations that crashed.
    pub crashes: usize,
    /// Invocations of the longest chain.
    pub longest_chain: u32,
    /// Messages that Lambda dropped, because their chains would have been too long.
    pub stopped: usize,
}

/// The messages that wait for workers, and the number of busy workers.
#[derive(Debug)]
pub struct QueueSimulator {
    state: Mutex<QueueState>,
    how: Delivery,
}

#[derive(Debug)]
struct QueueState {
    waiting: Vec<Waiting>,
    busy: usize,
    /// True while senders other than workers may add messages.
    is_open: bool,
    /// True once crashes have been stopped.
    is_stopped: bool,
    stats: DeliveryStats,
    rng: Rng,
}

impl QueueSimulator {
    /// Creates a queue of these messages. A message that is listed twice is delivered twice.
    #[must_use]
    pub fn of<T: Into<Sent>>(messages: Vec<T>, how: Delivery, rng: Rng) -> Self {
        let waiting = messages.into_iter().map(|message| Waiting::new(message.into())).collect();
        Self {
            state: Mutex::new(QueueState {
                waiting,
                busy: 0,
                is_open: false,
                is_stopped: false,
                stats: DeliveryStats::default(),
                rng,
            }),
            how,
        }
    }

    /// Creates an empty queue, to which messages can be added until it is closed.
    #[must_use]
    pub fn open(how: Delivery, rng: Rng) -> Self {
        let queues = Self::of(Vec::<Sent>::new(), how, rng);
        queues.state.lock().unwrap().is_open = true;
        queues
    }

    /// Closes the queue. From now on only workers add messages.
    pub fn close(&self) {
        self.state.lock().unwrap().is_open = false;
    }

    /// Stops all crashes from now on.
    pub fn stop(&self) {
        self.state.lock().unwrap().is_stopped = true;
    }

    /// Adds messages, each with as many copies as those that workers send.
    pub fn add(&self, messages: Vec<String>) {
        self.state.lock().unwrap().add(messages.into_iter().map(Sent::from).collect(), &self.how);
    }

    /// Returns the counts so far.
    pub fn stats(&self) -> DeliveryStats {
        self.state.lock().unwrap().stats
    }

    /// Runs one worker until no message is left.
    pub async fn run_worker(&self, env: &TestEnv, name: &str, worker: &KillableFunction) {
        loop {
            let Some(taken) = self.take(name) else { return };
            if taken.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            let moments = self.how.moments * u32::try_from(taken.len()).unwrap() + 2;
            let kill_after = self.kill_after(moments);
            let event = batch_of(&taken);
            let chain = Lineage::of(name, &event).count;
            let invocation = worker.invoke(event, kill_after).await;
            let sent = env.take_sent().await;
            env.gather_events().await;
            self.settle(taken, invocation, sent, chain);
        }
    }

    /// Draws after which of `moments` moments an invocation is killed, or `None` if it is not.
    pub fn kill_after(&self, moments: u32) -> Option<u32> {
        let mut state = self.state.lock().unwrap();
        (!state.is_stopped && state.rng.f64() < self.how.crash).then(|| state.rng.u32(0..moments))
    }

    /// Receives some of the messages for this worker, in random order. Returns `None` once no message is left.
    fn take(&self, name: &str) -> Option<Vec<(Sent, u32)>> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        if state.waiting.is_empty() && state.busy == 0 && !state.is_open {
            return None;
        }
        state.rng.shuffle(&mut state.waiting);
        let now = Instant::now();
        let is_mine =
            |waiting: &Waiting| waiting.visible <= now && name.strip_suffix("-worker") == Some(&waiting.queue);
        let (mut mine, others): (Vec<_>, Vec<_>) = state.waiting.drain(..).partition(is_mine);
        state.waiting = others;
        let taken = mine.split_off(mine.len() - mine.len().min(state.rng.usize(1..=self.how.batch)));
        state.waiting.extend(mine);
        state.busy += usize::from(!taken.is_empty());
        state.stats.deliveries += taken.len();
        Some(taken.into_iter().map(|Waiting { message, receive_count, .. }| (message, receive_count + 1)).collect())
    }

    fn settle(&self, taken: Vec<(Sent, u32)>, invocation: Invocation, sent: Vec<Sent>, chain: u32) {
        let mut state = self.state.lock().unwrap();
        state.busy -= 1;
        if invocation != Invocation::Stopped {
            state.stats.longest_chain = state.stats.longest_chain.max(chain);
        }
        match invocation {
            Invocation::Responded(payload) => {
                let failed = failed(&payload);
                let back = taken.into_iter().enumerate().filter(|(position, _)| failed.contains(position));
                let visible = Instant::now() + self.how.visibility;
                state.waiting.extend(back.map(|(_, (message, receive_count))| Waiting {
                    receive_count,
                    visible,
                    ..Waiting::new(message)
                }));
            }
            Invocation::Crashed => {
                state.stats.crashes += 1;
                // Crashes do not count as receives here: only real failures may produce a dead letter.
                state.waiting.extend(taken.into_iter().map(|(message, _)| Waiting::new(message)));
            }
            Invocation::Failed(error) => panic!("{error}"),
            Invocation::Stopped => state.stats.stopped += taken.len(),
        }
        state.add(sent, &self.how);
    }
}

impl QueueState {
    fn add(&mut self, messages: Vec<Sent>, how: &Delivery) {
        for message in messages {
            let mut visible = Instant::now();
            for copy in 0..how.copies {
                // Half of the copies arrive together. Otherwise two workers would rarely meet in a transaction.
                if copy == 0 || self.rng.bool() {
                    visible = Instant::now() + how.delay.mul_f64(self.rng.f64());
                }
                self.waiting.push(Waiting { visible, ..Waiting::new(message.clone()) });
            }
        }
    }
}

/// Delivers the messages to workers, each one process of the named function, kills these at random moments, and returns
/// when no message is left. Panics if a message was dead-lettered.
pub async fn deliver_with_crashes(
    env: &TestEnv,
    workers: &[&str],
    messages: Vec<String>,
    how: Delivery,
    rng: Rng,
) -> DeliveryStats {
    let queues = QueueSimulator::of(messages, how, rng);
    let run_worker = async |name: &&str| {
        // A slow machine must not cause timeouts, which would use up the messages' receives.
        let worker = KillableFunction::new(env, name, |_, _| Step::Pass).await.patient();
        queues.run_worker(env, name, &worker).await;
    };
    futures_util::future::join_all(workers.iter().map(run_worker)).await;
    let dead_letters = drain(&env.sqs, &env.dlq_url).await;
    assert!(dead_letters.is_empty(), "messages were dead-lettered: {dead_letters:#?}");
    assert_eq!(queues.stats().stopped, 0, "a chain is too long for Lambda");
    queues.stats()
}
