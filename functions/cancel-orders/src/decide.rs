//! Which entries of a request are accepted.

use std::collections::{BTreeSet, HashMap};

use shared::domain::ids::OperationId;
use shared::domain::order::{Order, OrderRef, PersonId};
use shared::domain::person::Person;
use shared::domain::time::Timestamp;
use shared::http::{Problem, ProblemCode, RequestContext};

use crate::CancelOrders;
use crate::entry::{Acting, accepted_before, check, order_of};
use crate::entry_status::EntryStatus;
use crate::pins::Verdicts;
use crate::wire::{Entry, Pin};

/// Most PINs that one request may have verified (contract): each takes its time.
pub const MAX_PINS: usize = 50;

/// What was decided.
pub(crate) struct Decided {
    /// The orders whose cancellation is accepted.
    pub orders: Vec<OrderRef>,
    /// What each entry is told.
    pub told: Vec<EntryStatus>,
    /// When the operation was accepted before, if its row has gone away since: its orders still say so.
    pub accepted_at: Option<Timestamp>,
}

/// An entry that may be accepted, if the PIN is right.
struct Candidate<'a> {
    position: usize,
    acting: Acting,
    pin: Option<&'a Pin>,
}

impl CancelOrders {
    /// Decides on each entry.
    pub(crate) async fn decide<'a>(
        &self,
        context: &RequestContext,
        operation: OperationId,
        entries: &'a [Option<Entry>],
    ) -> Result<Decided, Problem> {
        let org = &context.identity.org_id;
        // Whose PIN it is where nobody is named, only the orders say; below it is counted again.
        let named_pair = |entry: &'a Entry| Some((entry.creator_id?, entry.pin.as_ref()?.expose()));
        check_pins(&entries.iter().flatten().filter_map(named_pair).collect())?;
        let mut named = BTreeSet::new();
        let asked: Vec<Result<OrderRef, EntryStatus>> =
            entries.iter().map(|entry| order_of(entry.as_ref(), &mut named)).collect();
        let named: Vec<OrderRef> = named.into_iter().collect();
        let orders = self.store.orders(org, &named).await?;
        let mut told = Vec::with_capacity(entries.len());
        let mut candidates = Vec::new();
        for (position, (entry, asked)) in entries.iter().zip(asked).enumerate() {
            told.push(EntryStatus::Accepted);
            let before = |order: &Order| accepted_before(order, operation, context.now).is_some();
            match asked.and_then(|order| check(entry.as_ref(), orders.get(&order), before)) {
                Ok(acting) => {
                    let pin = entry.as_ref().and_then(|entry| entry.pin.as_ref());
                    candidates.push(Candidate { position, acting, pin });
                }
                Err(refusal) => told[position] = refusal,
            }
        }
        let pair = |candidate: &Candidate<'a>| Some((candidate.acting.actor, candidate.pin?.expose()));
        let pairs: BTreeSet<(PersonId, &str)> = candidates.iter().filter_map(pair).collect();
        check_pins(&pairs)?;
        let persons = self.persons(context, &candidates).await?;
        let protected =
            |candidate: &&Candidate| persons.get(&candidate.acting.creator).is_some_and(|person| person.pin_required);
        let pins = candidates.iter().filter(protected).filter_map(pair).collect();
        let verdicts: Verdicts = self.verify(context, operation, &persons, pins).await?;
        let mut accepted = Vec::new();
        for candidate in candidates {
            let told = &mut told[candidate.position];
            if protected(&&candidate) {
                *told = candidate.pin.map_or(EntryStatus::PinInvalid, |pin| verdicts.of(candidate.acting.actor, pin));
            }
            if *told == EntryStatus::Accepted {
                accepted.push(candidate.acting.order);
            }
        }
        let accepted_at = orders.values().find_map(|order| accepted_before(order, operation, context.now));
        Ok(Decided { orders: accepted, told, accepted_at })
    }

    async fn persons(
        &self,
        context: &RequestContext,
        candidates: &[Candidate<'_>],
    ) -> Result<HashMap<PersonId, Person>, Problem> {
        // Who created an order says whether a PIN is needed; whoever gives none has none to be verified.
        let creators = candidates.iter().map(|candidate| candidate.acting.creator);
        let guessed = candidates.iter().filter(|candidate| candidate.pin.is_some());
        let persons: BTreeSet<PersonId> = creators.chain(guessed.map(|candidate| candidate.acting.actor)).collect();
        let persons: Vec<PersonId> = persons.into_iter().collect();
        Ok(self.store.persons(&context.identity.org_id, &persons).await?)
    }
}

fn check_pins(pairs: &BTreeSet<(PersonId, &str)>) -> Result<(), Problem> {
    if pairs.len() <= MAX_PINS {
        return Ok(());
    }
    let detail = format!("A request must not have more than {MAX_PINS} PINs.");
    Err(Problem::new(ProblemCode::TooMany, detail))
}
