//! The token issuer's signing keys. Like API Gateway, Bindery finds them through the issuer's discovery document
//! (`OpenID` Connect Discovery 1.0, section 4), and caches them for the same time.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::problem::Problem;
use crate::https::{Client, HttpsError, Request, is_https, is_local};

/// Maximum time for fetching the document and the keys. Our limit: it leaves time to respond within the shortest
/// function timeout in use, 3 seconds (infra/samconfig.toml).
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum time between two fetches. Our limit: a client that sends unknown key IDs must not be able to make us call
/// the issuer at will.
const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time between two fetches if the first failed. Our limit: without keys, every request is rejected.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Age at which keys are fetched again. If that fails, the cached keys remain trusted. Our limit.
const REFRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// Maximum age of trusted keys. A key that the issuer withdraws is rejected after this time at the latest. This is
/// API Gateway's own limit
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).
const MAX_KEYS_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The issuer's URL is not secure: an attacker on the network could replace its keys.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither an https URL nor an http URL of this machine")]
pub struct AddressError(String);

/// The reasons why there are no keys.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("{0} {1}")]
    Https(String, HttpsError),
    #[error("{0} responded with {1}")]
    Status(String, u16),
    #[error("{0} is malformed: {1}")]
    Form(String, serde_json::Error),
    #[error("the discovery document belongs to another issuer")]
    OtherIssuer,
    #[error("the set has no usable key")]
    NoKeys,
    #[error("timed out")]
    TimedOut,
}

/// A public RSA key for RS256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Key {
    /// Returns whether this key made the signature of the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

/// The usable keys of a set, by their IDs.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<String, Key>);

impl KeySet {
    /// Reads a key set (RFC 7517). Keys of other types, and malformed ones, are skipped.
    pub(super) fn read(document: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document)?;
        Ok(Self(document.keys.into_iter().filter_map(usable).collect()))
    }
}

/// Returns the key and its ID, if it verifies RS256.
fn usable(key: Value) -> Option<(String, Key)> {
    #[derive(Deserialize)]
    struct Jwk {
        kid: String,
        kty: String,
        alg: Option<String>,
        r#use: Option<String>,
        key_ops: Option<Vec<String>>,
        n: String,
        e: String,
    }
    let key: Jwk = serde_json::from_value(key).ok()?;
    let is_rs256 = key.kty == "RSA" && key.alg.is_none_or(|alg| alg == "RS256");
    let verifies = key.r#use.is_none_or(|r#use| r#use == "sig")
        && key.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    (is_rs256 && verifies).then_some(())?;
    Some((key.kid, Key { modulus: number(&key.n)?, exponent: number(&key.e)? }))
}

/// Returns a number's bytes without leading zeros. Some issuers write them, and `ring` rejects them.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

/// An issuer's keys, which are fetched on demand, or a fixed set.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: Option<String>,
    cache: Mutex<Cache>,
}

/// A cached key set. Its times are wall-clock times, because a monotonic clock may stop while Lambda freezes the
/// process.
#[derive(Debug, Default)]
struct Cache {
    set: KeySet,
    /// The time of the last fetch, and whether it succeeded.
    last_fetch: Option<(SystemTime, bool)>,
    /// The time of the fetch that returned the cached set.
    fetched_at: Option<SystemTime>,
}

/// Returns whether `age` has passed since that time. A time in the future, caused by a clock set back, counts as
/// passed.
fn has_passed(age: Duration, since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).map_or(true, |elapsed| elapsed >= age)
}

impl Keys {
    /// Returns the keys of this issuer.
    ///
    /// # Errors
    /// Returns an error if an attacker could modify the issuer's responses on the network.
    pub(super) fn of(issuer: String) -> Result<Self, AddressError> {
        if is_https(&issuer) || is_local(&issuer) {
            Ok(Self { issuer: Some(issuer), cache: Mutex::default() })
        } else {
            Err(AddressError(issuer))
        }
    }

    /// Returns a set of keys that never changes.
    pub(super) fn fixed(set: KeySet) -> Self {
        Self { issuer: None, cache: Mutex::new(Cache { set, ..Cache::default() }) }
    }

