//! The environment in which [`scale`](crate::scale) measures many cards at once, with several processes and a
//! separate table.

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

use crate::fake_aws::FakeServices;
use crate::rows::{self, TABLE};

/// The name of the emulator's threads, which identifies their processor time.
const EMULATOR: &str = "dynoxide";
/// Longest time of one run.
const LONGEST: Duration = Duration::from_secs(900);

/// The work that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Cancels a whole bulk, from its request to its last event, with this number of chunks in an invocation.
    Cancel { chunks: usize },
    /// Binds cards, from their messages to their last event, in batches of ten.
    Bind,
    /// Writes the same cards, and nothing else.
    Writes,
    /// Writes the cards, and puts the same number of events.
    WritesAndEvents,
}

/// The time and memory of a run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The whole time.
    pub time: Duration,
    /// Processor time of all workers.
    pub workers: Duration,
    /// Processor time of the emulator.
    pub emulator: Duration,
    /// The most memory that a worker has ever used, in bytes.
    pub peak: u64,
}

/// The services of processes: a separate table, and fakes. They run until this value is dropped.
pub struct BenchEnv {
    emulator: Option<Runtime>,
    dynamodb: Client,
    fake: FakeServices,
    /// The meter of the proxy's traffic, if there is a proxy.
    meter: CapacityMeter,
    environment: Vec<(String, String)>,
    next: u64,
}

impl Drop for BenchEnv {
    fn drop(&mut self) {
        // The runtime ends everything it runs.
        self.emulator.take().unwrap().shutdown_background();
    }
}

impl BenchEnv {
    /// Starts the services, on this machine or behind a proxy with this pace.
    pub async fn new(pace: Option<Pace>) -> Self {
        let emulator =
            Builder::new_multi_thread().worker_threads(2).thread_name(EMULATOR).enable_all().build().unwrap();
        let url = emulator.spawn(dynoxide()).await.unwrap();
        let config = Aws::from_env().unwrap().dynamodb().config().to_builder().endpoint_url(&url).build();
        let dynamodb = Client::from_conf(config);
        create_table(&dynamodb, TABLE).await;
        let (fake, others) = FakeServices::start().await;
        let meter = CapacityMeter::default();
        let environment = match pace {
            Some(pace) => {
                let proxy = Proxy::between(&url, &others).meter(&meter).pace(pace);
                let proxy = proxy.start(|_, _| Step::Pass).await;
                rows::environment(&proxy, &proxy)
            }
            None => rows::environment(&url, &others),
        };
        Self { emulator: Some(emulator), dynamodb, fake, meter, environment, next: 1 }
    }

    /// Starts this number of processes, and warms them up with a little work.
    pub async fn workers(&mut self, workload: Workload, count: usize) -> Vec<Function> {
        let program = |name: &str| Program {
            name: name.to_owned(),
            binary: std::env::current_exe().unwrap().with_file_name(name),
            arguments: Vec::new(),
        };
        let program = program(match workload {
            Workload::Cancel { .. } => "cancel-bulk-worker",
            Workload::Bind => "bind-card-worker",
            Workload::Writes | Workload::WritesAndEvents => "bench-floor",
        });
        let workers = join_all((0..count).map(|_| Function::of(program.clone(), self.environment.clone()))).await;
        join_all(workers.iter().map(Function::start)).await;
        self.run(workload, 100 * count, &workers).await;
        workers
    }

    /// Processes this number of cards.
    pub async fn run(&mut self, workload: Workload, cards: usize, workers: &[Function]) -> Run {
        let run = async {
            match workload {
                Workload::Cancel { chunks } => self.cancel(cards, workers, chunks).await,
                Workload::Bind => self.bind(cards, workers).await,
                Workload::Writes => self.floor(cards, workers, false).await,
                Workload::WritesAndEvents => self.floor(cards, workers, true).await,
            }
        };
        tokio::time::timeout(LONGEST, run).await.unwrap_or_else(|_| panic!("{workload:?} of {cards} takes too long"))
    }

    /// Returns what the proxy has counted since the last run began.
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
            let response = endpoint.invoke(event).await.payload();
            assert_eq!(response["statusCode"], 202, "{response}");
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
            self.fake.send(message);
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

    /// Measures from now to the last event, or to the end if no event is expected.
    async fn measure(&self, workers: &[Function], events: usize, run: impl AsyncFnOnce()) -> Run {
        let processors = async || join_all(workers.iter().map(Function::cpu_time)).await.iter().sum::<Duration>();
        let _ = self.fake.take_events();
        self.meter.take();
        let (of_workers, of_emulator, began) = (processors().await, threads_time(EMULATOR), Instant::now());
        run().await;
        let ended = Instant::now();
        let (found, last) = self.fake.take_events();
        assert_eq!(found, events);
        let peaks = join_all(workers.iter().map(async |worker| worker.memory().await.peak)).await;
        Run {
            time: last.unwrap_or(ended) - began,
            workers: processors().await.saturating_sub(of_workers),
            emulator: threads_time(EMULATOR).saturating_sub(of_emulator),
            peak: peaks.into_iter().max().unwrap_or_default(),
        }
    }

    /// Passes the workers the messages in the queue, at most `most` at once, and those that they send.
    async fn work(&self, workers: &[Function], most: usize) {
        // A worker polls again as long as another may still send a message.
        let busy = AtomicUsize::new(0);
        join_all(workers.iter().map(async |worker| {
            loop {
                busy.fetch_add(1, Ordering::SeqCst);
                let messages: Vec<_> = std::iter::from_fn(|| self.fake.receive()).take(most).collect();
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

/// Returns the processor time of this process's threads with this name.
fn threads_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let nanoseconds = |task: std::path::PathBuf| {
        let times = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        times.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(named.map(nanoseconds).sum())
}
