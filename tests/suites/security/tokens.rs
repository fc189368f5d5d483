//! Tokens where no gateway has checked them: every endpoint refuses alike.

use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, ORG};
use tests::requests::Endpoint;
use tests::token;

use super::{Target, good};

/// Tokens of all kinds of badness, and the status that each is answered with.
fn forged() -> Vec<(&'static str, String, u64)> {
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
        ("expiry in no age", with("exp", json!(1e300)), 401),
        ("no expiry", with("exp", Value::Null), 401),
        ("issued in a minute", with("iat", json!(now + 60)), 401),
        ("issued as text", with("iat", json!("now")), 401),
        ("issued before 1970", with("iat", json!(-1.5)), 401),
        ("issued at null", with("iat", Value::Null), 401),
        ("not yet valid", with("nbf", json!(now + 60)), 401),
        ("valid from a list on", with("nbf", json!([0])), 401),
        ("another audience", with("aud", json!("bindery2")), 401),
        ("no audience", without("aud", json!({})), 401),
        ("another client and no audience", without("aud", json!({ "client_id": "bindery2" })), 401),
        ("a list of clients", without("aud", json!({ "client_id": ["bindery"] })), 401),
        ("the client instead of the audience", without("", json!({ "aud": "bindery2", "client_id": "bindery" })), 401),
        ("the client instead of null", without("", json!({ "aud": null, "client_id": "bindery" })), 401),
        ("the client instead of nobody", without("", json!({ "aud": [], "client_id": "bindery" })), 401),
        ("another issuer", with("iss", json!(format!("{}/", token::issuer()))), 401),
        ("a list of issuers", with("iss", json!([token::issuer()])), 401),
        ("no algorithm", token::sign_with_nothing(&good), 401),
        ("the public key as a secret", token::sign_with_public_key(&good), 401),
        ("RS384", headed(json!({ "alg": "RS384", "kid": "local-1" })), 401),
        ("PS256", headed(json!({ "alg": "PS256", "kid": "local-1" })), 401),
        ("rs256", headed(json!({ "alg": "rs256", "kid": "local-1" })), 401),
        (
            "what must be understood",
            headed(json!({ "alg": "RS256", "kid": "local-1", "crit": ["b64"], "b64": true })),
            401,
        ),
        ("nothing that must be understood", headed(json!({ "alg": "RS256", "kid": "local-1", "crit": null })), 401),
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
        ("a tenant with a key behind it", with("tenant_id", json!(format!("{ORG}#CARD#1"))), 403),
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

/// The number as it is written.
fn written(number: &str) -> Value {
    number.parse().unwrap()
}

/// The claims without this one, and with these.
fn changed(claims: &Value, without: &str, with: Value) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    claims.remove(without);
    claims.extend(with.as_object().unwrap().clone());
    claims.into()
}

/// Tokens that are as good, whatever may be odd about them.
fn odd() -> Vec<(&'static str, String)> {
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let signed = |without: &str, with: Value| token::sign(&changed(&good, without, with));
    vec![
        ("usual", signed("", json!({}))),
        ("not said when", signed("iat", json!({}))),
        (
            "times with fractions",
            signed(
                "",
                json!({ "exp": written(&format!("{}.5", now + 3600)), "nbf": written(&format!("{now}.0")), "iat": 0.0 }),
            ),
        ),
        ("a time with an exponent", signed("", json!({ "exp": 2e11 }))),
        ("audiences", signed("", json!({ "aud": ["other", 5, "bindery"] }))),
        ("a client and no audience", signed("aud", json!({ "client_id": "bindery" }))),
        ("another client besides", signed("", json!({ "client_id": "other" }))),
        ("scopes in a list", signed("scope", json!({ "scp": token::SCOPES.split(' ').collect::<Vec<_>>() }))),
        (
            "an object that nobody reads",
            signed("", json!({ "sub": { "a": [null] }, "jti": {}, "address": { "a": {} } })),
        ),
        ("lists that nobody reads", signed("", json!({ "sub": ["a"], "groups": [], "jti": [[]] }))),
        ("truths that nobody reads", signed("", json!({ "sub": true, "email_verified": false }))),
        ("numbers that nobody reads", signed("", json!({ "sub": 1.5, "auth_time": -1, "jti": 1e300 }))),
        ("nulls that nobody reads", signed("", json!({ "sub": null, "nonce": null, "azp": null }))),
        (
            "a header with more",
            token::sign_with(&json!({ "alg": "RS256", "kid": "local-1", "typ": 5, "x5c": {} }), &good),
        ),
    ]
}

