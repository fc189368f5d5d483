//! A process: an endpoint that handles a request, or a worker that handles a message, call by call.
//!
//! The model's workers are written like the real ones, as functions that make one call after another. A process is
//! such a function and the results it has received so far. A step runs the function from its start and hands it the
//! known results. The function makes **one** further call, and stops where it would make the next. So whatever can
//! happen between two calls of a worker can happen here: another process's call, or a crash.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use shared::domain::time::Timestamp;

use crate::broken::Broken;
use crate::store::Conflict;
use crate::transaction::{Key, Value};
use crate::world::{Task, World};

/// Names of results that come from no call.
const CLOCK: &str = "clock";
const HELD: &str = "held";

/// The reasons why a process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// It has made its call, and would make another.
    Waiting,
    /// The row that it read changed before it could write (see [`Run::retrying`]).
    Conflict,
    /// It leaves its message to a later delivery (`WorkerError::Transient`).
    Retry,
    /// It met an impossible state (`WorkerError::Permanent`), so its message is dead-lettered.
    Permanent(&'static str),
    /// The outcome of this step does not apply to its next call.
    Inapplicable,
}

/// The result of a process's function.
pub type Flow<T> = Result<T, Interrupt>;

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call succeeds.
    Success,
    /// The first response is lost, and the SDK makes the call again.
    Repeated,
    /// Other transactions hold the row on every attempt, and the message has hardly any deliveries left.
    Held,
    /// Like `Held`, but the first attempt succeeded and only its response was lost.
    HeldAfterSuccess,
    /// All entries but the last succeed, and the response says so.
    PartlyRefused,
    /// The call succeeds, and its response is lost.
    ResponseLost,
    /// The call succeeds, but then the process's time is nearly up.
    OutOfTime,
}

/// A value that a process can remember.
pub trait Remember: Clone + Hash + Send + Sync + 'static {}

impl<T: Clone + Hash + Send + Sync + 'static> Remember for T {}

/// The result of a call or a function.
#[derive(Clone)]
struct CallResult {
    name: &'static str,
    digest: u64,
    value: Arc<dyn Any + Send + Sync>,
}

impl CallResult {
    fn new<T: Remember>(name: &'static str, value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { name, digest: hasher.finish(), value: Arc::new(value) }
    }

    fn key(&self) -> (&'static str, u64) {
        (self.name, self.digest)
    }
}

impl fmt::Debug for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for CallResult {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for CallResult {}

impl PartialOrd for CallResult {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CallResult {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for CallResult {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A process and the results that it remembers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The request or message that it handles.
    pub task: Task,
    results: Vec<CallResult>,
}

impl Process {
    /// Returns a process that has done nothing yet, and whose clock shows this time.
    pub fn new(task: Task, now: Timestamp) -> Self {
        Self { task, results: vec![CallResult::new(CLOCK, now)] }
    }

    /// Returns the results of this type that the process remembers.
    pub fn remembered<T: 'static>(&self) -> impl Iterator<Item = &T> {
        self.results.iter().filter_map(|result| result.value.downcast_ref())
    }

    /// Runs the function up to its next call, makes the call, and goes on to the one after. Also returns the call's
    /// name.
    pub fn step<T>(
        &mut self,
        world: &mut World,
        broken: Broken,
        outcome: CallOutcome,
        function: impl FnOnce(&mut Run) -> Flow<T>,
    ) -> (&'static str, Flow<T>) {
        let mut run = Run { world, broken, outcome, results: &mut self.results, at: 0, called: None };
        let flow = function(&mut run);
        (run.called.unwrap_or("nothing"), flow)
    }
}

/// One step of a process, as its function sees it.
pub struct Run<'a> {
    /// The state that calls change. Functions read from it only what never changes.
    pub world: &'a mut World,
    broken: Broken,
    outcome: CallOutcome,
    results: &'a mut Vec<CallResult>,
    /// The number of results that the function has received.
    at: usize,
    /// The one call of this step.
    called: Option<&'static str>,
}

impl Run<'_> {
    /// Returns whether the protocol is broken in this way.
    pub fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    /// Returns the time on the process's clock. It does not move, and other processes' clocks may differ.
    pub fn now(&mut self) -> Flow<Timestamp> {
        self.known(CLOCK).ok_or(Interrupt::Permanent("the clock is read first"))
    }

    /// Makes a call that can be repeated without effect: a read, a send, or a transaction, which the SDK's token
    /// protects from being done twice.
    pub fn call<T: Remember>(&mut self, name: &'static str, call: impl FnOnce(&mut World) -> T) -> Flow<T> {
        self.perform(name, |outcome, world| (outcome == CallOutcome::Success).then(|| call(world)))
    }

