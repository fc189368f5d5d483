//! A model of the exactly-once protocol, checked by a model checker ([stateright]) in **every** reachable state: with
//! crashes at any point, and with messages delivered any number of times in any order.
//!
//! # Properties
//!
//! [`properties`] states each of these as a predicate on states, under the name in italics.
//!
//! 1. Of all binds and cancels of a card, one succeeds, and no other is reported as successful. *(`ONE_WINNER`, rule
//!    1)*
//! 2. Cards and items only move forward: each transition happens once, its mark stays, and no redelivery undoes a
//!    later one. *(`FORWARD`, rules 2 and 4)*
//! 3. A reissue changes both cards or neither. *(`BOTH_OR_NONE`, rule 5)*
//! 4. An event ID stands for one fact: an event that is published again has the same content. *(`ONE_FACT`, rule 3)*
//! 5. An event is true: a success if the effect is there, a failure if it is not there and never will be.
//!    *(`EVENTS_TRUE`, rules 2 and 3)*
//! 6. A message is deleted only after its events are published. *(`PUBLISHED_BEFORE_ACK`, rule 3)*
//! 7. No message is dead-lettered as impossible to handle, and no outcome contradicts a mark. *(`HANDLED`, rule 6)*
//! 8. A client that got 2xx never gets 4xx for the same request, and a request that got 409 has changed nothing.
//!    *(`RESPONSES_CONSISTENT`)*
//! 9. An operation on a bulk that succeeded has processed all its items, a FULL cancel all that the bulk ever gets.
//!    Their events are published. *(`GONE_THROUGH`)*
//! 10. Operations and the bulk's header count each change once, and a bulk is CANCELED if all of it is. An operation
//!     records the outcome of each of its orders before the outcome is published. *(`COUNTED`)*
//! 11. Every accepted operation ends, and all its events are published. *(`TERMINATES`)*
//! 12. A card or an end that an event reports is visible in every row. *(`VISIBLE`, rule 3)*
//! 13. Nothing is done for an operation that has no row. *(`KNOWN`, rules 3 and 6)*
//! 14. A page that is recorded as planned is not planned again. *(`PLANNED_ONCE`, rule 9)*
//! 15. A message that SQS may have taken is not reported as not sent. *(`SENT`, rule 6)*
//! 16. An attempt to guess a PIN counts once, and only a limited number of wrong ones are revealed before each lock.
//!     *(`TRIED_ONCE`, rule 8)*
//! 17. Each lock in a series lasts longer, and a right PIN ends the series. *(`LOCKS_GROW`, rule 8)*
//! 18. Only a limited number of wrong PINs are revealed in an hour. After that, no right one is revealed either.
//!     *(`WITHIN_THE_HOUR`, rule 8)*
//!
//! If the protocol is broken in any of the ways that [`Broken`] lists, one of these no longer holds, and the checker
//! finds it. Each [`scenario::Scenario`] also names conditions that some of its states must reach ([`reached`]), so
//! that no property holds merely because nothing happens.
//!
//! # How the model works
//!
//! A transaction is decided at once and then becomes visible row by row, in any order (`transaction`). Until a row is
//! visible, a reader gets its old value, and a writer has to wait. A message is delivered any number of times, plans'
//! messages too. The row of an operation may go away, and its key may be used again. A call that sends several
//! messages may be done in part, or lose its response. The retries that the SDK would hide are steps of their own.
//!
//! A state holds the types of `shared::domain`: the code's own rows, messages, events and rules. What a card, an item
//! or a bulk allows is decided by `shared::domain`. Three parts are written anew with the code's names, to be read
//! next to it: the table's conditional writes (`store`), the endpoints' and workers' order of calls (`endpoint`,
//! `workers`), and the queue and the bus (`world`). A test compares the workers' binaries with the model.
//!
//! A step is **one call** of one process (see `process`). Processes interleave and crash between any two calls,
//! without a limit on how often.
//!
//! # Simplifications, and why they lose nothing
//!
//! - **Time.** Times are copied and compared for equality, never for order. (Marks that are older than their
//!   operation come from expired keys.) If two times can differ that should be the same, they still differ
//!   when the clock of one process says *later* and all others say *now*. So there are two times, and one process has
//!   the second.
//! - **Stale reads.** What an eventually consistent read finds, a consistent one found earlier, and its process
//!   waited.
//! - **Batched calls.** The entries of a batch (`SendMessageBatch`, `PutEvents`, BatchExecuteStatement) succeed or
//!   fail independently, so each is a call here. The messages of a worker's batch are independent too, so each is a
//!   process here.
//! - **Watching.** A watch message makes a worker check whether its operation has ended. It changes nothing, and is
//!   not sent here.
//! - **Reads of what never changes**, and the counter of card IDs, are not steps: no process can tell when they
//!   happen.
//! - **Lost responses.** Where it may matter, the SDK makes a call twice (`CallOutcome::Repeated`). An error is a
//!   crash: the message becomes visible again, or the client gets a 5xx.
//! - **Hours.** Each hour has its own row, so one is enough. A lock ends after any time (`Action::Unlock`). Nothing
//!   else compares two times.
//! - **Waits.** When the last delivery that could still cancel items of a chunk has ended, that is known at once, not
//!   two timeouts later.
//! - **Retries.** They are unlimited. A message redriven from a dead-letter queue is one that is delivered late.
//! - **Copies.** Equal messages are one entry, because one can be delivered many times. `PLANNED_ONCE` ensures that
//!   they do not multiply. Where a scenario has no late copies, a deleted message is not delivered again. A late copy
//!   would behave as if the worker had crashed before deleting it.
//! - **Conflicts of single writes.** A write to a row that a transaction has prepared waits. In the code it is
//!   refused and retried, and in the end its message becomes visible again, as if its worker had crashed.
//! - **Reading an operation** before anything is done for it, where every operation has its row. The write that
//!   follows has a condition on what was read.
//! - **Sizes.** A chunk and a page have one item each, a bulk has at most three, and two or three processes run at
//!   once. An increment takes at most two batches. A PIN is locked after one or two wrong attempts, and there are two
//!   lengths of locks. An hour has room for one or three. A property test of `shared::domain::bulk` shows that the
//!   division into chunks does not depend on pages.
//!
//! Not in the model: several cancellations of one order, refusals by the market, tenants, misused keys.
#![forbid(unsafe_code)]

mod broken;
mod endpoint;
mod expected_events;
mod hashed;
mod market;
mod model;
mod orders;
mod pins;
mod process;
pub mod properties;
pub mod reached;
pub mod scenario;
mod store;
mod transaction;
mod workers;
mod world;

pub use broken::Broken;
pub use model::{Action, Bindery};
pub use process::CallOutcome;
pub use world::{AnyMessage, Instruction, Place, Task, World};
