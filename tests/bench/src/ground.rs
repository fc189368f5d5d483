//! What [`scale`](crate::scale) measures: many cards at once, by several processes, on a table of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use futures_util::future::join_all;
use serde_json::json;
use shared::aws::Aws;
use tests::capacity::{CapacityMeter, Consumed, dynoxide};
use tests::function::{Function, Program};
use tests::payloads::batch;
use tests::proxy::{Pace, Proxy, Step};
use tests::requests::cancel_bulk;
use tests::test_env::create_table;
use tokio::runtime::{Builder, Runtime};

use crate::fake_aws::StandIn;
use crate::rows::{self, TABLE};

/// The name of the emulator's threads, by which their processor time is known.
const EMULATOR: &str = "dynoxide";
/// Longest time of one run.
const LONGEST: Duration = Duration::from_secs(900);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Cancel a bulk whole, from its request to its last event, so many chunks to an invocation.
    Cancel { chunks: usize },
    /// Bind cards, from their messages to their last event, in batches of ten.
    Bind,
    /// Write the same cards, and nothing else.
    Writes,
    /// And put as many events.
    WritesAndEvents,
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// All of it.
    pub time: Duration,
    /// Processor time of all workers.
    pub workers: Duration,
    /// Of the emulator.
    pub emulator: Duration,
    /// The most memory that a worker has had, in bytes, ever.
    pub peak: u64,
}

/// What processes run on: a table of its own, and stand-ins, until it is dropped.
pub struct Ground {
    emulator: Option<Runtime>,
    dynamodb: Client,
    standin: StandIn,
    /// Of what passes a proxy, if there is one.
    meter: CapacityMeter,
    environment: Vec<(String, String)>,
    next: u64,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What it holds goes with it.
        self.emulator.take().unwrap().shutdown_background();
    }
}

impl Ground {
    /// With services right here, or behind a proxy.
    pub async fn new(pace: Option<Pace>) -> Self {
        let emulator =
            Builder::new_multi_thread().worker_threads(2).thread_name(EMULATOR).enable_all().build().unwrap();
        let url = emulator.spawn(dynoxide()).await.unwrap();
        let config = Aws::from_env().unwrap().dynamodb().config().to_builder().endpoint_url(&url).build();
        let dynamodb = Client::from_conf(config);
        create_table(&dynamodb, TABLE).await;
        let (standin, others) = StandIn::start().await;
        let meter = CapacityMeter::default();
        let environment = match pace {
            Some(pace) => {
                let proxy = Proxy::between(&url, &others).meter(&meter).pace(pace);
                let proxy = proxy.start(|_, _| Step::Pass).await;
                rows::environment(&proxy, &proxy)
            }
            None => rows::environment(&url, &others),
        };
        Self { emulator: Some(emulator), dynamodb, standin, meter, environment, next: 1 }
    }

    /// So many processes for this, which have done a little of it.
    pub async fn workers(&mut self, what: What, count: usize) -> Vec<Function> {
        let program = |name: &str| Program {
            name: name.to_owned(),
            binary: std::env::current_exe().unwrap().with_file_name(name),
            arguments: Vec::new(),
        };
        let program = program(match what {
            What::Cancel { .. } => "cancel-bulk-worker",
            What::Bind => "bind-card-worker",
            What::Writes | What::WritesAndEvents => "bench-floor",
        });
        let workers = join_all((0..count).map(|_| Function::of(program.clone(), self.environment.clone()))).await;
        join_all(workers.iter().map(Function::start)).await;
        self.run(what, 100 * count, &workers).await;
        workers
    }

    /// Does it with so many cards.
    pub async fn run(&mut self, what: What, cards: usize, workers: &[Function]) -> Run {
        let run = async {
            match what {
                What::Cancel { chunks } => self.cancel(cards, workers, chunks).await,
                What::Bind => self.bind(cards, workers).await,
                What::Writes => self.floor(cards, workers, false).await,
                What::WritesAndEvents => self.floor(cards, workers, true).await,
            }
        };
        tokio::time::timeout(LONGEST, run).await.unwrap_or_else(|_| panic!("{what:?} of {cards} takes too long"))
    }

    /// What has passed the proxy since the last run began.
    pub fn passed(&self) -> Consumed {
        self.meter.take()
    }

