//! Tokens that no gateway has checked. All endpoints must treat them alike.

use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, ORG};
use tests::requests::Endpoint;
use tests::token;

use super::{Fixture, good};

/// Returns invalid tokens of every kind, and the status of the response to each.
fn invalid_tokens() -> Vec<(&'static str, String, u64)> {
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token::sign(&claims)
    };
    let without = |name: &str, others: Value| token::sign(&changed(&good, name, others));
    let headed = |header: Value| token::sign_with(&header, &good);
    let signed = token::sign(&good);
    let (head, rest) = signed.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    vec![
        ("expired a second ago", with("exp", json!(now - 1)), 401),
        ("expiring now", with("exp", json!(now)), 401),
        ("expired half a second ago", with("exp", written(&format!("{}.5", now - 1))), 401),
        ("expiry as text", with("exp", json!("9999999999")), 401),
        ("expiry before 1970", with("exp", json!(-1)), 401),
        ("expiry in milliseconds", with("exp", json!((now + 60) * 1000)), 401),
        ("expiry beyond any date", with("exp", json!(1e300)), 401),
        ("no expiry", with("exp", Value::Null), 401),
        ("issued in a minute", with("iat", json!(now + 60)), 401),
        ("issued as text", with("iat", json!("now")), 401),
        ("issued before 1970", with("iat", json!(-1.5)), 401),
        ("issued at null", with("iat", Value::Null), 401),
        ("not yet valid", with("nbf", json!(now + 60)), 401),
        ("a list as the time of validity", with("nbf", json!([0])), 401),
        ("another audience", with("aud", json!("bindery2")), 401),
        ("no audience", without("aud", json!({})), 401),
        ("another client and no audience", without("aud", json!({ "client_id": "bindery2" })), 401),
        ("a list of clients", without("aud", json!({ "client_id": ["bindery"] })), 401),
        ("the client instead of the audience", without("", json!({ "aud": "bindery2", "client_id": "bindery" })), 401),
        ("the client instead of null", without("", json!({ "aud": null, "client_id": "bindery" })), 401),
        ("the client instead of an empty list", without("", json!({ "aud": [], "client_id": "bindery" })), 401),
        ("another issuer", with("iss", json!(format!("{}/", token::issuer()))), 401),
        ("a list of issuers", with("iss", json!([token::issuer()])), 401),
        ("no algorithm", token::sign_with_nothing(&good), 401),
        ("the public key as a secret", token::sign_with_public_key(&good), 401),
        ("RS384", headed(json!({ "alg": "RS384", "kid": "local-1" })), 401),
        ("PS256", headed(json!({ "alg": "PS256", "kid": "local-1" })), 401),
        ("rs256", headed(json!({ "alg": "rs256", "kid": "local-1" })), 401),
        ("a critical header", headed(json!({ "alg": "RS256", "kid": "local-1", "crit": ["b64"], "b64": true })), 401),
        ("critical headers of null", headed(json!({ "alg": "RS256", "kid": "local-1", "crit": null })), 401),
        ("no key ID", headed(json!({ "alg": "RS256" })), 401),
        ("an unknown key", headed(json!({ "alg": "RS256", "kid": "local-2" })), 401),
        ("a path as a key", headed(json!({ "alg": "RS256", "kid": "../../local-1" })), 401),
        ("a list as a key", headed(json!({ "alg": "RS256", "kid": ["local-1"] })), 401),
        ("an empty key", headed(json!({ "alg": "RS256", "kid": "" })), 401),
        ("a long key", headed(json!({ "alg": "RS256", "kid": "k".repeat(5000) })), 401),
        ("changed claims", format!("{head}.{}.{signature}", claims.replace('e', "f")), 401),
        ("no signature", format!("{head}.{claims}."), 401),
        ("half a signature", format!("{head}.{claims}.{}", &signature[..signature.len() / 2]), 401),
        ("four parts", format!("{signed}.x"), 401),
        ("one part", head.to_owned(), 401),
        ("nothing", String::new(), 401),
        ("padded", format!("{signed}=="), 401),
        ("no tenant", with("tenant_id", Value::Null), 403),
        ("a number as a tenant", with("tenant_id", json!(7)), 403),
        ("a list of tenants", with("tenant_id", json!([ORG])), 403),
        ("a tenant followed by a row's key", with("tenant_id", json!(format!("{ORG}#CARD#1"))), 403),
        ("a tenant with a space", with("tenant_id", json!(format!("{ORG} "))), 403),
        ("a tenant in another form", with("tenant_id", json!(ORG.replace('-', ""))), 403),
        ("no scope", with("scope", Value::Null), 403),
        ("a list of scopes that begin alike", with("scope", json!(["cards:writer", "orders:cancels"])), 403),
        ("a scope that begins alike", with("scope", json!("cards:writer orders:cancels")), 403),
        ("a text that looks like a list", with("scope", json!(format!("[a {} b]", *token::SCOPES))), 403),
        ("a list of one text", with("scope", json!([*token::SCOPES])), 403),
        ("a list in a list", with("scope", json!([token::SCOPES.split(' ').collect::<Vec<_>>()])), 403),
        ("an object of scopes", with("scope", json!({ "a": format!("a {} b", *token::SCOPES) })), 403),
        ("a scope in capitals", with("scope", json!(token::SCOPES.to_uppercase())), 403),
    ]
}

