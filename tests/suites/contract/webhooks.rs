//! Tests of the webhook worker's binary, against an HTTP endpoint that responds in various ways.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::Message;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use rstest::rstest;
use serde_json::Value;
use shared::aws::Aws;
use tests::function::{FUNCTION_TIMEOUT, Function, Invocation};
use tests::payloads::{ACCOUNT, batch, failed};
use tests::proxy::{self, Moment, Step};
use tests::test_env::TestEnv;
use tests::webhook::{KEY, OTHER_KEY, Webhook, WebhookRequest, WebhookResponse, detail, event, event_id};
use webhook_worker::address::AllowedDestinations;
use webhook_worker::client::Endpoint;
use webhook_worker::recipient::AddressBook;

/// The visibility timeouts that the worker set for messages, in seconds.
type VisibilityTimeouts = Arc<Mutex<Vec<u64>>>;

/// A webhook worker with its own environment and endpoint.
struct Fixture {
    env: TestEnv,
    webhook: Webhook,
    worker: Function,
    timeouts: VisibilityTimeouts,
}

impl Fixture {
    async fn new() -> Self {
        let (env, webhook, timeouts) = (TestEnv::new().await, Webhook::new().await, VisibilityTimeouts::default());
        let noted = Arc::clone(&timeouts);
        let proxy = proxy::start(move |call, moment| {
            if call.target == "AmazonSQS.ChangeMessageVisibility" && moment == Moment::Before {
                let body: Value = serde_json::from_slice(call.body).unwrap();
                noted.lock().unwrap().push(body["VisibilityTimeout"].as_u64().unwrap());
            }
            Step::Pass
        });
        let mut environment = env.environment_behind(&proxy.await);
        environment.extend(webhook.variables());
        let worker = Function::new("webhook-worker", environment).await.logging("TRACE");
        Self { env, webhook, worker, timeouts }
    }

    /// Invokes the worker with these events and their receive counts. Returns the positions of the events that it left
    /// unfinished.
    async fn deliver(&self, events: &[(String, u32)]) -> Vec<usize> {
        let started = Instant::now();
        let Invocation::Responded(response) = self.worker.invoke(batch(events)).await else {
            panic!("{}", self.worker.log())
        };
        assert!(
            started.elapsed() < FUNCTION_TIMEOUT,
            "the worker took {:?}, longer than its timeout",
            started.elapsed()
        );
        failed(&response).into_iter().collect()
    }

    fn take_timeouts(&self) -> Vec<u64> {
        std::mem::take(&mut self.timeouts.lock().unwrap())
    }

    /// Returns the reasons of the messages in the dead-letter queue.
    async fn dead_letter_reasons(&self) -> Vec<String> {
        let receiving = self.env.sqs.receive_message().queue_url(&self.env.dlq_url).max_number_of_messages(10);
        let messages = receiving.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default();
        let reason =
            |message: &Message| message.message_attributes().unwrap()["reason"].string_value().unwrap().to_owned();
        messages.iter().map(reason).collect()
    }
}

fn signature(key: &str, request: &WebhookRequest) -> String {
    let header = |name: &str| request.headers[name].to_str().unwrap();
    let key = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
    let content = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content.as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[tokio::test]
async fn an_event_is_posted_unchanged_and_signed() {
    let fixture = Fixture::new().await;
    assert!(fixture.deliver(&[(event(1), 1), (event(2), 1)]).await.is_empty());
    let requests = fixture.webhook.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        let number = if header("webhook-id") == event_id(1) { 1 } else { 2 };
        assert_eq!(request.body, detail(number), "the body must be the event's detail, byte for byte");
        assert_eq!((request.path.as_str(), header("content-type")), ("/hooks/not-for-the-log?a=b", "application/json"));
        assert_eq!(header("webhook-signature"), signature(KEY, request));
        let age = shared::clock::now().epoch_seconds() - header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..5).contains(&age), "{age}");
    }
    assert!(fixture.take_timeouts().is_empty() && fixture.dead_letter_reasons().await.is_empty());
}

