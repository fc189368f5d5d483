//! The schedule between functions and AWS: which faults they meet, drawn from a seed.
//!
//! What a fault does to a call is [`proxy`](crate::proxy)'s; what happens to whole functions and messages (deaths,
//! repeated deliveries, wrong clocks) is [`traffic`](crate::traffic)'s.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::json;

use crate::commits::Commits;
use crate::proxy::{Call, Moment, Step};

/// Longer than a function waits for an answer (`ATTEMPT_TIMEOUT` in `shared::aws`: 1.5 s).
const TOO_LONG: Duration = Duration::from_millis(1700);
/// How long a call may still be under way after its caller has gone.
pub const LATEST_EFFECT: Duration = Duration::from_millis(800);
/// How long a transaction's row stays unseen at most, if that is a fault.
pub const APART: Duration = Duration::from_millis(60);
/// How likely a call, or its answer, meets a fault that is the only one.
const ALONE: f64 = 0.08;
/// How likely it meets each of several.
const TOGETHER: f64 = 0.02;
/// Of those that cost as long as [`TOO_LONG`], how many.
const SELDOM: f64 = 0.2;
/// How likely a call begins a spell of a fault, in which calls hardly meet anything else: longer than a call is tried.
const BURST: f64 = 0.004;
/// How likely a call meets the fault in a spell of it.
const IN_BURST: f64 = 0.95;
/// How long a spell lasts at most.
const LONGEST_BURST: Duration = Duration::from_millis(2500);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// A service answers that it is asked too much.
    Throttling,
    /// A transaction holds the row.
    Conflicts,
    /// A service does some of a call's entries, and says so within a 200.
    PartialResponses,
    /// A service answers 500 and has done nothing.
    Errors,
    /// A service has done what it was asked, and answers 500, or nothing in time.
    LostResponses,
    /// The connection breaks in the middle of the answer.
    BrokenResponses,
    /// The answer comes when nobody waits for it any more.
    SlowResponses,
    /// The connection breaks, and the call is done later all the same.
    LateEffects,
    /// The rows of a transaction are seen one after the other.
    SeenApart,
    /// Functions die between any two of their calls.
    Crashes,
    /// Every message is delivered twice, in any order.
    Duplicates,
    /// Clocks of functions differ by hours.
    ClockSkew,
    /// `DynamoDB` cannot be reached for a while.
    #[value(name = "dynamodb-down")]
    DynamoDbDown,
    /// SQS cannot be reached for a while.
    SqsDown,
    /// `EventBridge` cannot be reached for a while.
    #[value(name = "eventbridge-down")]
    EventBridgeDown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().unwrap().get_name())
    }
}

impl Fault {
    /// All that can come at any time.
    pub const ALL: [Self; 12] = [
        Self::Throttling,
        Self::Conflicts,
        Self::PartialResponses,
        Self::Errors,
        Self::LostResponses,
        Self::BrokenResponses,
        Self::SlowResponses,
        Self::LateEffects,
        Self::SeenApart,
        Self::Crashes,
        Self::Duplicates,
        Self::ClockSkew,
    ];
    /// The services that can be out of reach.
    pub const OUTAGES: [Self; 3] = [Self::DynamoDbDown, Self::SqsDown, Self::EventBridgeDown];

    /// How the targets of a service's calls begin that this fault has out of reach.
    fn service(self) -> Option<&'static str> {
        match self {
            Self::DynamoDbDown => Some("DynamoDB"),
            Self::SqsDown => Some("AmazonSQS"),
            Self::EventBridgeDown => Some("AWSEvents"),
            _ => None,
        }
    }
}

/// The schedule of a run. Clones are the same schedule.
#[derive(Debug, Clone)]
pub struct FaultSchedule {
    faults: Arc<[Fault]>,
    commits: Commits,
    state: Arc<Mutex<ScheduleState>>,
}

#[derive(Debug)]
struct ScheduleState {
    rng: Rng,
    is_stopped: bool,
    is_down: bool,
    burst: Option<(Fault, Instant)>,
    met: BTreeMap<Fault, usize>,
}

