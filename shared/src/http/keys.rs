//! The keys that the issuer of tokens signs with: where API Gateway finds them, which is by the issuer's discovery
//! document (`OpenID` Connect Discovery 1.0, section 4), and kept as long as it keeps them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request as HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::http::Uri;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::problem::Problem;
use crate::aws::causes;

/// Longest time to fetch the document and the keys. Ours: it leaves time to answer in the shortest function timeout in
/// use, 3 seconds (infra/samconfig.toml).
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two fetches. Ours: a token with an unknown key must not become a way to make us call the
/// issuer at will.
const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// The same after a fetch that failed. Ours: until one comes, no request is let in.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Age at which keys are fetched anew; if that fails they are trusted on. Ours.
const REFRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// Oldest keys that are trusted: one that the issuer withdraws is forgotten after this time. As API Gateway has it
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).
const MAX_KEYS_AGE: Duration = Duration::from_secs(2 * 60 * 60);
/// Largest document, and largest key set, in bytes. Ours.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Keys that anybody on the way could change are nobody's.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no https address, nor an http address of this very machine")]
pub struct AddressError(String);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{0} did not answer: {1}")]
    Transport(String, String),
    #[error("{0} answered {1}")]
    Status(String, u16),
    #[error("{0} has more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge(String),
    #[error("{0} is not what it must be: {1}")]
    Form(String, serde_json::Error),
    #[error("the discovery document is another issuer's")]
    OtherIssuer,
    #[error("the set has no key that can be used")]
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
    /// Whether it is the key that this signature of the message was made with.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

/// The usable keys of a set, by their IDs.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<String, Key>);

impl KeySet {
    /// Those of a document (RFC 7517). A key of another kind, or that cannot be read, leaves the others as they are.
    pub(super) fn read(document: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document)?;
        Ok(Self(document.keys.into_iter().filter_map(usable).collect()))
    }
}

/// The key and its ID, if it verifies RS256.
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

/// A number's bytes, without the leading zeros that some issuers write: `ring` takes none.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

/// The keys of an issuer, fetched when they are needed; or a set that never changes.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: Option<String>,
    held: Mutex<Held>,
}

/// By the time of day: a monotonic clock need not go on while Lambda holds the process frozen.
#[derive(Debug, Default)]
struct Held {
    set: KeySet,
    /// When the set was asked for last, and whether it came.
    asked: Option<(SystemTime, bool)>,
    /// When the set was asked for that is held.
    came: Option<SystemTime>,
}

/// Whether so much time has gone by since then. A time to come, by a clock that was put back, is as good as none.
fn is_over(age: Duration, since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).map_or(true, |elapsed| elapsed >= age)
}

impl Keys {
    /// Those of this issuer.
    ///
    /// # Errors
    /// If what it says could be changed on its way here.
    pub(super) fn of(issuer: String) -> Result<Self, AddressError> {
        if is_https(&issuer) || is_local(&issuer) {
            Ok(Self { issuer: Some(issuer), held: Mutex::default() })
        } else {
            Err(AddressError(issuer))
        }
    }

    /// These, and no others.
    pub(super) fn fixed(set: KeySet) -> Self {
        Self { issuer: None, held: Mutex::new(Held { set, ..Held::default() }) }
    }

    /// Fetches them, so that no request has to wait for it. What fails here is told by the first request.
    pub(super) async fn fetch_in_advance(&self, now: SystemTime) {
        let Some(issuer) = &self.issuer else { return };
        if let Err(error) = self.held.lock().await.fetch(issuer, now).await {
            tracing::warn!(%error, "the keys of tokens could not be read in advance");
        }
    }

    /// The key of this ID.
    ///
    /// # Errors
    /// 503 if whether there is one cannot be known now.
    pub(super) async fn find(&self, kid: &str, now: SystemTime) -> Result<Option<Key>, Problem> {
        let mut held = self.held.lock().await;
        if let Some(issuer) = &self.issuer {
            held.freshen(issuer, kid, now).await?;
        }
        Ok(held.set.0.get(kid).cloned())
    }
}

