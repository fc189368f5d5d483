//! What a model is about: which cards, items and operations there are.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::bind::Bind;
use shared::domain::bulk::{Bulk, BulkSettings, PinLength, PlanCursor};
use shared::domain::card::{Bound, Card, CardFacts, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId, ExternalId, OperationId, ProgramId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::{Date, Timestamp};
use shared::message::{CancelStep, Message, StartStep};
use time::macros::{date, datetime};
use uuid::Uuid;

mod requests;

use crate::broken::Broken;
use crate::model::Bindery;
use crate::orders::{Desk, OrderNumber};
use crate::pins::Pin;
use crate::reached::Reached;
use crate::hashed::{Hashed, Tracked, Transition};
use crate::world::{AnyMessage, Instruction, Place, Task, World};

/// A request that a client may send.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The operation that it makes.
    pub operation: Hashed<Operation>,
    /// What it asks for.
    pub what: What,
}

impl Asked {
    /// Whether it has an idempotency key, and so may be repeated.
    pub(crate) const fn is_keyed(&self) -> bool {
        !matches!(self.what, What::IncrementOnce(_))
    }
}

/// What a request asks for. With a key, where nothing else is said.
#[derive(Debug, Clone)]
pub enum What {
    /// bind-card.
    Bind(Bind),
    /// cancel-bulk, of these items.
    CancelNamed(Vec<ExternalId>),
    /// increment-bulk, by this item.
    Increment(ExternalId),
    /// The same without a key.
    IncrementOnce(ExternalId),
    /// cancel-orders, of these orders, with this guess of their creator's PIN if they need one.
    CancelOrders(Vec<OrderNumber>, Option<Pin>),
}

/// What goes wrong besides deaths, repetitions and answers that the SDK hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Rows are held for as long as a message is tried.
    Held,
    /// A plan's time runs out after any page.
    OutOfTime,
    /// An operator has operations planned again, at any time.
    Resumed,
    /// Calls that send several messages have no answer, or send some of them.
    Sending,
}

/// What is there at the start, and what may happen.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How many processes may be at work at once.
    pub processes: usize,
    /// What clients may ask for.
    pub asked: Vec<Asked>,
    /// Whether cards that are bound are blocked and terminated, outside this system.
    pub outside: bool,
    /// Whether SQS delivers messages that were let go.
    pub late_copies: bool,
    /// Whether plans' messages are delivered alone, and not those of chunks.
    pub plans_alone: bool,
    /// What goes wrong besides.
    pub fault: Fault,
    /// What some state must show.
    pub reached: Vec<Reached>,
    /// The state at the start.
    pub start: World,
}

/// When all operations were accepted.
#[must_use]
pub fn accepted_at() -> Timestamp {
    Timestamp::new(datetime!(2026-11-22 0:00 UTC))
}

/// When an operation is accepted whose row went away.
pub(crate) fn accepted_again_at() -> Timestamp {
    accepted_at().plus_days(3)
}

/// What a process's clock may say. See the crate's own words on time.
#[must_use]
pub fn times() -> [Timestamp; 2] {
    [accepted_at().plus_days(1), accepted_at().plus_days(2)]
}

/// The operation of this number. Number 0 did what was there before.
pub(crate) fn operation_id(number: u128) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(number))
}

/// The card of this number.
pub(crate) fn card_id(number: u64) -> CardId {
    CardId::new(number).expect("from 1 on")
}

/// The item of this name.
pub(crate) fn external_id(name: &str) -> ExternalId {
    name.parse().expect("short")
}

/// What is true of all cards.
pub(crate) fn facts() -> CardFacts {
    CardFacts {
        program_id: ProgramId::new(1).expect("from 1 on"),
        bulk_id: None,
        external_id: None,
        contactless_enabled: true,
        issuing_date: Date::new(date!(2026 - 11 - 22)),
        expiration_date: Date::new(date!(2032 - 11 - 22)),
    }
}

impl Scenario {
    /// Whether the row of an operation goes away, one of them, if none has.
    pub(crate) fn has_one_to_forget(&self, state: &World) -> bool {
        self.start.may_miss && state.gone.is_empty()
    }

    /// An empty one.
    #[must_use]
    pub fn new(name: &'static str, processes: usize) -> Self {
        let settings = BulkSettings {
            program_id: facts().program_id,
            contactless_enabled: true,
            pin_length: PinLength::Four,
            template_id: None,
            abu_enabled: None,
            embossing_custom_field: None,
            embossing_group: None,
            mode_type: None,
            validity_period_hours: None,
            metadata: None,
        };
        let bulk = Bulk::new("bulk".parse().expect("short"), settings, 0);
        let start = World {
            cards: BTreeMap::new(),
            bulk: Hashed::new(bulk),
            aborted: BTreeSet::new(),
            items: Vec::new(),
            operations: BTreeMap::new(),
            named: Hashed::new(BTreeMap::new()),
            results: BTreeMap::new(),
            held: BTreeSet::new(),
            prepared: BTreeMap::new(),
            may_miss: false,
            gone: BTreeMap::new(),
            planned: BTreeMap::new(),
            planned_again: false,
            desk: Hashed::new(Desk::default()),
            messages: BTreeMap::new(),
            bus: BTreeMap::new(),
            responses: BTreeMap::new(),
            clock_skewed: false,
            processes: Vec::new(),
        };
        Self {
            name,
            processes,
            asked: Vec::new(),
            outside: false,
            late_copies: false,
            plans_alone: false,
            fault: Fault::None,
            reached: Vec::new(),
            start,
        }
    }

