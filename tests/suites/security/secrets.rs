//! Checks rule 8: secrets are not leaked.
//!
//! Tokens and PINs may appear only in requests. Accounts and customers may also appear in the bind's message, in rows,
//! and in the events for which the contract requires them. The tests search everything for canaries, after requests
//! that succeeded, were refused or failed, with the most verbose log level.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::contract::queue_of;
use tests::function::{Function, Invocation};
use tests::orders::CREATOR;
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch};
use tests::proxy::{self, Step};
use tests::requests::Endpoint;
use tests::seed;
use tests::template::CHECKS_TOKENS;
use tests::test_env::TestEnv;

use super::{event_at, good, put_examples};

const TOKEN: &str = "canary-token-eyJhbGciOi";
const PIN: &str = "canary-pin-4711";
/// The value of every unused claim. In practice these often hold an account, a customer or an address.
const CLAIM: &str = "canary-claim-0815";

/// Functions at the most verbose log level, in an environment whose AWS calls can be made to fail.
struct CanaryEnv {
    env: TestEnv,
    proxy: String,
    fails: Arc<Mutex<bool>>,
    /// The functions' logs.
    logs: String,
    /// The responses, except those in which the contract has accounts.
    responses: String,
}

impl CanaryEnv {
    async fn new() -> Self {
        let env = TestEnv::new().await;
        put_examples(&env).await;
        seed::person(&env.dynamodb, &env.table, ORG, CREATOR).await;
        let fails = Arc::new(Mutex::new(false));
        let failing = Arc::clone(&fails);
        let proxy =
            proxy::start(
                move |_, _| {
                    if *failing.lock().unwrap() { Step::Respond(500, "{}".to_owned()) } else { Step::Pass }
                },
            )
            .await;
        Self { env, proxy, fails, logs: String::new(), responses: String::new() }
    }

    async fn function(&self, name: &str) -> Function {
        Function::new(name, self.env.environment_behind(&self.proxy)).await.logging("TRACE")
    }

    /// Sends these requests to the endpoint, with the token.
    async fn send(&mut self, endpoint: Endpoint, events: impl IntoIterator<Item = Value>) {
        let function = self.function(endpoint.function).await;
        for mut event in events {
            if let Some(claims) = event["requestContext"].get_mut("authorizer") {
                let unused =
                    ["sub", "email", "jti", "client_id", "username"].map(|name| (name.to_owned(), json!(CLAIM)));
                claims["jwt"]["claims"].as_object_mut().unwrap().extend(unused);
                event["headers"]["authorization"] = json!(format!("Bearer {TOKEN}"));
            }
            let Invocation::Responded(response) = function.invoke(event).await else { panic!("{}", endpoint.function) };
            if endpoint.function != "get-card" {
                self.responses += &response.to_string();
            }
        }
        self.logs += &function.log();
    }

    /// Invokes a worker with each of these messages, as its last delivery.
    async fn deliver(&mut self, worker: &str, messages: &[String]) {
        let function = self.function(worker).await;
        for message in messages {
            function.invoke(batch(&[(message.clone(), 5)])).await;
        }
        self.logs += &function.log();
    }
}

