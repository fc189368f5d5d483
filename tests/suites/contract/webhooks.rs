//! The webhook's worker, its real binary, before an endpoint of all kinds.

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

/// For how long messages were hidden, in seconds.
type Hidden = Arc<Mutex<Vec<u64>>>;

/// The worker, before an endpoint of its own.
struct Site {
    env: TestEnv,
    webhook: Webhook,
    worker: Function,
    hidden: Hidden,
}

impl Site {
    async fn new() -> Self {
        let (env, webhook, hidden) = (TestEnv::new().await, Webhook::new().await, Hidden::default());
        let noted = Arc::clone(&hidden);
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
        Self { env, webhook, worker, hidden }
    }

    /// Hands it these events, which are delivered so often; answers which it did not finish.
    async fn deliver(&self, events: &[(String, u32)]) -> Vec<usize> {
        let started = Instant::now();
        let Invocation::Responded(answer) = self.worker.invoke(batch(events)).await else {
            panic!("{}", self.worker.log())
        };
        assert!(started.elapsed() < FUNCTION_TIMEOUT, "it took {:?}", started.elapsed());
        failed(&answer).into_iter().collect()
    }

    fn hidden(&self) -> Vec<u64> {
        std::mem::take(&mut self.hidden.lock().unwrap())
    }

    /// The reasons in the dead-letter queue.
    async fn buried(&self) -> Vec<String> {
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
async fn an_event_is_posted_as_it_is_and_signed() {
    let site = Site::new().await;
    assert!(site.deliver(&[(event(1), 1), (event(2), 1)]).await.is_empty());
    let requests = site.webhook.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        let number = if header("webhook-id") == event_id(1) { 1 } else { 2 };
        assert_eq!(request.body, detail(number), "to the byte");
        assert_eq!((request.path.as_str(), header("content-type")), ("/hooks/of-nobody-else?a=b", "application/json"));
        assert_eq!(header("webhook-signature"), signature(KEY, request));
        let age = shared::clock::now().epoch_seconds() - header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..5).contains(&age), "{age}");
    }
    assert!(site.hidden().is_empty() && site.buried().await.is_empty());
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
async fn what_is_not_taken_comes_again_later(
    #[case] then: WebhookResponse,
    #[case] delivery: u32,
    #[case] seconds: std::ops::RangeInclusive<u64>,
) {
    let site = Site::new().await;
    site.webhook.respond_with(then);
    assert_eq!(site.deliver(&[(event(1), delivery)]).await, [0]);
    let first = site.webhook.requests();
    assert_eq!(first.len(), 1, "a redirect is not followed, and nothing is tried twice");
    let hidden = site.hidden();
    assert!(hidden.len() == 1 && seconds.contains(&hidden[0]), "{hidden:?}");
    assert!(site.buried().await.is_empty());

    tokio::time::sleep(Duration::from_millis(1100)).await;
    site.webhook.respond_with(WebhookResponse::Status(200));
    assert!(site.deliver(&[(event(1), delivery + 1)]).await.is_empty());
    let second = site.webhook.requests();
    assert_eq!(second[0].body, first[0].body);
    assert_eq!(second[0].headers["webhook-id"], first[0].headers["webhook-id"]);
    // Each attempt has its time, and a signature of that.
    assert_ne!(second[0].headers["webhook-timestamp"], first[0].headers["webhook-timestamp"]);
    assert_eq!(second[0].headers["webhook-signature"].to_str().unwrap(), signature(KEY, &second[0]));
}

#[rstest]
#[case(WebhookResponse::Status(410), 1, "the endpoint is gone: it answered 410")]
#[case(WebhookResponse::Status(500), 5, "the endpoint answered 500")]
#[case(WebhookResponse::Hang, 5, "no answer in time")]
#[tokio::test]
async fn what_is_given_up_is_buried_with_its_reason(#[case] then: WebhookResponse, #[case] delivery: u32, #[case] reason: &str) {
    let site = Site::new().await;
    site.webhook.respond_with(then);
    assert!(site.deliver(&[(event(1), delivery)]).await.is_empty());
    assert_eq!(site.buried().await, [reason]);
    assert!(site.hidden().is_empty());
}

#[tokio::test]
async fn an_answer_without_end_is_an_answer() {
    let site = Site::new().await;
    site.webhook.respond_with(WebhookResponse::Endless);
    let events: Vec<_> = (1..=10).map(|number| (event(number), 1)).collect();
    assert!(site.deliver(&events).await.is_empty());
    assert_eq!(site.webhook.requests().len(), 10);
    assert!(site.worker.memory().await.peak < 256 << 20);
}

