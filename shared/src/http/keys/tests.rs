//! Tests with keys of issuers that behave correctly, and of others.

use lambda_http::http::StatusCode;
use rstest::rstest;
use serde_json::json;

use super::*;

mod age;
mod issuer;

use issuer::*;

/// An arbitrary time of day.
const START: SystemTime = SystemTime::UNIX_EPOCH;

#[rstest]
#[case::of_length(of_length)]
#[case::chunked(chunked)]
#[case::ended_by_close(ended_by_close)]
#[case::http_1_0(http_1_0)]
#[case::as_large_as_may_be(as_large_as_may_be)]
#[tokio::test]
async fn keys_come_in_any_framing(#[case] writing: Writing) {
    let issuer = Issuer::good(writing);
    assert!(issuer.keys().find("a", START).await.unwrap().is_some());
}

#[rstest]
#[case::without_end(without_end, "larger than 65536 bytes")]
#[case::too_large(too_large, "larger than 65536 bytes")]
#[case::cut_off(cut_off, "did not respond")]
#[case::too_slow(too_slow, "timed out")]
#[case::elsewhere(elsewhere, "responded with 302")]
#[case::no_keys(no_keys, "malformed")]
#[case::empty(empty, "no usable key")]
#[case::broken(broken, "responded with 500")]
#[tokio::test]
async fn a_malformed_key_set_is_rejected(#[case] writing: Writing, #[case] reason: &str) {
    let issuer = Issuer::good(writing);
    let problem = issuer.keys().find("a", START).await.unwrap_err();
    assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem.cause.as_ref().unwrap().contains(reason), "{problem:?}");
}

#[rstest]
#[case::other_issuer(r#"{"issuer":"ISSUER/","jwks_uri":"ISSUER/keys"}"#, "another issuer")]
#[case::no_issuer(r#"{"jwks_uri":"ISSUER/keys"}"#, "missing field `issuer`")]
#[case::no_address(r#"{"issuer":"ISSUER"}"#, "missing field `jwks_uri`")]
#[case::not_encrypted(r#"{"issuer":"ISSUER","jwks_uri":"http://issuer.test/keys"}"#, "is neither an https URL")]
#[case::user(r#"{"issuer":"ISSUER","jwks_uri":"http://127.0.0.1@issuer.test/keys"}"#, "is neither an https URL")]
#[case::file(r#"{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}"#, "is neither an https URL")]
#[case::no_url(r#"{"issuer":"ISSUER","jwks_uri":"keys"}"#, "is neither an https URL")]
#[case::not_there(r#"{"issuer":"ISSUER","jwks_uri":"ISSUER/other"}"#, "responded with 404")]
#[case::no_object("[]", "malformed")]
#[tokio::test]
async fn a_malformed_discovery_document_is_rejected(#[case] document: &'static str, #[case] reason: &str) {
    let issuer = Issuer::start(document, of_length);
    let problem = issuer.keys().find("a", START).await.unwrap_err();
    assert!(problem.cause.as_ref().unwrap().contains(reason), "{problem:?}");
    assert_eq!(issuer.fetches(), 0);
}

#[rstest]
#[case("https://issuer.test")]
#[case("https://localhost")]
#[case("http://127.0.0.1:80/a")]
#[case("http://127.9.8.7")]
#[case("http://localhost")]
#[case("http://[::1]:80")]
fn an_issuer_is_reached_by_tls_or_is_on_this_machine(#[case] url: &str) {
    assert!(Keys::of(url.to_owned()).is_ok());
}

#[rstest]
#[case("http://issuer.test")]
#[case("http://localhost.issuer.test")]
#[case("http://127.0.0.1.issuer.test")]
#[case("http://localhost@issuer.test")]
#[case("http://127.0.0.1:80@issuer.test")]
#[case("http://128.0.0.1")]
#[case("http://0.0.0.0")]
#[case("http://10.0.0.1")]
#[case("http://169.254.169.254")]
#[case("http://[::]")]
#[case("http://[::ffff:10.0.0.1]")]
#[case("http://[fe80::1]")]
#[case("HTTP://issuer.test")]
#[case("ftp://127.0.0.1")]
#[case("file:///etc/passwd")]
#[case("127.0.0.1")]
#[case("/keys")]
#[case("")]
fn another_issuer_is_refused_at_the_start(#[case] url: &str) {
    let error = Keys::of(url.to_owned()).unwrap_err().to_string();
    assert_eq!(error, format!("{url:?} is neither an https URL nor an http URL of this machine"));
}

/// Real key sets also contain keys that we cannot use.
#[test]
fn an_unusable_key_does_not_affect_the_others() {
    let good =
        |kid: &str| json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": "AAEAAQ", "e": "AQAB" });
    let but = |name: &str, value: Value| {
        let mut key = good("bad");
        key[name] = value;
        key
    };
    let document = json!({
        "keys": [
            good("first"),
            { "kty": "EC", "kid": "bad", "crv": "P-256", "x": "AQ", "y": "AQ" },
            { "kty": "oct", "kid": "bad", "k": "AQ" },
            { "kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": "AQ" },
            { "kty": "something new", "kid": "bad" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "bad", "e": "AQAB" },
            but("kid", json!(5)), but("kid", json!(null)), but("n", json!("=")), but("e", json!([1])),
            but("alg", json!("RS512")), but("alg", json!("PS256")), but("alg", json!("RSA-OAEP")),
            but("use", json!("enc")), but("use", json!({})), but("use", json!("")),
            but("key_ops", json!([])), but("key_ops", json!(["sign", "encrypt"])), but("key_ops", json!("verify")),
            but("key_ops", json!(5)), but("key_ops", json!([["verify"]])),
            {}, [], "bad", null, 5, true,
            { "kty": "RSA", "kid": "null", "n": "AQAB", "e": "AQAB", "alg": null, "use": null, "key_ops": null },
            { "kty": "RSA", "kid": "last", "n": "AQAB", "e": "AQAB", "x5c": 5, "key_ops": ["sign", "verify"] },
        ],
        "more": {},
    });
    let KeySet(keys) = KeySet::read(document.to_string().as_bytes()).unwrap();
    let mut kids: Vec<&str> = keys.keys().map(String::as_str).collect();
    kids.sort_unstable();
    assert_eq!(kids, ["first", "last", "null"]);
    assert_eq!(keys["first"], keys["last"], "leading zeros do not count");
}

#[rstest]
#[case("")]
#[case("[]")]
#[case("{}")]
#[case(r#"{"keys":{}}"#)]
#[case(r#"{"keys":null}"#)]
fn a_document_without_a_list_of_keys_is_rejected(#[case] document: &str) {
    assert!(KeySet::read(document.as_bytes()).is_err());
}
