//! The cost of each flow at AWS, compared with an outbox design: units, requests and functions' time are counted and
//! measured, and converted to dollars with [`prices`](crate::prices).
//!
//! A function's time is the duration of its invocation with services at a region's distances ([`Pace::Region`]). Its
//! processor time is scaled to the share of a processor that its memory gets.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use serde_json::{Value, json};
use shared::aws::Aws;
use tests::capacity::{CapacityMeter, chunks, dynoxide};
use tests::function::Function;
use tests::payloads::batch;
use tests::proxy::{Pace, Proxy, Step};
use tests::requests;
use tests::test_env::create_table;

use crate::fake_aws::FakeServices;
use crate::figures;
use crate::outbox::{OutboxBaseline, Units};
use crate::plot::{self, Bar};
use crate::prices::Usage;
use crate::results::table;
use crate::rows::{self, TABLE};

/// Memory of functions, in MB (infra/template.yaml).
const MEMORY: f64 = 256.0;
/// Memory of `cancel-orders`, which verifies PINs, in MB.
const MEMORY_OF_CANCEL_ORDERS: f64 = 1769.0;
/// Memory that comes with a whole processor, in MB (Lambda's documentation).
const MEMORY_OF_A_PROCESSOR: f64 = 1769.0;

/// Instructions of one card that are measured, and items of bulks and orders in one request.
const BINDS: usize = 200;
const ITEMS: usize = 1000;
/// Instructions before the measurement, because a new process is slower.
const WARMING: usize = 20;
/// Messages that SQS delivers at once, at most.
const BATCH: usize = 10;

/// The first number of our own cards: those of started bulks begin at 1.
const FIRST: u64 = 1_000_000;

/// A flow, and what one of it costs.
struct Flow {
    name: &'static str,
    usage: Usage,
    /// The units that the outbox design uses instead of ours.
    outbox: Option<Units>,
}

/// Measures the flows, prints the results and draws them.
pub async fn run() {
    let flows = measure().await;
    let name = |flow: &Flow| flow.name.to_owned();
    table("costs units", "What one takes", &flows.iter().map(|flow| (name(flow), units(flow))).collect::<Vec<_>>());
    table(
        "costs",
        "What a million cost, in dollars",
        &flows.iter().map(|flow| (name(flow), dollars(flow))).collect::<Vec<_>>(),
    );
    let bars = flows.iter().flat_map(|flow| {
        let bar = |whose: &str, usage: Usage, ours| Bar {
            label: format!("{}{whose}", flow.name),
            value: usage.of_a_million().total(),
            ours,
        };
        let outbox = flow.outbox.map(|units| bar(", outbox", units.instead_of(flow.usage), false));
        iter::once(bar("", flow.usage, true)).chain(outbox)
    });
    figures::write("costs", &plot::bars("What a million cost", "dollars, logarithmic", &bars.collect::<Vec<_>>()));
}

async fn measure() -> Vec<Flow> {
    let (rig, outbox) = (Rig::new().await, OutboxBaseline::new().await);
    let binds = [
        ("bind", Bind::default(), outbox.bind(false).await),
        ("bind, with a key", Bind { keyed: true, ..Bind::default() }, outbox.bind(true).await),
        ("bind, alone", Bind { alone: true, ..Bind::default() }, outbox.bind(false).await),
        ("reissue, with a key", Bind { keyed: true, reissues: true, alone: false }, outbox.reissue().await),
    ];
    let lambdas = [rig.lambda("bind-card").await, rig.lambda("bind-card-worker").await];
    let mut flows = Vec::new();
    for (name, bind, outbox) in binds {
        rig.bind(&lambdas, bind, WARMING).await;
        flows.push(Flow { name, usage: rig.bind(&lambdas, bind, BINDS).await, outbox: Some(outbox) });
    }
    let bulks = Bulks::new(&rig).await;
    bulks.run(100, true).await;
    let [create, start, full] = bulks.run(ITEMS, false).await;
    let [_, _, partial] = bulks.run(ITEMS, true).await;
    let cancel = Some(outbox.cancel().await);
    flows.push(Flow { name: "create, an item", usage: create, outbox: None });
    flows.push(Flow { name: "start, a card", usage: start, outbox: Some(outbox.start().await) });
    flows.push(Flow { name: "cancel FULL, a card", usage: full, outbox: cancel });
    flows.push(Flow { name: "cancel PARTIAL, a card", usage: partial, outbox: cancel });
    let lambdas = [rig.lambda("cancel-orders").await, rig.lambda("cancel-orders-worker").await];
    rig.orders(&lambdas, WARMING).await;
    let usage = rig.orders(&lambdas, ITEMS).await;
    flows.push(Flow { name: "cancel an order", usage, outbox: Some(outbox.order().await) });
    flows
}

