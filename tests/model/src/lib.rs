//! A model of the exactly-once protocol, and what a model checker ([stateright]) shows of it: in **every** state
//! that it can come to, whoever dies when, and whatever is delivered how often and in which order.
//!
//! # What is shown
//!
//! [`properties`] states each as a predicate on states, under the name in italics.
//!
//! 1. Of all binds and cancels of a card, one has its way, and no other is told so. *(`ONE_WINNER`, rule 1)*
//! 2. Cards and items only move forward: each transition happens once, its mark stays, and nothing delivered again
//!    undoes a later one. *(`FORWARD`, rules 2 and 4)*
//! 3. A reissue changes both cards or none. *(`BOTH_OR_NONE`, rule 5)*
//! 4. An event ID has one fact: what is published again is the same in every part. *(`ONE_FACT`, rule 3)*
//! 5. An event says what is so: a success if the effect is there, a failure if it is not and never will be.
//!    *(`SO`, rules 2 and 3)*
//! 6. A message is let go after its events are out. *(`OUT`, rule 3)*
//! 7. No message is beyond handling; no outcome contradicts a mark. *(`HANDLED`, rule 6)*
//! 8. A client that is told 2xx is not told 4xx afterwards, and who is told 409 has changed nothing. *(`ANSWERED`)*
//! 9. An operation on a bulk that succeeded has gone through all its items, a FULL cancel through all that the bulk
//!    ever gets; and their events are out. *(`GONE_THROUGH`)*
//! 10. Operations and the bulk's header count what was done, once; a bulk is CANCELED if all of it is. An operation notes of
//!     each of its orders what the order says, before it is told. *(`COUNTED`)*
//! 11. What is accepted ends, with all its events. *(`ENDS`)*
//! 12. Whoever is told of a card, or of an end, can see it in every row. *(`SEEN`, rule 3)*
//! 13. Nothing is done for an operation that is not known. *(`KNOWN`, rules 3 and 6)*
//! 14. A page that is known to be planned is not planned again. *(`PLANNED_ONCE`, rule 9)*
//! 15. What SQS may have taken is not told as not sent. *(`SENT`, rule 6)*
//! 16. A try of a PIN counts once, and no more wrong ones than a few are told before each lock. *(`TRIED_ONCE`, rule 8)*
//! 17. Each lock in a row lasts longer, and a right PIN ends the row. *(`LOCKS_GROW`, rule 8)*
//! 18. In an hour no more wrong PINs than so many are told, and then no right one. *(`WITHIN_THE_HOUR`, rule 8)*
//!
//! Broken in any of the ways that [`Broken`] lists, the protocol loses one of these: the checker would see it.
//! And each [`scenario::Scenario`] says what some of its states must show ([`reached`]), so that none of this is true
//! only because nothing happens.
//!
//! # What the model is made of
//!
//! A transaction is decided at once and then seen row by row, in any order (`transaction`); whoever reads meanwhile gets
//! the rows that are not seen yet as they were, and whoever writes them has to wait. A message is delivered as often as
//! anybody likes, plans' messages too. The row of an operation may go away, and its key be used again. A call that sends
//! several messages may do a part of it, or lose its answer; the tries that the SDK would hide are steps of their own.
//!
//! The code's own rows, messages, events and rules: a state holds `shared::domain`'s types, and what a card, an item or
//! a bulk allows is asked of `shared::domain`. Written anew, by the code's names, and to be read beside it, are the
//! table's conditional writes (`store`), the endpoints' and workers' order of calls (`endpoint`, `workers`), and the
//! queue and the bus (`world`). A test holds the code to it. A step is **one call** of one process (`process` says how); so processes meet, and
//! die, between any two calls, as often as they like: nothing has a budget.
//!
//! # What is left out, and why it makes no difference
//!
//! - **Time.** Times are copied and compared for being the same, never for which is later (marks that are older than
//!   their operation are of expired keys, see below). If two can differ that should be one, they still do when the clock
//!   of the process that one of them comes from says *later*, and those of all others *now*. So there are two times, and
//!   one process that has the second.
//! - **Old readings.** What an eventually consistent read finds, a consistent one found before, and its process waited.
//! - **Calls in one.** Entries of a batch (`SendMessageBatch`, `PutEvents`, BatchExecuteStatement) are done or not each
//!   on its own: each is a call here. Messages of a worker's batch go their own ways: each is a process here.
//! - **Watching.** The message by which a worker looks whether its operation has ended changes nothing. It is not sent
//!   here.
//! - **Reads of what never changes**, and the counter of card IDs, are no steps: nobody can tell when they are done.
//! - **Answers that are lost.** Where it may matter, the SDK makes a call twice (`How::Again`). An error is a death: the
//!   message comes back, the client has a 5xx.
//! - **Hours.** Each has a row of its own, so one is enough. A lock ends when any time has passed (`Action::Unlock`); which of two
//!   times is later is asked of nothing else.
//! - **Waits.** That all who could still cancel items of a chunk have ended is known at once, and not two timeouts later.
//! - **Tries.** They do not run out. A message from a dead-letter queue is one that is delivered late.
//! - **Copies.** Equal messages are one place, because one can be delivered by many; that they do not multiply is what
//!   `PLANNED_ONCE` says. Where a scenario has no late copies, a message that was let go is not delivered again: that is as
//!   if its worker had died before it let go.
//! - **Conflicts of single writes.** A write of a row that a transaction has prepared waits. In the code it is refused,
//!   tried again, and in the end its message comes back, which is as if its worker had died.
//! - **The reading of an operation** before anything is done for it, where every operation has its row: what follows is a
//!   write on the condition of what was read.
//! - **Sizes.** A chunk has one item, a page one, a bulk at most three, and two or three processes are at work at
//!   once. An increment takes at most two batches. A PIN is locked after one or two wrong tries,
//!   and there are two lengths of locks; an hour has room for one or three. That a cut does not depend on
//!   pages is a property test of `shared::domain::bulk`.
//!
//! Not in the model: several cancellations of one order, refusals by the market, tenants, keys that are misused.
#![forbid(unsafe_code)]

mod broken;
mod endpoint;
mod market;
mod model;
mod orders;
mod pins;
mod process;
pub mod properties;
pub mod reached;
mod row;
mod said;
pub mod scenario;
mod store;
mod transaction;
mod workers;
mod world;

pub use broken::Broken;
pub use model::{Action, Bindery};
pub use process::How;
pub use world::{AnyMessage, Instruction, Place, Task, World};
