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
use shared::http::{Call, Problem};

use crate::CancelOrders;
use crate::told::Told;
use crate::wire::Pin;

/// What is told of each PIN that was verified.
pub(crate) struct Verdicts(HashMap<(PersonId, String), Told>);

impl Verdicts {
    pub(crate) fn of(&self, person: PersonId, pin: &Pin) -> Told {
        self.0.get(&(person, pin.expose().to_owned())).copied().unwrap_or(Told::PinInvalid)
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
    fn known(&self, call: &Call) -> Option<Verdict> {
        self.person.verdict(self.wrong(), call.now)
    }
}

impl CancelOrders {
    /// Verifies each PIN once for this operation, whose tries of it count once. No verdict is written before all are
    /// verified: a request that runs out of time while it does has used up no tries. Where the organisation's hour has no
    /// room for them, they use up none either, and all are told to be locked.
    pub(crate) async fn verify(
        &self,
        call: &Call,
        operation: OperationId,
        persons: &HashMap<PersonId, Person>,
        pins: BTreeSet<(PersonId, &str)>,
    ) -> Result<Verdicts, Problem> {
        let org = &call.identity.org_id;
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
        let open: Vec<String> = verified.iter().filter(|guess| guess.known(call).is_none()).map(Guess::id).collect();
        let has_room = open.is_empty() || self.store.count_tries(org, open, call.now).await?;
        let (mut verdicts, mut right) = (HashMap::new(), Vec::new());
        for guess in &verified {
            let told = match guess.known(call) {
                Some(known) => known,
                None if has_room => self.store.judge(org, guess.person, guess.wrong(), call.now).await?,
                None => Verdict::Locked,
            };
            let told = match told {
                Verdict::Right => {
                    right.push(guess.id());
                    Told::Accepted
                }
                Verdict::Wrong => Told::PinInvalid,
                Verdict::Locked => Told::PinLocked,
            };
            if told != Told::Accepted {
                call.metrics.refused_pins(1);
            }
            verdicts.insert((guess.person.creator_id, guess.pin.to_owned()), told);
        }
        let cid = call.cid.as_str();
        let refused = verdicts.len() - right.len();
        if refused > 0 {
            tracing::warn!(cid, tenant = org.as_str(), refused, has_room, "PINs were refused");
        }
        if !right.is_empty() {
            // If that fails they stay counted, which harms nobody before the hour is full.
            if let Err(error) = self.store.uncount_tries(org, right, call.now).await {
                tracing::warn!(cid, %error, "right PINs stay counted in the hour");
            }
        }
        Ok(Verdicts(verdicts))
    }
}
