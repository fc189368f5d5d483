//! Orders and their market: cancel-orders-worker, order-feed-worker, and the records of orders next to an operation.

use std::collections::{BTreeMap, BTreeSet};

use shared::domain::acceptance::Acceptance;
use shared::domain::event::Event;
use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, Subject};
use shared::domain::order::progress::Stage;
use shared::domain::order::{
    CancellationCode, CancellationOutcome, NotCancelable, Order, OrderCancellation, OrderChange, OrderRef,
};

use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::orders::OrderNumber;
use crate::process::{Flow, Interrupt, Run};
use crate::transaction::Key;
use crate::world::{AnyMessage, World};

/// The orders' rows, and those of operations about them.
#[derive(Debug, Clone, Default)]
pub struct Market {
    /// The orders that are known.
    book: BTreeMap<OrderNumber, Order>,
    /// The orders that operations have recorded as requested.
    requested: BTreeSet<(OperationId, OrderNumber)>,
    /// The ends of orders that operations have recorded: exactly one for each order, if all is well.
    ended: BTreeMap<(OperationId, OrderNumber), Vec<Stage>>,
}

impl Market {
    /// Adds an order.
    pub fn know(&mut self, change: OrderChange) {
        self.book.insert(number(change.order), Order::new(&change));
    }
}

fn number(order: OrderRef) -> OrderNumber {
    order.ids().0.unwrap_or_default()
}

/// Handles a message for cancel-orders-worker. Where a scenario has no market, it does nothing.
pub fn request(run: &mut Run, message: &AnyMessage, order: OrderNumber) -> Flow<Vec<Hashed<Event>>> {
    let now = run.now()?;
    if !run.world.desk.market.book.contains_key(&order) {
        return Ok(Vec::new());
    }
    let operation = message.acceptance();
    let note = OrderCancellation {
        cid: message.cid.clone(),
        accepted_at: operation.accepted_at,
        requested_at: None,
        outcome: None,
    };
    let asked = OrderCancellation { requested_at: Some(now), ..note.clone() };
    let can_be = |order: &Order| order.check_cancelable().is_ok();
    let write = |world: &mut World| world.note(order, operation, &asked, true, can_be);
    let (mut found, mut is_mine) = run.write("UpdateItem order", &Key::Alone, write)?;
    if found.cancellation(operation.operation_id, operation.accepted_at).is_none() {
        let code = found.check_cancelable().err().map_or(CancellationCode::Other, NotCancelable::into);
        let outcome = Some(CancellationOutcome { code, at: now, version: None });
        let refused = OrderCancellation { outcome, ..note };
        let write = |world: &mut World| world.note(order, operation, &refused, false, |_| true);
        (found, is_mine) = run.write("UpdateItem order refused", &Key::Alone, write)?;
    }
    let noted = found.cancellation(operation.operation_id, operation.accepted_at);
    let stage = noted.ok_or(Interrupt::Permanent("the order has no note"))?.stage();
    note_all(run, message, &found, is_mine, &[(operation, stage)])?;
    Ok(request_events(message, &found))
}

/// Handles a message for order-feed-worker.
pub fn change(run: &mut Run, message: &AnyMessage, change: &OrderChange) -> Flow<Vec<Hashed<Event>>> {
    let (now, order) = (run.now()?, number(change.order));
    let (after, is_mine) = run.retrying(|run| {
        let read = run.call("BatchGetItem order", |world| world.order(order))?;
        let before = read.ok_or(Interrupt::Permanent("the order has no row"))?;
        let after = Hashed::new(before.after(change, now));
        if after == before {
            return Ok((after, false));
        }
        let put = |world: &mut World| world.put_order(&before, &after);
        if run.write("PutItem order", &Key::Alone, put)? { Ok((after, true)) } else { Err(Interrupt::Conflict) }
    })?;
    let ended: Vec<_> =
        after.ended_by_version(change.version).map(|(operation, note)| (operation, note.stage())).collect();
    note_all(run, message, &after, is_mine, &ended)?;
    Ok(after.events_of_version(&message.org_id, change.version).into_iter().map(Hashed::new).collect())
}

/// Records next to their operations how far these cancellations of the order have come.
fn note_all(
    run: &mut Run,
    message: &AnyMessage,
    order: &Order,
    is_mine: bool,
    stages: &[(Acceptance, Stage)],
) -> Flow<()> {
    if run.is(Broken::NotesOrderOnce) && !is_mine {
        return Ok(());
    }
    if run.is(Broken::PublishesBeforeNoting) {
        for event in request_events(message, order) {
            run.call("PutEvents too early", |world| world.publish(message.operation_id, &event))?;
        }
    }
    let again = run.is(Broken::CountsOrderAgain);
    for (operation, stage) in stages {
        let note = |world: &mut World| world.note_stage(operation.operation_id, number(order.order), *stage, again);
        run.write("UpdateItem operation orders", &Key::Alone, note)?;
    }
    Ok(())
}

impl World {
    fn order(&self, order: OrderNumber) -> Option<Hashed<Order>> {
        self.desk.market.book.get(&order).cloned().map(Hashed::new)
    }

