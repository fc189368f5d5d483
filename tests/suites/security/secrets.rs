//! Rule 8: what is secret gets nowhere. Tokens and PINs are in their requests alone; accounts and customers are in the
//! bind's message, in rows, and in the events that the contract has them in. Canaries are looked for everywhere,
//! whatever went well, was refused, or failed, and however much is logged.

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
/// In every claim that nobody reads: often an account, a customer or an address.
const CLAIM: &str = "canary-claim-0815";

/// Functions that log all they can, and AWS, which can be made to fail.
struct Scene {
    env: TestEnv,
    proxy: String,
    fails: Arc<Mutex<bool>>,
    /// What functions logged.
    logs: String,
    /// What clients were answered, but for the answers that the contract has accounts in.
    answers: String,
}

impl Scene {
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
        Self { env, proxy, fails, logs: String::new(), answers: String::new() }
    }

    async fn function(&self, name: &str) -> Function {
        Function::new(name, self.env.environment_behind(&self.proxy)).await.logging("TRACE")
    }

    /// Sends the endpoint these requests, bearing the token.
    async fn ask(&mut self, endpoint: Endpoint, events: impl IntoIterator<Item = Value>) {
        let function = self.function(endpoint.function).await;
        for mut event in events {
            if let Some(claims) = event["requestContext"].get_mut("authorizer") {
                let of_nobody =
                    ["sub", "email", "jti", "client_id", "username"].map(|name| (name.to_owned(), json!(CLAIM)));
                claims["jwt"]["claims"].as_object_mut().unwrap().extend(of_nobody);
                event["headers"]["authorization"] = json!(format!("Bearer {TOKEN}"));
            }
            let Invocation::Responded(answer) = function.invoke(event).await else { panic!("{}", endpoint.function) };
            if endpoint.function != "get-card" {
                self.answers += &answer.to_string();
            }
        }
        self.logs += &function.log();
    }

    /// Hands these messages to a worker, for the last time.
    async fn work(&mut self, worker: &str, messages: &[String]) {
        let function = self.function(worker).await;
        for message in messages {
            function.invoke(batch(&[(message.clone(), 5)])).await;
        }
        self.logs += &function.log();
    }
}

/// Requests of an endpoint that it takes, and some that it does not.
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
        let mut odd = good.clone();
        odd["headers"][name] = value;
        events.push(odd);
    }
    events.extend([r#"{"reissued_card_id": "x"}"#, "{", "[]"].map(|body| {
        let mut odd = good.clone();
        odd["body"] = json!(body);
        odd
    }));
    events
}

