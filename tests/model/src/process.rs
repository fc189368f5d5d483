//! A process: an endpoint that answers a request, or a worker that handles a message, call by call.
//!
//! The model's workers are written like the real ones, as functions that make one call after another. A
//! process is such a function and the answers that it has got so far. A step runs the function from its
//! start, hands it the answers that are known, has it make **one** further call, and stops it where it would
//! make the next. So whatever can happen between two calls of a worker can happen here: another process's
//! call, or its own death.

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

/// Answers that are no call's.
const CLOCK: &str = "clock";
const HELD: &str = "held";

/// Why a process does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It has made its call, and would make another.
    Waiting,
    /// What it read has changed before it could write; see [`Run::retrying`].
    Conflict,
    /// It leaves its message to a later delivery (`Failure::Retry`).
    Back,
    /// It met what cannot be (`Failure::Broken`): its message goes to the dead-letter queue.
    Broken(&'static str),
    /// Its next call is not answered in the way that was to be tried.
    NotSo,
}

/// What a process's function comes to.
pub type Flow<T> = Result<T, Stop>;

/// How a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As it should.
    Well,
    /// The first answer is lost, and the SDK makes the call again.
    Again,
    /// Other transactions hold the row at every try, and hardly any delivery of the message is left.
    Held,
    /// The same, but the first try was done, and only its answer lost.
    HeldAfterAll,
    /// A call with several entries is done but for the last of them, and says so.
    Refused,
    /// It is done, and its answer lost.
    Lost,
    /// It is done; but the process's time is nearly up then.
    Late,
}

/// What a process can remember.
pub trait Remember: Clone + Hash + Send + Sync + 'static {}

impl<T: Clone + Hash + Send + Sync + 'static> Remember for T {}

/// What a call, or a function, answered.
#[derive(Clone)]
struct Answer {
    name: &'static str,
    digest: u64,
    value: Arc<dyn Any + Send + Sync>,
}

impl Answer {
    fn new<T: Remember>(name: &'static str, value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { name, digest: hasher.finish(), value: Arc::new(value) }
    }

    fn key(&self) -> (&'static str, u64) {
        (self.name, self.digest)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Answer {}

impl PartialOrd for Answer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Answer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Answer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// What it is at.
    pub task: Task,
    answers: Vec<Answer>,
}

impl Process {
    /// One that has done nothing yet, and whose clock says this.
    pub fn new(task: Task, now: Timestamp) -> Self {
        Self { task, answers: vec![Answer::new(CLOCK, now)] }
    }

    /// The answers of this type that it remembers.
    pub fn remembered<T: 'static>(&self) -> impl Iterator<Item = &T> {
        self.answers.iter().filter_map(|answer| answer.value.downcast_ref())
    }

    /// Goes through its function up to its next call, makes that, and goes on to the one after. Answers the
    /// call's name too.
    pub fn step<T>(
        &mut self,
        world: &mut World,
        broken: Broken,
        how: How,
        function: impl FnOnce(&mut Run) -> Flow<T>,
    ) -> (&'static str, Flow<T>) {
        let mut run = Run { world, broken, how, answers: &mut self.answers, at: 0, called: None };
        let flow = function(&mut run);
        (run.called.unwrap_or("nothing"), flow)
    }
}

/// One step of a process, as its function sees it.
pub struct Run<'a> {
    /// What the calls are made to. Functions only read from it what never changes.
    pub world: &'a mut World,
    broken: Broken,
    how: How,
    answers: &'a mut Vec<Answer>,
    /// How many of the answers the function has been handed.
    at: usize,
    /// The one call of this step.
    called: Option<&'static str>,
}

