//! What a model is about: which cards, items and operations there are.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::bind::Bind;
use shared::domain::bulk::{Bulk, BulkSettings, BulkState, PlanCursor};
use shared::domain::cancel::CancelType;
use shared::domain::card::{Bound, Card, CardFacts, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId, ExternalId, OperationId, ProgramId};
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::domain::time::{Date, Timestamp};
use shared::message::{BindCard, CancelBulk, CancelStep, Message, NamedPlan, StartBulk, StartStep};
use time::macros::{date, datetime};
use uuid::Uuid;

use crate::broken::Broken;
use crate::model::Bindery;
use crate::reached::Reached;
use crate::row::{Row, Tracked, Transition};
use crate::world::{AnyMessage, Instruction, Place, Task, World};

/// A request that a client may send.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The operation that it makes.
    pub operation: Row<Operation>,
    /// What it asks for.
    pub what: What,
}

impl Asked {
    /// Whether it has an idempotency key, and so may be repeated.
    pub(crate) const fn is_keyed(&self) -> bool {
        match self.what {
            What::Bind(_) | What::CancelNamed(_) => true,
            What::Increment(_) => false,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub enum What {
    /// bind-card. With a key.
    Bind(Bind),
    /// cancel-bulk, of these items. With a key.
    CancelNamed(Vec<ExternalId>),
    /// increment-bulk, by this item. Without.
    Increment(ExternalId),
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
    /// Whether rows are held for as long as a message is tried.
    pub held: bool,
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
    /// An empty one.
    #[must_use]
    pub fn new(name: &'static str, processes: usize) -> Self {
        let bulk = Bulk {
            bulk_id: "bulk".parse().expect("short"),
            state: BulkState::Created,
            settings: BulkSettings {
                program_id: facts().program_id,
                template_id: None,
                pin_length: 4,
                contactless_enabled: true,
                embossing_custom_field: None,
                metadata: None,
            },
            batches: BTreeSet::from([1]),
            last_batch: 1,
            items: 0,
            issued: 0,
            canceled: 0,
            sealed_by: None,
        };
        let start = World {
            cards: BTreeMap::new(),
            bulk: Row::new(bulk),
            items: Vec::new(),
            operations: BTreeMap::new(),
            named: Row::new(BTreeMap::new()),
            results: BTreeMap::new(),
            held: BTreeSet::new(),
            messages: BTreeMap::new(),
            bus: BTreeMap::new(),
            told: BTreeMap::new(),
            has_been_odd: false,
            processes: Vec::new(),
        };
        Self {
            name,
            processes,
            asked: Vec::new(),
            outside: false,
            late_copies: false,
            held: false,
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
        self.start.cards.insert(row.card_id, Row::new(Tracked { row, history }));
        self
    }

    /// A card that this customer has.
    #[must_use]
    pub fn bound_card(mut self, number: u64, customer: u64) -> Self {
        self = self.card(number);
        let Bind { account_id, customer_id, .. } = bind(number, customer, None);
        let mark = Bound { by: operation_id(0), at: accepted_at(), account_id, customer_id };
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

    /// Rows are held for as long as a message is tried.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// All clocks say the same: for scenarios of many states, where times are not in question.
    #[must_use]
    pub fn one_clock(mut self) -> Self {
        self.start.has_been_odd = true;
        self
    }

    /// Some states must show these.
    #[must_use]
    pub fn reaches(mut self, reached: impl IntoIterator<Item = Reached>) -> Self {
        self.reached.extend(reached);
        self
    }

    /// A bind that a client may ask for.
    #[must_use]
    pub fn asked(mut self, operation: u128, bind: Bind) -> Self {
        let operation = pending(operation, bind_subject(&bind));
        self.asked.push(Asked { operation, what: What::Bind(bind) });
        self
    }

    /// An increment of the bulk by an item that a client may ask for.
    #[must_use]
    pub fn increment(mut self, operation: u128, item: &str) -> Self {
        let subject = Subject::IncrementBulk { bulk_id: self.start.bulk.bulk_id.clone() };
        let operation = pending(operation, subject);
        self.asked.push(Asked { operation, what: What::Increment(external_id(item)) });
        self
    }

    /// A pending item of the bulk, of its first batch.
    #[must_use]
    pub fn item(mut self, name: &str) -> Self {
        self.start.add_item(&external_id(name), 1);
        self.start.bulk.edit(|bulk| bulk.items += 1);
        self
    }

    /// A start of the bulk that was asked for and accepted.
    #[must_use]
    pub fn start(mut self, operation: u128) -> Self {
        let bulk_id = self.start.bulk.bulk_id.clone();
        let CardFacts { issuing_date, expiration_date, .. } = facts();
        let progress = Progress::default();
        let subject = Subject::StartBulk { bulk_id: bulk_id.clone(), issuing_date, expiration_date, progress };
        let step = StartStep::Plan(PlanCursor::default());
        self.accept(operation, subject, Instruction::Start(StartBulk { bulk_id, step }));
        self
    }

    /// A FULL cancel of the bulk that was asked for and accepted.
    #[must_use]
    pub fn cancel(self, operation: u128) -> Self {
        self.cancel_of(operation, CancelType::Full, CancelStep::PlanAll(PlanCursor::default()))
    }

    /// A PARTIAL cancel that a client may ask for.
    #[must_use]
    pub fn asked_cancel(mut self, operation: u128, names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| external_id(name)).collect();
        self.start.named.edit(|named| _ = named.insert(operation_id(operation), names.clone()));
        let operation = pending(operation, self.cancel_subject(CancelType::Partial));
        self.asked.push(Asked { operation, what: What::CancelNamed(names) });
        self
    }

    /// A PARTIAL cancel that was asked for and accepted.
    #[must_use]
    pub fn cancel_named(mut self, operation: u128, names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| external_id(name)).collect();
        let chunks = u32::try_from(names.len()).expect("few");
        self.start.named.edit(|named| _ = named.insert(operation_id(operation), names));
        let batches = self.start.bulk.batches.clone();
        self.cancel_of(operation, CancelType::Partial, CancelStep::PlanNamed(NamedPlan { chunks, batches }))
    }

    fn cancel_subject(&self, cancel_type: CancelType) -> Subject {
        let (bulk_id, progress) = (self.start.bulk.bulk_id.clone(), Progress::default());
        Subject::CancelBulk { bulk_id, cancel_type, bulk_status: None, progress }
    }

    fn cancel_of(mut self, operation: u128, cancel_type: CancelType, step: CancelStep) -> Self {
        let (subject, bulk_id) = (self.cancel_subject(cancel_type), self.start.bulk.bulk_id.clone());
        let program_id = facts().program_id;
        self.accept(operation, subject, Instruction::Cancel(CancelBulk { bulk_id, program_id, step }));
        self
    }

    /// A bind that was asked for and accepted.
    #[must_use]
    pub fn accepted(mut self, operation: u128, bind: Bind) -> Self {
        let subject = bind_subject(&bind);
        let instruction = Instruction::Bind(BindCard { bind, card: facts() });
        self.accept(operation, subject, instruction);
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

    fn accept(&mut self, operation: u128, subject: Subject, instruction: Instruction) {
        let operation = pending(operation, subject);
        self.start.messages.insert(Row::new(Message::of(&operation, instruction)), Place::Queue);
        self.start.operations.insert(operation.operation_id, operation);
    }
}

fn is_plan(message: &AnyMessage) -> bool {
    match &message.instruction {
        Instruction::Bind(_) => false,
        Instruction::Start(start) => matches!(start.step, StartStep::Plan(_)),
        Instruction::Cancel(cancel) => !matches!(cancel.step, CancelStep::Chunk(_)),
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

fn pending(number: u128, subject: Subject) -> Row<Operation> {
    Row::new(Operation {
        org_id: "TN-00000000-0000-4000-8000-000000000000".parse().expect("well formed"),
        operation_id: operation_id(number),
        state: OperationState::Pending,
        fingerprint: String::new(),
        cid: "cid".parse().expect("short"),
        created_at: accepted_at(),
        ended_at: None,
        subject,
    })
}