/// The same request, whose token the function has to check itself.
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
async fn nothing_secret_gets_anywhere() {
    let mut scene = Scene::new().await;
    let create = Endpoint::of("create-bulk");
    scene.ask(create, [good(create).event()]).await;
    let created = scene.env.rows().await.into_keys().find(|(_, sk)| sk == "BULK").unwrap();
    let bulk = created.0.rsplit('#').next().unwrap().to_owned();
    for endpoint in Endpoint::all() {
        scene.ask(endpoint, requests(endpoint, &bulk)).await;
    }
    let messages = scene.env.take_messages().await;
    let mut by_queue = BTreeMap::<_, Vec<String>>::new();
    for body in &messages {
        by_queue.entry(queue_of(body)).or_default().push(body.clone());
    }
    assert!(["bind-card", "start-bulk", "cancel-bulk"].iter().all(|queue| by_queue.contains_key(*queue)));
    let bind = by_queue["bind-card"][0].clone();
    let spoilt = [bind.replace(r#""version":1"#, r#""version":9"#), bind.replace("card_id", "x"), bind[1..].to_owned()];
    by_queue.get_mut("bind-card").unwrap().extend(spoilt);
    for fails in [true, false] {
        *scene.fails.lock().unwrap() = fails;
        for (queue, bodies) in &by_queue {
            scene.work(&format!("{queue}-worker"), bodies).await;
        }
        if fails {
            for endpoint in Endpoint::all() {
                scene.ask(endpoint, requests(endpoint, &bulk)).await;
            }
        }
    }
    looked_through(&scene, &messages).await;
}

/// Looks for the canaries.
async fn looked_through(scene: &Scene, messages: &[String]) {
    let (account, customer) = (ACCOUNT.to_string(), CUSTOMER.to_string());
    let letters = scene.env.sqs.receive_message().queue_url(&scene.env.dlq_url).max_number_of_messages(10);
    let letters = letters.message_attribute_names("All").send().await.unwrap().messages.unwrap();
    assert!(!letters.is_empty());
    let reasons = format!("{:?}", letters.iter().map(|letter| &letter.message_attributes).collect::<Vec<_>>());
    let of_binds = |text: &&String| text.contains(r#""bind":"#);
    let other_messages: Vec<_> = messages.iter().filter(|text| !of_binds(text)).cloned().collect();
    let rows = scene.env.rows().await;
    let (operations, other_rows): (Vec<_>, Vec<_>) =
        rows.iter().filter(|((pk, _), _)| !pk.contains("#CARD#")).partition(|((_, sk), _)| sk == "OP");
    let events: Vec<Value> = scene.env.events().await.into_values().collect();
    let other_events: Vec<_> =
        events.iter().filter(|event| event["event_type"] != "bind_card" && event["event_type"] != "update").collect();
    assert!(events.len() > other_events.len(), "no bind was published");
    assert!(
        scene.logs.lines().count() > 100 && scene.logs.contains("request failed") && scene.logs.contains("DEAD_LETTER")
    );
    for (place, text, secrets) in [
        ("the logs", scene.logs.clone(), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
        ("an answer", scene.answers.clone(), &[TOKEN, PIN, CLAIM, &account, &customer][..]),
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

/// Where no authorizer stands in front and no keys are known, nobody gets in, whatever they bear.
#[tokio::test]
async fn without_keys_nobody_gets_in() {
    let scene = Scene::new().await;
    for endpoint in Endpoint::all() {
        let mut event = good(endpoint).event();
        event["requestContext"].as_object_mut().unwrap().remove("authorizer");
        let token = tests::token::sign(&tests::token::claims(ORG, ACCOUNT));
        event["headers"]["authorization"] = json!(format!("Bearer {token}"));
        // Nobody is said to issue tokens; and nobody is there who is said to. Who must check them does not start without.
        for (issuer, status) in [("", 401), ("http://127.0.0.1:1", 503)] {
            let mut environment = scene.env.environment();
            environment.push(("AUTH_ISSUER".to_owned(), issuer.to_owned()));
            if issuer.is_empty() && endpoint.function == CHECKS_TOKENS {
                continue;
            }
            let answer = Function::new(endpoint.function, environment).await.invoke(event.clone()).await;
            let Invocation::Responded(answer) = answer else { panic!("{answer:?}") };
            assert_eq!(answer["statusCode"], status, "{}: {issuer}", endpoint.function);
        }
    }
}

/// Whoever is on the way could put keys of his own into the place of the issuer's.
#[tokio::test]
async fn an_issuer_without_tls_is_refused_at_the_start() {
    let scene = Scene::new().await;
    for endpoint in Endpoint::all() {
        for issuer in ["http://issuer.test", "http://127.0.0.1.issuer.test/", "http://169.254.169.254"] {
            let mut environment = scene.env.environment();
            environment.push(("AUTH_ISSUER".to_owned(), issuer.to_owned()));
            let function = Function::new(endpoint.function, environment).await;
            assert_eq!(function.invoke(good(endpoint).event()).await, Invocation::Crashed, "{}", endpoint.function);
            let said = format!("environment variable AUTH_ISSUER: {issuer:?} is neither an https URL");
            assert!(function.log().contains(&said), "{}: {}", endpoint.function, function.log());
        }
    }
}
