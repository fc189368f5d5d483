//! Access tokens signed with the local issuer's key, and forged tokens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::contract::{DOCUMENT, operations};
use crate::variable;

/// All scopes of the API's operations, from the `OpenAPI` document.
pub static SCOPES: LazyLock<String> = LazyLock::new(|| {
    let ways = operations(&DOCUMENT).into_iter().flat_map(|operation| operation.node["security"].as_array().unwrap());
    let words: BTreeSet<&str> = ways.map(|way| way["BearerAuth"][0].as_str().unwrap()).collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
});

/// Returns a token of this organization that is not limited to an account.
#[must_use]
pub fn of_org(org: &str) -> String {
    let mut claims = claims(org, 1);
    claims.as_object_mut().unwrap().remove("account_id");
    sign(&claims)
}

/// Returns the claims of a valid token for this organization and account.
#[must_use]
pub fn claims(org: &str, account: u64) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "iss": issuer(), "aud": "bindery", "sub": "tests", "iat": now, "exp": now + 3600,
        "tenant_id": org, "account_id": account.to_string(), "scope": *SCOPES,
    })
}

/// Returns the local issuer's URL.
#[must_use]
pub fn issuer() -> String {
    variable("AUTH_ISSUER")
}

/// Returns a token with these claims, signed as the issuer signs.
#[must_use]
pub fn sign(claims: &Value) -> String {
    sign_with(&json!({ "alg": "RS256", "typ": "JWT", "kid": "local-1" }), claims)
}

/// Returns a token with this header and these claims, signed with the issuer's key by RS256.
#[must_use]
pub fn sign_with(header: &Value, claims: &Value) -> String {
    let signed = unsigned(header, claims);
    let key = issuer_key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Returns a forged token that claims HS256, signed with the issuer's **public** key as the secret.
#[must_use]
pub fn sign_with_public_key(claims: &Value) -> String {
    let signed = unsigned(&json!({ "alg": "HS256", "typ": "JWT", "kid": "local-1" }), claims);
    let key = issuer_key();
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.public().as_ref());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, signed.as_bytes())))
}

/// Returns a forged token that claims to need no signature.
#[must_use]
pub fn sign_with_nothing(claims: &Value) -> String {
    format!("{}.", unsigned(&json!({ "alg": "none", "typ": "JWT", "kid": "local-1" }), claims))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn issuer_key() -> RsaKeyPair {
    let file = PathBuf::from(variable("BINDERY_LOCAL_DIR")).join("issuer-key.pem");
    let pem = std::fs::read_to_string(file).expect("cannot read the local issuer's key");
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap()
}
