//! The actions that may happen in a state, in any order.

use shared::domain::card::CardStatus;
use shared::domain::ids::{CardId, OperationId};
use shared::domain::time::Timestamp;
use stateright::{Model, Property};

use crate::broken::Broken;
use crate::process::{CallOutcome, Flow, Interrupt, Process, Run};
use crate::scenario::{ClientRequest, Fault, Scenario, is_plan, times};
use crate::transaction::Key;
use crate::world::{Place, Response, Task, World};
use crate::{endpoint, properties, workers};

/// The model of a scenario.
#[derive(Debug, Clone)]
pub struct Bindery {
    /// The cards, items, operations and faults of the model.
    pub scenario: Scenario,
    /// The way in which the protocol is broken.
    pub broken: Broken,
}

/// Something that may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A process starts and makes its first call: a client sends its request, or a message is delivered, for the
    /// first time or again. The process's clock shows this time.
    Begin(Task, Timestamp, CallOutcome),
    /// The process with this number makes its next call.
    Step(usize, CallOutcome),
    /// The process with this number crashes.
    Die(usize),
    /// A row that a transaction has prepared becomes visible.
    Commit(Key),
    /// The operation's row goes away, for example because the table was restored to an earlier time. No worker is
    /// running then.
    Forget(OperationId),
    /// An operator has the operation planned again, from its first page.
    Resume(OperationId),
    /// The time for which the PIN is locked passes.
    Unlock,
    /// The card's status changes outside this system.
    Outside(CardId, CardStatus),
}

impl Bindery {
    /// Returns the state after `action` and a name for what happened, or `None` if the action is impossible.
    #[must_use]
    pub fn after(&self, state: &World, action: Action) -> Option<(World, &'static str)> {
        let mut world = state.clone();
        let done = match action {
            Action::Begin(task, now, outcome) => {
                if let Task::Request(operation) = task {
                    let response = world.responses.entry(operation).or_insert(Response::None);
                    // The client got a response, but asks again: its operation is gone.
                    if *response == Response::Accepted && state.gone.contains_key(&operation) {
                        *response = Response::None;
                    }
                }
                world.clock_skewed |= now == times()[1];
                self.step(&mut world, Process::new(task, now), outcome)?
            }
            Action::Step(number, outcome) => {
                let process = world.processes.remove(number);
                self.step(&mut world, process, outcome)?
            }
            Action::Die(number) => {
                world.processes.remove(number);
                "dies"
            }
            Action::Commit(key) => {
                world.commit(&key);
                "commits"
            }
            Action::Forget(operation) => {
                world.gone.insert(operation, done_by(&world, operation));
                world.operations.remove(&operation);
                world.results.retain(|(of, _), _| *of != operation);
                world.held.retain(|(of, _)| *of != operation);
                "goes away"
            }
            Action::Resume(operation) => {
                world.forget_plan(operation, self.broken)?;
                "is resumed"
            }
            Action::Unlock => {
                world.unlock();
                "ends"
            }
            Action::Outside(card, status) => {
                world.cards.get_mut(&card)?.edit(|card| card.row.status = status);
                "changes"
            }
        };
        Some((world, done))
    }

    fn step(&self, world: &mut World, mut process: Process, outcome: CallOutcome) -> Option<&'static str> {
        let task = process.task.clone();
        let (call, flow) = process.step(world, self.broken, outcome, |run| self.run(run, &task));
        match (flow, task) {
            (Err(Interrupt::Inapplicable), _) => return None,
            (Err(Interrupt::Waiting | Interrupt::Conflict), _) => {
                let at = world.processes.binary_search(&process).unwrap_or_else(|at| at);
                world.processes.insert(at, process);
            }
            (Err(Interrupt::Permanent(_)), Task::Message(message)) => {
                world.messages.insert(message, Place::DeadLetters);
            }
            // A 5xx tells the client nothing.
            (Err(Interrupt::Permanent(_)), Task::Request(_)) | (Err(Interrupt::Retry) | Ok(()), _) => {}
        }
        Some(call)
    }

    fn run(&self, run: &mut Run, task: &Task) -> Flow<()> {
        match task {
            Task::Message(message) => workers::handle(run, message),
            Task::Request(operation) => {
                let mut asked = self.scenario.asked.iter();
                let asked = asked.find(|asked| asked.operation.operation_id == *operation);
                endpoint::respond(run, asked.ok_or(Interrupt::Permanent("no client sent this request"))?)
            }
        }
    }

    /// Runs the task in a process that is alone, and returns the state after it. Returns `None` if the process does
    /// not finish in a limited number of calls.
    #[must_use]
    pub fn undisturbed(&self, state: &World, task: &Task) -> Option<World> {
        self.alone(state, task, times()[0]).map(|(world, _)| world)
    }

    /// Runs the task likewise in a process whose clock shows this time, and also returns the names of its calls.
    #[must_use]
    pub fn alone(&self, state: &World, task: &Task, now: Timestamp) -> Option<(World, Vec<&'static str>)> {
        const MOST_CALLS: usize = 60;
        let (world, call) = self.after(state, Action::Begin(task.clone(), now, CallOutcome::Success))?;
        let (mut world, mut calls) = (world.settled(), vec![call]);
        while !world.is_quiet() {
            let (after, call) = self.after(&world, Action::Step(0, CallOutcome::Success))?;
            world = after.settled();
            calls.push(call);
            if calls.len() == MOST_CALLS {
                return None;
            }
        }
        Some((world, calls))
    }

    /// Returns the outcomes that a call may have in this scenario.
    fn ways(&self) -> &'static [CallOutcome] {
        match self.scenario.fault {
            Fault::None | Fault::Resumed => &[CallOutcome::Success, CallOutcome::Repeated],
            Fault::Held => {
                &[CallOutcome::Success, CallOutcome::Repeated, CallOutcome::Held, CallOutcome::HeldAfterSuccess]
            }
            Fault::OutOfTime => &[CallOutcome::Success, CallOutcome::Repeated, CallOutcome::OutOfTime],
            Fault::Sending => {
                &[CallOutcome::Success, CallOutcome::Repeated, CallOutcome::PartlyRefused, CallOutcome::ResponseLost]
            }
        }
    }
}

