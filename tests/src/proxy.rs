//! Stands between a function and the emulator, so that a test can step in between two of its calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode, Uri};
use tokio::sync::watch;

use crate::partial;

/// Where a call is when the test may step in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has not reached the emulator.
    Before,
    /// The emulator has done it; the function has not heard of it.
    After,
}

/// What is to be done with a call.
#[derive(Debug, Clone)]
pub enum Step {
    /// Let it pass.
    Pass,
    /// Cut the connection. (The test has killed the caller, or wants it to think that it failed.)
    Cut,
    /// Answer this, as JSON with this status, instead.
    Answer(u16, String),
    /// Never answer.
    Hang,
    /// Let it pass, but only after this.
    Wait(Duration),
    /// Let it pass, but not before this is true.
    Until(watch::Receiver<bool>),
    /// Before: cut the connection, and still have the call done after this, when nobody waits for it any more.
    Late(Duration),
    /// Before: have only some of the call's entries done, drawn from this seed, and say so. Calls that are all or
    /// nothing pass.
    Partly(u64),
    /// After: cut the connection in the middle of the answer.
    Half,
}

type Hook = Arc<Mutex<Box<dyn FnMut(&Call<'_>, Moment) -> Step + Send>>>;

/// A call on its way.
#[derive(Debug)]
pub struct Call<'a> {
    /// The service's name of it, such as `DynamoDB_20120810.UpdateItem`.
    pub target: &'a str,
    /// Whose it is, as it signs: the ID of its access key.
    pub caller: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

#[derive(Clone)]
struct Proxy {
    upstream: String,
    dynamodb: String,
    client: reqwest::Client,
    hook: Hook,
}

/// Starts a proxy before the emulator; answers its URL. `hook` is asked before and after each call.
pub async fn start(hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static) -> String {
    start_before(&crate::variable("AWS_ENDPOINT_URL"), hook).await
}

/// The same, before another DynamoDB.
pub async fn start_before(dynamodb: &str, hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static) -> String {
    let proxy = Proxy {
        upstream: crate::variable("AWS_ENDPOINT_URL"),
        dynamodb: dynamodb.to_owned(),
        client: reqwest::Client::new(),
        hook: Arc::new(Mutex::new(Box::new(hook))),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = crate::answering_pings().fallback(forward).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// What the emulator is asked.
#[derive(Clone)]
struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

async fn forward(
    State(proxy): State<Proxy>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut request = Request { method, uri, headers, body };
    let (target, signed, asked) =
        (request.header("x-amz-target"), request.header("authorization"), request.body.clone());
    let caller = signed.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let ask = |moment| {
        let mut hook = proxy.hook.lock().unwrap();
        hook(&Call { target: &target, caller, body: &asked }, moment)
    };
    let mut rest = None;
    let mut nothing_left = false;
    match ask(Moment::Before) {
        Step::Late(time) => {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                proxy.send(request).await
            });
            return cut(Bytes::new());
        }
        Step::Partly(seed) => {
            if let Some((left, of_others)) = partial::split(&target, &request.body, seed) {
                nothing_left = left.is_none();
                request.body = left.unwrap_or_default();
                rest = Some(of_others);
            }
        }
        step => {
            if let Some(answer) = instead(step, &Bytes::new()).await {
                return answer;
            }
        }
    }
    let (status, headers, mut bytes) =
        if nothing_left { (StatusCode::OK, HeaderMap::new(), Bytes::new()) } else { proxy.send(request).await };
    if let Some(rest) = rest.filter(|_| status.is_success()) {
        bytes = rest.told(&bytes);
    }
    if let Some(answer) = instead(ask(Moment::After), &bytes).await {
        return answer;
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

impl Proxy {
    async fn send(&self, request: Request) -> (StatusCode, HeaderMap, Bytes) {
        /// DynamoDB's checksum of an answer, which may be changed here.
        const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
        let is_dynamodb = request.header("x-amz-target").starts_with("DynamoDB");
        let upstream = if is_dynamodb { &self.dynamodb } else { &self.upstream };
        let mut headers = request.headers;
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        let call = self.client.request(request.method, format!("{upstream}{}", request.uri)).headers(headers);
        let answer = call.body(request.body).send().await.unwrap();
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(CONTENT_LENGTH);
        headers.remove(CHECKSUM);
        (status, headers, answer.bytes().await.unwrap())
    }
}

/// What is answered instead of these bytes, if anything is.
async fn instead(step: Step, bytes: &Bytes) -> Option<Response<Body>> {
    match step {
        Step::Pass | Step::Late(_) | Step::Partly(_) => None,
        Step::Wait(time) => {
            tokio::time::sleep(time).await;
            None
        }
        Step::Until(mut time) => {
            let _ = time.wait_for(|has_come| *has_come).await;
            None
        }
        Step::Hang => std::future::pending().await,
        Step::Answer(status, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Some(response)
        }
        Step::Cut => Some(cut(Bytes::new())),
        Step::Half => Some(cut(bytes.slice(..bytes.len() / 2))),
    }
}

/// A body that breaks off after this makes the server close the connection; with nothing before it, without any answer.
fn cut(after: Bytes) -> Response<Body> {
    let broken = Err::<Bytes, _>(std::io::Error::other("cut"));
    let parts = if after.is_empty() { vec![broken] } else { vec![Ok(after), broken] };
    Response::new(Body::from_stream(futures_util::stream::iter(parts)))
}