#[rstest]
#[case(WebhookResponse::Status(500), 1, 7..=13)]
#[case(WebhookResponse::Status(400), 2, 15..=25)]
#[case(WebhookResponse::Status(304), 3, 30..=50)]
#[case(WebhookResponse::After(429, "120"), 1, 120..=120)]
#[case(WebhookResponse::After(503, "1"), 1, 7..=13)]
#[case(WebhookResponse::After(503, "999999"), 1, 21600..=21600)]
#[case(WebhookResponse::Redirect, 1, 7..=13)]
#[case(WebhookResponse::Hang, 1, 7..=13)]
#[tokio::test]
async fn an_event_that_is_not_accepted_is_retried_later(
    #[case] then: WebhookResponse,
    #[case] delivery: u32,
    #[case] seconds: std::ops::RangeInclusive<u64>,
) {
    let fixture = Fixture::new().await;
    fixture.webhook.respond_with(then);
    assert_eq!(fixture.deliver(&[(event(1), delivery)]).await, [0]);
    let first = fixture.webhook.requests();
    assert_eq!(first.len(), 1, "the worker must not follow a redirect, nor send an event twice in one delivery");
    let timeouts = fixture.take_timeouts();
    assert!(timeouts.len() == 1 && seconds.contains(&timeouts[0]), "{timeouts:?}");
    assert!(fixture.dead_letter_reasons().await.is_empty());

    tokio::time::sleep(Duration::from_millis(1100)).await;
    fixture.webhook.respond_with(WebhookResponse::Status(200));
    assert!(fixture.deliver(&[(event(1), delivery + 1)]).await.is_empty());
    let second = fixture.webhook.requests();
    assert_eq!(second[0].body, first[0].body);
    assert_eq!(second[0].headers["webhook-id"], first[0].headers["webhook-id"]);
    // Each attempt has its own timestamp, which its signature covers.
    assert_ne!(second[0].headers["webhook-timestamp"], first[0].headers["webhook-timestamp"]);
    assert_eq!(second[0].headers["webhook-signature"].to_str().unwrap(), signature(KEY, &second[0]));
}

#[rstest]
#[case(WebhookResponse::Status(410), 1, "the endpoint is gone: it responded with 410")]
#[case(WebhookResponse::Status(500), 5, "the endpoint responded with 500")]
#[case(WebhookResponse::Hang, 5, "no response in time")]
#[tokio::test]
async fn an_event_that_is_given_up_is_dead_lettered_with_its_reason(
    #[case] then: WebhookResponse,
    #[case] delivery: u32,
    #[case] reason: &str,
) {
    let fixture = Fixture::new().await;
    fixture.webhook.respond_with(then);
    assert!(fixture.deliver(&[(event(1), delivery)]).await.is_empty());
    assert_eq!(fixture.dead_letter_reasons().await, [reason]);
    assert!(fixture.take_timeouts().is_empty());
}

#[tokio::test]
async fn an_endless_response_counts_as_a_response() {
    let fixture = Fixture::new().await;
    fixture.webhook.respond_with(WebhookResponse::Endless);
    let events: Vec<_> = (1..=10).map(|number| (event(number), 1)).collect();
    assert!(fixture.deliver(&events).await.is_empty());
    assert_eq!(fixture.webhook.requests().len(), 10);
    assert!(fixture.worker.memory().await.peak < 256 << 20);
}