#[tokio::test]
async fn one_bad_event_harms_no_other() {
    let site = Site::new().await;
    let events = [("junk".to_owned(), 1), (event(1), 1), (r#"{"detail": {}}"#.to_owned(), 1)];
    assert!(site.deliver(&events).await.is_empty());
    assert_eq!(site.webhook.requests().len(), 1);
    assert_eq!(site.buried().await.len(), 2);
}

#[tokio::test]
async fn several_keys_sign_and_none_is_told() {
    let site = Site::new().await;
    site.webhook.set_keys(&format!("{OTHER_KEY} {KEY}\n")).await;
    site.webhook.respond_with(WebhookResponse::Status(500));
    site.deliver(&[(event(1), 1), ("junk".to_owned(), 1)]).await;
    let [request] = site.webhook.requests().try_into().unwrap();
    let both = format!("{} {}", signature(OTHER_KEY, &request), signature(KEY, &request));
    assert_eq!(request.headers["webhook-signature"], both);
    let log = site.worker.log();
    assert!(log.contains("the endpoint answered 500"), "{log}");
    let bare = |key: &'static str| key.strip_prefix("whsec_").unwrap();
    // Of the URL, the path may be a secret, too.
    for secret in [bare(KEY), bare(OTHER_KEY), "of-nobody-else", &ACCOUNT.to_string(), &both[3..20]] {
        assert!(!log.contains(secret), "{secret} is in the log");
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
    let calm = book(later);
    sign(&calm).await;
    let old = sign(&eager).await;
    webhook.set_keys(OTHER_KEY).await;
    let new = sign(&eager).await;
    assert_ne!(new, old);
    assert_eq!(sign(&calm).await, old, "it is read again only after its time");
    // Keys that are none leave those in use that were.
    for broken in ["whsec_none", " "] {
        webhook.set_keys(broken).await;
        assert_eq!(sign(&eager).await, new);
    }
    let late = book(at_once);
    assert!(late.recipient().await.is_err());
    webhook.set_keys(OTHER_KEY).await;
    assert_eq!(sign(&late).await, new, "it is mended without a new process");
}

/// The URL stands beside the keys, and nowhere else: another one takes no deployment.
#[tokio::test]
async fn another_url_is_read_from_the_secret() {
    let (old, new) = (Webhook::new().await, Webhook::new().await);
    let secrets = Aws::from_env().unwrap().secretsmanager();
    let book = AddressBook::new(secrets, old.secret.clone(), AllowedDestinations::of_this_build(), Duration::ZERO);
    let of = |url: &str| Endpoint::parse(url, AllowedDestinations::of_this_build()).unwrap();
    assert!(book.recipient().await.unwrap().endpoint == of(&old.url));
    old.set_secret(&format!("{KEY} {}", new.url)).await;
    assert!(book.recipient().await.unwrap().endpoint == of(&new.url));
    // What is none leaves that in use that was.
    old.set_secret(KEY).await;
    assert!(book.recipient().await.unwrap().endpoint == of(&new.url));
}

#[rstest]
#[case("http://example.com/", "does not begin with https://")]
#[case("https://169.254.169.254/latest/of-nobody-else", "names an address that is not public")]
#[case("https://[::ffff:10.0.0.1]/", "names an address that is not public")]
#[tokio::test]
async fn events_for_an_endpoint_inside_wait_and_the_log_says_why(#[case] url: &str, #[case] reason: &str) {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let mut environment = env.environment();
    environment.extend(webhook.variables());
    webhook.set_secret(&format!("{url} {KEY}")).await;
    let worker = Function::new("webhook-worker", environment).await;
    let Invocation::Responded(answer) = worker.invoke(batch(&[(event(1), 1)])).await else { panic!("{}", worker.log()) };
    assert_eq!(failed(&answer).len(), 1);
    assert!(worker.log().contains(reason), "{}", worker.log());
    assert!(!worker.log().contains("of-nobody-else"), "{}", worker.log());
    assert!(webhook.requests().is_empty());
}

/// A secret without a URL (as the stack makes it), a key that is none, or Secrets Manager out of reach, at a cold start:
/// the process lives, and events wait.
#[rstest]
#[case::without_a_url(Some(KEY), "must have one URL")]
#[case::spoilt(Some("https://of-nobody-else.example/ whsec_none"), "key 1 is not base64")]
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
    let Invocation::Responded(answer) = worker.invoke(batch).await else { panic!("{}", worker.log()) };
    assert_eq!(failed(&answer).len(), 2);
    let lines = worker.log();
    let waits: Vec<_> = lines.lines().filter(|line| line.contains("will be retried") && line.contains("wait_s")).collect();
    assert_eq!(waits.len(), 2, "{lines}");
    assert!(waits.iter().all(|line| line.contains(reason)), "{lines}");
    assert!(!lines.contains("of-nobody-else"), "{lines}");
    assert!(webhook.requests().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_nowhere_or_does_not_speak_tls_comes_again_later() {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let plain = webhook.url.replace("http://127.0.0.1", "https://localhost");
    for (url, reason) in [("https://no-such-host.invalid/", "not sent"), (plain.as_str(), "not sent")] {
        let mut environment = env.environment();
        environment.extend(webhook.variables());
        webhook.set_secret(&format!("{url} {KEY}")).await;
        let worker = Function::new("webhook-worker", environment).await;
        let Invocation::Responded(answer) = worker.invoke(batch(&[(event(1), 1)])).await else { panic!("{url}") };
        assert_eq!(failed(&answer).len(), 1, "{url}");
        let log = worker.log();
        assert!(log.contains(reason) || log.contains("no answer in time"), "{log}");
        assert!(!log.contains("of-nobody-else"), "{log}");
    }
    assert!(webhook.requests().is_empty());
}