/// Parses a number without changing its spelling.
fn written(number: &str) -> Value {
    number.parse().unwrap()
}

/// Returns the claims without one of them, and with others added.
fn changed(claims: &Value, without: &str, with: Value) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    claims.remove(without);
    claims.extend(with.as_object().unwrap().clone());
    claims.into()
}

/// Returns tokens that are valid, although unusual.
fn unusual_tokens() -> Vec<(&'static str, String)> {
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let signed = |without: &str, with: Value| token::sign(&changed(&good, without, with));
    vec![
        ("usual", signed("", json!({}))),
        ("no time of issue", signed("iat", json!({}))),
        (
            "times with fractions",
            signed(
                "",
                json!({
                    "exp": written(&format!("{}.5", now + 3600)), "nbf": written(&format!("{now}.0")), "iat": 0.0
                }),
            ),
        ),
        ("a time with an exponent", signed("", json!({ "exp": 2e11 }))),
        ("audiences", signed("", json!({ "aud": ["other", 5, "bindery"] }))),
        ("a client and no audience", signed("aud", json!({ "client_id": "bindery" }))),
        ("another client and the audience", signed("", json!({ "client_id": "other" }))),
        ("scopes in a list", signed("scope", json!({ "scp": token::SCOPES.split(' ').collect::<Vec<_>>() }))),
        ("objects in unused claims", signed("", json!({ "sub": { "a": [null] }, "jti": {}, "address": { "a": {} } }))),
        ("lists in unused claims", signed("", json!({ "sub": ["a"], "groups": [], "jti": [[]] }))),
        ("booleans in unused claims", signed("", json!({ "sub": true, "email_verified": false }))),
        ("numbers in unused claims", signed("", json!({ "sub": 1.5, "auth_time": -1, "jti": 1e300 }))),
        ("nulls in unused claims", signed("", json!({ "sub": null, "nonce": null, "azp": null }))),
        (
            "a header with more",
            token::sign_with(&json!({ "alg": "RS256", "kid": "local-1", "typ": 5, "x5c": {} }), &good),
        ),
    ]
}

/// Returns a valid request with this `Authorization` header, without the claims that a gateway adds.
fn bearing(endpoint: Endpoint, authorization: Value) -> Value {
    let mut event = good(endpoint).event();
    event["requestContext"].as_object_mut().unwrap().remove("authorizer");
    event["headers"]["authorization"] = authorization;
    event
}

async fn status(function: &Function, event: Value) -> u64 {
    match function.invoke(event).await {
        Invocation::Responded(response) => response["statusCode"].as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unusual_but_valid_token_opens_every_endpoint() {
    let fixture = Fixture::new().await;
    let tokens = unusual_tokens();
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, fixture.env.environment()).await;
        for (name, token) in &tokens {
            for scheme in ["Bearer ", "bearer  ", ""] {
                let mut event = bearing(endpoint, json!(format!("{scheme}{token}")));
                // An admitted request gets a 400 for this invalid correlation ID, so it changes nothing.
                event["headers"]["x-correlation-id"] = json!("c".repeat(1000));
                assert_eq!(status(&function, event).await, 400, "{name} after {scheme:?} at {}", endpoint.function);
            }
        }
    }
    fixture.assert_untouched().await;
}

