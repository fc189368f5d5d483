//! Cancellations of orders, as far as a client's response depends on sending messages and verifying PINs
//! ([`crate::pins`]).

use std::collections::BTreeSet;

use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::order::OrderRef;
use shared::message::Message;

use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::market::Market;
use crate::pins::{Pin, Pins, Verdict, record_pin_attempt};
use crate::process::{CallOutcome, Flow, Interrupt, Run};
use crate::store::Recorded;
use crate::transaction::Key;
use crate::world::{Instruction, Response, World};

/// The number that identifies an order.
pub type OrderNumber = i32;

/// Calls for the messages of one request: the first, and one for the messages that were not taken.
const ROUNDS: usize = 2;
/// The stored status of an entry whose cancellation is accepted, and of one whose message was not sent.
const ACCEPTED: &str = "A";
const NOT_SENT: &str = "S";

/// The orders' part of a state.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// The entries whose messages SQS has taken.
    pub sent: BTreeSet<(OperationId, OrderNumber)>,
    /// The attempts to guess the PIN that the orders need.
    pub pins: Pins,
    /// The orders that are known, and what operations record of theirs.
    pub market: Market,
}

/// The outcome of a call that sends messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sending {
    /// SQS has taken these.
    Taken(Vec<OrderNumber>),
    /// The response was lost.
    Unknown,
}

/// Handles a request of cancel-orders to cancel these orders.
pub fn cancel_orders(
    run: &mut Run,
    operation: &Hashed<Operation>,
    orders: &[OrderNumber],
    pin: Option<Pin>,
) -> Flow<Response> {
    let id = operation.operation_id;
    let (recorded, is_first) = match run.call("GetItem operation", |world| world.operation(id))? {
        Some(recorded) => (recorded, false),
        None if pin
            .map(|pin| record_pin_attempt(run, (id, pin)))
            .transpose()?
            .is_none_or(|verdict| verdict == Verdict::Right) =>
        {
            match run.write("PutItem operation", &Key::Operation(id), |world| world.record_operation(operation))? {
                Recorded::New => (operation.clone(), true),
                Recorded::Existing(existing) => (existing, false),
            }
        }
        // The refusal may come from this very operation, recorded meanwhile by another copy of the request.
        None => match run.call("GetItem operation since", |world| world.operation(id))? {
            Some(since) => (since, false),
            None => return Ok(Response::Refused),
        },
    };
    if recorded.state != OperationState::Pending {
        return Ok(Response::Accepted);
    }
    let careless = run.is(Broken::TakenReportedNotSent);
    if !is_first && !careless {
        // From now on, the first request cannot report that an entry was not sent.
        let note = |world: &mut World| world.note_repeated(id);
        let noted = run.write("UpdateItem operation repeated", &Key::Operation(id), note)?;
        if noted.ok_or(Interrupt::Permanent("the operation has no row"))?.state != OperationState::Pending {
            return Ok(Response::Accepted);
        }
    }
    let (not_sent, is_sure) = send(run, id, orders)?;
    let is_known = not_sent.is_empty() || is_sure && is_first;
    if !is_known && !careless {
        return Err(Interrupt::Permanent("SQS may have it"));
    }
    let set = |world: &mut World| world.set_results(id, orders, &not_sent, careless);
    let written = run.write("UpdateItem operation entry statuses", &Key::Operation(id), set)?;
    match written.ok_or(Interrupt::Permanent("the operation has no row"))?.state {
        OperationState::Pending => Err(Interrupt::Permanent("SQS may have it")),
        _ => Ok(Response::Accepted),
    }
}

/// Sends the messages of these orders. Returns those that SQS did not take, and whether that is certain because every
/// call got a response.
fn send(run: &mut Run, id: OperationId, orders: &[OrderNumber]) -> Flow<(Vec<OrderNumber>, bool)> {
    run.function("send each", |run| {
        let (mut open, mut is_sure) = (orders.to_vec(), true);
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            match run.call_so("SendMessageBatch", |outcome, world| world.send_batch(id, &open, outcome))? {
                Sending::Taken(taken) => open.retain(|order| !taken.contains(order)),
                Sending::Unknown => is_sure = false,
            }
        }
        Ok((open, is_sure))
    })
}

impl World {
    /// `SendMessageBatch`: SQS takes or refuses each entry on its own.
    fn send_batch(&mut self, id: OperationId, orders: &[OrderNumber], outcome: CallOutcome) -> Option<Sending> {
        let taken = match outcome {
            CallOutcome::Success | CallOutcome::ResponseLost => orders,
            CallOutcome::PartlyRefused => &orders[..orders.len() - 1],
            _ => return None,
        };
        for order in taken {
            let operation = self.operations.get(&id).cloned()?;
            self.send(&Hashed::new(Message::of(&operation, Instruction::CancelOrder(*order))));
            self.desk.edit(|desk| _ = desk.sent.insert((id, *order)));
        }
        Some(if outcome == CallOutcome::ResponseLost { Sending::Unknown } else { Sending::Taken(taken.to_vec()) })
    }

    /// `UpdateItem` operation repeated, if it is PENDING. Returns the current operation.
    fn note_repeated(&mut self, id: OperationId) -> Option<Hashed<Operation>> {
        let row = self.operations.get_mut(&id)?;
        if row.state == OperationState::Pending {
            row.edit(|operation| {
                if let Subject::CancelOrders { repeated, .. } = &mut operation.subject {
                    *repeated = true;
                }
            });
        }
        Some(row.clone())
    }

    /// `UpdateItem` operation entry statuses, if it is PENDING and, unless all was sent, no other request may be
    /// sending. Returns the current operation.
    fn set_results(
        &mut self,
        id: OperationId,
        asked: &[OrderNumber],
        not_sent: &[OrderNumber],
        careless: bool,
    ) -> Option<Hashed<Operation>> {
        let row = self.operations.get_mut(&id)?;
        let is_repeated = matches!(row.subject, Subject::CancelOrders { repeated: true, .. });
        if row.state == OperationState::Pending && (careless || not_sent.is_empty() || !is_repeated) {
            row.edit(|operation| {
                operation.state = OperationState::Running;
                if let Subject::CancelOrders { orders, statuses, .. } = &mut operation.subject {
                    let letter = |order| if not_sent.contains(order) { NOT_SENT } else { ACCEPTED };
                    *statuses = asked.iter().map(letter).collect();
                    let sent = asked.iter().filter(|order| !not_sent.contains(order));
                    *orders = sent.map(|order| OrderRef::Domestic(*order)).collect();
                }
            });
        }
        Some(row.clone())
    }
}

/// Checks that no entry is reported as not sent if SQS has its message.
pub fn are_reported_as_sent(world: &World) -> bool {
    world.operations.values().all(|operation| {
        let Subject::CancelOrders { statuses, .. } = &operation.subject else { return true };
        // Entries are numbered from 1.
        let mut entries = (1..).zip(statuses.chars());
        entries.all(|(order, letter)| {
            letter.to_string() != NOT_SENT || !world.desk.sent.contains(&(operation.operation_id, order))
        })
    })
}
