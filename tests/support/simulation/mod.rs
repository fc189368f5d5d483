//! A simulation: random instructions under faults, and a checker that looks for violations.
//!
//! Clients of two organizations use the same IDs and the same idempotency keys. Through the real endpoints they
//! create, grow, start and cancel bulks, bind and reissue cards, and cancel orders. There are few of each, so
//! instructions conflict. Meanwhile an order system sends changes of its orders, and workers apply all messages.
//! Endpoints and workers meet the faults of a [schedule](crate::fault_schedule), and crash. Then the faults stop:
//! clients retry requests without a response, dead letters are redriven, and the market closes. When no message is
//! left, the [`checker`] reads all rows, events and responses.
//!
//! One seed determines everything that is drawn, but not the order in which processes run. The same seed therefore
//! gives the same clients and the same schedule, but not exactly the same run.

pub mod checker;
mod clients;
mod instructions;
mod pairs;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::Value;
use shared::domain::card::{Card, CardStatus};

use crate::capacity::dynoxide;
use crate::fault_schedule::{Fault, FaultSchedule, LATEST_EFFECT};
use crate::payloads::{ACCOUNT, CUSTOMER};
use crate::queue_simulator::{Delivery, DeliveryStats, KillableFunction, QueueSimulator, deliver_with_crashes};
use crate::seed;
use crate::test_env::{TestEnv, drain};

pub use clients::{ClientResponse, Record};
pub use instructions::{Ask, Flow, ORGS};

use clients::Client;
use instructions::SharedState;

/// The number of concurrent clients.
const CLIENTS: usize = 4;
/// The ID of the first card without a bulk. The IDs of bulks' cards begin at 1.
const FIRST_CARD: u64 = 100_001;
/// The number of blank cards without a bulk of each organization, and also of bound ones.
const CARDS: u64 = 30;
/// The largest offset of a clock. Two clocks then differ by less than a day, which is what Bindery allows.
const MAX_SKEW_SECONDS: i64 = 11 * 60 * 60;
/// The largest number of redrives of dead letters after the faults have stopped.
const MOST_REDRIVES: usize = 5;
/// The longest time from sending a message until it can be received.
const DELAY: Duration = Duration::from_millis(1500);
/// The time before an outage begins, and after it ends.
const OUTAGE_MARGIN: Duration = Duration::from_secs(1);

/// The parameters of a run.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The kinds of instructions.
    pub flow: Flow,
    /// The faults that can happen.
    pub faults: Vec<Fault>,
    /// The least number of instructions.
    pub instructions: usize,
    /// The least duration of an outage, if there is one. Clients continue until it is over.
    pub outage: Duration,
}

/// Everything that the checker examines after a run.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// All rows of the table, by their keys.
    pub rows: BTreeMap<(String, String), Value>,
    /// The distinct events, by their IDs.
    pub events: BTreeMap<String, Value>,
    /// The clients' instructions and their responses.
    pub records: Vec<Record>,
    /// Messages that are dead-lettered however often they are redriven.
    pub dead: Vec<String>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// Everything that the checker examines.
    pub evidence: Evidence,
    /// The counts of deliveries and crashes.
    pub run: DeliveryStats,
    /// The number of dead letters that were redriven.
    pub redriven: usize,
    /// The number of times that each fault was met.
    pub met: BTreeMap<Fault, usize>,
    /// The duration of the run.
    pub took: Duration,
}

impl Report {
    fn responses(&self) -> impl Iterator<Item = &ClientResponse> {
        self.evidence.records.iter().flat_map(|record| &record.responses)
    }

    /// Returns the number of accepted instructions.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.evidence.records.iter().filter(|record| record.accepted_response().is_some()).count()
    }

    /// Returns the number of responses with `Retry-After`.
    #[must_use]
    pub fn retry_later_responses(&self) -> usize {
        self.responses().filter(|response| response.retry_after.is_some()).count()
    }

    /// Returns the number of crashes of workers and endpoints.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.run.crashes + self.responses().filter(|response| response.status == 0).count()
    }

    /// Returns the time of the slowest response.
    #[must_use]
    pub fn slowest_response(&self) -> Duration {
        self.responses().map(|response| response.took).max().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeliveryStats { deliveries, crashes, .. } = self.run;
        let (asked, accepted) = (self.evidence.records.len(), self.accepted());
        let events = self.evidence.events.len();
        write!(
            f,
            "{asked} instructions, {accepted} accepted, {deliveries} deliveries, {crashes} crashes, {events} events, "
        )?;
        write!(f, "{} redriven, {} s; met {:?}", self.redriven, self.took.as_secs(), self.met)
    }
}

/// The resources of a run.
struct SimulationEnv {
    env: TestEnv,
    schedule: FaultSchedule,
    queues: QueueSimulator,
    shared: Mutex<SharedState>,
}