    /// Fetches the keys, so that no request has to wait. If that fails, the first request fetches them.
    pub(super) async fn fetch_in_advance(&self, now: SystemTime) {
        let Some(issuer) = &self.issuer else { return };
        if let Err(error) = self.cache.lock().await.fetch(issuer, now).await {
            tracing::warn!(%error, "the token issuer's keys could not be fetched in advance");
        }
    }

    /// Returns the key with this ID.
    ///
    /// # Errors
    /// Returns 503 if the keys are not known at present.
    pub(super) async fn find(&self, kid: &str, now: SystemTime) -> Result<Option<Key>, Problem> {
        let mut cache = self.cache.lock().await;
        if let Some(issuer) = &self.issuer {
            cache.refresh(issuer, kid, now).await?;
        }
        Ok(cache.set.0.get(kid).cloned())
    }
}

impl Cache {
    /// Fetches the set if it is missing the key or too old, and a fetch is due. Returns an error if the keys remain
    /// unknown.
    async fn refresh(&mut self, issuer: &str, kid: &str, now: SystemTime) -> Result<(), Problem> {
        let interval = |succeeded: bool| if succeeded { FETCH_INTERVAL } else { RETRY_INTERVAL };
        let may_fetch = self.last_fetch.is_none_or(|(at, succeeded)| has_passed(interval(succeeded), at, now));
        let is_needed = self.lacks(kid, REFRESH_AGE, now);
        let failure = if is_needed && may_fetch { self.fetch(issuer, now).await.err() } else { None };
        let is_unknown = self.lacks(kid, MAX_KEYS_AGE, now);
        match (failure, self.last_fetch) {
            (Some(error), _) if is_unknown => Err(unavailable(error)),
            (Some(error), _) => {
                tracing::warn!(%error, "the token issuer's keys could not be refreshed");
                Ok(())
            }
            (None, Some((_, false))) if is_unknown => Err(unavailable("could not be fetched a moment ago")),
            (None, _) => Ok(()),
        }
    }

    /// Returns whether the key is missing, or the set has reached this age.
    fn lacks(&self, kid: &str, age: Duration, now: SystemTime) -> bool {
        self.fetched_at.is_none_or(|at| has_passed(age, at, now)) || !self.set.0.contains_key(kid)
    }

    async fn fetch(&mut self, issuer: &str, now: SystemTime) -> Result<(), KeysError> {
        // A fetch that is canceled counts as failed.
        self.last_fetch = Some((now, false));
        let set = tokio::time::timeout(FETCH_TIMEOUT, fetch(issuer)).await.map_err(|_| KeysError::TimedOut)??;
        // A key missing from the new set was withdrawn, even if no key is left. But an issuer does not mean that no
        // token is valid, so an empty set counts as a failed fetch.
        let is_usable = !set.0.is_empty();
        (self.set, self.fetched_at, self.last_fetch) = (set, is_usable.then_some(now), Some((now, is_usable)));
        is_usable.then_some(()).ok_or(KeysError::NoKeys)
    }
}

fn unavailable(reason: impl std::fmt::Display) -> Problem {
    Problem::unavailable(format!("key set: {reason}"))
}

async fn fetch(issuer: &str) -> Result<KeySet, KeysError> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let client = Client::new();
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let is_local = is_local(issuer);
    let discovery: Discovery = parsed(&url, &get(&client, &url, is_local).await?)?;
    if discovery.issuer != issuer {
        return Err(KeysError::OtherIssuer);
    }
    let url = discovery.jwks_uri;
    let document = get(&client, &url, is_local).await?;
    KeySet::read(&document).map_err(|error| KeysError::Form(url, error))
}

fn parsed<T: DeserializeOwned>(url: &str, document: &[u8]) -> Result<T, KeysError> {
    serde_json::from_slice(document).map_err(|error| KeysError::Form(url.to_owned(), error))
}

/// Fetches a document over TLS, or from this machine if `may_be_local`.
async fn get(client: &Client, url: &str, may_be_local: bool) -> Result<Vec<u8>, KeysError> {
    let response = client.send(Request { url, ..Request::default() }, may_be_local).await;
    let response = response.map_err(|error| KeysError::Https(url.to_owned(), error))?;
    if response.status == 200 { Ok(response.body) } else { Err(KeysError::Status(url.to_owned(), response.status)) }
}

#[cfg(test)]
mod tests;