fn units(Flow { usage, outbox, .. }: &Flow) -> Vec<(&'static str, f64)> {
    vec![
        ("write units", usage.writes),
        ("read units", usage.reads),
        ("SQS requests", usage.queue_requests),
        ("events", usage.events),
        ("invocations", usage.invocations),
        // Scaled as if all functions had the same memory.
        ("billed ms", usage.gb_seconds * 1000.0 * 1024.0 / MEMORY),
        ("log bytes", usage.log_bytes),
        ("outbox: write units", outbox.map_or(f64::NAN, |units| units.writes)),
        ("outbox: read units", outbox.map_or(f64::NAN, |units| units.reads)),
    ]
}

fn dollars(Flow { usage, outbox, .. }: &Flow) -> Vec<(&'static str, f64)> {
    let bill = usage.of_a_million();
    let outbox = outbox.map(|units| units.instead_of(*usage).of_a_million());
    vec![
        ("DynamoDB", bill.dynamodb),
        ("Lambda", bill.lambda),
        ("API", bill.api),
        ("SQS", bill.sqs),
        ("EventBridge", bill.eventbridge),
        ("logs", bill.watching),
        ("all", bill.total()),
        ("outbox: DynamoDB", outbox.map_or(f64::NAN, |bill| bill.dynamodb)),
        ("outbox: all", outbox.map_or(f64::NAN, |bill| bill.total())),
    ]
}

/// The environment in which functions are measured.
struct Rig {
    dynamodb: Client,
    proxy: String,
    meter: CapacityMeter,
    fake: FakeServices,
    /// The next number for a card or an order, so that none is used twice.
    next: AtomicU64,
}

/// A kind of bind.
#[derive(Clone, Copy, Default)]
struct Bind {
    keyed: bool,
    reissues: bool,
    /// Each message is its own batch, as under low load.
    alone: bool,
}

/// A function with its memory.
struct Lambda {
    function: Function,
    memory: f64,
}

impl Rig {
    async fn new() -> Self {
        let url = dynoxide().await;
        let config = Aws::from_env().unwrap().dynamodb().config().to_builder().endpoint_url(&url).build();
        let dynamodb = Client::from_conf(config);
        create_table(&dynamodb, TABLE).await;
        let (fake, others) = FakeServices::start().await;
        let meter = CapacityMeter::default();
        let proxy = Proxy::between(&url, &others).meter(&meter).pace(Pace::Region).start(|_, _| Step::Pass).await;
        Self { dynamodb, proxy, meter, fake, next: AtomicU64::new(FIRST) }
    }

    async fn lambda(&self, name: &str) -> Lambda {
        let environment = rows::environment(&self.proxy, &self.proxy);
        let memory = if name == "cancel-orders" { MEMORY_OF_CANCEL_ORDERS } else { MEMORY };
        let function = Function::new(name, environment).await;
        function.start().await;
        Lambda { function, memory }
    }

    fn numbers(&self, count: usize) -> std::ops::Range<u64> {
        let count = u64::try_from(count).unwrap();
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        first..first + count
    }

    async fn bind(&self, [endpoint, worker]: &[Lambda; 2], kind: Bind, count: usize) -> Usage {
        let cards = self.numbers(count);
        rows::put(&self.dynamodb, &rows::of_cards(&rows::cards("a-bulk", cards.clone()))).await;
        let replaced: Vec<_> = self.numbers(count).collect();
        let bound: Vec<_> = replaced.iter().map(|number| rows::bound(*number)).collect();
        rows::put(&self.dynamodb, &rows::of_cards(&bound)).await;
        let mut usage = Usage::default();
        self.meter.take();
        for (card, replaced) in cards.zip(replaced) {
            let key = format!("key-{card}");
            let request = requests::bind(card, kind.reissues.then_some(replaced)).header("x-correlation-id", &key);
            let request = if kind.keyed { request.key(&key) } else { request };
            endpoint.request(request.event(), 202, &mut usage).await;
        }
        self.work(worker, if kind.alone { 1 } else { BATCH }, &mut usage).await;
        self.settle(usage, count)
    }