impl FaultSchedule {
    /// Of these faults; `commits` are the transactions of where it is.
    #[must_use]
    pub fn new(faults: &[Fault], seed: u64, commits: &Commits) -> Self {
        let mut rng = Rng::with_seed(seed);
        commits.show_apart(if faults.contains(&Fault::SeenApart) { APART } else { Duration::ZERO }, rng.u64(..));
        let state = ScheduleState { rng, is_stopped: false, is_down: false, burst: None, met: BTreeMap::new() };
        Self { faults: faults.into(), commits: commits.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Whether this fault is among its faults, and it is not calm.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        !self.is_stopped() && self.faults.contains(&fault)
    }

    /// From now on nothing goes wrong.
    pub fn stop(&self) {
        self.state.lock().unwrap().is_stopped = true;
        self.commits.show_apart(Duration::ZERO, 0);
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().unwrap().is_stopped
    }

    /// From now on services that can be out of reach are, or are not.
    pub fn set_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// Notes that a fault was met that is not met by a call.
    pub fn note(&self, fault: Fault) {
        *self.state.lock().unwrap().met.entry(fault).or_default() += 1;
    }

    /// How often each fault was met.
    #[must_use]
    pub fn met(&self) -> BTreeMap<Fault, usize> {
        let mut met = self.state.lock().unwrap().met.clone();
        let shown = self.commits.shown();
        if self.faults.contains(&Fault::SeenApart) && shown > 0 {
            met.insert(Fault::SeenApart, shown);
        }
        met
    }

    /// What happens to a call now.
    #[must_use]
    pub fn step(&self, call: &Call<'_>, moment: Moment) -> Step {
        let mut state = self.state.lock().unwrap();
        if state.is_stopped {
            return Step::Pass;
        }
        let now = Instant::now();
        if state.burst.is_none_or(|(_, until)| until < now) && state.rng.f64() < BURST {
            let until = now + LONGEST_BURST.mul_f64(state.rng.f64());
            state.burst = state.rng.choice(self.faults.iter()).map(|fault| (*fault, until));
        }
        let burst = state.burst.filter(|(_, until)| *until >= now).map(|(fault, _)| fault);
        for fault in self.faults.iter() {
            let is_met = if let Some(service) = fault.service() {
                state.is_down && call.target.starts_with(service)
            } else {
                let likely = if self.faults.len() == 1 { ALONE } else { TOGETHER };
                let likely = if *fault == Fault::SlowResponses { likely * SELDOM } else { likely };
                state.rng.f64() < if burst == Some(*fault) { IN_BURST } else { likely }
            };
            if !is_met {
                continue;
            }
            if let Some(step) = step(*fault, call, moment, &mut state.rng) {
                *state.met.entry(*fault).or_default() += 1;
                return step;
            }
        }
        Step::Pass
    }
}

/// What the fault does to this call at this moment, if anything.
fn step(fault: Fault, call: &Call<'_>, moment: Moment, rng: &mut Rng) -> Option<Step> {
    let name = call.target.rsplit('.').next().unwrap_or_default();
    let is_dynamodb = call.target.starts_with("DynamoDB");
    match (fault, moment) {
        (Fault::Throttling, Moment::Before) if is_dynamodb && name == "TransactWriteItems" => {
            Some(canceled(rng.choice(["ThrottlingError", "ProvisionedThroughputExceeded"])?))
        }
        (Fault::Throttling, Moment::Before) if is_dynamodb => {
            Some(refused(rng.choice(["ThrottlingException", "ProvisionedThroughputExceededException"])?))
        }
        (Fault::Throttling, Moment::Before) => Some(refused("ThrottlingException")),
        (Fault::Conflicts, Moment::Before) => match name {
            "UpdateItem" | "PutItem" => Some(refused("TransactionConflictException")),
            "TransactWriteItems" => Some(canceled("TransactionConflict")),
            _ => None,
        },
        (Fault::PartialResponses, Moment::Before) => match name {
            "SendMessageBatch" | "PutEvents" | "BatchWriteItem" | "BatchGetItem" | "BatchExecuteStatement" => {
                Some(Step::Partly(rng.u64(..)))
            }
            _ => None,
        },
        (Fault::Errors, Moment::Before) | (Fault::LostResponses, Moment::After) => {
            Some(rng.choice([Step::Respond(500, "{}".to_owned()), Step::Respond(503, String::new()), Step::Cut])?)
        }
        (Fault::BrokenResponses, Moment::After) => Some(Step::Half),
        (Fault::SlowResponses, Moment::After) => Some(Step::Wait(TOO_LONG)),
        (Fault::LateEffects, Moment::Before) => Some(Step::Late(LATEST_EFFECT.mul_f64(rng.f64()))),
        (Fault::DynamoDbDown | Fault::SqsDown | Fault::EventBridgeDown, Moment::Before) => Some(Step::Cut),
        _ => None,
    }
}

fn refused(code: &str) -> Step {
    Step::Respond(400, json!({ "__type": format!("aws#{code}"), "message": "m" }).to_string())
}

fn canceled(code: &str) -> Step {
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "message": "m",
        "CancellationReasons": [{ "Code": "None" }, { "Code": code, "Message": "m" }],
    });
    Step::Respond(400, body.to_string())
}