    /// Makes a call whose result depends on its outcome. `call` returns `None` if the outcome does not apply.
    pub fn call_so<T: Remember>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(CallOutcome, &mut World) -> Option<T>,
    ) -> Flow<T> {
        self.perform(name, call)
    }

    /// Writes one row on a condition, which may no longer hold when the SDK repeats the call. While the row is
    /// prepared by a transaction, the write is impossible: the code retries until it succeeds or the process dies.
    pub fn write<T: Remember>(&mut self, name: &'static str, row: &Key, write: impl Fn(&mut World) -> T) -> Flow<T> {
        self.perform(name, |outcome, world| match outcome {
            _ if world.prepared.contains_key(row) => None,
            CallOutcome::Success => Some(write(world)),
            CallOutcome::Repeated => {
                write(world);
                Some(write(world))
            }
            CallOutcome::Held
            | CallOutcome::HeldAfterSuccess
            | CallOutcome::PartlyRefused
            | CallOutcome::ResponseLost
            | CallOutcome::OutOfTime => None,
        })
    }

    /// Makes a transaction. It returns once all its rows are visible.
    pub fn transact<T: Remember>(
        &mut self,
        name: &'static str,
        transaction: impl FnOnce(&mut World) -> Result<T, Conflict>,
    ) -> Flow<Result<T, Conflict>> {
        type Prepared<T> = Result<(T, BTreeMap<Key, Value>), Conflict>;
        let call = |outcome, world: &mut World| (outcome == CallOutcome::Success).then(|| world.prepare(transaction));
        let result: Prepared<T> = self.perform(name, call)?;
        let Ok((result, rows)) = result else { return Ok(Err(Conflict)) };
        match (self.world.is_unseen(&rows), self.called) {
            (true, Some(_)) => Err(Interrupt::Waiting),
            (true, None) => Err(Interrupt::Inapplicable),
            (false, _) => Ok(Ok(result)),
        }
    }

    /// Writes a row that others may hold on every attempt. Then it returns `None`.
    pub fn contended<T: Remember>(
        &mut self,
        name: &'static str,
        row: &Key,
        write: impl Fn(&mut World) -> T,
    ) -> Flow<Option<T>> {
        if self.known::<()>(HELD).is_some() {
            return Ok(None);
        }
        if let Some(result) = self.known(name) {
            return Ok(Some(result));
        }
        if self.called.is_none() && matches!(self.outcome, CallOutcome::Held | CallOutcome::HeldAfterSuccess) {
            if self.outcome == CallOutcome::HeldAfterSuccess {
                if self.world.prepared.contains_key(row) {
                    return Err(Interrupt::Inapplicable);
                }
                write(self.world);
            }
            self.called = Some(name);
            self.remember(HELD, ());
            return Ok(None);
        }
        self.write(name, row, write).map(Some)
    }

    /// Runs a function of several calls. Once it has returned, the results of its calls are forgotten.
    pub fn function<T: Remember>(
        &mut self,
        name: &'static str,
        function: impl FnOnce(&mut Self) -> Flow<T>,
    ) -> Flow<T> {
        if let Some(result) = self.known(name) {
            return Ok(result);
        }
        let from = self.at;
        let result = function(self)?;
        self.forget(from);
        self.remember(name, result.clone());
        Ok(result)
    }

    /// Tries again whenever what was read has changed before it could be written. In the code, the message becomes
    /// visible again after some attempts. Here, the process may crash instead.
    pub fn retrying<T>(&mut self, attempt: impl FnOnce(&mut Self) -> Flow<T>) -> Flow<T> {
        let from = self.at;
        let result = attempt(self);
        if let Err(Interrupt::Conflict) = result {
            self.forget(from);
            return Err(Interrupt::Waiting);
        }
        result
    }

    fn perform<T: Remember>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(CallOutcome, &mut World) -> Option<T>,
    ) -> Flow<T> {
        if let Some(result) = self.known(name) {
            return Ok(result);
        }
        if self.called.is_some() {
            return Err(Interrupt::Waiting);
        }
        let result = call(self.outcome, self.world).ok_or(Interrupt::Inapplicable)?;
        self.called = Some(name);
        self.remember(name, result.clone());
        Ok(result)
    }

    fn known<T: Remember>(&mut self, name: &'static str) -> Option<T> {
        let result = self.results.get(self.at).filter(|result| result.name == name)?;
        self.at += 1;
        result.value.downcast_ref().cloned()
    }

    fn remember<T: Remember>(&mut self, name: &'static str, result: T) {
        // A function that is run again must make the same calls again.
        debug_assert_eq!(self.at, self.results.len(), "{name} comes where the results were {:?}", self.results);
        self.results.push(CallResult::new(name, result));
        self.at += 1;
    }

    fn forget(&mut self, from: usize) {
        self.results.truncate(from);
        self.at = from;
    }
}
