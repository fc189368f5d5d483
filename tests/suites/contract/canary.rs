//! Tests of the canary's binary, against the deployed API and the local issuer, behind a front that can break either.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use rstest::rstest;
use serde_json::{Value, json};
use shared::aws::Aws;
use tests::function::{FUNCTION_TIMEOUT, Function};
use tests::{token, variable};
use uuid::Uuid;

const TOKEN_PATH: &str = "/token";

/// The front's treatment of requests, which the test chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Forwards them to the issuer or the API.
    Pass,
    /// Responds with this status, as JSON.
    Respond(u16, &'static str),
    /// Leaves them without a response.
    Hang,
}

#[derive(Debug)]
struct Front {
    issuer: Then,
    api: Then,
    /// The paths of the requests so far.
    paths: Vec<String>,
}

type Shared = Arc<Mutex<Front>>;

/// The canary with its own secret and front.
struct Fixture {
    front: Shared,
    secret: String,
    canary: Function,
    client_secret: String,
}

impl Fixture {
    async fn new() -> Self {
        let front = Arc::new(Mutex::new(Front { issuer: Then::Pass, api: Then::Pass, paths: Vec::new() }));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&front));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self::at(front, &format!("{url}{TOKEN_PATH}"), &url).await
    }

    /// Returns a canary for these URLs of the token endpoint and the API.
    async fn at(front: Shared, token_url: &str, api: &str) -> Self {
        let file = std::path::Path::new(&variable("BINDERY_LOCAL_DIR")).join("canary-client-secret");
        let client_secret = std::fs::read_to_string(file).unwrap();
        let text = json!({ "token_url": token_url, "client_id": "canary", "client_secret": client_secret,
            "scope": "operations:read" });
        let secrets = Aws::from_env().unwrap().secretsmanager();
        let created =
            secrets.create_secret().name(format!("canary-{}", Uuid::new_v4())).secret_string(text.to_string());
        let secret = created.send().await.unwrap().arn.unwrap();
        let aws = ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let mut environment: Vec<_> = aws.iter().map(|name| ((*name).to_owned(), variable(name))).collect();
        environment.extend(
            [("STACK_NAME", "test"), ("CANARY_SECRET", &secret), ("API_ENDPOINT", api)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let canary = Function::new("canary", environment).await.logging("TRACE");
        Self { front, secret, canary, client_secret }
    }

    fn set(&self, issuer: Then, api: Then) {
        let mut front = self.front.lock().unwrap();
        (front.issuer, front.api) = (issuer, api);
    }

    async fn set_secret(&self, text: &str) {
        let secrets = Aws::from_env().unwrap().secretsmanager();
        secrets.put_secret_value().secret_id(&self.secret).secret_string(text).send().await.unwrap();
    }

    /// Runs the canary as the schedule does. Returns its log line, with the metrics.
    async fn run(&self) -> (Value, Value) {
        let event = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} });
        let started = Instant::now();
        assert_eq!(self.canary.invoke(event).await.payload(), Value::Null, "{}", self.canary.log());
        assert!(started.elapsed() < FUNCTION_TIMEOUT, "{:?}", started.elapsed());
        let log = self.canary.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let last = |member: &str| lines.iter().rfind(|line| line.get(member).is_some()).unwrap().clone();
        (last("outcome"), last("_aws"))
    }

    /// Runs the canary, which must fail, and returns the reason.
    async fn fails(&self) -> String {
        let (line, metrics) = self.run().await;
        assert_eq!((&line["outcome"], &metrics["CanarySucceeded"]), (&json!("FAILED"), &json!(0)), "{line}");
        assert_eq!(metrics.get("CanaryTime"), None, "a failure has no time");
        line["reason"].as_str().unwrap().to_owned()
    }

    /// Runs the canary, which must succeed.
    async fn succeeds(&self) {
        let (line, metrics) = self.run().await;
        assert_eq!((&line["outcome"], &metrics["CanarySucceeded"]), (&json!("SUCCEEDED"), &json!(1)), "{line}");
        assert_eq!(metrics["CanaryTime"], line["duration_ms"], "{metrics}");
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.front.lock().unwrap().paths)
    }
}

