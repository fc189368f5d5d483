//! A proxy between a function and the emulator, in which a test can intercept each of the function's calls.
//!
//! It consists of optional layers: the test's hook, transactions whose rows become visible one by one ([`Commits`]), a
//! [`CapacityMeter`], and the latency of the services ([`Pace`]).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::capacity::{self, CapacityMeter};
use crate::commits::{self, Commits};
use crate::partial_failures::{self, Part, Rest};

/// The moment at which a test can intercept a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the call reaches the emulator.
    Before,
    /// After the emulator has carried out the call, before the function receives the response.
    After,
}

/// An action of the proxy on a call.
#[derive(Debug, Clone)]
pub enum Step {
    /// Lets it pass.
    Pass,
    /// Closes the connection. Used when the test has killed the caller, or when the call is to fail.
    Cut,
    /// Responds with this status and JSON body instead.
    Respond(u16, String),
    /// Leaves the call without a response.
    Hang,
    /// Lets it pass after this time.
    Wait(Duration),
    /// Before: sends this body instead.
    Ask(String),
    /// Lets it pass once this is true.
    Until(watch::Receiver<bool>),
    /// Before: closes the connection, and sends the call after this time, when its caller has given up.
    Late(Duration),
    /// Before: sends only some of the batch's entries, drawn from this seed, and reports the others as failed. Calls
    /// that are not batches pass.
    Partly(u64),
    /// After: closes the connection in the middle of the response.
    Half,
}

type Hook = Arc<Mutex<Box<dyn FnMut(&Call<'_>, Moment) -> Step + Send>>>;

/// An intercepted call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The value of `X-Amz-Target`, such as `DynamoDB_20120810.UpdateItem`.
    pub target: &'a str,
    /// The ID of the access key that signs the call.
    pub caller: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, such as `/2015-03-31/functions/NAME/policy`. Only some services use it.
    pub path: &'a str,
    /// The request's body.
    pub body: &'a [u8],
}

/// The latency of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// The latency on this machine.
    #[default]
    Here,
    /// The assumed latency, or more, within an AWS region: 5 ms for DynamoDB, 10 ms for a transaction or a batch of
    /// statements or writes, 10 ms for SQS, 15 ms for EventBridge.
    Region,
}

impl Pace {
    /// Returns the least time that the call takes. The times are assumptions: AWS promises none.
    fn least(self, target: &str) -> Duration {
        Duration::from_millis(match (self, target.split_once('.').unwrap_or_default()) {
            (Self::Here, _) => 0,
            (_, ("AWSEvents", _)) => 15,
            (_, ("AmazonSQS", _) | (_, "TransactWriteItems" | "BatchExecuteStatement" | "BatchWriteItem")) => 10,
            _ => 5,
        })
    }
}

/// A proxy that has not been started.
pub struct Proxy {
    dynamodb: String,
    others: String,
    commits: Commits,
    meter: Option<CapacityMeter>,
    pace: Pace,
}

impl Proxy {
    /// Creates a proxy before this DynamoDB and the emulator's other services.
    #[must_use]
    pub fn before(dynamodb: &str) -> Self {
        Self::between(dynamodb, &crate::variable("AWS_ENDPOINT_URL"))
    }

    /// Creates a proxy before this DynamoDB and these other services.
    #[must_use]
    pub fn between(dynamodb: &str, others: &str) -> Self {
        Self {
            dynamodb: dynamodb.to_owned(),
            others: others.to_owned(),
            commits: Commits::default(),
            meter: None,
            pace: Pace::Here,
        }
    }

    /// Returns the proxy with transactions whose rows become visible one by one. Proxies with the same `commits` show
    /// the same rows.
    #[must_use]
    pub fn commits(self, commits: &Commits) -> Self {
        Self { commits: commits.clone(), ..self }
    }

    /// Returns the proxy with a meter, which counts all calls.
    #[must_use]
    pub fn meter(self, meter: &CapacityMeter) -> Self {
        Self { meter: Some(meter.clone()), ..self }
    }

