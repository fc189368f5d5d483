//! Decides which entries of a request are accepted.

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

/// The maximum number of PINs in a request (contract), because each takes time to verify.
pub const MAX_PINS: usize = 50;

/// The decision on a request.
pub(crate) struct Decided {
    /// The orders whose cancellation is accepted.
    pub orders: Vec<OrderRef>,
    /// The status of each entry.
    pub statuses: Vec<EntryStatus>,
    /// The time when the operation was accepted before, if its row was lost since. Its orders still have that time.
    pub accepted_at: Option<Timestamp>,
}

/// An entry that is accepted if its PIN is right.
struct Candidate<'a> {
    position: usize,
    acting: Acting,
    pin: Option<&'a Pin>,
}

impl CancelOrders {
    /// Decides whether to accept each entry.
    pub(crate) async fn decide<'a>(
        &self,
        context: &RequestContext,
        operation: OperationId,
        entries: &'a [Option<Entry>],
    ) -> Result<Decided, Problem> {
        let org = &context.identity.org_id;
        // For an entry without a CreatorID, only the order shows whose PIN it is. So the PINs are counted again below.
        let named_pair = |entry: &'a Entry| Some((entry.creator_id?, entry.pin.as_ref()?.expose()));
        check_pins(&entries.iter().flatten().filter_map(named_pair).collect())?;
        let mut named = BTreeSet::new();
        let references: Vec<Result<OrderRef, EntryStatus>> =
            entries.iter().map(|entry| order_of(entry.as_ref(), &mut named)).collect();
        let named: Vec<OrderRef> = named.into_iter().collect();
        let orders = self.store.orders(org, &named).await?;
        let mut statuses = Vec::with_capacity(entries.len());
        let mut candidates = Vec::new();
        for (position, (entry, reference)) in entries.iter().zip(references).enumerate() {
            statuses.push(EntryStatus::Accepted);
            let before = |order: &Order| accepted_before(order, operation, context.now).is_some();
            match reference.and_then(|order| check(entry.as_ref(), orders.get(&order), before)) {
                Ok(acting) => {
                    let pin = entry.as_ref().and_then(|entry| entry.pin.as_ref());
                    candidates.push(Candidate { position, acting, pin });
                }
                Err(refusal) => statuses[position] = refusal,
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
            let status = &mut statuses[candidate.position];
            if protected(&&candidate) {
                *status = candidate.pin.map_or(EntryStatus::PinInvalid, |pin| verdicts.of(candidate.acting.actor, pin));
            }
            if *status == EntryStatus::Accepted {
                accepted.push(candidate.acting.order);
            }
        }
        let accepted_at = orders.values().find_map(|order| accepted_before(order, operation, context.now));
        Ok(Decided { orders: accepted, statuses, accepted_at })
    }

    async fn persons(
        &self,
        context: &RequestContext,
        candidates: &[Candidate<'_>],
    ) -> Result<HashMap<PersonId, Person>, Problem> {
        // The creator's row determines whether a PIN is needed. The actor's row is needed only to verify a given PIN.
        let creators = candidates.iter().map(|candidate| candidate.acting.creator);
        let with_pin = candidates.iter().filter(|candidate| candidate.pin.is_some());
        let persons: BTreeSet<PersonId> = creators.chain(with_pin.map(|candidate| candidate.acting.actor)).collect();
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