async fn serve(
    State(front): State<Shared>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let (then, real) = {
        let mut front = front.lock().unwrap();
        front.paths.push(uri.path().to_owned());
        if uri.path() == TOKEN_PATH { (front.issuer, token::issuer()) } else { (front.api, variable("BINDERY_URL")) }
    };
    let (status, content_type, body) = match then {
        Then::Pass => {
            headers.remove("host");
            let request = reqwest::Client::new().request(method, format!("{real}{uri}")).headers(headers).body(body);
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            (status, headers["content-type"].clone(), response.bytes().await.unwrap())
        }
        Then::Respond(status, body) => (status, "application/json".parse().unwrap(), Bytes::from(body)),
        Then::Hang => std::future::pending().await,
    };
    Response::builder().status(status).header("content-type", content_type).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn the_canary_succeeds_and_uses_its_token_again() {
    let fixture = Fixture::new().await;
    let operation = "/operations/00000000-0000-0000-0000-000000000000";
    fixture.succeeds().await;
    assert_eq!(fixture.requests(), [TOKEN_PATH, operation]);
    // The token is still valid, so that only new tokens need the issuer.
    fixture.set(Then::Respond(500, "{}"), Then::Pass);
    fixture.succeeds().await;
    assert_eq!(fixture.requests(), [operation]);
    let log = fixture.canary.log();
    assert!(!log.contains(&fixture.client_secret) && !log.contains("eyJ"), "a secret or a token is in the log: {log}");
}

#[rstest]
#[case::issuer_down(Then::Respond(500, "<html>"), "the token endpoint responded with 500")]
#[case::client_unknown(
    Then::Respond(401, r#"{"error":"invalid_client"}"#),
    "the token endpoint responded with 401: invalid_client"
)]
#[case::redirect(Then::Respond(302, ""), "the token endpoint responded with 302")]
#[case::no_token(
    Then::Respond(200, r#"{"token_type":"Bearer"}"#),
    "the token endpoint responded without a bearer token"
)]
#[case::silent(Then::Hang, "no time was left")]
#[tokio::test]
async fn a_broken_issuer_is_a_failure_with_its_reason(#[case] issuer: Then, #[case] reason: &str) {
    let fixture = Fixture::new().await;
    fixture.set(issuer, Then::Pass);
    assert_eq!(fixture.fails().await, reason);
    fixture.set(Then::Pass, Then::Pass);
    fixture.succeeds().await;
}

#[rstest]
#[case::gateway_down(Then::Respond(503, r#"{"message":"Service Unavailable"}"#), "503")]
#[case::authorizer_refuses(Then::Respond(401, r#"{"message":"Unauthorized"}"#), "401")]
#[case::throttled(Then::Respond(429, r#"{"message":"Too Many Requests"}"#), "429")]
#[case::no_route(Then::Respond(404, r#"{"message":"Not Found"}"#), "404")]
#[case::silent(Then::Hang, "")]
#[tokio::test]
async fn a_broken_api_is_a_failure_with_its_reason(#[case] api: Then, #[case] status: &str) {
    let fixture = Fixture::new().await;
    fixture.set(Then::Pass, api);
    let reason = fixture.fails().await;
    let expected = format!("the API responded with {status} instead of the contract's 404");
    assert_eq!(reason, if api == Then::Hang { "no time was left" } else { &expected });
    fixture.set(Then::Pass, Then::Pass);
    fixture.requests();
    fixture.succeeds().await;
    // A response may mean that the token's key was withdrawn. So the next request has a new one.
    assert_eq!(fixture.requests().len(), if api == Then::Hang { 1 } else { 2 });
}

#[tokio::test]
async fn an_unreachable_server_is_a_failure() {
    let front = Fixture::new().await.front;
    let nowhere = "http://127.0.0.1:1";
    let reason = Fixture::at(Arc::clone(&front), &format!("{nowhere}{TOKEN_PATH}"), nowhere).await.fails().await;
    assert!(reason.starts_with("the token endpoint did not respond: "), "{reason}");
    let issuer = format!("{}{TOKEN_PATH}", token::issuer());
    let reason = Fixture::at(Arc::clone(&front), &issuer, nowhere).await.fails().await;
    assert!(reason.starts_with("the API did not respond: "), "{reason}");
    let insecure = "http://issuer.test/token";
    let reason = Fixture::at(front, insecure, nowhere).await.fails().await;
    assert_eq!(reason, "the token endpoint is neither an https URL nor an http URL of this machine");
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_a_failure_until_it_is_filled() {
    let fixture = Fixture::new().await;
    let secrets = Aws::from_env().unwrap().secretsmanager();
    let filled = secrets.get_secret_value().secret_id(&fixture.secret).send().await.unwrap().secret_string.unwrap();
    fixture.set_secret("not-for-the-log").await;
    let reason = fixture.fails().await;
    assert!(reason.contains("must be a JSON object with token_url, client_id and client_secret"), "{reason}");
    fixture.set_secret(&filled).await;
    fixture.succeeds().await;
    assert!(!fixture.canary.log().contains("not-for-the-log"));
}

/// Runs the deployed canary as the schedule does: through its alias.
#[tokio::test]
async fn the_deployed_canary_succeeds() {
    let url = format!(
        "{}/2015-03-31/functions/{}-canary/invocations?Qualifier=live",
        variable("AWS_ENDPOINT_URL"),
        variable("BINDERY_STACK")
    );
    let invoke = reqwest::Client::new().post(url).body("{}").timeout(Duration::from_secs(30));
    let response = invoke.header("x-amz-log-type", "Tail").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get("x-amz-function-error")), (200, None));
    let log = response.headers()["x-amz-log-result"].as_bytes().to_vec();
    let log = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, log).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("SUCCEEDED"), "{log}");
}