impl Run<'_> {
    /// Whether the protocol is broken in this way.
    pub fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    /// What the process's clock says. It does not move; those of other processes may differ.
    pub fn now(&mut self) -> Flow<Timestamp> {
        self.known(CLOCK).ok_or(Stop::Broken("the clock is read first"))
    }

    /// A call for which it makes no difference to be made twice: a read, a send; or a transaction, which a
    /// token of the SDK's keeps from being done twice.
    pub fn call<T: Remember>(&mut self, name: &'static str, call: impl FnOnce(&mut World) -> T) -> Flow<T> {
        self.answered(name, |how, world| (how == How::Well).then(|| call(world)))
    }

    /// A call whose answer depends on how it goes; nothing if it does not go so.
    pub fn call_so<T: Remember>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(How, &mut World) -> Option<T>,
    ) -> Flow<T> {
        self.answered(name, call)
    }

    /// A write of one row on a condition, which may no longer hold when the SDK makes the call again. While the row is
    /// prepared it cannot be: the code tries again, until it can or the process dies.
    pub fn write<T: Remember>(&mut self, name: &'static str, row: &Key, write: impl Fn(&mut World) -> T) -> Flow<T> {
        self.answered(name, |how, world| match how {
            _ if world.prepared.contains_key(row) => None,
            How::Well => Some(write(world)),
            How::Again => {
                write(world);
                Some(write(world))
            }
            How::Held | How::HeldAfterAll | How::Refused | How::Lost | How::Late => None,
        })
    }

    /// A transaction. It is answered once all its rows can be seen.
    pub fn transact<T: Remember>(
        &mut self,
        name: &'static str,
        transaction: impl FnOnce(&mut World) -> Result<T, Conflict>,
    ) -> Flow<Result<T, Conflict>> {
        type Prepared<T> = Result<(T, BTreeMap<Key, Value>), Conflict>;
        let call = |how, world: &mut World| (how == How::Well).then(|| world.prepare(transaction));
        let answer: Prepared<T> = self.answered(name, call)?;
        let Ok((answer, rows)) = answer else { return Ok(Err(Conflict)) };
        match (self.world.is_unseen(&rows), self.called) {
            (true, Some(_)) => Err(Stop::Waiting),
            (true, None) => Err(Stop::NotSo),
            (false, _) => Ok(Ok(answer)),
        }
    }

    /// The same, of a row that others may hold at every try: then it answers nothing.
    pub fn contended<T: Remember>(
        &mut self,
        name: &'static str,
        row: &Key,
        write: impl Fn(&mut World) -> T,
    ) -> Flow<Option<T>> {
        if self.known::<()>(HELD).is_some() {
            return Ok(None);
        }
        if let Some(answer) = self.known(name) {
            return Ok(Some(answer));
        }
        if self.called.is_none() && matches!(self.how, How::Held | How::HeldAfterAll) {
            if self.how == How::HeldAfterAll {
                if self.world.prepared.contains_key(row) {
                    return Err(Stop::NotSo);
                }
                write(self.world);
            }
            self.called = Some(name);
            self.remember(HELD, ());
            return Ok(None);
        }
        self.write(name, row, write).map(Some)
    }

    /// A function of several calls. Once it has answered, what it got on its way is forgotten.
    pub fn function<T: Remember>(
        &mut self,
        name: &'static str,
        function: impl FnOnce(&mut Self) -> Flow<T>,
    ) -> Flow<T> {
        if let Some(answer) = self.known(name) {
            return Ok(answer);
        }
        let from = self.at;
        let answer = function(self)?;
        self.forget(from);
        self.remember(name, answer.clone());
        Ok(answer)
    }

    /// Tries again whenever what was read has changed before it could be written. (In the code the message comes
    /// back after some tries. Here the process may die instead.)
    pub fn retrying<T>(&mut self, attempt: impl FnOnce(&mut Self) -> Flow<T>) -> Flow<T> {
        let from = self.at;
        let result = attempt(self);
        if let Err(Stop::Conflict) = result {
            self.forget(from);
            return Err(Stop::Waiting);
        }
        result
    }

    fn answered<T: Remember>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(How, &mut World) -> Option<T>,
    ) -> Flow<T> {
        if let Some(answer) = self.known(name) {
            return Ok(answer);
        }
        if self.called.is_some() {
            return Err(Stop::Waiting);
        }
        let answer = call(self.how, self.world).ok_or(Stop::NotSo)?;
        self.called = Some(name);
        self.remember(name, answer.clone());
        Ok(answer)
    }

    fn known<T: Remember>(&mut self, name: &'static str) -> Option<T> {
        let answer = self.answers.get(self.at).filter(|answer| answer.name == name)?;
        self.at += 1;
        answer.value.downcast_ref().cloned()
    }

    fn remember<T: Remember>(&mut self, name: &'static str, answer: T) {
        // A function that is run again must ask the same again.
        debug_assert_eq!(self.at, self.answers.len(), "{name} comes where {:?} were answered", self.answers);
        self.answers.push(Answer::new(name, answer));
        self.at += 1;
    }

    fn forget(&mut self, from: usize) {
        self.answers.truncate(from);
        self.at = from;
    }
}
