//! Tokens that no gateway has checked, and what is logged.

use std::sync::{Arc, Mutex};

use super::{ACCOUNT, CUSTOMER, ORG, arena_with, batch, bind_event, http_event};
use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::orders::{CREATOR, domestic, feed};
use tests::proxy::{self, Step};
use tests::{seed, variable};

/// Where no gateway has checked the token, the function does, by the same rules; without keys to check
/// against it lets nobody in.
#[rstest]
#[case::with_keys(true)]
#[case::without_keys(false)]
#[tokio::test]
async fn a_function_without_a_gateway_checks_the_token_itself(#[case] keys: bool) {
    use tests::token;
    let arena = arena_with(&[seed::unbound(1)]).await;
    let mut environment = arena.environment();
    if keys {
        for name in ["AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS_URL"] {
            environment.push((name.to_owned(), variable(name)));
        }
    }
    let endpoint = Function::new("bind-card", environment).await;
    let good = token::claims(ORG, ACCOUNT);
    let now = good["iat"].as_i64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token::sign(&claims)
    };
    let mut tokens = vec![
        ("expired", with("exp", json!(now - 1)), 401),
        ("issued later", with("iat", json!(now + 600)), 401),
        ("not yet valid", with("nbf", json!(now + 600)), 401),
        ("no expiry", with("exp", Value::Null), 401),
        ("wrong audience", with("aud", json!("other")), 401),
        ("wrong issuer", with("iss", json!("http://127.0.0.1:1")), 401),
        ("alg none", token::sign_with_nothing(&good), 401),
        ("HS256 with the public key", token::sign_with_public_key(&good), 401),
        ("unknown key", token::sign_with(&json!({ "alg": "RS256", "kid": "x" }), &good), 401),
        ("no key ID", token::sign_with(&json!({ "alg": "RS256" }), &good), 401),
        ("no scope", with("scope", json!("cards:read")), 403),
        ("tenant of another type", with("tenant_id", json!(7)), 403),
        ("another account", with("account_id", json!(4002)), 403),
        ("account as a number", with("account_id", json!(ACCOUNT)), 202),
    ];
    if !keys {
        tokens = vec![("good", token::sign(&good), 401)];
    }
    for (name, token, status) in tokens {
        let mut event = bind_event(1, None, &name.replace(' ', "-"));
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
        let Invocation::Answered(answer) = endpoint.invoke(event).await else { panic!("{name}") };
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
    }
}

/// Rule 8 again: a PIN is in the request alone, right or wrong, read or not: in no log, row, message or answer.
#[tokio::test]
async fn no_pin_gets_anywhere() {
    const PIN: &str = "canary-pin-4711";
    let arena = arena_with(&[]).await;
    let feeder = Function::new("order-feed-worker", arena.environment()).await;
    let mut change = feed(&domestic(1), "ACTIVE", 1);
    change["org_id"] = json!(ORG);
    feeder.invoke(batch(&[(change.to_string(), 1)])).await;
    seed::person(&arena.dynamodb, &arena.table, ORG, CREATOR).await;
    let endpoint = Function::new("cancel-orders", arena.environment()).await.logging("TRACE");
    let event = |body: &str| {
        let mut event = http_event("POST", "/api/orders/cancellations", &json!({}), &json!({}), None);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = json!("orders:cancel");
        event["body"] = json!(body);
        event
    };
    let mut answers = String::new();
    for (body, status) in [
        (format!(r#"[{{"OrderID": 1, "PIN": "{PIN}"}}]"#), 200),
        (format!(r#"[{{"OrderID": "{PIN}"}}]"#), 400),
        (format!(r#"[{{"PIN": ["{PIN}"]}}]"#), 400),
        (format!(r#"[{{"PIN": "{PIN}]"#), 400),
    ] {
        let Invocation::Answered(answer) = endpoint.invoke(event(&body)).await else { panic!("{body}") };
        assert_eq!(answer["statusCode"], status, "{answer}");
        answers += &answer.to_string();
    }
    let everywhere =
        [endpoint.log(), answers, format!("{:?}", arena.rows().await), arena.take_messages().await.concat()];
    assert!(everywhere[0].lines().count() >= 4);
    for place in everywhere {
        assert!(!place.contains(PIN), "{place}");
    }
}

/// Rule 8: whatever happens, and however much is logged, no token, account or customer gets into a log.
#[tokio::test]
async fn nothing_secret_is_logged() {
    let arena = arena_with(&[seed::unbound(1), seed::unbound(3)]).await;
    let fail = Arc::new(Mutex::new(false));
    let failing = Arc::clone(&fail);
    let url = proxy::start(
        move |_, _| {
            if *failing.lock().unwrap() { Step::Answer(500, "{}".to_owned()) } else { Step::Pass }
        },
    )
    .await;
    let endpoint = Function::new("bind-card", arena.environment_behind(&url)).await.logging("TRACE");
    let worker = Function::new("bind-card-worker", arena.environment_behind(&url)).await.logging("TRACE");
    let event = |card: u64, key: &str| {
        let mut event = bind_event(card, None, key);
        event["headers"]["authorization"] = json!("Bearer canary-token");
        event
    };
    endpoint.invoke(event(1, "accepted")).await;
    endpoint.invoke(event(2, "refused")).await;
    let message = arena.take_messages().await.remove(0);
    worker.invoke(batch(&[(message.clone(), 1), (message.replace(r#""version":1"#, r#""version":9"#), 1)])).await;
    *fail.lock().unwrap() = true;
    endpoint.invoke(event(3, "failed")).await;
    worker.invoke(batch(&[(message, 1)])).await;
    for log in [endpoint.log(), worker.log()] {
        assert!(log.lines().count() >= 3, "{log}");
        for secret in ["canary-token", &ACCOUNT.to_string(), &CUSTOMER.to_string()] {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
    }
}
