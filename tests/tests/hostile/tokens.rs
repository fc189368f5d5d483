//! Tokens where no gateway has checked them: every endpoint refuses alike.

use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::{ACCOUNT, ORG};
use tests::{token, variable};

use super::{ENDPOINTS, Target};

/// Tokens of all kinds of badness, and the status that each is answered with.
fn forged() -> Vec<(&'static str, String, u64)> {
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token::sign(&claims)
    };
    let headed = |header: Value| token::sign_with(&header, &good);
    let signed = token::sign(&good);
    let (head, rest) = signed.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    vec![
        ("expired a second ago", with("exp", json!(now - 1)), 401),
        ("expiring now", with("exp", json!(now)), 401),
        ("expiry as text", with("exp", json!("9999999999")), 401),
        ("no expiry", with("exp", Value::Null), 401),
        ("issued in a minute", with("iat", json!(now + 60)), 401),
        ("issued as text", with("iat", json!("now")), 401),
        ("not yet valid", with("nbf", json!(now + 60)), 401),
        ("another audience", with("aud", json!("bindery2")), 401),
        ("no audience", with("aud", Value::Null), 401),
        ("another issuer", with("iss", json!(format!("{}/", token::issuer()))), 401),
        ("a list of issuers", with("iss", json!([token::issuer()])), 401),
        ("no algorithm", token::sign_with_nothing(&good), 401),
        ("the public key as a secret", token::sign_with_public_key(&good), 401),
        ("RS384", headed(json!({ "alg": "RS384", "kid": "local-1" })), 401),
        ("PS256", headed(json!({ "alg": "PS256", "kid": "local-1" })), 401),
        ("rs256", headed(json!({ "alg": "rs256", "kid": "local-1" })), 401),
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
        ("a scope in capitals", with("scope", json!(token::SCOPES.to_uppercase())), 403),
    ]
}

#[tokio::test]
async fn a_token_that_is_not_right_opens_no_endpoint() {
    let target = Target::new().await;
    let mut environment = target.arena.environment();
    for name in ["AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS_URL"] {
        environment.push((name.to_owned(), variable(name)));
    }
    let forged = forged();
    for endpoint in ENDPOINTS {
        let function = Function::new(endpoint.function, environment.clone()).await;
        let bearing = |authorization: Value| {
            let mut event = endpoint.good_event();
            event["requestContext"].as_object_mut().unwrap().remove("authorizer");
            event["headers"]["authorization"] = authorization;
            event
        };
        let status = async |event: Value| {
            let invocation = function.invoke(event).await;
            let tests::function::Invocation::Answered(answer) = invocation else { panic!("{invocation:?}") };
            answer["statusCode"].as_u64().unwrap()
        };
        for (name, token, expected) in &forged {
            let got = status(bearing(json!(format!("Bearer {token}")))).await;
            assert_eq!(got, *expected, "{name} at {}", endpoint.function);
        }
        let good = token::sign(&token::claims(ORG, ACCOUNT));
        for scheme in ["Basic ", "", "Bearer", "Bearer,", "DPoP "] {
            assert_eq!(
                status(bearing(json!(format!("{scheme}{good}")))).await,
                401,
                "{scheme} at {}",
                endpoint.function
            );
        }
        assert_eq!(status(bearing(json!(""))).await, 401, "{}", endpoint.function);
    }
    target.is_untouched().await;
}

/// Another tenant's token, good as it is, finds nothing of this one's.
#[tokio::test]
async fn another_tenants_token_finds_nothing() {
    let target = Target::new().await;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.function != "create-bulk") {
        let mut event = endpoint.good_event();
        let claims = &mut event["requestContext"]["authorizer"]["jwt"]["claims"];
        claims["tenant_id"] = json!("TN-99999999-2222-4333-8444-555555555555");
        let (status, body, _) = target.answer(endpoint, event).await;
        match endpoint.function {
            "cancel-orders" => assert!(status == 200 && body.contains("Order was not found."), "{body}"),
            "bind-card" => assert_eq!(status, 403, "{body}"),
            _ => assert_eq!(status, 404, "{body}"),
        }
    }
    target.is_untouched().await;
}

/// What an identity provider puts into its tokens besides, and what a gateway makes of it.
#[tokio::test]
async fn claims_that_nobody_reads_may_be_of_any_type() {
    let target = Target::new().await;
    for endpoint in ENDPOINTS {
        let function = Function::new(endpoint.function, target.arena.environment()).await;
        let status = async |others: Value| {
            let mut event = endpoint.good_event();
            let claims = event["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut().unwrap();
            claims.extend(others.as_object().unwrap().clone());
            match function.invoke(event).await {
                tests::function::Invocation::Answered(answer) => answer["statusCode"].clone(),
                other => panic!("{others} at {}: {other:?}", endpoint.function),
            }
        };
        let usual = status(json!({})).await;
        for others in
            [json!({ "email_verified": true }), json!({ "groups": ["a"], "address": { "a": null }, "exp": 1.5 })]
        {
            assert_eq!(status(others).await, usual, "{}", endpoint.function);
        }
    }
}
