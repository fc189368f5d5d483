//! What may happen, and in which order: any.

use shared::domain::card::CardStatus;
use shared::domain::ids::CardId;
use shared::domain::time::Timestamp;
use stateright::{Model, Property};

use crate::broken::Broken;
use crate::process::{Flow, How, Process, Run, Stop};
use crate::scenario::{Asked, Scenario, times};
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
                    world.told.entry(operation).or_insert(Told::Nothing);
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
        const MOST_CALLS: usize = 50;
        let (mut world, _) = self.after(state, Action::Begin(task.clone(), times()[0], How::Well))?;
        for _ in 0..MOST_CALLS {
            if world.is_at_rest() {
                return Some(world);
            }
            (world, _) = self.after(&world, Action::Step(0, How::Well))?;
        }
        None
    }

    /// The ways in which a call may be answered.
    fn ways(&self) -> &'static [How] {
        const WAYS: &[How] = &[How::Well, How::Again, How::Held, How::HeldAfterAll];
        if self.scenario.held { WAYS } else { &WAYS[..2] }
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
            let asked = self.scenario.asked.iter().filter(|asked| may_be_asked(asked, state));
            // What an endpoint's clock says is when the operation was accepted, and of no matter here.
            let requests = asked.map(|asked| (Task::Request(asked.operation.operation_id), times()[0]));
            let deliverable = |place| place == Place::Queue || place == Place::Gone && self.scenario.late_copies;
            let messages = state.messages.iter().filter(|(_, place)| deliverable(**place));
            let clocks = if state.has_been_odd { &times()[..1] } else { &times()[..] };
            let messages = messages.map(|(message, _)| Task::Message(message.clone()));
            let messages = messages.flat_map(|task| clocks.iter().map(move |now| (task.clone(), *now)));
            for (task, now) in requests.chain(messages) {
                actions.extend([How::Well, How::Again].map(|how| Action::Begin(task.clone(), now, how)));
            }
        }
        if self.scenario.outside {
            for (id, card) in &state.cards {
                let next: &[CardStatus] = match card.row.status {
                    CardStatus::Created => &[CardStatus::Blocked, CardStatus::Lost],
                    CardStatus::Blocked | CardStatus::Reissued => &[CardStatus::Lost],
                    _ => &[],
                };
                actions.extend(next.iter().map(|status| Action::Outside(*id, *status)));
            }
        }
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

/// At any time; without a key once.
fn may_be_asked(asked: &Asked, state: &World) -> bool {
    asked.is_keyed() || !state.told.contains_key(&asked.operation.operation_id)
}
