//! Verification of bearer tokens where no gateway does it: for clients that cannot read the gateway's own 401, under
//! `cargo lambda watch`, or behind a function URL.
//!
//! The rules are the gateway's
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>), in their strictest
//! reading: only RS256, a known key, the issuer, the audience, and times without leeway. `AUTH_ISSUER` and
//! `AUTH_AUDIENCE` set the values that a token must have. Without them, no token is valid.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::keys::{AddressError, KeySet, Keys};
use super::problem::Problem;
use crate::clock;
use crate::config;

/// Maximum length of a token, in bytes. The gateway accepts 10,240 bytes of headers in total (AWS limit).
const MAX_TOKEN_BYTES: usize = 10_240;
/// The last second of the year 9999, the last that RFC 3339 can represent. Our limit: a later time is a mistake, such
/// as milliseconds, and the token would never expire.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// A verifier of tokens. Without settings, it rejects every token.
#[derive(Debug, Clone)]
pub struct Verifier(Option<Arc<Rules>>);

/// The token issuer's URL is not secure.
#[derive(thiserror::Error)]
#[error("environment variable AUTH_ISSUER: {0}")]
pub struct IssuerError(#[from] AddressError);

/// A process that ends with this error prints its `Debug` form, so it is the message.
impl fmt::Debug for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug)]
struct Rules {
    issuer: String,
    audience: String,
    keys: Keys,
}

impl Verifier {
    /// Creates a verifier from the environment. If settings are missing, it rejects every token.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn from_env() -> Result<Self, IssuerError> {
        match (config::optional("AUTH_ISSUER"), config::optional("AUTH_AUDIENCE")) {
            (Some(issuer), Some(audience)) => Self::new(issuer, audience),
            _ => Ok(Self(None)),
        }
    }

    /// Creates a verifier that uses the issuer's published keys, for this audience.
    ///
    /// # Errors
    /// Returns an error if an attacker could modify the issuer's responses on the network.
    pub fn new(issuer: String, audience: String) -> Result<Self, IssuerError> {
        let keys = Keys::of(issuer.clone())?;
        Ok(Self(Some(Arc::new(Rules { issuer, audience, keys }))))
    }

    /// Creates a verifier that uses this key set, in JSON.
    ///
    /// # Errors
    /// Returns an error if `keys` is not a key set.
    pub fn of_keys(issuer: String, audience: String, keys: &str) -> serde_json::Result<Self> {
        let keys = Keys::fixed(KeySet::read(keys.as_bytes())?);
        Ok(Self(Some(Arc::new(Rules { issuer, audience, keys }))))
    }

    /// Fetches the keys in advance, so that the first request does not wait for them. A failure is ignored: the first
    /// request fetches them then.
    pub async fn warm_up(&self) {
        if let Some(rules) = &self.0 {
            rules.keys.fetch_in_advance(SystemTime::now()).await;
        }
    }

    /// Returns the claims of a token, or 401 if the token is invalid.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Problem> {
        let rules = self.0.as_ref().ok_or_else(Problem::unauthorized)?;
        let signed = Signed::read(token).ok_or_else(Problem::unauthorized)?;
        let key = rules.keys.find(&signed.kid, SystemTime::now()).await?;
        let claims = key.and_then(|key| key.has_signed(signed.message, &signed.signature).then_some(signed.claims));
        let claims: Option<Map<String, Value>> = claims.and_then(decoded);
        let claims = claims.filter(|claims| rules.allow(claims, clock::epoch_seconds()));
        Ok(Claims::of_token(&claims.ok_or_else(Problem::unauthorized)?))
    }
}

impl Rules {
    /// Returns whether the claims are valid at this time. A claim that is present must be valid: null is neither a
    /// time nor an audience. An empty `aud` matches no audience, even with a `client_id`, which counts only without
    /// an `aud`.
    fn allow(&self, claims: &Map<String, Value>, now: f64) -> bool {
        let names = |claim: &Value| claim.as_str() == Some(&self.audience);
        let is_for_us = match claims.get("aud") {
            None => claims.get("client_id").is_some_and(names),
            Some(Value::Array(all)) => all.iter().any(names),
            Some(one) => names(one),
        };
        let is_of_issuer = claims.get("iss").and_then(Value::as_str) == Some(&self.issuer);
        let lives = claims.get("exp").and_then(seconds).is_some_and(|at| at > now);
        let has_begun = |claim| claims.get(claim).is_none_or(|at| seconds(at).is_some_and(|at| at <= now));
        is_of_issuer && is_for_us && lives && has_begun("nbf") && has_begun("iat")
    }
}

/// Returns a claim's time in seconds since 1970: any JSON number (RFC 7519's `NumericDate`) in the plausible range.
fn seconds(claim: &Value) -> Option<f64> {
    claim.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds))
}

/// The parts of a token (RFC 7515, section 7.1), not verified yet.
struct Signed<'a> {
    kid: String,
    message: &'a [u8],
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    fn read(token: &'a str) -> Option<Self> {
        let token = Some(token).filter(|token| token.len() <= MAX_TOKEN_BYTES)?;
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Map<String, Value> = decoded(header)?;
        let kid = header.get("kid").and_then(Value::as_str)?.to_owned();
        // Critical extensions (RFC 7515, section 4.1.11) are not supported.
        let is_understood = header.get("alg").is_some_and(|alg| alg == "RS256") && !header.contains_key("crit");
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // If there is a third dot, it is in `claims`, which is then not valid Base64.
        is_understood.then_some(Self { kid, message: message.as_bytes(), claims, signature })
    }
}

fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NOW: f64 = 1_700_000_000.5;

    fn allows(changes: &Value) -> bool {
        let rules = Rules { issuer: "https://i".into(), audience: "b".into(), keys: Keys::fixed(KeySet::default()) };
        let mut claims = json!({ "iss": "https://i", "aud": "b", "exp": 1_700_000_001, "iat": 1_700_000_000 });
        for (name, value) in changes.as_object().unwrap() {
            if value == "none" {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        // Tokens are parsed from text, too.
        rules.allow(&serde_json::from_str(&claims.to_string()).unwrap(), NOW)
    }

    #[rstest]
    #[case::usual(json!({}))]
    #[case::no_issue_time(json!({ "iat": "none" }))]
    #[case::audiences(json!({ "aud": ["a", 5, "b"] }))]
    #[case::client(json!({ "aud": "none", "client_id": "b" }))]
    #[case::other_client(json!({ "client_id": "c" }))]
    #[case::unread(json!({ "sub": { "a": [] }, "jti": 5, "azp": null, "email_verified": true, "auth_time": "x" }))]
    #[case::year_9999(json!({ "exp": 253_402_300_799_i64 }))]
    #[case::begun(json!({ "nbf": 1_700_000_000.5, "iat": 0 }))]
    fn a_token_is_good(#[case] changes: Value) {
        assert!(allows(&changes), "{changes}");
    }

    #[rstest]
    #[case::no_issuer(json!({ "iss": "none" }))]
    #[case::other_issuer(json!({ "iss": "https://i/" }))]
    #[case::issuers(json!({ "iss": ["https://i"] }))]
    #[case::no_audience(json!({ "aud": "none" }))]
    #[case::other_audience(json!({ "aud": "bb", "client_id": "b" }))]
    #[case::null_audience(json!({ "aud": null, "client_id": "b" }))]
    #[case::empty_audiences(json!({ "aud": [], "client_id": "b" }))]
    #[case::audience_as_member(json!({ "aud": { "b": "b" }, "client_id": "b" }))]
    #[case::audiences_in_audiences(json!({ "aud": [["b"]] }))]
    #[case::clients(json!({ "aud": "none", "client_id": ["b"] }))]
    #[case::other_client(json!({ "aud": "none", "client_id": "bb" }))]
    #[case::no_end(json!({ "exp": "none" }))]
    #[case::ends_now(json!({ "exp": 1_700_000_000.5 }))]
    #[case::begins_in_a_moment(json!({ "nbf": 1_700_000_000.6 }))]
    #[case::issued_in_a_moment(json!({ "iat": 1_700_000_001 }))]
    fn a_token_is_not_good(#[case] changes: Value) {
        assert!(!allows(&changes), "{changes}");
    }

    #[rstest]
    #[case("5", Some(5.0))]
    #[case("5.0", Some(5.0))]
    #[case("5.25", Some(5.25))]
    #[case("1e9", Some(1e9))]
    #[case("1.7E+9", Some(1.7e9))]
    #[case("0", Some(0.0))]
    #[case("-0.0", Some(0.0))]
    #[case("-1", None)]
    #[case("-1e-9", None)]
    #[case("1700000000000", None)]
    #[case("18446744073709551616", None)]
    #[case("1e300", None)]
    #[case("\"5\"", None)]
    #[case("\"NaN\"", None)]
    #[case("null", None)]
    #[case("true", None)]
    #[case("[5]", None)]
    #[case("{}", None)]
    fn a_time_is_any_number_that_is_plausible(#[case] written: &str, #[case] read: Option<f64>) {
        assert_eq!(seconds(&serde_json::from_str(written).unwrap()), read);
    }

    #[rstest]
    #[case(json!({ "alg": "RS256", "kid": "k" }), true)]
    #[case(json!({ "alg": "RS256", "kid": "k", "typ": 5, "jwk": { "kty": [] }, "x5c": null }), true)]
    #[case(json!({ "alg": "RS256", "kid": "k", "crit": ["b64"], "b64": false }), false)]
    #[case(json!({ "alg": "RS256", "kid": "k", "crit": [] }), false)]
    #[case(json!({ "alg": "RS256", "kid": "k", "crit": null }), false)]
    #[case(json!({ "alg": "RS512", "kid": "k" }), false)]
    #[case(json!({ "alg": "none", "kid": "k" }), false)]
    #[case(json!({ "alg": ["RS256"], "kid": "k" }), false)]
    #[case(json!({ "alg": "RS256" }), false)]
    #[case(json!({ "alg": "RS256", "kid": null }), false)]
    #[case(json!(["RS256", "k"]), false)]
    #[case(json!(["RS256", "k", null]), false)]
    fn a_header_names_the_algorithm_and_the_key(#[case] header: Value, #[case] is_read: bool) {
        let token = format!("{}.e30.", URL_SAFE_NO_PAD.encode(header.to_string()));
        assert_eq!(Signed::read(&token).is_some(), is_read);
        assert!(Signed::read(&format!("{token}{}", "A".repeat(MAX_TOKEN_BYTES))).is_none());
    }
}
