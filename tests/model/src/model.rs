//! What may happen, and in which order: any.

use shared::domain::card::CardStatus;
use shared::domain::ids::{CardId, OperationId};
use shared::domain::time::Timestamp;
use stateright::{Model, Property};

use crate::broken::Broken;
use crate::process::{Flow, How, Process, Run, Stop};
use crate::scenario::{Asked, Odd, Scenario, is_plan, times};
use crate::transaction::Key;
use crate::world::{Place, Task, Told, World};
use crate::{endpoint, properties, workers};

/// The model of a scenario.
#[derive(Debug, Clone)]
pub struct Bindery {
    /// What it is about.
    pub scenario: Scenario,
    /// How the protocol is broken in it.
    pub broken: Broken,
}

/// Something that may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A client sends its request, for the first time or again, or a message is delivered, for the first time or
    /// again: a process starts, whose clock says this, and makes its first call.
    Begin(Task, Timestamp, How),
    /// The process of this number makes its next call.
    Step(usize, How),
    /// It dies.
    Die(usize),
    /// A row that a transaction has prepared can be seen.
    Commit(Key),
    /// The operation's row goes away: the table was restored to a time before it, say. All workers rest then.
    Forget(OperationId),
    /// An operator has the operation planned again, from its first page on.
    Resume(OperationId),
    /// The time passes for which the PIN is locked.
    Unlock,
    /// The card comes to another status outside this system.
    Outside(CardId, CardStatus),
}

impl Bindery {
    /// The state after `action`, and what was done; nothing if it cannot be.
    #[must_use]
    pub fn after(&self, state: &World, action: Action) -> Option<(World, &'static str)> {
        let mut world = state.clone();
        let done = match action {
            Action::Begin(task, now, how) => {
                if let Task::Request(operation) = task {
                    let told = world.told.entry(operation).or_insert(Told::Nothing);
                    // It was told, but asks again: its operation is gone.
                    if *told == Told::Accepted && state.gone.contains_key(&operation) {
                        *told = Told::Nothing;
                    }
                }
                world.has_been_odd |= now == times()[1];
                self.step(&mut world, Process::new(task, now), how)?
            }
            Action::Step(number, how) => {
                let process = world.processes.remove(number);
                self.step(&mut world, process, how)?
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

    fn step(&self, world: &mut World, mut process: Process, how: How) -> Option<&'static str> {
        let task = process.task.clone();
        let (call, flow) = process.step(world, self.broken, how, |run| self.run(run, &task));
        match (flow, task) {
            (Err(Stop::NotSo), _) => return None,
            (Err(Stop::Waiting | Stop::Conflict), _) => {
                let at = world.processes.binary_search(&process).unwrap_or_else(|at| at);
                world.processes.insert(at, process);
            }
            (Err(Stop::Broken(_)), Task::Message(message)) => {
                world.messages.insert(message, Place::DeadLetters);
            }
            // 5xx: the client knows nothing.
            (Err(Stop::Broken(_)), Task::Request(_)) | (Err(Stop::Back) | Ok(()), _) => {}
        }
        Some(call)
    }

    fn run(&self, run: &mut Run, task: &Task) -> Flow<()> {
        match task {
            Task::Message(message) => workers::handle(run, message),
            Task::Request(operation) => {
                let mut asked = self.scenario.asked.iter();
                let asked = asked.find(|asked| asked.operation.operation_id == *operation);
                endpoint::answer(run, asked.ok_or(Stop::Broken("nobody asked"))?)
            }
        }
    }

    /// Has a process that is left to itself go through the task. Answers the state after it; nothing if it does
    /// not come to an end.
    #[must_use]
    pub fn undisturbed(&self, state: &World, task: &Task) -> Option<World> {
        self.alone(state, task, times()[0]).map(|(world, _)| world)
    }

    /// The same for a process whose clock says this; with the names of its calls.
    #[must_use]
    pub fn alone(&self, state: &World, task: &Task, now: Timestamp) -> Option<(World, Vec<&'static str>)> {
        const MOST_CALLS: usize = 60;
        let (world, call) = self.after(state, Action::Begin(task.clone(), now, How::Well))?;
        let (mut world, mut calls) = (world.settled(), vec![call]);
        while !world.is_quiet() {
            let (after, call) = self.after(&world, Action::Step(0, How::Well))?;
            world = after.settled();
            calls.push(call);
            if calls.len() == MOST_CALLS {
                return None;
            }
        }
        Some((world, calls))
    }

    /// The ways in which a call may be answered.
    fn ways(&self) -> &'static [How] {
        match self.scenario.odd {
            Odd::Nothing | Odd::Resumed => &[How::Well, How::Again],
            Odd::Held => &[How::Well, How::Again, How::Held, How::HeldAfterAll],
            Odd::Late => &[How::Well, How::Again, How::Late],
            Odd::Sending => &[How::Well, How::Again, How::Refused, How::Lost],
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
            actions.extend(self.ways().iter().map(|how| Action::Step(number, *how)));
            actions.push(Action::Die(number));
        }
        if state.processes.len() < self.scenario.processes {
            // At any time, for the first time or again; without a key once.
            let is_new = |asked: &&Asked| asked.is_keyed() || !state.told.contains_key(&asked.operation.operation_id);
            let asked = self.scenario.asked.iter().filter(is_new);
            // What an endpoint's clock says is when the operation was accepted, and of no matter here.
            let requests = asked.map(|asked| (Task::Request(asked.operation.operation_id), times()[0]));
            let deliverable = |place| place == Place::Queue || place == Place::Gone && self.scenario.late_copies;
            let messages = state
                .messages
                .iter()
                .filter(|(message, place)| deliverable(**place) && (is_plan(message) || !self.scenario.plans_alone));
            let clocks = if state.has_been_odd { &times()[..1] } else { &times()[..] };
            let messages = messages.map(|(message, _)| Task::Message(message.clone()));
            let messages = messages.flat_map(|task| clocks.iter().map(move |now| (task.clone(), *now)));
            for (task, now) in requests.chain(messages) {
                actions.extend([How::Well, How::Again].map(|how| Action::Begin(task.clone(), now, how)));
            }
        }
        actions.extend(state.prepared.keys().cloned().map(Action::Commit));
        if state.is_at_rest() && self.scenario.has_one_to_forget(state) {
            actions.extend(state.operations.keys().copied().map(Action::Forget));
        }
        if self.scenario.odd == Odd::Resumed {
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

    /// Every try of an increment takes a new batch number, for ever; what is looked at has an end.
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

/// How much an operation has done to cards, items and the bulk.
pub(crate) fn done_by(world: &World, operation: OperationId) -> usize {
    let of_cards = world.cards.values().flat_map(|card| &card.history);
    let of_items = world.items.iter().flat_map(|item| &item.history);
    let sealed = usize::from(world.bulk.sealed_by == Some(operation));
    sealed + of_cards.chain(of_items).filter(|(_, by)| *by == operation).count()
}
