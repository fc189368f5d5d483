//! Whether PINs are right.
//!
//! A person's row holds Argon2id of an HMAC of their PIN: with the table alone, four digits cannot be searched.
//! The PIN is verified first, and the verdict written then, under a condition: however many guesses come at
//! once, no more than five wrong ones are told apart from right ones.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use ring::hmac;
use shared::domain::ids::OrgId;
use shared::domain::order::PersonId;
use shared::domain::person::{Person, Verdict};
use shared::http::{Call, Problem};

use crate::CancelOrders;
use crate::told::Told;
use crate::wire::Pin;

/// The secret that PINs are mixed with before they are hashed.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// This secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Bound to the person, so that no row's hash is good for another's. No part but the last can hold a line feed.
    fn mix(&self, org: &OrgId, person: PersonId, pin: &str) -> hmac::Tag {
        hmac::sign(&self.0, format!("{org}\n{person}\n{pin}").as_bytes())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper")
    }
}

/// What is told of each PIN that was verified.
pub(crate) struct Verdicts(HashMap<(PersonId, String), Told>);

impl Verdicts {
    pub(crate) fn of(&self, person: PersonId, pin: &Pin) -> Told {
        self.0.get(&(person, pin.expose().to_owned())).copied().unwrap_or(Told::PinInvalid)
    }
}

impl CancelOrders {
    /// Verifies each PIN once. No verdict is written before all are verified: a request that runs out of time
    /// while it does has used up no tries.
    pub(crate) async fn verify(
        &self,
        call: &Call,
        persons: &HashMap<PersonId, Person>,
        pins: BTreeSet<(PersonId, &str)>,
    ) -> Result<Verdicts, Problem> {
        let org = &call.identity.org_id;
        let mut verified = Vec::with_capacity(pins.len());
        for (creator, pin) in pins {
            let Some(person) = persons.get(&creator) else { continue };
            let mixed = self.pepper.mix(org, creator, pin);
            // Its comparison takes the same time for every PIN.
            let is_right = |hash: &str| Argon2::default().verify_password(mixed.as_ref(), hash).is_ok();
            verified.push((person, pin, person.pin_hash.as_deref().is_some_and(is_right)));
            // Here the time that is left can end the request.
            tokio::task::yield_now().await;
        }
        let mut verdicts = HashMap::new();
        for (person, pin, right) in verified {
            let told = match self.store.judge(org, person, right, call.now).await? {
                Verdict::Right => Told::Accepted,
                Verdict::Wrong => Told::PinInvalid,
                Verdict::Locked => Told::PinLocked,
            };
            verdicts.insert((person.creator_id, pin.to_owned()), told);
        }
        Ok(Verdicts(verdicts))
    }
}