impl Held {
    /// Asks for the set anew if it must, or should, and may. What is still lacking then cannot be known.
    async fn freshen(&mut self, issuer: &str, kid: &str, now: SystemTime) -> Result<(), Problem> {
        let interval = |came: bool| if came { FETCH_INTERVAL } else { RETRY_INTERVAL };
        let may_ask = self.asked.is_none_or(|(at, came)| is_over(interval(came), at, now));
        let is_wanted = self.lacks(kid, REFRESH_AGE, now);
        let failure = if is_wanted && may_ask { self.fetch(issuer, now).await.err() } else { None };
        let is_lacking = self.lacks(kid, MAX_KEYS_AGE, now);
        match (failure, self.asked) {
            (Some(error), _) if is_lacking => Err(unavailable(error)),
            (Some(error), _) => {
                tracing::warn!(%error, "the keys of tokens could not be read anew");
                Ok(())
            }
            (None, Some((_, false))) if is_lacking => Err(unavailable("could not be fetched a moment ago")),
            (None, _) => Ok(()),
        }
    }

    /// Whether the key is not there, or the set has this age.
    fn lacks(&self, kid: &str, age: Duration, now: SystemTime) -> bool {
        self.came.is_none_or(|came| is_over(age, came, now)) || !self.set.0.contains_key(kid)
    }

    async fn fetch(&mut self, issuer: &str, now: SystemTime) -> Result<(), KeysError> {
        // Should this be given up meanwhile, it has failed.
        self.asked = Some((now, false));
        let set = tokio::time::timeout(FETCH_TIMEOUT, fetch(issuer)).await.map_err(|_| KeysError::TimedOut)??;
        // A key that is not in it was withdrawn, even if none is; but that no token is good is not what an issuer means.
        let is_usable = !set.0.is_empty();
        (self.set, self.came, self.asked) = (set, is_usable.then_some(now), Some((now, is_usable)));
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
    // Connections of the last time may be dead by now: see `connections`.
    let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let is_local = is_local(issuer);
    let discovery: Discovery = parsed(&url, &get(&connector, &url, is_local).await?)?;
    if discovery.issuer != issuer {
        return Err(KeysError::OtherIssuer);
    }
    let url = discovery.jwks_uri;
    let document = get(&connector, &url, is_local).await?;
    KeySet::read(&document).map_err(|error| KeysError::Form(url, error))
}

fn parsed<T: DeserializeOwned>(url: &str, document: &[u8]) -> Result<T, KeysError> {
    serde_json::from_slice(document).map_err(|error| KeysError::Form(url.to_owned(), error))
}

fn is_https(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// Whether the address is on this machine, where nobody can listen in: the local stack's issuer.
fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    uri.scheme_str() == Some("http") && (host == "localhost" || address.is_ok_and(|address| address.is_loopback()))
}

/// What is there, by TLS, or on this machine if that is allowed. No redirects are followed.
async fn get(connector: &Connector, url: &str, may_be_local: bool) -> Result<Vec<u8>, KeysError> {
    let mut request = HttpRequest::new(SdkBody::empty());
    if !(is_https(url) || may_be_local && is_local(url)) || request.set_uri(url).is_err() {
        return Err(AddressError(url.to_owned()).into());
    }
    let transport = |error: &(dyn std::error::Error + 'static)| KeysError::Transport(url.to_owned(), causes(error));
    let response = connector.call(request).await.map_err(|error| transport(&error))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(KeysError::Status(url.to_owned(), status));
    }
    let (mut body, mut document) = (ByteStream::new(response.into_body()), Vec::new());
    while let Some(piece) = body.next().await {
        document.extend_from_slice(&piece.map_err(|error| transport(&error))?);
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(KeysError::TooLarge(url.to_owned()));
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