impl Model for Bindery {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.scenario.start.clone()]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        for number in 0..state.processes.len() {
            actions.extend(self.ways().iter().map(|outcome| Action::Step(number, *outcome)));
            actions.push(Action::Die(number));
        }
        if state.processes.len() < self.scenario.processes {
            // A request may be sent at any time, for the first time or again. Without a key, it is sent once.
            let is_new = |asked: &&ClientRequest| {
                asked.is_keyed() || !state.responses.contains_key(&asked.operation.operation_id)
            };
            let asked = self.scenario.asked.iter().filter(is_new);
            // An endpoint's clock says when the operation was accepted, which does not matter here.
            let requests = asked.map(|asked| (Task::Request(asked.operation.operation_id), times()[0]));
            let deliverable = |place| place == Place::Queue || place == Place::Gone && self.scenario.late_copies;
            let messages = state
                .messages
                .iter()
                .filter(|(message, place)| deliverable(**place) && (is_plan(message) || !self.scenario.plans_alone));
            let clocks = if state.clock_skewed { &times()[..1] } else { &times()[..] };
            let messages = messages.map(|(message, _)| Task::Message(message.clone()));
            let messages = messages.flat_map(|task| clocks.iter().map(move |now| (task.clone(), *now)));
            for (task, now) in requests.chain(messages) {
                actions.extend(
                    [CallOutcome::Success, CallOutcome::Repeated]
                        .map(|outcome| Action::Begin(task.clone(), now, outcome)),
                );
            }
        }
        actions.extend(state.prepared.keys().cloned().map(Action::Commit));
        if state.is_at_rest() && self.scenario.has_one_to_forget(state) {
            actions.extend(state.operations.keys().copied().map(Action::Forget));
        }
        if self.scenario.fault == Fault::Resumed {
            actions.extend(state.operations.keys().copied().map(Action::Resume));
        }
        if state.may_unlock() {
            actions.push(Action::Unlock);
        }
        if self.scenario.outside {
            let can_change = |id: &CardId| !state.prepared.contains_key(&Key::Card(*id));
            for (id, card) in state.cards.iter().filter(|(id, _)| can_change(id)) {
                let next: &[CardStatus] = match card.row.status {
                    CardStatus::Created => &[CardStatus::Blocked, CardStatus::Lost],
                    CardStatus::Blocked | CardStatus::Reissued => &[CardStatus::Lost],
                    _ => &[],
                };
                actions.extend(next.iter().map(|status| Action::Outside(*id, *status)));
            }
        }
    }

    /// Limits the search: every attempt of an increment takes a new batch number, without end.
    fn within_boundary(&self, state: &World) -> bool {
        const MOST_BATCHES: u32 = 3;
        state.bulk.last_batch <= MOST_BATCHES
    }

    fn next_state(&self, state: &World, action: Action) -> Option<World> {
        self.after(state, action).map(|(world, _)| world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let reached = self.scenario.reached.iter();
        let sometimes = reached.map(|(name, condition)| Property::sometimes(name, *condition));
        properties::always().into_iter().chain(sometimes).collect()
    }
}

/// Counts the changes that an operation has made to cards, items and the bulk.
pub(crate) fn done_by(world: &World, operation: OperationId) -> usize {
    let of_cards = world.cards.values().flat_map(|card| &card.history);
    let of_items = world.items.iter().flat_map(|item| &item.history);
    let sealed = usize::from(world.bulk.sealed_by == Some(operation));
    sealed + of_cards.chain(of_items).filter(|(_, by)| *by == operation).count()
}
