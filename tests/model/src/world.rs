//! A state: the table, the queue, the bus, the clients, and the processes that are at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};

use shared::domain::bulk::{Bulk, BulkItem, PlanCursor};
use shared::domain::cancel::ChunkResult;
use shared::domain::card::Card;
use shared::domain::event::Event;
use shared::domain::ids::{CardId, ExternalId, OperationId};
use shared::domain::operation::Operation;
use shared::domain::order::OrderChange;
use shared::message::{BindCard, CancelBulk, CancelStep, Message, StartBulk, StartStep};

use crate::orders::{Desk, OrderNumber};
use crate::process::Process;
use crate::row::{Row, Tracked};
use crate::store::progress;
use crate::transaction::{Key, Value};

/// A card's row.
pub type CardRow = Row<Tracked<Card>>;
/// An item's row.
pub type ItemRow = Row<Tracked<BulkItem>>;
/// A message of any of the three queues.
pub type AnyMessage = Row<Message<Instruction>>;

/// What a message tells its worker to do.
#[derive(Debug, Clone)]
pub enum Instruction {
    /// bind-card-worker.
    Bind(BindCard),
    /// start-bulk-worker.
    Start(StartBulk),
    /// cancel-bulk-worker.
    Cancel(CancelBulk),
    /// cancel-orders-worker.
    CancelOrder(OrderNumber),
    /// order-feed-worker. It stands with the operation whose cancellation it may end.
    ChangeOrder(OrderChange),
}

impl Instruction {
    /// From where it plans, if it does.
    const fn plan(&self) -> Option<&PlanCursor> {
        match self {
            Self::Start(StartBulk { step: StartStep::Plan(cursor), .. })
            | Self::Cancel(CancelBulk { step: CancelStep::PlanAll(cursor), .. }) => Some(cursor),
            _ => None,
        }
    }
}

/// What a process is at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// An endpoint answers the request that makes this operation.
    Request(OperationId),
    /// A worker handles a message.
    Message(AnyMessage),
}

impl Task {
    /// The chunk of a cancel that it is about.
    pub(crate) fn chunk(&self) -> Option<(OperationId, u32)> {
        let Self::Message(message) = self else { return None };
        match &message.instruction {
            Instruction::Cancel(CancelBulk { step: CancelStep::Chunk(chunk), .. }) => {
                Some((message.operation_id, chunk.number))
            }
            _ => None,
        }
    }
}

/// Short, for traces.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |id: &OperationId| id.as_uuid().as_u128();
        match self {
            Self::Request(id) => write!(f, "request {}", number(id)),
            Self::Message(message) => {
                write!(f, "message of {}: ", number(&message.operation_id))?;
                match &message.instruction {
                    Instruction::Bind(bind) => bind.bind.fmt(f),
                    Instruction::Start(start) => start.step.fmt(f),
                    Instruction::Cancel(cancel) => cancel.step.fmt(f),
                    Instruction::CancelOrder(order) => write!(f, "order {order}"),
                    Instruction::ChangeOrder(change) => write!(f, "order {} is {:?}", change.order, change.status),
                }
            }
        }
    }
}

/// Where a message is that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is to be delivered (again).
    Queue,
    /// A worker has let it go. SQS may deliver it all the same.
    Gone,
    /// A worker could not handle it.
    DeadLetters,
}

/// What the client of a request knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// Nothing yet: it sends the request again.
    Nothing,
    /// 2xx.
    Accepted,
    /// 409: it cannot be, and never will be.
    Refused,
    /// 403: there is no such card, yet.
    NotFound,
    /// Either of these, after it was told 2xx.
    RefusedAfterAll,
}

