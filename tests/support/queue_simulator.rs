//! Messages on their way: a test delivers them, in random batches and order and as often as it likes, to functions
//! that it kills meanwhile. What a function had not let go comes back; what it sends to its own queue joins in.

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

/// A function whose calls go through a proxy, and that can be killed between any two of them. It sees transactions row
/// by row, as all of its env do.
pub struct KillableFunction {
    function: Function,
    /// Calls until it is killed, before or after one of them.
    kill_after: Arc<Mutex<Option<u32>>>,
}

impl KillableFunction {
    /// The function of this name on this env. `hook` is the proxy's.
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

    /// The same function, whose clock is wrong by so many seconds.
    #[must_use]
    pub fn skewed(self, seconds: i64) -> Self {
        Self { function: self.function.skewed(seconds), ..self }
    }

    /// The same function, whose `RecursiveLoop` is not set.
    #[must_use]
    pub fn terminated(self) -> Self {
        Self { function: self.function.terminated(), ..self }
    }

    /// The same function, with the longest timeout that the template allows.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { function: self.function.patient(), ..self }
    }

    /// Hands it this event, and kills it after so many moments before or after a call.
    pub async fn invoke(&self, event: Value, kill_after: Option<u32>) -> Invocation {
        *self.kill_after.lock().unwrap() = kill_after;
        self.function.invoke(event).await
    }
}

/// The messages of a `SendMessageBatch`.
#[must_use]
pub fn messages_of(request: &Value) -> Vec<Sent> {
    let header =
        |entry: &Value| entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].as_str().map(Into::into);
    let body = |entry: &Value| entry["MessageBody"].as_str().unwrap().to_owned();
    let entries = request["Entries"].as_array().unwrap().iter();
    entries.map(|entry| Sent { body: body(entry), trace_header: header(entry) }).collect()
}

/// How messages are delivered. By default once, and nobody dies.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Most messages of one batch.
    pub batch: usize,
    /// How often a message is delivered that a worker sends to its own queue.
    pub copies: usize,
    /// Calls of the worker for one message, each with a moment before and one after.
    pub moments: u32,
    /// How likely a death is in an invocation.
    pub crash: f64,
    /// After how long a message comes back that was not let go.
    pub visibility: Duration,
    /// How long a message is on its way at most.
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
    /// The queue that it is in.
    queue: String,
    /// How often it was received before.
    receives: u32,
    /// When it may be received again.
    visible: Instant,
}

impl Waiting {
    fn new(message: Sent) -> Self {
        let queue = queue_of(&message.body);
        Self { message, queue, receives: 0, visible: Instant::now() }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryStats {
    /// Messages that were handed to a worker.
    pub deliveries: usize,
    /// Workers that died.
    pub crashes: usize,
    /// Invocations of the longest chain.
    pub longest_chain: u32,
    /// Messages that Lambda did not hand to a worker: their chains would have been too long. They are gone.
    pub stopped: usize,
}

/// Messages on their way, and how many workers are busy with others.
#[derive(Debug)]
pub struct QueueSimulator {
    state: Mutex<QueueState>,
    how: Delivery,
}

#[derive(Debug)]
struct QueueState {
    waiting: Vec<Waiting>,
    busy: usize,
    /// Whether others than workers may still send.
    is_open: bool,
    /// Whether nothing dies any more.
    is_stopped: bool,
    stats: DeliveryStats,
    rng: Rng,
}

impl QueueSimulator {
    /// These messages, each as often as it is listed, and what comes of them.
    #[must_use]
    pub fn of<T: Into<Sent>>(messages: Vec<T>, how: Delivery, rng: Rng) -> Self {
        let waiting = messages.into_iter().map(|message| Waiting::new(message.into())).collect();
        Self {
            state: Mutex::new(QueueState { waiting, busy: 0, is_open: false, is_stopped: false, stats: DeliveryStats::default(), rng }),
            how,
        }
    }

    /// No message yet; they come until it is closed.
    #[must_use]
    pub fn open(how: Delivery, rng: Rng) -> Self {
        let queues = Self::of(Vec::<Sent>::new(), how, rng);
        queues.state.lock().unwrap().is_open = true;
        queues
    }

    /// Nothing comes any more but from workers.
    pub fn close(&self) {
        self.state.lock().unwrap().is_open = false;
    }

    /// Nothing dies any more.
    pub fn stop(&self) {
        self.state.lock().unwrap().is_stopped = true;
    }

    /// Adds messages, each as often as those that workers send.
    pub fn add(&self, messages: Vec<String>) {
        self.state.lock().unwrap().add(messages.into_iter().map(Sent::from).collect(), &self.how);
    }

    /// How it went so far.
    pub fn stats(&self) -> DeliveryStats {
        self.state.lock().unwrap().stats
    }

    /// One worker's part, until nothing is left.
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

    /// When something dies that makes at most so many moments, if it does.
    pub fn kill_after(&self, moments: u32) -> Option<u32> {
        let mut state = self.state.lock().unwrap();
        (!state.is_stopped && state.rng.f64() < self.how.crash).then(|| state.rng.u32(0..moments))
    }

    /// Some of the messages for this worker, in random order; `None` once all is done.
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
        Some(taken.into_iter().map(|Waiting { message, receives, .. }| (message, receives + 1)).collect())
    }

    fn settle(&self, taken: Vec<(Sent, u32)>, invocation: Invocation, sent: Vec<Sent>, chain: u32) {
        let mut state = self.state.lock().unwrap();
        state.busy -= 1;
        if invocation != Invocation::Stopped {
            state.stats.longest_chain = state.stats.longest_chain.max(chain);
        }
        match invocation {
            Invocation::Responded(answer) => {
                let failed = failed(&answer);
                let back = taken.into_iter().enumerate().filter(|(position, _)| failed.contains(position));
                let visible = Instant::now() + self.how.visibility;
                state.waiting.extend(back.map(|(_, (message, receives))| Waiting {
                    receives,
                    visible,
                    ..Waiting::new(message)
                }));
            }
            Invocation::Crashed => {
                state.stats.crashes += 1;
                // A dead letter only ever comes of five real tries; here deaths alone use them up.
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
                // Half of the copies come at once: else two workers would hardly ever meet in a transaction.
                if copy == 0 || self.rng.bool() {
                    visible = Instant::now() + how.delay.mul_f64(self.rng.f64());
                }
                self.waiting.push(Waiting { visible, ..Waiting::new(message.clone()) });
            }
        }
    }
}

/// Hands the messages to a crew of workers (by their functions' names; each is one process), kills them at random
/// moments, and ends when nothing is left. No message may have ended as a dead letter.
pub async fn deliver_with_crashes(env: &TestEnv, workers: &[&str], messages: Vec<String>, how: Delivery, rng: Rng) -> DeliveryStats {
    let queues = QueueSimulator::of(messages, how, rng);
    let run_worker = async |name: &&str| {
        // A busy machine must not use up deliveries.
        let worker = KillableFunction::new(env, name, |_, _| Step::Pass).await.patient();
        queues.run_worker(env, name, &worker).await;
    };
    futures_util::future::join_all(workers.iter().map(run_worker)).await;
    assert!(drain(&env.sqs, &env.dlq_url).await.is_empty());
    assert_eq!(queues.stats().stopped, 0, "a chain is too long for Lambda");
    queues.stats()
}
