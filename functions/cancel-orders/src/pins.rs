//! Whether PINs are right.
//!
//! The PIN is verified first, and the verdict written then, under a condition: however many guesses come at
//! once, no more than five wrong ones of a person are told apart from right ones, and no more than so many of the
//! organisation's persons in an hour. In that hour all tries are counted before they are judged, and those that are told
//! to be right are taken out again.

use std::collections::{BTreeSet, HashMap};

use shared::domain::ids::OperationId;
use shared::domain::order::PersonId;
use shared::domain::person::{Person, Verdict};
use shared::http::{Problem, RequestContext};

use crate::CancelOrders;
use crate::entry_status::EntryStatus;
use crate::wire::Pin;

/// What is told of each PIN that was verified.
pub(crate) struct Verdicts(HashMap<(PersonId, String), EntryStatus>);

impl Verdicts {
    pub(crate) fn of(&self, person: PersonId, pin: &Pin) -> EntryStatus {
        self.0.get(&(person, pin.expose().to_owned())).copied().unwrap_or(EntryStatus::PinInvalid)
    }
}

/// A PIN that was tried.
struct Guess<'a> {
    person: &'a Person,
    pin: &'a str,
    /// By which the try is known.
    id: String,
    is_right: bool,
}

impl Guess<'_> {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn wrong(&self) -> Option<&str> {
        (!self.is_right).then_some(&self.id)
    }

    /// What is said by the person's row alone.
    fn known(&self, context: &RequestContext) -> Option<Verdict> {
        self.person.verdict(self.wrong(), context.now)
    }
}

impl CancelOrders {
    /// Verifies each PIN once for this operation, whose tries of it count once. No verdict is written before all are
    /// verified: a request that runs out of time while it does has used up no tries. Where the organisation's hour has no
    /// room for them, they use up none either, and all are told to be locked.
    pub(crate) async fn verify(
        &self,
        context: &RequestContext,
        operation: OperationId,
        persons: &HashMap<PersonId, Person>,
        pins: BTreeSet<(PersonId, &str)>,
    ) -> Result<Verdicts, Problem> {
        let org = &context.identity.org_id;
        if pins.is_empty() {
            return Ok(Verdicts(HashMap::new()));
        }
        let pepper = self.pepper.get().await.map_err(Problem::unavailable)?;
        let mut verified = Vec::with_capacity(pins.len());
        for (person, pin) in pins {
            // Who has no row has no PIN: none is theirs, and there are no tries to count.
            let Some(person) = persons.get(&person) else { continue };
            let id = person.creator_id;
            let is_right = person.pin_hash.as_deref().is_some_and(|hash| pepper.verify(org, id, pin, hash));
            verified.push(Guess { person, pin, id: pepper.try_id(org, id, operation, pin), is_right });
            // Here the time that is left can end the request.
            tokio::task::yield_now().await;
        }
        let open: Vec<String> = verified.iter().filter(|guess| guess.known(context).is_none()).map(Guess::id).collect();
        let has_room = open.is_empty() || self.store.count_tries(org, open, context.now).await?;
        let (mut verdicts, mut right) = (HashMap::new(), Vec::new());
        for guess in &verified {
            let told = match guess.known(context) {
                Some(known) => known,
                None if has_room => {
                    self.store.record_pin_attempt(org, guess.person, guess.wrong(), context.now).await?
                }
                None => Verdict::Locked,
            };
            let told = match told {
                Verdict::Right => {
                    right.push(guess.id());
                    EntryStatus::Accepted
                }
                Verdict::Wrong => EntryStatus::PinInvalid,
                Verdict::Locked => EntryStatus::PinLocked,
            };
            if told != EntryStatus::Accepted {
                context.metrics.refused_pins(1);
            }
            verdicts.insert((guess.person.creator_id, guess.pin.to_owned()), told);
        }
        let cid = context.cid.as_str();
        let refused = verdicts.len() - right.len();
        if refused > 0 {
            tracing::warn!(cid, tenant = org.as_str(), refused, has_room, "PINs were refused");
        }
        if !right.is_empty() {
            // If that fails they stay counted, which harms nobody before the hour is full.
            if let Err(error) = self.store.uncount_tries(org, right, context.now).await {
                tracing::warn!(cid, %error, "right PINs stay counted in the hour");
            }
        }
        Ok(Verdicts(verdicts))
    }
}
