//! Verifies the PINs of a request.
//!
//! Each PIN is verified first. Then its verdict is written, under a condition. So however many guesses arrive together,
//! a client can find out at most five wrong PINs of a person, and a limited number per organization and hour. For the
//! hourly limit, all attempts are counted before their verdicts are written, and the right ones are subtracted
//! afterwards.

use std::collections::{BTreeSet, HashMap};

use shared::domain::ids::OperationId;
use shared::domain::order::PersonId;
use shared::domain::person::{Person, Verdict};
use shared::http::{Problem, RequestContext};

use crate::CancelOrders;
use crate::entry_status::EntryStatus;
use crate::wire::Pin;

/// The status for each verified PIN.
pub(crate) struct Verdicts(HashMap<(PersonId, String), EntryStatus>);

impl Verdicts {
    pub(crate) fn of(&self, person: PersonId, pin: &Pin) -> EntryStatus {
        self.0.get(&(person, pin.expose().to_owned())).copied().unwrap_or(EntryStatus::PinInvalid)
    }
}

/// A PIN that was verified.
struct Guess<'a> {
    person: &'a Person,
    pin: &'a str,
    /// The ID of the attempt.
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

    /// Returns the verdict, if the person's row determines it.
    fn known(&self, context: &RequestContext) -> Option<Verdict> {
        self.person.verdict(self.wrong(), context.now)
    }
}

impl CancelOrders {
    /// Verifies each PIN. Repeated attempts at a PIN by the same operation count once.
    ///
    /// No verdict is written before all PINs are verified, so a request that times out while verifying uses up no
    /// attempts. If the attempts exceed the organization's hourly limit, they use up none either, and all these PINs
    /// are reported as locked.
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
            // A person without a row has no PIN, so every PIN is wrong and no attempt is counted.
            let Some(person) = persons.get(&person) else { continue };
            let id = person.creator_id;
            let is_right = person.pin_hash.as_deref().is_some_and(|hash| pepper.verify(org, id, pin, hash));
            verified.push(Guess { person, pin, id: pepper.try_id(org, id, operation, pin), is_right });
            // The request's timeout can take effect here.
            tokio::task::yield_now().await;
        }
        let open: Vec<String> = verified.iter().filter(|guess| guess.known(context).is_none()).map(Guess::id).collect();
        let has_room = open.is_empty() || self.store.count_tries(org, open, context.now).await?;
        let (mut verdicts, mut right) = (HashMap::new(), Vec::new());
        for guess in &verified {
            let verdict = match guess.known(context) {
                Some(known) => known,
                None if has_room => {
                    self.store.record_pin_attempt(org, guess.person, guess.wrong(), context.now).await?
                }
                None => Verdict::Locked,
            };
            let status = match verdict {
                Verdict::Right => {
                    right.push(guess.id());
                    EntryStatus::Accepted
                }
                Verdict::Wrong => EntryStatus::PinInvalid,
                Verdict::Locked => EntryStatus::PinLocked,
            };
            if status != EntryStatus::Accepted {
                context.metrics.refused_pins(1);
            }
            verdicts.insert((guess.person.creator_id, guess.pin.to_owned()), status);
        }
        let cid = context.cid.as_str();
        let refused = verdicts.len() - right.len();
        if refused > 0 {
            tracing::warn!(cid, tenant = org.as_str(), refused, has_room, "PINs were refused");
        }
        if !right.is_empty() {
            // If this fails, the right PINs stay counted. That has an effect only if the hourly limit is reached.
            if let Err(error) = self.store.uncount_tries(org, right, context.now).await {
                tracing::warn!(cid, %error, "right PINs stay counted in the hour");
            }
        }
        Ok(Verdicts(verdicts))
    }
}