    /// A card that is UNBOUND.
    #[must_use]
    pub fn card(mut self, number: u64) -> Self {
        let row = Card {
            card_id: card_id(number),
            status: CardStatus::Unbound,
            facts: facts(),
            bound: None,
            replaced: None,
            canceled: None,
        };
        let history = vec![(Transition::Issued, operation_id(0))];
        self.start.cards.insert(row.card_id, Hashed::new(Tracked { row, history }));
        self
    }

    /// A card that this customer has.
    #[must_use]
    pub fn bound_card(mut self, number: u64, customer: u64) -> Self {
        self = self.card(number);
        let Bind { account_id, customer_id, .. } = bind(number, customer, None);
        let (by, accepted_at, at) = (operation_id(0), accepted_at(), accepted_at());
        let mark = Bound { by, accepted_at, at, account_id, customer_id, reissued_card_id: None };
        let card = self.start.cards.get_mut(&card_id(number)).expect("just put");
        card.apply(Transition::Bound, mark.by, |card| {
            (card.status, card.bound) = (CardStatus::Created, Some(mark.clone()));
        });
        self
    }

    /// Cards that are bound are blocked and terminated, outside this system.
    #[must_use]
    pub fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// SQS delivers messages that were let go.
    #[must_use]
    pub fn late_copies(mut self) -> Self {
        self.late_copies = true;
        self
    }

    /// Plans' messages are delivered alone, and not those of chunks.
    #[must_use]
    pub fn plans_alone(mut self) -> Self {
        self.plans_alone = true;
        self
    }

    /// The row of an operation goes away, one of them.
    #[must_use]
    pub fn forgets(mut self) -> Self {
        self.start.may_miss = true;
        self
    }

    /// This goes wrong besides.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// The rows of all operations that were accepted are gone: the table was restored to a time before.
    #[must_use]
    pub fn restored(mut self) -> Self {
        let operations = std::mem::take(&mut self.start.operations);
        self.start.may_miss = true;
        self.start.gone = operations.into_keys().map(|operation| (operation, 0)).collect();
        self
    }

    /// All clocks say the same: for scenarios of many states, where times are not in question.
    #[must_use]
    pub fn one_clock(mut self) -> Self {
        self.start.clock_skewed = true;
        self
    }

    /// Some states must show these.
    #[must_use]
    pub fn reaches(mut self, reached: impl IntoIterator<Item = Reached>) -> Self {
        self.reached.extend(reached);
        self
    }

    /// What was accepted so far is planned: only its chunks are left.
    #[must_use]
    pub fn planned(mut self) -> Self {
        let model = Bindery { scenario: self.clone(), broken: Broken::Nothing };
        while let Some(plan) = self.start.messages.keys().find(|message| is_plan(message)).cloned() {
            self.start = model.undisturbed(&self.start, &Task::Message(plan.clone())).expect("it ends");
            self.start.messages.remove(&plan);
        }
        self
    }

    pub(super) fn accept(&mut self, operation: u128, subject: Subject, instruction: Instruction) {
        let operation = pending(operation, subject);
        self.start.messages.insert(Hashed::new(Message::of(&operation, instruction)), Place::Queue);
        self.start.operations.insert(operation.operation_id, operation);
    }
}

pub(crate) fn is_plan(message: &AnyMessage) -> bool {
    match &message.instruction {
        Instruction::Bind(_) | Instruction::CancelOrder(_) | Instruction::ChangeOrder(_) => false,
        Instruction::Start(start) => matches!(start.step, StartStep::Plan(_)),
        Instruction::Cancel(cancel) => !matches!(cancel.step, CancelStep::Chunk(_) | CancelStep::Watch(_)),
    }
}

/// Whether the message is the one that its operation began with.
pub(crate) fn is_first_plan(message: &AnyMessage) -> bool {
    match &message.instruction {
        Instruction::Bind(_) | Instruction::CancelOrder(_) | Instruction::ChangeOrder(_) => false,
        Instruction::Start(start) => start.step == StartStep::Plan(PlanCursor::default()),
        Instruction::Cancel(cancel) => match &cancel.step {
            CancelStep::PlanAll(cursor) => *cursor == PlanCursor::default(),
            CancelStep::PlanNamed(_) => true,
            CancelStep::Chunk(_) | CancelStep::Watch(_) => false,
        },
    }
}

/// A bind of the card to the customer, which may replace another card.
#[must_use]
pub fn bind(card: u64, customer: u64, reissued: Option<u64>) -> Bind {
    Bind {
        card_id: card_id(card),
        account_id: AccountId::new(1).expect("from 1 on"),
        customer_id: CustomerId::new(customer).expect("from 1 on"),
        reissued_card_id: reissued.map(card_id),
    }
}

fn bind_subject(bind: &Bind) -> Subject {
    Subject::BindCard { card_id: bind.card_id, reissued_card_id: bind.reissued_card_id, outcome: None }
}

fn pending(number: u128, subject: Subject) -> Hashed<Operation> {
    Hashed::new(Operation {
        org_id: "TN-00000000-0000-4000-8000-000000000000".parse().expect("well formed"),
        operation_id: operation_id(number),
        account_id: None,
        state: OperationState::Pending,
        fingerprint: String::new(),
        cid: "cid".parse().expect("short"),
        created_at: accepted_at(),
        ended_at: None,
        subject,
    })
}