#[tokio::test]
async fn an_invalid_token_opens_no_endpoint() {
    let fixture = Fixture::new().await;
    let tokens = invalid_tokens();
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, fixture.env.environment()).await;
        let status = async |authorization: Value| status(&function, bearing(endpoint, authorization)).await;
        for (name, token, expected) in &tokens {
            let got = status(json!(format!("Bearer {token}"))).await;
            assert_eq!(got, *expected, "{name} at {}", endpoint.function);
        }
        let good = token::sign(&token::claims(ORG, ACCOUNT));
        for scheme in ["Basic ", "Bearer", "Bearer,", "DPoP "] {
            assert_eq!(status(json!(format!("{scheme}{good}"))).await, 401, "{scheme} at {}", endpoint.function);
        }
        assert_eq!(status(json!("")).await, 401, "{}", endpoint.function);
    }
    fixture.assert_untouched().await;
}

/// Claims count only in the place that only the gateway can write. Clients write headers, the query and the body.
#[tokio::test]
async fn claims_that_a_client_can_write_are_ignored() {
    let fixture = Fixture::new().await;
    let claims = json!({ "tenant_id": ORG, "account_id": ACCOUNT.to_string(), "scope": *token::SCOPES });
    let context = json!({ "authorizer": { "jwt": { "claims": claims } } });
    for endpoint in Endpoint::all() {
        for (place, value) in [
            (
                "/headers",
                json!({ "requestcontext": context.to_string(), "x-amzn-request-context": context.to_string() }),
            ),
            ("/headers", json!({ "tenant_id": ORG, "scope": *token::SCOPES, "authorization": claims.to_string() })),
            ("/rawQueryString", json!("requestContext.authorizer.jwt.claims.scope=cards:write")),
            ("/body", json!({ "requestContext": context }).to_string().into()),
            ("/authorizer", context["authorizer"].clone()),
            ("/stageVariables", claims.clone()),
            ("/requestContext/claims", claims.clone()),
            ("/requestContext/authorizer", json!({ "claims": claims, "lambda": claims, "iam": claims })),
            ("/requestContext/http/authorizer", context["authorizer"].clone()),
        ] {
            let mut event = good(endpoint).event();
            event["requestContext"].as_object_mut().unwrap().remove("authorizer");
            let (parent, member) = place.rsplit_once('/').unwrap();
            event.pointer_mut(parent).unwrap()[member] = value;
            fixture.refused(endpoint, event, &[401]).await;
        }
    }
    fixture.assert_untouched().await;
}

/// A valid token of another tenant gives no access to this tenant's resources.
#[tokio::test]
async fn another_tenants_token_finds_nothing() {
    let fixture = Fixture::new().await;
    for endpoint in Endpoint::all() {
        let mut event = good(endpoint).event();
        let claims = &mut event["requestContext"]["authorizer"]["jwt"]["claims"];
        claims["tenant_id"] = json!("TN-99999999-2222-4333-8444-555555555555");
        if endpoint.function == "cancel-orders" {
            let (status, body, _) = fixture.response(endpoint, event).await;
            assert!(status == 200 && body.contains("Order was not found."), "{body}");
        } else if endpoint.parameter().is_some() {
            // A bind of an unknown card gets 403, not 404.
            let responses = &endpoint.operation.node["responses"];
            let expected = if responses["404"].is_object() { 404 } else { 403 };
            fixture.refused(endpoint, event, &[expected]).await;
        }
    }
    fixture.assert_untouched().await;
}

/// Identity providers add other claims to tokens, and gateways convert them.
#[tokio::test]
async fn unused_claims_may_have_any_type() {
    let fixture = Fixture::new().await;
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, fixture.env.environment()).await;
        let status = async |others: Value| {
            let mut event = good(endpoint).event();
            let claims = event["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut().unwrap();
            claims.extend(others.as_object().unwrap().clone());
            status(&function, event).await
        };
        let usual = status(json!({})).await;
        for others in
            [json!({ "email_verified": true }), json!({ "groups": ["a"], "address": { "a": null }, "exp": 1.5 })]
        {
            assert_eq!(status(others).await, usual, "{}", endpoint.function);
        }
    }
}