    /// `UpdateItem` order: records the operation's cancellation, if none is recorded and the order allows it. Returns
    /// the current order, and whether the write changed it.
    fn note(
        &mut self,
        order: OrderNumber,
        operation: Acceptance,
        note: &OrderCancellation,
        is_pending: bool,
        can_be: impl Fn(&Order) -> bool,
    ) -> (Hashed<Order>, bool) {
        let id = operation.operation_id;
        let may = |order: &Order| order.cancellation(id, operation.accepted_at).is_none() && can_be(order);
        let is_done = self.desk.market.book.get(&order).is_some_and(may);
        if is_done {
            self.desk.edit(|desk| {
                if let Some(order) = desk.market.book.get_mut(&order) {
                    order.cancellations.insert(id, note.clone());
                    order.pending = if is_pending { Some(id) } else { order.pending };
                }
            });
        }
        (Hashed::new(self.desk.market.book[&order].clone()), is_done)
    }

    /// `PutItem` order, on the condition that it is as it was read.
    fn put_order(&mut self, before: &Hashed<Order>, after: &Hashed<Order>) -> bool {
        let order = number(before.order);
        let is_as_read = self.order(order).as_ref() == Some(before);
        if is_as_read {
            self.desk.edit(|desk| _ = desk.market.book.insert(order, Order::clone(after)));
        }
        is_as_read
    }

    /// `UpdateItem` operation orders: adds a member to a set. With `again`, it counts twice.
    fn note_stage(&mut self, operation: OperationId, order: OrderNumber, stage: Stage, again: bool) {
        self.desk.edit(|desk| match stage {
            Stage::Requested => _ = desk.market.requested.insert((operation, order)),
            Stage::Ended { .. } => {
                let noted = desk.market.ended.entry((operation, order)).or_default();
                // Counting twice is wrong enough.
                if !noted.contains(&stage) || again && noted.len() < 2 {
                    noted.push(stage);
                }
            }
        });
    }
}

/// Returns the events of a request: they follow from the order's cancellation record alone.
fn request_events(message: &AnyMessage, order: &Order) -> Vec<Hashed<Event>> {
    let (org, id) = (&message.org_id, message.operation_id);
    order.request_event(org, id).or_else(|| order.outcome_event(org, id)).map(Hashed::new).into_iter().collect()
}

/// Returns the events of a message for cancel-orders-worker. `None` if they are not decided yet.
pub fn expected_of_request(world: &World, message: &AnyMessage, order: OrderNumber) -> Option<Vec<Hashed<Event>>> {
    let Some(order) = world.desk.market.book.get(&order) else { return Some(Vec::new()) };
    let Acceptance { operation_id, accepted_at } = message.acceptance();
    order.cancellation(operation_id, accepted_at)?;
    Some(request_events(message, order))
}

/// Returns the events of a message for order-feed-worker. `None` if they are not decided yet.
pub fn expected_of_change(world: &World, message: &AnyMessage, change: &OrderChange) -> Option<Vec<Hashed<Event>>> {
    let order = world.desk.market.book.get(&number(change.order))?;
    let is_known = order.version >= change.version;
    is_known.then(|| order.events_of_version(&message.org_id, change.version).into_iter().map(Hashed::new).collect())
}

/// Checks that operations record of their orders what the orders say, once, before it is published.
pub fn are_noted(world: &World) -> bool {
    let Market { book, ended, .. } = &world.desk.market;
    let is_so = |(operation, order): &(OperationId, OrderNumber), stages: &[Stage]| {
        book[order].cancellations.get(operation).is_some_and(|note| stages == [note.stage()])
    };
    let is_published = |operation: &Operation, order: &Order| {
        let event = order.outcome_event(&operation.org_id, operation.operation_id).map(Hashed::new);
        let published = world.bus.get(&operation.operation_id);
        event.is_some_and(|event| published.is_some_and(|published| published.contains(&event)))
    };
    let mut orders = world.operations.values().flat_map(|operation| book.iter().map(move |order| (operation, order)));
    ended.iter().all(|(key, stages)| is_so(key, stages))
        && orders.all(|(operation, (number, order))| {
            !is_published(operation, order) || ended.contains_key(&(operation.operation_id, *number))
        })
}

/// Returns whether the ends of all the operation's orders are recorded. Orders without a market do not count.
pub fn all_have_ended(world: &World, operation: &Operation) -> bool {
    let Subject::CancelOrders { orders, .. } = &operation.subject else { return false };
    let Market { book, ended, .. } = &world.desk.market;
    let mut orders = orders.iter().map(|order| number(*order)).filter(|order| book.contains_key(order));
    orders.all(|order| ended.contains_key(&(operation.operation_id, order)))
}

/// Returns whether an operation has recorded this end of an order.
pub fn has_noted(world: &World, expected: CancellationCode) -> bool {
    let is_this = |stage: &Stage| matches!(stage, Stage::Ended { code, .. } if *code == expected);
    world.desk.market.ended.values().flatten().any(is_this)
}
