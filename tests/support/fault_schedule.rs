//! The schedule of the faults that functions meet when they call AWS, drawn from a seed.
//!
//! The [`proxy`](crate::proxy) applies faults to calls. The [`queue_simulator`](crate::queue_simulator) crashes
//! functions and repeats deliveries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::json;

use crate::commits::Commits;
use crate::proxy::{Call, Moment, Step};

/// Longer than a function waits for a response (`ATTEMPT_TIMEOUT` in `shared::aws`: 1.5 s).
const TOO_LONG: Duration = Duration::from_millis(1700);
/// The longest time for which a call may still take effect after its caller has given up.
pub const LATEST_EFFECT: Duration = Duration::from_millis(800);
/// The longest time for which a transaction's row stays invisible, under [`Fault::SeenApart`].
pub const APART: Duration = Duration::from_millis(60);
/// The probability that a call, or its response, meets the schedule's only fault.
const ALONE: f64 = 0.08;
/// The probability that it meets each fault of a schedule with several.
const TOGETHER: f64 = 0.02;
/// The factor for the probability of a fault that costs [`TOO_LONG`].
const SELDOM: f64 = 0.2;
/// The probability that a call begins a burst of one fault. A burst can outlast all attempts of a call.
const BURST: f64 = 0.004;
/// The probability that a call meets the fault during its burst.
const IN_BURST: f64 = 0.95;
/// The longest duration of a burst.
const LONGEST_BURST: Duration = Duration::from_millis(2500);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// A service throttles the call.
    Throttling,
    /// Another transaction holds the row.
    Conflicts,
    /// A service handles only some entries of a batch, and reports the others as failed in a 200 response.
    PartialResponses,
    /// A service responds 500 or 503, or closes the connection, without any effect.
    Errors,
    /// A service has carried out the call, but responds 500 or 503 or closes the connection.
    LostResponses,
    /// The connection breaks in the middle of the response.
    BrokenResponses,
    /// The response arrives after the caller's timeout.
    SlowResponses,
    /// The connection breaks, and the call takes effect later.
    LateEffects,
    /// The rows of a transaction become visible one after the other.
    SeenApart,
    /// Functions crash between any two of their calls.
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
    /// All faults that can happen at any time.
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
    /// The outages of single services.
    pub const OUTAGES: [Self; 3] = [Self::DynamoDbDown, Self::SqsDown, Self::EventBridgeDown];

    /// Returns the prefix of the `X-Amz-Target` values of the service that this fault makes unreachable.
    fn service(self) -> Option<&'static str> {
        match self {
            Self::DynamoDbDown => Some("DynamoDB"),
            Self::SqsDown => Some("AmazonSQS"),
            Self::EventBridgeDown => Some("AWSEvents"),
            _ => None,
        }
    }
}

/// The schedule of one run. Clones share their state.
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
    /// Creates a schedule of these faults. `commits` are the transactions of the run's environment.
    #[must_use]
    pub fn new(faults: &[Fault], seed: u64, commits: &Commits) -> Self {
        let mut rng = Rng::with_seed(seed);
        commits.show_apart(if faults.contains(&Fault::SeenApart) { APART } else { Duration::ZERO }, rng.u64(..));
        let state = ScheduleState { rng, is_stopped: false, is_down: false, burst: None, met: BTreeMap::new() };
        Self { faults: faults.into(), commits: commits.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Returns whether the schedule includes this fault and has not been stopped.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        !self.is_stopped() && self.faults.contains(&fault)
    }

    /// Stops all faults from now on.
    pub fn stop(&self) {
        self.state.lock().unwrap().is_stopped = true;
        self.commits.show_apart(Duration::ZERO, 0);
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().unwrap().is_stopped
    }

    /// Begins or ends the outages of the schedule.
    pub fn set_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// Counts a fault that does not affect a call.
    pub fn note(&self, fault: Fault) {
        *self.state.lock().unwrap().met.entry(fault).or_default() += 1;
    }

    /// Returns how often each fault was met.
    #[must_use]
    pub fn met(&self) -> BTreeMap<Fault, usize> {
        let mut met = self.state.lock().unwrap().met.clone();
        let shown = self.commits.shown();
        if self.faults.contains(&Fault::SeenApart) && shown > 0 {
            met.insert(Fault::SeenApart, shown);
        }
        met
    }

    /// Draws what happens to a call at this moment.
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

/// Returns what the fault does to this call at this moment, if anything.
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