    /// Returns the proxy with this latency.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Starts the proxy, and returns its URL. It calls `hook` before and after each call.
    pub async fn start(self, hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static) -> String {
        let layers = Layers {
            proxy: Arc::new(self),
            client: reqwest::Client::new(),
            hook: Arc::new(Mutex::new(Box::new(hook))),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = crate::ping_route().fallback(forward).with_state(layers);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

/// Starts a proxy before the emulator with only this hook, and returns its URL.
pub async fn start(hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static) -> String {
    Proxy::before(&crate::variable("AWS_ENDPOINT_URL")).start(hook).await
}

/// A running proxy.
#[derive(Clone)]
struct Layers {
    proxy: Arc<Proxy>,
    client: reqwest::Client,
    hook: Hook,
}

/// A request to the emulator.
#[derive(Clone)]
struct ProxyRequest {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl ProxyRequest {
    fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A response of the emulator.
#[derive(Debug, Default)]
struct ProxyResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// The time at which all written rows are visible, if that is later.
    seen: Option<Instant>,
}

impl ProxyResponse {
    /// Returns DynamoDB's refusal of a call that is not sent to the emulator.
    fn refused(body: &Value) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: Bytes::from(body.to_string()), ..Self::default() }
    }

    /// Returns the response with the entries that were not sent reported as failed, unless it is itself a failure.
    fn with(mut self, rest: &Rest) -> Self {
        if self.status.is_success() {
            self.body = rest.completed(&self.body);
        }
        self
    }
}

async fn forward(
    State(layers): State<Layers>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut request = ProxyRequest { method, uri, headers, body };
    // The emulator executes code that it is sent. A web page in a browser on this machine could send some, but only
    // under another host name. The emulator cannot check the name here, since the proxy replaces it. See
    // infra/local/stack/guard.py.
    if !request.header("host").starts_with("127.0.0.1:") {
        return (StatusCode::FORBIDDEN, "unexpected Host header").into_response();
    }
    let (target, signed, asked) =
        (request.header("x-amz-target"), request.header("authorization"), request.body.clone());
    let caller = signed.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (method, path) = (request.method.clone(), request.uri.path().to_owned());
    let ask = |moment| {
        let mut hook = layers.hook.lock().unwrap();
        hook(&Call { target: &target, caller, method: method.as_str(), path: &path, body: &asked }, moment)
    };
    let part = match ask(Moment::Before) {
        Step::Late(time) => {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                layers.serve(request).await
            });
            return cut(Bytes::new());
        }
        Step::Partly(seed) => partial_failures::draw(&target, &request.body, seed),
        Step::Ask(body) => {
            request.body = Bytes::from(body);
            None
        }
        step => {
            if let Some(replaced) = instead(step, &Bytes::new()).await {
                return replaced;
            }
            None
        }
    };
    let served = match part {
        Some(Part { left: None, rest }) => ProxyResponse::default().with(&rest),
        Some(Part { left: Some(body), rest }) => layers.serve(ProxyRequest { body, ..request }).await.with(&rest),
        None => layers.serve(request).await,
    };
    let step = ask(Moment::After);
    // DynamoDB responds to a transaction once its rows are visible. A response that is lost need not wait for that.
    let is_lost = matches!(step, Step::Cut | Step::Half | Step::Respond(..));
    if let Some(seen) = served.seen.filter(|_| !is_lost) {
        tokio::time::sleep_until(seen.into()).await;
    }
    if let Some(replaced) = instead(step, &served.body).await {
        return replaced;
    }
    let mut response = Response::new(Body::from(served.body));
    *response.status_mut() = served.status;
    *response.headers_mut() = served.headers;
    response
}

impl Layers {
    /// Sends the call to the emulator, and shows the rows of its transactions as DynamoDB does: one by one.
    async fn serve(&self, request: ProxyRequest) -> ProxyResponse {
        let target = request.header("x-amz-target");
        let Some(name) = target.strip_prefix("DynamoDB_20120810.").filter(|_| self.proxy.commits.is_on()) else {
            return self.send(request).await;
        };
        let (layers, name) = (self.clone(), name.to_owned());
        // A call that the emulator has begun is finished even if its caller gives up.
        let served = tokio::spawn(async move {
            match name.as_str() {
                "GetItem" | "BatchGetItem" | "Query" | "Scan" => layers.read(&name, request).await,
                "TransactWriteItems" => layers.transact(&name, request).await,
                "TransactGetItems" => layers.read_together(request).await,
                _ => layers.write(&name, request).await,
            }
        });
        served.await.unwrap()
    }

    async fn read(&self, name: &str, request: ProxyRequest) -> ProxyResponse {
        let mut response = self.send(request).await;
        if response.status.is_success() {
            let mut body = serde_json::from_slice(&response.body).unwrap();
            self.proxy.commits.show(name, &mut body, Instant::now());
            response.body = Bytes::from(body.to_string());
        }
        response
    }

    /// Handles a reading transaction, which DynamoDB refuses while another transaction holds one of its rows.
    async fn read_together(&self, request: ProxyRequest) -> ProxyResponse {
        let rows = commits::read_together(&request.json());
        let response = self.send(request).await;
        match self.proxy.commits.refuse_reading(&rows, Instant::now()) {
            Some(refusal) => ProxyResponse::refused(&refusal),
            None => response,
        }
    }