/// A state. What it says is what DynamoDB, SQS and EventBridge hold, and what the processes remember.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// Cards.
    pub cards: BTreeMap<CardId, CardRow>,
    /// The one bulk's header.
    pub bulk: Row<Bulk>,
    /// What its row has besides: the batches that were aborted.
    pub aborted: BTreeSet<u32>,
    /// Its items, in the order of their external IDs.
    pub items: Vec<ItemRow>,
    /// Operations.
    pub operations: BTreeMap<OperationId, Row<Operation>>,
    /// The items that PARTIAL cancels name: their CHUNK rows, which never change.
    pub named: Row<BTreeMap<OperationId, Vec<ExternalId>>>,
    /// Results of cancels' chunks.
    pub results: BTreeMap<(OperationId, u32), Row<ChunkResult>>,
    /// Chunks that were given up, because items of theirs are held, and have no result yet.
    pub held: BTreeSet<(OperationId, u32)>,
    /// Rows as transactions that are decided will have made them, and as nobody sees them yet.
    pub prepared: BTreeMap<Key, Value>,
    /// Whether the row of an operation may be missing. If not, that it is read first is no step: it makes no difference
    /// when that is done, since what follows is a write on the condition of what was read.
    pub may_miss: bool,
    /// Operations whose rows went away, and how much each had done by then.
    pub gone: BTreeMap<OperationId, usize>,
    /// The chunks of each operation that are known to be planned: a delivery of its plan has said so on its row, or let
    /// its message go. For the properties alone.
    pub planned: BTreeMap<OperationId, Option<u32>>,
    /// Whether a delivery sent a chunk again that was known to be planned before it began.
    pub planned_again: bool,
    /// Orders, and the person whose PIN they need.
    pub desk: Row<Desk>,
    /// Every message that was ever sent. Equal copies are one place: what one of them can do, a second delivery can. That
    /// copies do not multiply is what `planned_again` is there for.
    pub messages: BTreeMap<AnyMessage, Place>,
    /// Every event that was ever taken by the bus. Equal ones are one: consumers drop repeats.
    pub bus: BTreeMap<OperationId, BTreeSet<Row<Event>>>,
    /// What the clients were told; nothing of those that have not asked yet.
    pub told: BTreeMap<OperationId, Told>,
    /// Whether a process's clock has differed from the others' yet.
    pub has_been_odd: bool,
    /// Who is at work. In order, because it does not matter who is who.
    pub processes: Vec<Process>,
}

impl World {
    /// `SendMessage`.
    pub(crate) fn send(&mut self, message: &AnyMessage) {
        self.messages.insert(message.clone(), Place::Queue);
    }

    /// `DeleteMessage`. If it is a plan's, what it planned is known to be.
    pub(crate) fn let_go(&mut self, message: &AnyMessage) {
        let id = message.operation_id;
        if let Some(cursor) = message.instruction.plan() {
            let (page, _) = self.items_after(cursor.after.as_ref(), 1);
            let batches = self.operations.get(&id).map(|operation| &progress(operation).batches);
            let counts = |item: &ItemRow| batches.is_some_and(|batches| batches.contains(&item.row.batch));
            let planned = cursor.chunks + u32::from(page.iter().any(counts));
            self.know_planned(id, planned);
        }
        self.messages.insert(message.clone(), Place::Gone);
    }

    /// `PutEvents`, of one event.
    pub(crate) fn publish(&mut self, operation: OperationId, event: &Row<Event>) {
        self.bus.entry(operation).or_default().insert(event.clone());
    }

    /// Gives the client its answer.
    pub(crate) fn tell(&mut self, operation: OperationId, told: Told) {
        let told = match (told, self.told.get(&operation)) {
            (Told::Refused | Told::NotFound, Some(Told::Accepted | Told::RefusedAfterAll)) => Told::RefusedAfterAll,
            (told, _) => told,
        };
        self.told.insert(operation, told);
    }

    /// Whether nobody is at work.
    pub(crate) fn is_quiet(&self) -> bool {
        self.processes.is_empty()
    }

    /// The same, and whether all can be seen that was done.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_quiet() && self.prepared.is_empty()
    }
}
