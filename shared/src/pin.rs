//! Hashing of PINs: Argon2id of an HMAC whose key (the pepper) is not in the table.
//!
//! With the table alone, an attacker cannot search for a four-digit PIN. The pepper must never change, because that
//! would invalidate every PIN.

use std::fmt;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use tokio::sync::OnceCell;

use crate::domain::ids::{OperationId, OrgId};
use crate::domain::order::PersonId;
use crate::secret::{self, Client, SecretError};

/// Length of an attempt's ID in bytes, long enough for IDs to be unique.
const TRY_ID_BYTES: usize = 16;

/// A secret that PINs are combined with before they are hashed.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Creates a pepper from this secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Returns the hash of the person's PIN to store: a PHC string with a new random salt.
    ///
    /// # Errors
    /// Returns an error if there is no source of randomness.
    pub fn hash(&self, org: &OrgId, person: PersonId, pin: &str) -> Result<String, argon2::password_hash::Error> {
        let mixed = self.mix(org, person, pin);
        Ok(Argon2::default().hash_password(mixed.as_ref())?.to_string())
    }

    /// Returns whether `pin` matches the stored hash, in time independent of `pin`.
    #[must_use]
    pub fn verify(&self, org: &OrgId, person: PersonId, pin: &str, hash: &str) -> bool {
        Argon2::default().verify_password(self.mix(org, person, pin).as_ref(), hash).is_ok()
    }

    /// Returns the ID of a PIN attempt, which is the same whenever the operation tries the PIN. Without the pepper,
    /// the PIN cannot be found from the ID.
    #[must_use]
    pub fn try_id(&self, org: &OrgId, person: PersonId, operation: OperationId, pin: &str) -> String {
        // No input of `mix` begins with this prefix.
        let tag = hmac::sign(&self.0, format!("try\n{org}\n{person}\n{operation}\n{pin}").as_bytes());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..TRY_ID_BYTES])
    }

    /// Returns the PIN combined with the person, so that a hash is not valid in another person's row. Only the PIN
    /// can contain a line feed.
    fn mix(&self, org: &OrgId, person: PersonId, pin: &str) -> hmac::Tag {
        hmac::sign(&self.0, format!("{org}\n{person}\n{pin}").as_bytes())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper")
    }
}

/// The pepper in Secrets Manager, which is read when it is first needed and then cached.
#[derive(Debug, Clone)]
pub struct PepperSecret {
    client: Client,
    name: String,
    pepper: Arc<OnceCell<Pepper>>,
}

impl PepperSecret {
    /// Creates a reader of this secret.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name, pepper: Arc::default() }
    }

    /// Returns the pepper. If reading it fails, the next call reads it again.
    ///
    /// # Errors
    /// Returns [`SecretError`].
    pub async fn get(&self) -> Result<&Pepper, SecretError> {
        let read = async || Ok(Pepper::new(&secret::read(&self.client, &self.name).await?));
        let pepper = self.pepper.get_or_try_init(read).await;
        pepper.inspect_err(|error| tracing::error!(%error, "the pepper cannot be read: no PIN can be verified"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_only_its_owners_pin() {
        let (pepper, org) = (Pepper::new("secret"), "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap());
        let hash = pepper.hash(&org, 7, "1234").unwrap();
        // OWASP's Password Storage Cheat Sheet: at least 19 MiB, 2 iterations, 1 lane.
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(pepper.verify(&org, 7, "1234", &hash));
        assert!(!pepper.verify(&org, 7, "1235", &hash));
        assert!(!pepper.verify(&org, 8, "1234", &hash));
        assert!(!Pepper::new("other").verify(&org, 7, "1234", &hash));
        assert_ne!(pepper.hash(&org, 7, "1234").unwrap(), hash);
    }

    #[test]
    fn an_attempts_id_depends_on_all_its_parts() {
        let (pepper, org) = (Pepper::new("secret"), "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap());
        let operation = |number| OperationId::from_uuid(uuid::Uuid::from_u128(number));
        let id = pepper.try_id(&org, 7, operation(1), "1234");
        assert_eq!(id, pepper.try_id(&org, 7, operation(1), "1234"));
        assert_ne!(id, pepper.try_id(&org, 7, operation(1), "1235"));
        assert_ne!(id, pepper.try_id(&org, 7, operation(2), "1234"));
        assert_ne!(id, pepper.try_id(&org, 8, operation(1), "1234"));
        assert_ne!(id, Pepper::new("other").try_id(&org, 7, operation(1), "1234"));
    }
}