    async fn write(&self, name: &str, request: ProxyRequest) -> ProxyResponse {
        let rows = commits::written(name, &request.json());
        let may = self.proxy.commits.begin(&rows, Instant::now());
        let response = if may.iter().all(|may| *may) {
            self.send(request).await
        } else {
            match partial_failures::split(name, &request.body, "TransactionConflict", |entry| may[entry]) {
                None => ProxyResponse::refused(&commits::refusal("TransactionConflictException")),
                Some(Part { left: None, rest }) => ProxyResponse::default().with(&rest),
                Some(Part { left: Some(body), rest }) => self.send(ProxyRequest { body, ..request }).await.with(&rest),
            }
        };
        self.proxy.commits.end(rows.iter().zip(may).filter(|(_, may)| *may).map(|(row, _)| row));
        response
    }

    async fn transact(&self, name: &str, request: ProxyRequest) -> ProxyResponse {
        let asked = request.json();
        let rows = commits::written(name, &asked);
        if let Err(refusal) = self.proxy.commits.prepare(&rows, &asked["ClientRequestToken"], Instant::now()) {
            return ProxyResponse::refused(&refusal);
        }
        self.proxy.commits.hold(&rows, &self.rows(request.clone(), commits::table_of(&asked), &rows).await);
        let response = self.send(request).await;
        let seen = self.proxy.commits.decide(&rows, response.status.is_success(), Instant::now());
        ProxyResponse { seen: Some(seen), ..response }
    }

    /// Reads the emulator's current rows, with the headers of another request.
    async fn rows(&self, mut request: ProxyRequest, table: &str, rows: &[commits::Key]) -> Vec<Value> {
        let keys: Vec<_> = rows.iter().map(|(pk, sk)| json!({ "pk": { "S": pk }, "sk": { "S": sk } })).collect();
        let asked = json!({ "RequestItems": { table: { "Keys": keys, "ConsistentRead": true } } });
        request.body = Bytes::from(asked.to_string());
        request.headers.insert("x-amz-target", HeaderValue::from_static("DynamoDB_20120810.BatchGetItem"));
        let response: Value = serde_json::from_slice(&self.send(request).await.body).unwrap();
        response["Responses"][table].as_array().unwrap_or_else(|| panic!("{response}")).clone()
    }

    async fn send(&self, request: ProxyRequest) -> ProxyResponse {
        /// DynamoDB's checksum of a response. The proxy may change the response.
        const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
        let (began, target) = (Instant::now(), request.header("x-amz-target"));
        let Proxy { dynamodb, others, meter, pace, .. } = &*self.proxy;
        let upstream = if target.starts_with("DynamoDB") { dynamodb } else { others };
        let mut headers = request.headers;
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        let call = self.client.request(request.method, format!("{upstream}{}", request.uri)).headers(headers);
        let asked = if meter.is_some() { capacity::asking(&target, request.body) } else { request.body };
        let response = call.body(asked.clone()).send().await.unwrap();
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove(CONTENT_LENGTH);
        headers.remove(CHECKSUM);
        let body = response.bytes().await.unwrap();
        if let Some(meter) = meter {
            meter.count(&target, &asked, &body, began.elapsed());
        }
        tokio::time::sleep_until((began + pace.least(&target)).into()).await;
        ProxyResponse { status, headers, body, seen: None }
    }
}

/// Carries out the step, and returns the response that replaces `bytes`, if there is one.
async fn instead(step: Step, bytes: &Bytes) -> Option<Response<Body>> {
    match step {
        Step::Pass | Step::Ask(_) | Step::Late(_) | Step::Partly(_) => None,
        Step::Wait(time) => {
            tokio::time::sleep(time).await;
            None
        }
        Step::Until(mut time) => {
            let _ = time.wait_for(|has_come| *has_come).await;
            None
        }
        Step::Hang => std::future::pending().await,
        Step::Respond(status, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Some(response)
        }
        Step::Cut => Some(cut(Bytes::new())),
        Step::Half => Some(cut(bytes.slice(..bytes.len() / 2))),
    }
}

/// Returns a response whose body breaks off after these bytes, so that the server closes the connection. Without bytes
/// the client receives no response.
fn cut(after: Bytes) -> Response<Body> {
    let broken = Err::<Bytes, _>(std::io::Error::other("cut"));
    let parts = if after.is_empty() { vec![broken] } else { vec![Ok(after), broken] };
    Response::new(Body::from_stream(futures_util::stream::iter(parts)))
}
