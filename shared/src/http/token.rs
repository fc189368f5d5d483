//! Verifying a bearer token here, where no gateway does: for clients who cannot read the gateway's own 401, under
//! `cargo lambda watch`, or behind a function URL.
//!
//! By the gateway's own rules
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>), as strictly as they
//! can be read: RS256 alone, a known key, issuer, audience, and times without leeway. `AUTH_ISSUER` and `AUTH_AUDIENCE`
//! say what the token must name. Without them no token is valid.

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

/// Longest token looked at, in bytes. The gateway takes 10,240 bytes of headers in all (AWS limit).
const MAX_TOKEN_BYTES: usize = 10_240;
/// The last second of the year 9999, which is the last that RFC 3339 can write. Ours: a later time is a mistake, such
/// as milliseconds, and would make a token good for ever.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Verifies tokens, if it was given the means.
#[derive(Debug, Clone)]
pub struct Verifier(Option<Arc<Rules>>);

/// The issuer of tokens cannot be believed.
#[derive(thiserror::Error)]
#[error("environment variable AUTH_ISSUER: {0}")]
pub struct IssuerError(#[from] AddressError);

/// What a process that ends with it says.
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
    /// From the environment. Incomplete settings verify nothing.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn from_env() -> Result<Self, IssuerError> {
        match (config::optional("AUTH_ISSUER"), config::optional("AUTH_AUDIENCE")) {
            (Some(issuer), Some(audience)) => Self::new(issuer, audience),
            _ => Ok(Self(None)),
        }
    }

    /// By the keys that this issuer publishes, for this audience.
    ///
    /// # Errors
    /// If what the issuer publishes could be changed on its way here.
    pub fn new(issuer: String, audience: String) -> Result<Self, IssuerError> {
        let keys = Keys::of(issuer.clone())?;
        Ok(Self(Some(Arc::new(Rules { issuer, audience, keys }))))
    }

    /// By the keys of this set, as JSON.
    ///
    /// # Errors
    /// If that is no key set.
    pub fn of_keys(issuer: String, audience: String, keys: &str) -> serde_json::Result<Self> {
        let keys = Keys::fixed(KeySet::read(keys.as_bytes())?);
        Ok(Self(Some(Arc::new(Rules { issuer, audience, keys }))))
    }

    /// Reads the keys before the first request, which would otherwise wait for them. What fails here is left to that.
    pub async fn warm_up(&self) {
        if let Some(rules) = &self.0 {
            rules.keys.fetch_in_advance(SystemTime::now()).await;
        }
    }

    /// The claims of a valid token.
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
    /// Whether the claims are good at this time. A claim that is there must be right: `null` is no time, and no
    /// audience either. So `aud: []` is nobody's, and `client_id` cannot mend it: that is asked only without an `aud`.
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

/// The seconds since 1970 that a claim says: any JSON number (RFC 7519's `NumericDate`) that may be meant.
fn seconds(claim: &Value) -> Option<f64> {
    claim.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds))
}

/// A token in its parts (RFC 7515, section 7.1), nothing of which is believed yet.
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
        // Whatever must be understood is not (RFC 7515, section 4.1.11).
        let is_understood = header.get("alg").is_some_and(|alg| alg == "RS256") && !header.contains_key("crit");
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // A third dot would be in `claims`, which is no Base64 then.
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
        // As a token's text is read.
        rules.allow(&serde_json::from_str(&claims.to_string()).unwrap(), NOW)
    }

    #[rstest]
    #[case::usual(json!({}))]
    #[case::not_said_when(json!({ "iat": "none" }))]
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
    fn a_time_is_any_number_that_may_be_meant(#[case] written: &str, #[case] read: Option<f64>) {
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
