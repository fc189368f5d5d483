//! Verifying a bearer token here, where no gateway does: under `cargo lambda watch`, or behind a
//! function URL. By the gateway's own rules: RS256 alone, a known key, issuer, audience, and times
//! without leeway.
//!
//! `AUTH_JWKS` holds the key set, or `AUTH_JWKS_URL` says where it is; `AUTH_ISSUER` and
//! `AUTH_AUDIENCE` what the token must name. Without them no token is valid.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request as HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation, signature};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::identity::Claims;
use super::problem::Problem;
use crate::clock;
use crate::config;

/// Longest time to fetch the key set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two fetches: a token with an unknown key must not become a way to make us
/// call the issuer at will.
const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// Oldest key set that is trusted: a key that the issuer withdraws is forgotten after this time.
const MAX_KEYS_AGE: Duration = Duration::from_secs(60 * 60);
/// Largest key set, in bytes. Ours.
const MAX_KEYS_BYTES: u64 = 64 * 1024;
/// Longest token looked at, in bytes. The gateway takes 10,240 bytes of headers in all (AWS limit).
const MAX_TOKEN_BYTES: usize = 10_240;

/// Verifies tokens, if it was given the means.
#[derive(Debug, Clone)]
pub struct Verifier(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    validation: Validation,
    url: Option<String>,
    keys: Mutex<Keys>,
}

#[derive(Debug)]
struct Keys {
    set: JwkSet,
    /// When the set was asked for last, and whether it came.
    fetched: Option<(Instant, bool)>,
}

impl Verifier {
    /// From the environment. Incomplete settings verify nothing.
    #[must_use]
    pub fn from_env() -> Self {
        let inline = config::optional("AUTH_JWKS").and_then(|set| serde_json::from_str(&set).ok());
        let url = config::optional("AUTH_JWKS_URL").filter(|_| inline.is_none());
        let (Some(issuer), Some(audience)) = (config::optional("AUTH_ISSUER"), config::optional("AUTH_AUDIENCE"))
        else {
            return Self(None);
        };
        if inline.is_none() && url.is_none() {
            return Self(None);
        }
        let set = inline.unwrap_or(JwkSet { keys: Vec::new() });
        Self::with(&issuer, &audience, set, url)
    }

    /// By the keys of this set, as JSON.
    ///
    /// # Errors
    /// If that is no key set.
    pub fn new(issuer: &str, audience: &str, keys: &str) -> serde_json::Result<Self> {
        Ok(Self::with(issuer, audience, serde_json::from_str(keys)?, None))
    }

    fn with(issuer: &str, audience: &str, set: JwkSet, url: Option<String>) -> Self {
        // Fails only if it was done before.
        let _ = PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = 0;
        // A token is no longer valid in the second that it expires in.
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Self(Some(Arc::new(Rules { validation, url, keys: Mutex::new(Keys { set, fetched: None }) })))
    }

    /// The claims of a valid token.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Problem> {
        let rules = self.0.as_ref().ok_or_else(Problem::unauthorized)?;
        let unauthorized = |_| Problem::unauthorized();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Problem::unauthorized());
        }
        let header = jsonwebtoken::decode_header(token).map_err(unauthorized)?;
        let kid = header.kid.filter(|_| header.alg == Algorithm::RS256).ok_or_else(Problem::unauthorized)?;
        let key = rules.key(&kid).await?.ok_or_else(Problem::unauthorized)?;
        let data = jsonwebtoken::decode::<TokenClaims>(token, &key, &rules.validation).map_err(unauthorized)?;
        if data.claims.iat > clock::now().epoch_seconds() {
            return Err(Problem::unauthorized());
        }
        Ok(Claims::read(&data.claims.others))
    }
}

impl Rules {
    async fn key(&self, kid: &str) -> Result<Option<DecodingKey>, Problem> {
        let mut keys = self.keys.lock().await;
        if let Some(url) = &self.url {
            let age = keys.fetched.map(|(at, _)| at.elapsed());
            let wanted = keys.set.find(kid).is_none() || age.is_none_or(|age| age >= MAX_KEYS_AGE);
            if wanted && age.is_none_or(|age| age >= FETCH_INTERVAL) {
                keys.fetched = Some((Instant::now(), false));
                keys.set = fetch(url).await.map_err(|reason| Problem::unavailable(format!("key set: {reason}")))?;
                keys.fetched = Some((Instant::now(), true));
            } else if wanted && keys.fetched.is_some_and(|(_, came)| !came) {
                return Err(Problem::unavailable("key set: could not be fetched a moment ago"));
            }
        }
        Ok(keys.set.find(kid).and_then(|jwk| DecodingKey::from_jwk(jwk).ok()))
    }
}

async fn fetch(url: &str) -> Result<JwkSet, String> {
    let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_uri(url).map_err(|error| error.to_string())?;
    let get = async {
        let response = connector.call(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let length = response.headers().get("content-length").and_then(|length| length.parse::<u64>().ok());
        if length.is_none_or(|length| length > MAX_KEYS_BYTES) {
            return Err("its length is not given, or too large".to_owned());
        }
        let body = ByteStream::new(response.into_body()).collect().await.map_err(|error| error.to_string())?;
        if status == 200 { Ok(body.into_bytes()) } else { Err(format!("status {status}")) }
    };
    let bytes = tokio::time::timeout(FETCH_TIMEOUT, get).await.map_err(|_| "timed out".to_owned())??;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

#[derive(Debug, Deserialize)]
struct TokenClaims {
    iat: i64,
    /// The library compares it, but takes a list of issuers too.
    #[serde(rename = "iss")]
    _issuer: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// RS256 through `ring`, which the TLS stack links already: a second crypto library for one signature
/// is not worth its megabyte.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Ok(Box::new(Rs256 { modulus: n.clone(), exponent: e.clone() }) as Box<dyn JwtVerifier>)
        }
        _ => Err(JwtError::from(ErrorKind::InvalidAlgorithm)),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Rs256 {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl signature::Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        ring::signature::RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&ring::signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
