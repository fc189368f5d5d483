//! Whether PINs are right.
//!
//! The PIN is verified first, and the verdict written then, under a condition: however many guesses come at
//! once, no more than five wrong ones of a person are told apart from right ones, and no more than so many of the
//! organisation's persons in an hour.

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

    /// How many of them were wrong or locked.
    pub(crate) fn refused(&self) -> u32 {
        let refused = self.0.values().filter(|told| **told != Told::Accepted);
        u32::try_from(refused.count()).unwrap_or(u32::MAX)
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
            let wrong = (!is_right).then(|| pepper.try_id(org, id, operation, pin));
            verified.push((person, pin, wrong));
            // Here the time that is left can end the request.
            tokio::task::yield_now().await;
        }
        let known_of = |person: &Person, wrong: &Option<String>| person.verdict(wrong.as_deref(), call.now);
        let guesses = || verified.iter().filter(|(person, _, wrong)| known_of(person, wrong).is_none());
        let (tries, wrong) = (guesses().count(), guesses().filter_map(|(.., wrong)| wrong.clone()).collect());
        let has_room = tries == 0 || self.store.count_tries(org, tries, wrong, call.now).await?;
        let mut verdicts = HashMap::new();
        for (person, pin, wrong) in &verified {
            let verdict = match known_of(person, wrong) {
                Some(known) => known,
                None if has_room => self.store.judge(org, person, wrong.as_deref(), call.now).await?,
                None => Verdict::Locked,
            };
            let told = match verdict {
                Verdict::Right => Told::Accepted,
                Verdict::Wrong => Told::PinInvalid,
                Verdict::Locked => Told::PinLocked,
            };
            verdicts.insert((person.creator_id, (*pin).to_owned()), told);
        }
        let verdicts = Verdicts(verdicts);
        let (refused, cid) = (verdicts.refused(), call.cid.as_str());
        if refused > 0 {
            tracing::warn!(cid, tenant = org.as_str(), refused, has_room, "PINs were refused");
        }
        Ok(verdicts)
    }
}
