//! The scenarios of the model: which cards, items and operations there are.
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
use crate::hashed::{Hashed, Tracked, Transition};
use crate::model::Bindery;
use crate::orders::{Desk, OrderNumber};
use crate::pins::Pin;
use crate::reached::Reached;
use crate::world::{AnyMessage, Instruction, Place, Task, World};

/// A request that a client may send.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// The operation that it makes.
    pub operation: Hashed<Operation>,
    /// The instruction in the request.
    pub kind: RequestKind,
}

impl ClientRequest {
    /// Returns whether it has an idempotency key, and so may be repeated.
    pub(crate) const fn is_keyed(&self) -> bool {
        !matches!(self.kind, RequestKind::IncrementOnce(_))
    }
}

/// The instruction in a request. It has an idempotency key unless its variant states otherwise.
#[derive(Debug, Clone)]
pub enum RequestKind {
    /// An instruction for bind-card.
    Bind(Bind),
    /// An instruction for cancel-bulk to cancel these items.
    CancelNamed(Vec<ExternalId>),
    /// An instruction for increment-bulk to add this item.
    Increment(ExternalId),
    /// An instruction for increment-bulk without a key.
    IncrementOnce(ExternalId),
    /// An instruction for cancel-orders to cancel these orders, with this guess of their creator's PIN if they need
    /// one.
    CancelOrders(Vec<OrderNumber>, Option<Pin>),
}

/// A fault in addition to crashes, repetitions and lost responses that the SDK hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There are no further faults.
    None,
    /// Rows are locked until a message has hardly any deliveries left.
    Held,
    /// A plan's time runs out after any page.
    OutOfTime,
    /// An operator has operations planned again, at any time.
    Resumed,
    /// Calls that send several messages lose their response, or send only some of them.
    Sending,
}

/// A scenario: its initial state, and what may happen.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The scenario's name.
    pub name: &'static str,
    /// The limit of processes that run at once.
    pub processes: usize,
    /// The requests that clients may send.
    pub asked: Vec<ClientRequest>,
    /// True if bound cards are blocked and terminated outside this system.
    pub outside: bool,
    /// True if SQS delivers messages that were deleted.
    pub late_copies: bool,
    /// True if only plans' messages are delivered, not those of chunks.
    pub plans_alone: bool,
    /// The additional fault.
    pub fault: Fault,
    /// The conditions that some state must meet.
    pub reached: Vec<Reached>,
    /// The state at the start.
    pub start: World,
}

/// Returns the time when all operations were accepted.
#[must_use]
pub fn accepted_at() -> Timestamp {
    Timestamp::new(datetime!(2026-11-22 0:00 UTC))
}

/// Returns the time when an operation whose row went away is accepted again.
pub(crate) fn accepted_again_at() -> Timestamp {
    accepted_at().plus_days(3)
}

/// Returns the times that a process's clock may show. The crate's documentation explains why two are enough.
#[must_use]
pub fn times() -> [Timestamp; 2] {
    [accepted_at().plus_days(1), accepted_at().plus_days(2)]
}

/// Returns the ID of the operation with this number. Number 0 made what was there before.
pub(crate) fn operation_id(number: u128) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(number))
}

/// Returns the ID of the card with this number.
pub(crate) fn card_id(number: u64) -> CardId {
    CardId::new(number).expect("from 1 on")
}

/// Returns the ID of the item with this name.
pub(crate) fn external_id(name: &str) -> ExternalId {
    name.parse().expect("short")
}

/// Returns the facts that are the same for all cards.
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
    /// Returns whether the row of an operation may go away. At most one does.
    pub(crate) fn has_one_to_forget(&self, state: &World) -> bool {
        self.start.may_miss && state.gone.is_empty()
    }

    /// Returns an empty scenario.
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

    /// Adds an UNBOUND card.
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

    /// Adds a card that is bound to this customer.
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

    /// Lets bound cards be blocked and terminated outside this system.
    #[must_use]
    pub fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// Lets SQS deliver messages that were deleted.
    #[must_use]
    pub fn late_copies(mut self) -> Self {
        self.late_copies = true;
        self
    }

    /// Delivers only plans' messages, not those of chunks.
    #[must_use]
    pub fn plans_alone(mut self) -> Self {
        self.plans_alone = true;
        self
    }

    /// Lets the row of one operation go away.
    #[must_use]
    pub fn forgets(mut self) -> Self {
        self.start.may_miss = true;
        self
    }

    /// Adds this fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Removes the rows of all accepted operations, as if the table were restored to an earlier time.
    #[must_use]
    pub fn restored(mut self) -> Self {
        let operations = std::mem::take(&mut self.start.operations);
        self.start.may_miss = true;
        self.start.gone = operations.into_keys().map(|operation| (operation, 0)).collect();
        self
    }

    /// Sets all clocks to the same time, for scenarios with many states that do not depend on times.
    #[must_use]
    pub fn one_clock(mut self) -> Self {
        self.start.clock_skewed = true;
        self
    }

    /// Requires some states to meet these conditions.
    #[must_use]
    pub fn reaches(mut self, reached: impl IntoIterator<Item = Reached>) -> Self {
        self.reached.extend(reached);
        self
    }

    /// Plans what was accepted so far, so that only its chunks are left.
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

/// Returns whether the message is the one that its operation began with.
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

/// Returns a bind of the card to the customer, which may replace another card.
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