/// Returns valid and invalid requests to an endpoint.
fn requests(endpoint: Endpoint, bulk: &str) -> Vec<Value> {
    let is_of_bulk = endpoint.parameter().is_some_and(|parameter| parameter["name"] == "bulkID");
    let good = if is_of_bulk { event_at(endpoint, bulk) } else { good(endpoint).event() };
    let others = ["x", "999"].map(|parameter| event_at(endpoint, parameter));
    let mut events = vec![good.clone(), without_a_gateway(&good, endpoint)];
    events.extend(others);
    if endpoint.function == "cancel-orders" {
        for body in [
            format!(r#"[{{"OrderID": 1, "PIN": "{PIN}"}}]"#),
            format!(r#"[{{"OrderID": "{PIN}"}}]"#),
            format!(r#"[{{"PIN": ["{PIN}"]}}]"#),
            format!(r#"[{{"PIN": "{PIN}]"#),
            format!(r#"[{{"OrderID": 1, "PIN": "{PIN}", "{PIN}": {{}}}}]"#),
        ] {
            events.push(good.clone());
            events.last_mut().unwrap()["body"] = json!(body);
        }
        let mut xml = good.clone();
        xml["headers"]["content-type"] = json!("application/xml");
        xml["body"] = json!(format!("<PIN>{PIN}</PIN><!DOCTYPE {PIN}>"));
        events.push(xml);
    }
    for (name, value) in
        [("x-account-id", json!(format!("{ACCOUNT}x"))), ("x-customer-id", json!(format!("{CUSTOMER}x")))]
    {
        let mut invalid = good.clone();
        invalid["headers"][name] = value;
        events.push(invalid);
    }
    events.extend([r#"{"reissued_card_id": "x"}"#, "{", "[]"].map(|body| {
        let mut invalid = good.clone();
        invalid["body"] = json!(body);
        invalid
    }));
    events
}

/// Returns the same request without the gateway's claims, so that the function has to check the token itself.
fn without_a_gateway(event: &Value, endpoint: Endpoint) -> Value {
    let mut claims = tests::token::claims(ORG, ACCOUNT);
    for name in ["sub", "email", "jti", "client_id", "username"] {
        claims[name] = json!(CLAIM);
    }
    claims["scope"] = json!(endpoint.operation.scopes()[0]);
    let mut event = event.clone();
    event["requestContext"].as_object_mut().unwrap().remove("authorizer");
    event["headers"]["authorization"] = json!(format!("Bearer {}", tests::token::sign(&claims)));
    event
}

#[tokio::test]
async fn no_secret_is_leaked() {
    let mut fixture = CanaryEnv::new().await;
    let create = Endpoint::of("create-bulk");
    fixture.send(create, [good(create).event()]).await;
    let created = fixture.env.rows().await.into_keys().find(|(_, sk)| sk == "BULK").unwrap();
    let bulk = created.0.rsplit('#').next().unwrap().to_owned();
    for endpoint in Endpoint::all() {
        fixture.send(endpoint, requests(endpoint, &bulk)).await;
    }
    let messages = fixture.env.take_messages().await;
    let mut by_queue = BTreeMap::<_, Vec<String>>::new();
    for body in &messages {
        by_queue.entry(queue_of(body)).or_default().push(body.clone());
    }
    assert!(["bind-card", "start-bulk", "cancel-bulk"].iter().all(|queue| by_queue.contains_key(*queue)));
    let bind = by_queue["bind-card"][0].clone();
    let malformed =
        [bind.replace(r#""version":1"#, r#""version":9"#), bind.replace("card_id", "x"), bind[1..].to_owned()];
    by_queue.get_mut("bind-card").unwrap().extend(malformed);
    for fails in [true, false] {
        *fixture.fails.lock().unwrap() = fails;
        for (queue, bodies) in &by_queue {
            fixture.deliver(&format!("{queue}-worker"), bodies).await;
        }
        if fails {
            for endpoint in Endpoint::all() {
                fixture.send(endpoint, requests(endpoint, &bulk)).await;
            }
        }
    }
    assert_no_leak(&fixture, &messages).await;
}

/// Searches logs, responses, dead letters, messages, rows and events for the canaries.
async fn assert_no_leak(fixture: &CanaryEnv, messages: &[String]) {
    let (account, customer) = (ACCOUNT.to_string(), CUSTOMER.to_string());
    let letters = fixture.env.sqs.receive_message().queue_url(&fixture.env.dlq_url).max_number_of_messages(10);
    let letters = letters.message_attribute_names("All").send().await.unwrap().messages.unwrap();
    assert!(!letters.is_empty());
    let reasons = format!("{:?}", letters.iter().map(|letter| &letter.message_attributes).collect::<Vec<_>>());
    let of_binds = |text: &&String| text.contains(r#""bind":"#);
    let other_messages: Vec<_> = messages.iter().filter(|text| !of_binds(text)).cloned().collect();
    let rows = fixture.env.rows().await;
    let (operations, other_rows): (Vec<_>, Vec<_>) =
        rows.iter().filter(|((pk, _), _)| !pk.contains("#CARD#")).partition(|((_, sk), _)| sk == "OP");
    let events: Vec<Value> = fixture.env.events().await.into_values().collect();
    let other_events: Vec<_> =
        events.iter().filter(|event| event["event_type"] != "bind_card" && event["event_type"] != "update").collect();
    assert!(events.len() > other_events.len(), "the test must publish an event of a bind");
    assert!(
        fixture.logs.lines().count() > 100
            && fixture.logs.contains("request failed")
            && fixture.logs.contains("DEAD_LETTER")
    );
    for (place, text, secrets) in [
        ("the logs", fixture.logs.clone(), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("a response", fixture.responses.clone(), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("a dead letter's reason", reasons, &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("a message", other_messages.concat(), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("an operation", format!("{operations:?}"), &[TOKEN, PIN, CLAIM, &customer][..]),
        ("a row of another kind", format!("{other_rows:?}"), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("an event", format!("{other_events:?}"), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("any message", messages.concat(), &[TOKEN, PIN, CLAIM][..]),
        ("any row", format!("{rows:?}"), &[TOKEN, PIN, CLAIM][..]),
        ("any event", format!("{events:?}"), &[TOKEN, PIN, CLAIM][..]),
    ] {
        for secret in secrets {
            let found =
                text.find(secret).map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
            assert_eq!(found, None, "{secret} is in {place}");
        }
    }
}

/// Without an authorizer in front and without known keys, the functions accept no token.
#[tokio::test]
async fn without_keys_no_token_is_accepted() {
    let fixture = CanaryEnv::new().await;
    for endpoint in Endpoint::all() {
        let mut event = good(endpoint).event();
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        let token = tests::token::sign(&tests::token::claims(ORG, ACCOUNT));
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
        // Without an issuer, or with one that is unreachable. A function that checks tokens does not start without one.
        for (issuer, status) in [("", 401), ("http://127.0.0.1:1", 503)] {
            let mut environment = fixture.env.environment();
            environment.push(("AUTH_ISSUER".to_owned(), issuer.to_owned()));
            if issuer.is_empty() && endpoint.function == CHECKS_TOKENS {
                continue;
            }
            let invocation = Function::new(endpoint.function, environment).await.invoke(event.clone()).await;
            let Invocation::Responded(response) = invocation else { panic!("{invocation:?}") };
            assert_eq!(response["statusCode"], status, "{}: {issuer}", endpoint.function);
        }
    }
}

/// Without TLS, an attacker on the network path could replace the issuer's keys.
#[tokio::test]
async fn an_issuer_without_tls_is_refused_at_the_start() {
    let fixture = CanaryEnv::new().await;
    for endpoint in Endpoint::all() {
        for issuer in ["http://issuer.test", "http://127.0.0.1.issuer.test/", "http://169.254.169.254"] {
            let mut environment = fixture.env.environment();
            environment.push(("AUTH_ISSUER".to_owned(), issuer.to_owned()));
            let function = Function::new(endpoint.function, environment).await;
            assert_eq!(function.invoke(good(endpoint).event()).await, Invocation::Crashed, "{}", endpoint.function);
            let message = format!("environment variable AUTH_ISSUER: {issuer:?} is neither an https URL");
            assert!(function.log().contains(&message), "{}: {}", endpoint.function, function.log());
        }
    }
}