    async fn cancel(&mut self, count: usize, workers: &[Function], chunks: usize) -> Run {
        let bulk = format!("bulk-{}", self.next);
        let cards = rows::cards(&bulk, self.numbers(count));
        rows::put(&self.dynamodb, &rows::of_cards(&cards)).await;
        rows::put(&self.dynamodb, &rows::of_bulk(&bulk, &cards)).await;
        let endpoint = Function::new("cancel-bulk", self.environment.clone()).await;
        let event = cancel_bulk(&bulk, None).event();
        self.measure(workers, count + 1, async || {
            let answer = endpoint.invoke(event).await.payload();
            assert_eq!(answer["statusCode"], 202, "{answer}");
            self.work(workers, chunks).await;
        })
        .await
    }

    async fn bind(&mut self, count: usize, workers: &[Function]) -> Run {
        let cards = rows::cards("a-bulk", self.numbers(count));
        let (operations, messages) = rows::of_binds(&cards);
        rows::put(&self.dynamodb, &rows::of_cards(&cards)).await;
        rows::put(&self.dynamodb, &operations).await;
        for message in messages {
            self.standin.send(message);
        }
        self.measure(workers, count, async || self.work(workers, 10).await).await
    }

    async fn floor(&mut self, count: usize, workers: &[Function], with_events: bool) -> Run {
        let numbers = self.numbers(count);
        rows::put(&self.dynamodb, &rows::of_cards(&rows::cards("a-bulk", numbers.clone()))).await;
        let share = u64::try_from(count.div_ceil(workers.len())).unwrap();
        let ranges = (numbers.start..numbers.end).step_by(usize::try_from(share).unwrap());
        let calls = ranges.zip(workers).map(|(first, worker)| {
            let count = share.min(numbers.end - first);
            (worker, json!({ "first": first, "count": count, "with_events": with_events }))
        });
        let calls: Vec<_> = calls.collect();
        let events = if with_events { count } else { 0 };
        self.measure(workers, events, async || {
            join_all(calls.into_iter().map(async |(worker, range)| worker.invoke(range).await.payload())).await;
        })
        .await
    }

    /// From now to the last event, or the end.
    async fn measure(&self, workers: &[Function], events: usize, run: impl AsyncFnOnce()) -> Run {
        let processors = async || join_all(workers.iter().map(Function::cpu_time)).await.iter().sum::<Duration>();
        let _ = self.standin.take_events();
        self.meter.take();
        let (of_workers, of_emulator, began) = (processors().await, threads_time(EMULATOR), Instant::now());
        run().await;
        let ended = Instant::now();
        let (found, last) = self.standin.take_events();
        assert_eq!(found, events);
        let peaks = join_all(workers.iter().map(async |worker| worker.memory().await.peak)).await;
        Run {
            time: last.unwrap_or(ended) - began,
            workers: processors().await.saturating_sub(of_workers),
            emulator: threads_time(EMULATOR).saturating_sub(of_emulator),
            peak: peaks.into_iter().max().unwrap_or_default(),
        }
    }

    /// Has the workers take what is in the queue, at most so many messages at once, and what comes of it.
    async fn work(&self, workers: &[Function], most: usize) {
        // A worker looks again as long as another may still send something.
        let busy = AtomicUsize::new(0);
        join_all(workers.iter().map(async |worker| {
            loop {
                busy.fetch_add(1, Ordering::SeqCst);
                let messages: Vec<_> = std::iter::from_fn(|| self.standin.receive()).take(most).collect();
                let found = !messages.is_empty();
                if found {
                    let messages: Vec<_> = messages.into_iter().map(|message| (message, 1)).collect();
                    worker.invoke(batch(&messages)).await.acknowledged();
                }
                busy.fetch_sub(1, Ordering::SeqCst);
                if !found && busy.load(Ordering::SeqCst) == 0 {
                    return;
                }
                if !found {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }))
        .await;
    }

    fn numbers(&mut self, count: usize) -> std::ops::Range<u64> {
        let first = self.next;
        self.next += u64::try_from(count).unwrap();
        first..self.next
    }
}

/// The processor time of this process's threads of this name.
fn threads_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let nanoseconds = |task: std::path::PathBuf| {
        let times = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        times.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(named.map(nanoseconds).sum())
}