impl Simulation {
    /// Runs the simulation, and returns its result. Does not check it.
    pub async fn run(&self) -> Report {
        let started = Instant::now();
        let mut rng = Rng::with_seed(self.seed);
        let env = TestEnv::with_table_at(&dynoxide().await).await;
        let sim = SimulationEnv {
            schedule: FaultSchedule::new(&self.faults, rng.u64(..), &env.commits),
            env,
            queues: QueueSimulator::open(self.delivery(), rng.fork()),
            shared: Mutex::new(SharedState::new(self.flow)),
        };
        seed_cards(&sim.env).await;
        let opening = sim.shared.lock().unwrap().market_opens();
        deliver_with_crashes(&sim.env, &["order-feed-worker"], opening, Delivery::default(), rng.fork()).await;
        let mut clients: Vec<_> = (0..CLIENTS).map(|number| Client::new(&sim, number, rng.fork())).collect();
        let is_over = AtomicBool::new(!self.has_outage());
        let each = self.instructions.div_ceil(CLIENTS);
        let clients_work = async {
            join_all(clients.iter_mut().map(|client| client.work(each, &is_over))).await;
            sim.schedule.stop();
            sim.queues.stop();
            tokio::time::sleep(LATEST_EFFECT).await;
            join_all(clients.iter_mut().map(Client::retry_open)).await;
            sim.queues.add(sim.shared.lock().unwrap().market_closes());
            sim.queues.close();
        };
        tokio::join!(clients_work, self.outages(&sim.schedule, &is_over), self.run_workers(&sim, rng.fork()));
        let records = clients.into_iter().flat_map(Client::into_records).collect();
        let (redriven, dead) = self.finish(&sim).await;
        let SimulationEnv { env, schedule, queues, .. } = sim;
        let evidence = Evidence { rows: env.rows().await, events: env.events().await, records, dead };
        Report { evidence, run: queues.stats(), redriven, met: schedule.met(), took: started.elapsed() }
    }

    fn has_outage(&self) -> bool {
        Fault::OUTAGES.into_iter().any(|fault| self.faults.contains(&fault))
    }

    fn delivery(&self) -> Delivery {
        let has = |fault| self.faults.contains(&fault);
        Delivery {
            batch: 5,
            copies: if has(Fault::Duplicates) { 2 } else { 1 },
            moments: 6,
            crash: if has(Fault::Crashes) { 0.15 } else { 0.0 },
            // Without a delay the endpoints, which read before they accept, would decide most races.
            delay: DELAY,
            // Five deliveries outlast an outage, as they do on AWS.
            visibility: if self.has_outage() { self.outage / 3 } else { Duration::ZERO },
        }
    }

    /// Makes services unreachable once, if the schedule has outages, and sets `is_over` afterwards.
    async fn outages(&self, schedule: &FaultSchedule, is_over: &AtomicBool) {
        if self.has_outage() {
            tokio::time::sleep(OUTAGE_MARGIN).await;
            schedule.set_down(true);
            tokio::time::sleep(self.outage).await;
            // On a busy machine functions may not have called the service yet.
            for _ in 0..200 {
                if !schedule.met().is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            schedule.set_down(false);
            tokio::time::sleep(OUTAGE_MARGIN).await;
            is_over.store(true, Ordering::Relaxed);
        }
    }

    /// Runs two workers of each kind until no message is left.
    async fn run_workers(&self, sim: &SimulationEnv, mut rng: Rng) {
        let workers: Vec<_> = self.flow.workers().iter().flat_map(|name| [*name, *name]).collect();
        let workers = workers.into_iter().map(|name| (name, skew(&sim.schedule, &mut rng))).collect::<Vec<_>>();
        join_all(workers.into_iter().map(async |(name, seconds)| {
            let worker = sim.killable(name, seconds).await;
            sim.queues.run_worker(&sim.env, name, &worker).await;
        }))
        .await;
    }

    /// Redrives dead letters and delivers the remaining messages, until none is left. Returns the number of redriven
    /// messages, and those that are still dead letters after the last round.
    async fn finish(&self, sim: &SimulationEnv) -> (usize, Vec<String>) {
        let mut redriven = 0;
        for round in 0.. {
            let dead = drain(&sim.env.sqs, &sim.env.dlq_url).await;
            let late = sim.env.take_messages().await;
            if (dead.is_empty() && late.is_empty()) || round == MOST_REDRIVES {
                return (redriven, dead);
            }
            redriven += dead.len();
            sim.queues.add(dead);
            sim.queues.add(late);
            self.run_workers(sim, Rng::with_seed(self.seed)).await;
        }
        unreachable!("rounds end above")
    }
}

impl SimulationEnv {
    /// Creates a function that meets the schedule's faults, with its clock off by this many seconds.
    async fn killable(&self, name: &str, skew_seconds: i64) -> KillableFunction {
        let schedule = self.schedule.clone();
        let function = KillableFunction::new(&self.env, name, move |call, moment| schedule.step(call, moment)).await;
        function.skewed(skew_seconds)
    }
}

/// Draws the offset of the next function's clock, in seconds.
fn skew(schedule: &FaultSchedule, rng: &mut Rng) -> i64 {
    if !schedule.has(Fault::ClockSkew) {
        return 0;
    }
    schedule.note(Fault::ClockSkew);
    rng.i64(-MAX_SKEW_SECONDS..=MAX_SKEW_SECONDS)
}

/// Puts blank and bound cards into the table. They belong to no bulk, since none exists yet.
async fn seed_cards(env: &TestEnv) {
    let of_no_bulk = |mut card: Card| {
        (card.facts.bulk_id, card.facts.external_id) = (None, None);
        card
    };
    let usable = [CardStatus::Normal, CardStatus::Created, CardStatus::Blocked];
    for org in ORGS {
        for number in 0..CARDS {
            let blank = of_no_bulk(seed::unbound(FIRST_CARD + number));
            let status = usable[usize::try_from(number).unwrap() % usable.len()];
            let bound = of_no_bulk(seed::bound(FIRST_CARD + CARDS + number, status, ACCOUNT, CUSTOMER));
            seed::put(&env.dynamodb, &env.table, org, &blank).await;
            seed::put(&env.dynamodb, &env.table, org, &bound).await;
        }
    }
}