    async fn orders(&self, [endpoint, worker]: &[Lambda; 2], count: usize) -> Usage {
        let orders = self.numbers(count);
        let key = format!("key-{}", orders.start);
        let orders = orders.map(|order| i32::try_from(order).unwrap());
        rows::put(&self.dynamodb, &rows::of_orders(orders.clone())).await;
        let event = requests::cancel_domestic_orders(orders).key(key).event();
        let mut usage = Usage::default();
        self.meter.take();
        endpoint.request(event, 200, &mut usage).await;
        self.work(worker, BATCH, &mut usage).await;
        self.settle(usage, count)
    }

    /// Passes the worker the messages in its queue, and those that it sends, until the queue is empty.
    async fn work(&self, worker: &Lambda, most: usize, usage: &mut Usage) {
        loop {
            let messages: Vec<_> = iter::from_fn(|| self.fake.receive()).take(most).collect();
            if messages.is_empty() {
                return;
            }
            // A batch is received in one request and deleted in one.
            let received = chunks(messages.iter().map(String::len).sum()) + 1;
            usage.queue_requests += float(received);
            let messages: Vec<_> = messages.into_iter().map(|message| (message, 1)).collect();
            let response = worker.invoke(batch(&messages), usage).await;
            assert_eq!(response, json!({ "batchItemFailures": [] }));
        }
    }

    /// Adds what the services have counted, and returns the usage of one of `count` instructions.
    fn settle(&self, mut usage: Usage, count: usize) -> Usage {
        let passed = self.meter.take();
        usage.reads += passed.reads;
        usage.writes += passed.writes;
        usage.queue_requests += float(passed.queue_chunks);
        usage.events += float(passed.event_chunks);
        usage.event_bytes += float(passed.event_bytes);
        usage.of_one(float(count))
    }
}

impl Lambda {
    async fn request(&self, event: Value, status: u16, usage: &mut Usage) -> Value {
        usage.requests += 1.0;
        let response = self.invoke(event, usage).await;
        assert_eq!(response["statusCode"], status, "{response}");
        serde_json::from_str(response["body"].as_str().unwrap()).unwrap()
    }

    async fn invoke(&self, event: Value, usage: &mut Usage) -> Value {
        let (cpu, log, began) = (self.function.cpu_time().await, self.function.log().len(), Instant::now());
        let response = self.function.invoke(event).await;
        let time = began.elapsed();
        let cpu = self.function.cpu_time().await.saturating_sub(cpu);
        let response = response.payload();
        let share = (self.memory / MEMORY_OF_A_PROCESSOR).min(1.0);
        usage.invocations += 1.0;
        usage.gb_seconds += billed(time + cpu.mul_f64(1.0 / share - 1.0)) * self.memory / 1024.0;
        usage.log_bytes += float(self.function.log().len() - log);
        response
    }
}

/// Returns the billed time in seconds. Lambda bills every millisecond that was begun.
fn billed(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).ceil() / 1000.0
}

/// The functions of bulks.
struct Bulks<'a> {
    rig: &'a Rig,
    create: Lambda,
    start: [Lambda; 2],
    cancel: [Lambda; 2],
}

impl<'a> Bulks<'a> {
    async fn new(rig: &'a Rig) -> Self {
        Self {
            rig,
            create: rig.lambda("create-bulk").await,
            start: [rig.lambda("start-bulk").await, rig.lambda("start-bulk-worker").await],
            cancel: [rig.lambda("cancel-bulk").await, rig.lambda("cancel-bulk-worker").await],
        }
    }

    /// Creates a bulk, starts it, and cancels it.
    async fn run(&self, count: usize, named: bool) -> [Usage; 3] {
        let ids: Vec<_> = self.rig.numbers(count).map(|number| format!("{number:036}")).collect();
        self.rig.meter.take();
        let mut usage = Usage::default();
        let created = self.create.request(requests::create_bulk(&ids).event(), 201, &mut usage).await;
        let bulk = created["id"].as_str().unwrap();
        let created = self.rig.settle(usage, count);

        let started = self.operation(&self.start, requests::start_bulk(bulk).event(), (count, 1)).await;
        let cancel = requests::cancel_bulk(bulk, named.then_some(ids.as_slice()));
        let canceled = self.operation(&self.cancel, cancel.event(), (count, 5)).await;
        [created, started, canceled]
    }

    /// Runs an operation with at most this number of chunks in a batch, as in the template.
    async fn operation(&self, [endpoint, worker]: &[Lambda; 2], event: Value, (count, most): (usize, usize)) -> Usage {
        let mut usage = Usage::default();
        endpoint.request(event, 202, &mut usage).await;
        self.rig.work(worker, most, &mut usage).await;
        self.rig.settle(usage, count)
    }
}

#[allow(clippy::cast_precision_loss)]
fn float(count: usize) -> f64 {
    count as f64
}
