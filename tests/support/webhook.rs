//! A webhook endpoint whose responses the test chooses, and events as the bus's rule sends them to a queue.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use shared::aws::Aws;
use uuid::Uuid;

use crate::payloads::{ACCOUNT, ORG};

/// The response from now on, and the requests received.
type Shared = Arc<Mutex<(WebhookResponse, Vec<WebhookRequest>)>>;

/// A signing key.
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A second signing key.
pub const OTHER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The endpoint's response to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookResponse {
    /// A response with this status.
    Status(u16),
    /// A response with this status and this `Retry-After`.
    After(u16, &'static str),
    /// A redirect to another path of this endpoint.
    Redirect,
    /// A response with status 200 and a body that never ends.
    Endless,
    /// No response at all.
    Hang,
}

/// A request that the endpoint received.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// The path and query.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: String,
}

/// The endpoint, on this machine.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The endpoint's URL.
    pub url: String,
    /// The ARN of the secret that holds the URL and the signing keys.
    pub secret: String,
    state: Shared,
}

impl Webhook {
    /// Starts an endpoint that responds 204, with a secret of its URL and [`KEY`].
    pub async fn new() -> Self {
        let state = Arc::new(Mutex::new((WebhookResponse::Status(204), Vec::new())));
        let router = Router::new().fallback(take).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/not-for-the-log?a=b", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let secrets = Aws::from_env().unwrap().secretsmanager();
        let secret =
            secrets.create_secret().name(format!("webhook-{}", Uuid::new_v4())).secret_string(format!("{url} {KEY}"));
        let secret = secret.send().await.unwrap().arn.unwrap();
        Self { url, secret, state }
    }

    /// Sets the response from now on.
    pub fn respond_with(&self, then: WebhookResponse) {
        self.state.lock().unwrap().0 = then;
    }

    /// Returns the requests since the last call of this function.
    #[must_use]
    pub fn requests(&self) -> Vec<WebhookRequest> {
        std::mem::take(&mut self.state.lock().unwrap().1)
    }

    /// Sets the keys that events are signed with.
    pub async fn set_keys(&self, keys: &str) {
        self.set_secret(&format!("{} {keys}", self.url)).await;
    }

    /// Sets the secret's text.
    pub async fn set_secret(&self, text: &str) {
        let secrets = Aws::from_env().unwrap().secretsmanager();
        secrets.put_secret_value().secret_id(&self.secret).secret_string(text).send().await.unwrap();
    }

    /// Returns the worker's environment variable that names the secret.
    #[must_use]
    pub fn variables(&self) -> [(String, String); 1] {
        [("WEBHOOK_SECRET".to_owned(), self.secret.clone())]
    }
}

async fn take(State(state): State<Shared>, uri: axum::http::Uri, headers: HeaderMap, body: String) -> Response<Body> {
    let then = {
        let mut state = state.lock().unwrap();
        state.1.push(WebhookRequest { path: uri.to_string(), headers, body });
        state.0
    };
    let response = |status: u16| Response::builder().status(status);
    let response = match then {
        WebhookResponse::Status(status) => response(status).body(Body::empty()),
        WebhookResponse::After(status, time) => response(status).header("retry-after", time).body(Body::empty()),
        WebhookResponse::Redirect => response(308).header("location", "/elsewhere").body(Body::empty()),
        WebhookResponse::Endless => {
            let bytes = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024]));
            response(200).body(Body::from_stream(bytes))
        }
        WebhookResponse::Hang => std::future::pending().await,
    };
    response.unwrap()
}

/// Returns the ID of the event of this number.
#[must_use]
pub fn event_id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

/// Returns the event of this number as JSON. Its whitespace and escapes would not survive parsing and serializing.
#[must_use]
pub fn detail(number: u128) -> String {
    let id = event_id(number);
    format!(
        r#"{{ "timestamp":"2026-11-22T03:04:05.678Z", "event_id":"{id}","schema_version":1,"domain":"cards",
            "event_type":"bind_card","org_id":"{ORG}","cid":"c-1","data":{{"card_name":"é\u00e9","account_id":{ACCOUNT}}}}}"#
    )
}

/// Returns the event of this number in EventBridge's envelope.
#[must_use]
pub fn event(number: u128) -> String {
    let (id, detail) = (Uuid::new_v4(), detail(number));
    format!(
        r#"{{"version":"0","id":"{id}","detail-type":"bind_card","source":"bindery","account":"0","region":"eu-central-1",
            "time":"2026-11-22T03:04:05Z","resources":[],"detail":{detail}}}"#
    )
}