#[tokio::test]
async fn a_malformed_event_delays_no_other() {
    let fixture = Fixture::new().await;
    let events = [("junk".to_owned(), 1), (event(1), 1), (r#"{"detail": {}}"#.to_owned(), 1)];
    assert!(fixture.deliver(&events).await.is_empty());
    assert_eq!(fixture.webhook.requests().len(), 1);
    assert_eq!(fixture.dead_letter_reasons().await.len(), 2);
}

#[tokio::test]
async fn several_keys_sign_and_none_is_logged() {
    let fixture = Fixture::new().await;
    fixture.webhook.set_keys(&format!("{OTHER_KEY} {KEY}\n")).await;
    fixture.webhook.respond_with(WebhookResponse::Status(500));
    fixture.deliver(&[(event(1), 1), ("junk".to_owned(), 1)]).await;
    let [request] = fixture.webhook.requests().try_into().unwrap();
    let both = format!("{} {}", signature(OTHER_KEY, &request), signature(KEY, &request));
    assert_eq!(request.headers["webhook-signature"], both);
    let log = fixture.worker.log();
    assert!(log.contains("the endpoint responded with 500"), "{log}");
    let bare = |key: &'static str| key.strip_prefix("whsec_").unwrap();
    // The path of the URL may be a secret too.
    for secret in [bare(KEY), bare(OTHER_KEY), "not-for-the-log", &ACCOUNT.to_string(), &both[3..20]] {
        assert!(!log.contains(secret), "the worker must not log {secret}");
    }
}

#[tokio::test]
async fn keys_are_read_again() {
    let webhook = Webhook::new().await;
    let secrets = || Aws::from_env().unwrap().secretsmanager();
    let sign = async |book: &AddressBook| book.recipient().await.unwrap().keys.sign("a", 1, "b");
    let book = |fresh| AddressBook::new(secrets(), webhook.secret.clone(), AllowedDestinations::of_this_build(), fresh);
    let [at_once, later] = [Duration::ZERO, Duration::from_secs(300)];
    let eager = book(at_once);
    let patient = book(later);
    sign(&patient).await;
    let old = sign(&eager).await;
    webhook.set_keys(OTHER_KEY).await;
    let new = sign(&eager).await;
    assert_ne!(new, old);
    assert_eq!(sign(&patient).await, old, "the secret must not be read again before its time");
    // If the new keys are invalid, the old ones stay in use.
    for broken in ["whsec_none", " "] {
        webhook.set_keys(broken).await;
        assert_eq!(sign(&eager).await, new);
    }
    let late = book(at_once);
    assert!(late.recipient().await.is_err());
    webhook.set_keys(OTHER_KEY).await;
    assert_eq!(sign(&late).await, new, "the process must recover when the secret is corrected");
}

/// The URL is stored only in the secret, next to the keys, so changing it needs no deployment.
#[tokio::test]
async fn a_new_url_is_read_from_the_secret() {
    let (old, new) = (Webhook::new().await, Webhook::new().await);
    let secrets = Aws::from_env().unwrap().secretsmanager();
    let book = AddressBook::new(secrets, old.secret.clone(), AllowedDestinations::of_this_build(), Duration::ZERO);
    let of = |url: &str| Endpoint::parse(url, AllowedDestinations::of_this_build()).unwrap();
    assert!(book.recipient().await.unwrap().endpoint == of(&old.url));
    old.set_secret(&format!("{KEY} {}", new.url)).await;
    assert!(book.recipient().await.unwrap().endpoint == of(&new.url));
    // If the secret has no URL, the old one stays in use.
    old.set_secret(KEY).await;
    assert!(book.recipient().await.unwrap().endpoint == of(&new.url));
}

#[rstest]
#[case("http://example.com/", "does not begin with https://")]
#[case("https://169.254.169.254/latest/not-for-the-log", "names an address that is not public")]
#[case("https://[::ffff:10.0.0.1]/", "names an address that is not public")]
#[tokio::test]
async fn events_for_a_private_address_wait_and_the_log_says_why(#[case] url: &str, #[case] reason: &str) {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let mut environment = env.environment();
    environment.extend(webhook.variables());
    webhook.set_secret(&format!("{url} {KEY}")).await;
    let worker = Function::new("webhook-worker", environment).await;
    let Invocation::Responded(response) = worker.invoke(batch(&[(event(1), 1)])).await else {
        panic!("{}", worker.log())
    };
    assert_eq!(failed(&response).len(), 1);
    assert!(worker.log().contains(reason), "{}", worker.log());
    assert!(!worker.log().contains("not-for-the-log"), "{}", worker.log());
    assert!(webhook.requests().is_empty());
}

/// The process keeps running and events wait if, at a cold start, the secret lacks a URL (as after deployment) or has
/// an invalid key, or if Secrets Manager is unreachable.
#[rstest]
#[case::without_a_url(Some(KEY), "must have one URL")]
#[case::malformed(Some("https://not-for-the-log.example/ whsec_none"), "key 1 is not base64")]
#[case::out_of_reach(None, "GetSecretValue")]
#[tokio::test]
async fn events_wait_for_the_secret_and_the_log_says_why(#[case] secret: Option<&str>, #[case] reason: &str) {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let mut environment = env.environment();
    environment.extend(webhook.variables());
    match secret {
        Some(text) => webhook.set_secret(text).await,
        None => environment.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), proxy::start(|_, _| Step::Cut).await)),
    }
    let worker = Function::new("webhook-worker", environment).await.patient();
    let batch = batch(&[(event(1), 1), (event(2), 1)]);
    let Invocation::Responded(response) = worker.invoke(batch).await else { panic!("{}", worker.log()) };
    assert_eq!(failed(&response).len(), 2);
    let lines = worker.log();
    let waits: Vec<_> =
        lines.lines().filter(|line| line.contains("will be retried") && line.contains("wait_s")).collect();
    assert_eq!(waits.len(), 2, "{lines}");
    assert!(waits.iter().all(|line| line.contains(reason)), "{lines}");
    assert!(!lines.contains("not-for-the-log"), "{lines}");
    assert!(webhook.requests().is_empty());
}

#[tokio::test]
async fn events_for_an_unreachable_host_are_retried_later() {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let plain = webhook.url.replace("http://127.0.0.1", "https://localhost");
    for (url, reason) in [("https://no-such-host.invalid/", "not sent"), (plain.as_str(), "not sent")] {
        let mut environment = env.environment();
        environment.extend(webhook.variables());
        webhook.set_secret(&format!("{url} {KEY}")).await;
        let worker = Function::new("webhook-worker", environment).await;
        let Invocation::Responded(response) = worker.invoke(batch(&[(event(1), 1)])).await else { panic!("{url}") };
        assert_eq!(failed(&response).len(), 1, "{url}");
        let log = worker.log();
        assert!(log.contains(reason) || log.contains("no response in time"), "{log}");
        assert!(!log.contains("not-for-the-log"), "{log}");
    }
    assert!(webhook.requests().is_empty());
}
