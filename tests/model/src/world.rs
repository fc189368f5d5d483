//! A state: the table, the queue, the bus, the clients, and the running processes.

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

use crate::hashed::{Hashed, Tracked};
use crate::orders::{Desk, OrderNumber};
use crate::process::Process;
use crate::store::progress;
use crate::transaction::{Key, Value};

/// A card's row.
pub type CardRow = Hashed<Tracked<Card>>;
/// An item's row.
pub type ItemRow = Hashed<Tracked<BulkItem>>;
/// A message of any of the queues.
pub type AnyMessage = Hashed<Message<Instruction>>;

/// The instruction of a message to its worker.
#[derive(Debug, Clone)]
pub enum Instruction {
    /// A message for bind-card-worker.
    Bind(BindCard),
    /// A message for start-bulk-worker.
    Start(StartBulk),
    /// A message for cancel-bulk-worker.
    Cancel(CancelBulk),
    /// A message for cancel-orders-worker.
    CancelOrder(OrderNumber),
    /// A message for order-feed-worker. It has the ID of the operation whose cancellation it may end.
    ChangeOrder(OrderChange),
}

impl Instruction {
    /// Returns the cursor of a plan, if this is one.
    const fn plan(&self) -> Option<&PlanCursor> {
        match self {
            Self::Start(StartBulk { step: StartStep::Plan(cursor), .. })
            | Self::Cancel(CancelBulk { step: CancelStep::PlanAll(cursor), .. }) => Some(cursor),
            _ => None,
        }
    }
}

/// The task of a process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// An endpoint handles the request that makes this operation.
    Request(OperationId),
    /// A worker handles a message.
    Message(AnyMessage),
}

impl Task {
    /// Returns the chunk of a cancel that this task is for.
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

/// Shows the task in a short form, for traces.
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

/// The place of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is to be delivered, for the first time or again.
    Queue,
    /// A worker has deleted it. SQS may deliver it all the same.
    Gone,
    /// A worker could not handle it.
    DeadLetters,
}

/// The last response that a request's client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Response {
    /// No response yet: the client sends the request again.
    None,
    /// A 2xx response.
    Accepted,
    /// A 409 response: the request is impossible and will stay so.
    Refused,
    /// A 403 response: there is no such card yet.
    NotFound,
    /// A 403 or 409 response after a 2xx one.
    Contradictory,
}

/// A state: what DynamoDB, SQS and EventBridge hold, and what the processes remember.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The cards' rows.
    pub cards: BTreeMap<CardId, CardRow>,
    /// The one bulk's header.
    pub bulk: Hashed<Bulk>,
    /// Another part of the header's row: the batches that were aborted.
    pub aborted: BTreeSet<u32>,
    /// The bulk's items, in the order of their external IDs.
    pub items: Vec<ItemRow>,
    /// The operations' rows.
    pub operations: BTreeMap<OperationId, Hashed<Operation>>,
    /// The items that PARTIAL cancels name: their CHUNK rows, which never change.
    pub named: Hashed<BTreeMap<OperationId, Vec<ExternalId>>>,
    /// Results of cancels' chunks.
    pub results: BTreeMap<(OperationId, u32), Hashed<ChunkResult>>,
    /// Chunks that were given up because their items are locked, and that have no result yet.
    pub held: BTreeSet<(OperationId, u32)>,
    /// Rows that a decided transaction will write, and that are not visible yet.
    pub prepared: BTreeMap<Key, Value>,
    /// True if the row of an operation may be missing. If not, reading it first is not a step: the write that follows
    /// has a condition on what was read, so the time of the read makes no difference.
    pub may_miss: bool,
    /// Operations whose rows went away, each with the number of changes it had made by then.
    pub gone: BTreeMap<OperationId, usize>,
    /// The number of chunks of each operation that are known to be planned: a delivery of its plan has recorded them
    /// on its row, or deleted its message. For the properties alone.
    pub planned: BTreeMap<OperationId, Option<u32>>,
    /// True if a delivery sent a chunk again that was known to be planned before it began.
    pub planned_again: bool,
    /// Orders, and the person whose PIN they need.
    pub desk: Hashed<Desk>,
    /// Every message that was ever sent. Equal copies are one entry: what one of them can do, a second delivery can.
    /// `planned_again` checks that copies do not multiply.
    pub messages: BTreeMap<AnyMessage, Place>,
    /// Every event that the bus ever took. Equal ones are one entry: consumers drop repeats.
    pub bus: BTreeMap<OperationId, BTreeSet<Hashed<Event>>>,
    /// The clients' last responses. A client that has sent no request has no entry.
    pub responses: BTreeMap<OperationId, Response>,
    /// True once a process's clock has differed from the others'.
    pub clock_skewed: bool,
    /// The running processes, sorted because their order does not matter.
    pub processes: Vec<Process>,
}

impl World {
    /// `SendMessage`.
    pub(crate) fn send(&mut self, message: &AnyMessage) {
        self.messages.insert(message.clone(), Place::Queue);
    }

    /// `DeleteMessage`. If the message is a plan's, its page is now known to be planned.
    pub(crate) fn delete_message(&mut self, message: &AnyMessage) {
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
    pub(crate) fn publish(&mut self, operation: OperationId, event: &Hashed<Event>) {
        self.bus.entry(operation).or_default().insert(event.clone());
    }

    /// Gives the client its response.
    pub(crate) fn respond(&mut self, operation: OperationId, response: Response) {
        let response = match (response, self.responses.get(&operation)) {
            (Response::Refused | Response::NotFound, Some(Response::Accepted | Response::Contradictory)) => {
                Response::Contradictory
            }
            (response, _) => response,
        };
        self.responses.insert(operation, response);
    }

    /// Returns whether no process is running.
    pub(crate) fn is_quiet(&self) -> bool {
        self.processes.is_empty()
    }

    /// Returns whether no process is running and every change is visible.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_quiet() && self.prepared.is_empty()
    }
}