/// A good request that no gateway has looked at.
fn bearing(endpoint: Endpoint, authorization: Value) -> Value {
    let mut event = good(endpoint).event();
    event["requestContext"].as_object_mut().unwrap().remove("authorizer");
    event["headers"]["authorization"] = authorization;
    event
}

async fn status(function: &Function, event: Value) -> u64 {
    match function.invoke(event).await {
        Invocation::Responded(answer) => answer["statusCode"].as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_odd_token_that_is_right_opens_every_endpoint() {
    let target = Target::new().await;
    let odd = odd();
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, target.env.environment()).await;
        for (name, token) in &odd {
            for scheme in ["Bearer ", "bearer  ", ""] {
                let mut event = bearing(endpoint, json!(format!("{scheme}{token}")));
                // Who is let in is told that this is none, and changes nothing.
                event["headers"]["x-correlation-id"] = json!("c".repeat(1000));
                assert_eq!(status(&function, event).await, 400, "{name} after {scheme:?} at {}", endpoint.function);
            }
        }
    }
    target.is_untouched().await;
}

#[tokio::test]
async fn a_token_that_is_not_right_opens_no_endpoint() {
    let target = Target::new().await;
    let forged = forged();
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, target.env.environment()).await;
        let status = async |authorization: Value| status(&function, bearing(endpoint, authorization)).await;
        for (name, token, expected) in &forged {
            let got = status(json!(format!("Bearer {token}"))).await;
            assert_eq!(got, *expected, "{name} at {}", endpoint.function);
        }
        let good = token::sign(&token::claims(ORG, ACCOUNT));
        for scheme in ["Basic ", "Bearer", "Bearer,", "DPoP "] {
            assert_eq!(status(json!(format!("{scheme}{good}"))).await, 401, "{scheme} at {}", endpoint.function);
        }
        assert_eq!(status(json!("")).await, 401, "{}", endpoint.function);
    }
    target.is_untouched().await;
}

/// Claims count in one place, which is the gateway's alone. A client writes headers, query and body.
#[tokio::test]
async fn claims_that_a_client_can_write_are_none() {
    let target = Target::new().await;
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
            target.refused(endpoint, event, &[401]).await;
        }
    }
    target.is_untouched().await;
}

/// Another tenant's token, good as it is, finds nothing of this one's.
#[tokio::test]
async fn another_tenants_token_finds_nothing() {
    let target = Target::new().await;
    for endpoint in Endpoint::all() {
        let mut event = good(endpoint).event();
        let claims = &mut event["requestContext"]["authorizer"]["jwt"]["claims"];
        claims["tenant_id"] = json!("TN-99999999-2222-4333-8444-555555555555");
        if endpoint.function == "cancel-orders" {
            let (status, body, _) = target.answer(endpoint, event).await;
            assert!(status == 200 && body.contains("Order was not found."), "{body}");
        } else if endpoint.parameter().is_some() {
            // A bind of what is not there is forbidden.
            let answers = &endpoint.operation.node["responses"];
            let expected = if answers["404"].is_object() { 404 } else { 403 };
            target.refused(endpoint, event, &[expected]).await;
        }
    }
    target.is_untouched().await;
}

/// What an identity provider puts into its tokens besides, and what a gateway makes of it.
#[tokio::test]
async fn claims_that_nobody_reads_may_be_of_any_type() {
    let target = Target::new().await;
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, target.env.environment()).await;
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
