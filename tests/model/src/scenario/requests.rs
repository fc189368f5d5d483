//! The requests of a scenario: those that clients may send, and those that were accepted before.

use shared::domain::bind::Bind;
use shared::domain::bulk::PlanCursor;
use shared::domain::cancel::CancelType;
use shared::domain::card::CardFacts;
use shared::domain::operation::{Progress, Subject};
use shared::domain::order::{OrderChange, OrderRef, OrderStatus};
use shared::message::{BindCard, CancelBulk, CancelStep, Message, NamedPlan, StartBulk, StartStep};

use super::{
    ClientRequest, RequestKind, Scenario, accepted_at, bind_subject, external_id, facts, operation_id, pending,
};
use crate::hashed::Hashed;
use crate::orders::OrderNumber;
use crate::pins::Pin;
use crate::world::{Instruction, Place};

impl Scenario {
    /// Adds a bind that a client may request.
    #[must_use]
    pub fn asked(mut self, operation: u128, bind: Bind) -> Self {
        let operation = pending(operation, bind_subject(&bind));
        self.asked.push(ClientRequest { operation, kind: RequestKind::Bind(bind) });
        self
    }

    /// Adds an increment of the bulk by one item that a client may request.
    #[must_use]
    pub fn increment(self, operation: u128, item: &str) -> Self {
        self.increment_by(operation, RequestKind::Increment(external_id(item)))
    }

    /// Adds an increment without a key.
    #[must_use]
    pub fn increment_once(self, operation: u128, item: &str) -> Self {
        self.increment_by(operation, RequestKind::IncrementOnce(external_id(item)))
    }

    fn increment_by(mut self, operation: u128, kind: RequestKind) -> Self {
        let subject = Subject::IncrementBulk { bulk_id: self.start.bulk.bulk_id.clone() };
        let operation = pending(operation, subject);
        self.asked.push(ClientRequest { operation, kind });
        self
    }

    /// Adds a request to cancel these orders, with this guess of a PIN if they need one.
    #[must_use]
    pub fn cancel_orders(mut self, operation: u128, orders: &[OrderNumber], pin: Option<Pin>) -> Self {
        let of_orders = orders.iter().map(|order| OrderRef::Domestic(*order)).collect();
        let subject = Subject::CancelOrders { orders: of_orders, statuses: String::new(), repeated: false };
        let operation = pending(operation, subject);
        self.asked.push(ClientRequest { operation, kind: RequestKind::CancelOrders(orders.to_vec(), pin) });
        self
    }

    /// Locks a PIN after one wrong guess, and lets one lock end.
    #[must_use]
    pub fn unlocked(mut self) -> Self {
        self.start.desk.edit(|desk| (desk.pins.most_tries, desk.pins.most_ends) = (1, 1));
        self
    }

    /// Limits the wrong PINs in an hour.
    #[must_use]
    pub fn most_an_hour(mut self, most: usize) -> Self {
        self.start.desk.edit(|desk| desk.pins.most_an_hour = Some(most));
        self
    }

    /// Adds orders that are known, and whose cancellation was accepted.
    #[must_use]
    pub fn accepted_orders(mut self, operation: u128, orders: &[OrderNumber]) -> Self {
        let of_orders = orders.iter().map(|order| OrderRef::Domestic(*order)).collect();
        let subject = Subject::CancelOrders { orders: of_orders, statuses: String::new(), repeated: false };
        for order in orders {
            self.start.desk.edit(|desk| desk.market.know(change(*order, 1, OrderStatus::Active)));
            self.accept(operation, subject.clone(), Instruction::CancelOrder(*order));
        }
        self
    }

    /// Adds a message of the order system: an order of this operation gets this status, at any time.
    #[must_use]
    pub fn market(mut self, operation: u128, order: OrderNumber, status: OrderStatus) -> Self {
        let operation = self.start.operations[&operation_id(operation)].clone();
        let instruction = Instruction::ChangeOrder(change(order, 2, status));
        self.start.messages.insert(Hashed::new(Message::of(&operation, instruction)), Place::Queue);
        self
    }

    /// Adds a pending item to the bulk's first batch.
    #[must_use]
    pub fn item(mut self, name: &str) -> Self {
        self.start.add_item(&external_id(name), 1);
        self.start.bulk.edit(|bulk| bulk.items += 1);
        self
    }

    /// Adds a start of the bulk that was accepted.
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

    /// Adds a FULL cancel of the bulk that was accepted.
    #[must_use]
    pub fn cancel(self, operation: u128) -> Self {
        self.cancel_of(operation, CancelType::Full, CancelStep::PlanAll(PlanCursor::default()))
    }

    /// Adds a PARTIAL cancel that a client may request.
    #[must_use]
    pub fn asked_cancel(mut self, operation: u128, names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| external_id(name)).collect();
        self.start.named.edit(|named| _ = named.insert(operation_id(operation), names.clone()));
        let operation = pending(operation, self.cancel_subject(CancelType::Partial));
        self.asked.push(ClientRequest { operation, kind: RequestKind::CancelNamed(names) });
        self
    }

    /// Adds a PARTIAL cancel that was accepted.
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
        Subject::CancelBulk { bulk_id, cancel_type, bulk_status: None, cancellation: None, progress }
    }

    fn cancel_of(mut self, operation: u128, cancel_type: CancelType, step: CancelStep) -> Self {
        let (subject, bulk_id) = (self.cancel_subject(cancel_type), self.start.bulk.bulk_id.clone());
        let program_id = facts().program_id;
        self.accept(operation, subject, Instruction::Cancel(CancelBulk { bulk_id, program_id, step }));
        self
    }

    /// Adds a bind that was accepted.
    #[must_use]
    pub fn accepted(mut self, operation: u128, bind: Bind) -> Self {
        let subject = bind_subject(&bind);
        let instruction = Instruction::Bind(BindCard { bind, card: facts() });
        self.accept(operation, subject, instruction);
        self
    }
}

fn change(order: OrderNumber, version: u64, status: OrderStatus) -> OrderChange {
    let order = OrderRef::Domestic(order);
    OrderChange {
        order,
        creator_id: 1,
        authorized_ids: None,
        status,
        version,
        updated_at: accepted_at(),
        rejected: None,
    }
}
