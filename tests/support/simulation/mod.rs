//! Random instructions in bad schedule, and a checker that looks for what must never be.
//!
//! Clients of two organisations, which use the same IDs and the same idempotency keys, have the real endpoints
//! create, grow, start and cancel bulks, bind and reissue cards, and cancel orders, all about few of each, while
//! an order system tells of its orders. Workers apply it. All of them are out in the [`schedule`](crate::schedule), and
//! die. Then it gets calm: clients repeat what was not answered, dead letters are sent back, the market closes, and
//! when nothing is under way any more, the [`checker`] reads everything there is.
//!
//! All that is drawn comes from one seed. The order in which processes get to run does not: a seed makes the same
//! clients and the same schedule again, not the same run to the last step.

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
use crate::queue_simulator::{Delivery, KillableFunction, QueueSimulator, DeliveryStats, deliver_with_crashes};
use crate::seed;
use crate::test_env::{TestEnv, drain};

pub use clients::{ClientResponse, Record};
pub use instructions::{Ask, Flow, ORGS};

use clients::Client;
use instructions::SharedState;

/// Clients at once.
const CLIENTS: usize = 4;
/// The first of the cards that no bulk has; those of bulks begin at 1.
const FIRST_CARD: u64 = 100_001;
/// Blank cards of each organisation that no bulk has, and as many that are bound.
const CARDS: u64 = 30;
/// How far a clock may be wrong: two may then differ by less than a day, which is what Bindery allows.
const MAX_SKEW_SECONDS: i64 = 11 * 60 * 60;
/// How often dead letters are sent back, when nothing goes wrong any more.
const MOST_REDRIVES: usize = 5;
/// How long messages are on their way.
const DELAY: Duration = Duration::from_millis(1500);
/// When services go out of reach.
const OUTAGE_MARGIN: Duration = Duration::from_secs(1);

/// A run to be.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// What everything that is drawn comes from.
    pub seed: u64,
    /// What the instructions are about.
    pub flow: Flow,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How many instructions clients give at least.
    pub instructions: usize,
    /// How long services are out of reach at least, if they are. Clients go on as long.
    pub outage: Duration,
}

/// All there is to look at afterwards.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The table, by its keys.
    pub rows: BTreeMap<(String, String), Value>,
    /// The distinct events, by their IDs.
    pub events: BTreeMap<String, Value>,
    /// What clients asked and were answered.
    pub records: Vec<Record>,
    /// Messages that end as dead letters however often they are sent back.
    pub dead: Vec<String>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// All there is to look at afterwards.
    pub evidence: Evidence,
    /// How messages were delivered.
    pub run: DeliveryStats,
    /// Messages that ended as dead letters, and were sent back.
    pub sent_back: usize,
    /// How often each fault was met.
    pub met: BTreeMap<Fault, usize>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    fn responses(&self) -> impl Iterator<Item = &ClientResponse> {
        self.evidence.records.iter().flat_map(|record| &record.responses)
    }

    /// Instructions that were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.evidence.records.iter().filter(|record| record.accepted_response().is_some()).count()
    }

    /// Answers that told a client to come back.
    #[must_use]
    pub fn retry_later_responses(&self) -> usize {
        self.responses().filter(|response| response.retry_after.is_some()).count()
    }

    /// Functions that died, endpoints too.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.run.crashes + self.responses().filter(|response| response.status == 0).count()
    }

    /// How long the slowest answer took.
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
        write!(f, "{} sent back, {} s; met {:?}", self.sent_back, self.took.as_secs(), self.met)
    }
}

/// Where a run takes place.
struct SimulationEnv {
    env: TestEnv,
    schedule: FaultSchedule,
    queues: QueueSimulator,
    shared: Mutex<SharedState>,
}

impl Simulation {
    /// Runs it.
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
        tokio::join!(clients_work, self.outages(&sim.schedule, &is_over), self.run_worker(&sim, rng.fork()));
        let records = clients.into_iter().flat_map(Client::into_records).collect();
        let (sent_back, dead) = self.finish(&sim).await;
        let SimulationEnv { env, schedule, queues, .. } = sim;
        let evidence = Evidence { rows: env.rows().await, events: env.events().await, records, dead };
        Report { evidence, run: queues.stats(), sent_back, met: schedule.met(), took: started.elapsed() }
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
            // Five deliveries outlast an outage, as they do on AWS.
            // Or the endpoints, which look before they accept, would decide most races.
            delay: DELAY,
            visibility: if self.has_outage() { self.outage / 3 } else { Duration::ZERO },
        }
    }

    /// Has services out of reach once; says when that is over.
    async fn outages(&self, schedule: &FaultSchedule, is_over: &AtomicBool) {
        if self.has_outage() {
            tokio::time::sleep(OUTAGE_MARGIN).await;
            schedule.set_down(true);
            tokio::time::sleep(self.outage).await;
            // On a busy machine it may be that nobody has called yet.
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

    /// Two workers of each kind, until nothing is left.
    async fn run_worker(&self, sim: &SimulationEnv, mut rng: Rng) {
        let workers: Vec<_> = self.flow.workers().iter().flat_map(|name| [*name, *name]).collect();
        let workers = workers.into_iter().map(|name| (name, skew(&sim.schedule, &mut rng))).collect::<Vec<_>>();
        join_all(workers.into_iter().map(async |(name, seconds)| {
            let worker = sim.killable(name, seconds).await;
            sim.queues.run_worker(&sim.env, name, &worker).await;
        }))
        .await;
    }

    /// Sends dead letters back, and hands on what was still under way, until nothing is left. Answers how many were
    /// dead, and which always will be.
    async fn finish(&self, sim: &SimulationEnv) -> (usize, Vec<String>) {
        let mut sent_back = 0;
        for round in 0.. {
            let dead = drain(&sim.env.sqs, &sim.env.dlq_url).await;
            let late = sim.env.take_messages().await;
            if (dead.is_empty() && late.is_empty()) || round == MOST_REDRIVES {
                return (sent_back, dead);
            }
            sent_back += dead.len();
            sim.queues.add(dead);
            sim.queues.add(late);
            self.run_worker(sim, Rng::with_seed(self.seed)).await;
        }
        unreachable!("rounds end above")
    }
}

impl SimulationEnv {
    /// A function out in the schedule, whose clock is wrong by so many seconds.
    async fn killable(&self, name: &str, skew_seconds: i64) -> KillableFunction {
        let schedule = self.schedule.clone();
        let function = KillableFunction::new(&self.env, name, move |call, moment| schedule.step(call, moment)).await;
        function.skewed(skew_seconds)
    }
}

/// By how many seconds the next function's clock is wrong.
fn skew(schedule: &FaultSchedule, rng: &mut Rng) -> i64 {
    if !schedule.has(Fault::ClockSkew) {
        return 0;
    }
    schedule.note(Fault::ClockSkew);
    rng.i64(-MAX_SKEW_SECONDS..=MAX_SKEW_SECONDS)
}

/// Of no bulk: theirs would have no row.
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
