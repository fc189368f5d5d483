//! Stands between a function and the emulator, so that a test can step in between two of its calls.
//!
//! It is made of layers, each of which is there only if it is asked for: the test's hook, transactions that are seen row by
//! row ([`Commits`]), a [`CapacityMeter`], and how far away the services are ([`Pace`]).

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
    Respond(u16, String),
    /// Never answer.
    Hang,
    /// Let it pass, but only after this.
    Wait(Duration),
    /// Before: ask this instead.
    Ask(String),
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

/// How long calls take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// As long as they take here.
    #[default]
    Here,
    /// At least as long as within a region of AWS, which is assumed: 5 ms to DynamoDB and back, 10 ms of a transaction or a
    /// batch of statements, 10 ms to SQS, 15 ms to EventBridge.
    Region,
}

impl Pace {
    /// Returns how long the call takes at least. Assumed: AWS promises no times.
    fn least(self, target: &str) -> Duration {
        Duration::from_millis(match (self, target.split_once('.').unwrap_or_default()) {
            (Self::Here, _) => 0,
            (_, ("AWSEvents", _)) => 15,
            (_, ("AmazonSQS", _) | (_, "TransactWriteItems" | "BatchExecuteStatement" | "BatchWriteItem")) => 10,
            _ => 5,
        })
    }
}

/// A proxy, not started yet.
pub struct Proxy {
    dynamodb: String,
    others: String,
    commits: Commits,
    meter: Option<CapacityMeter>,
    pace: Pace,
}

impl Proxy {
    /// Makes one before this DynamoDB, and the emulator's other services.
    #[must_use]
    pub fn before(dynamodb: &str) -> Self {
        Self::between(dynamodb, &crate::variable("AWS_ENDPOINT_URL"))
    }

    /// Makes one before this DynamoDB and these other services.
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

    /// The same, as one of the proxies through which transactions are seen row by row.
    #[must_use]
    pub fn commits(self, commits: &Commits) -> Self {
        Self { commits: commits.clone(), ..self }
    }

    /// The same, which counts what passes.
    #[must_use]
    pub fn meter(self, meter: &CapacityMeter) -> Self {
        Self { meter: Some(meter.clone()), ..self }
    }

    /// The same, with services so far away.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Starts it; answers its URL. `hook` is asked before and after each call.
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

/// Starts a proxy before the emulator, with nothing but this hook; answers its URL.
pub async fn start(hook: impl FnMut(&Call<'_>, Moment) -> Step + Send + 'static) -> String {
    Proxy::before(&crate::variable("AWS_ENDPOINT_URL")).start(hook).await
}

/// A proxy at work.
#[derive(Clone)]
struct Layers {
    proxy: Arc<Proxy>,
    client: reqwest::Client,
    hook: Hook,
}

/// What the emulator is asked.
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

/// What the emulator answers.
#[derive(Debug, Default)]
struct ProxyResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// When all is seen that was written, if that is later.
    seen: Option<Instant>,
}

impl ProxyResponse {
    /// The emulator's refusal, though it was not asked.
    fn refused(body: &Value) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: Bytes::from(body.to_string()), ..Self::default() }
    }

    /// The same, if it is no refusal, with what is said of the rest of the call.
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
    // The emulator runs what code it is given, and judges by the name it is asked by, which is another one there: see
    // infra/local/stack/guard.py.
    if !request.header("host").starts_with("127.0.0.1:") {
        return (StatusCode::FORBIDDEN, "by another name").into_response();
    }
    let (target, signed, asked) =
        (request.header("x-amz-target"), request.header("authorization"), request.body.clone());
    let caller = signed.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let ask = |moment| {
        let mut hook = layers.hook.lock().unwrap();
        hook(&Call { target: &target, caller, body: &asked }, moment)
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
            if let Some(answer) = instead(step, &Bytes::new()).await {
                return answer;
            }
            None
        }
    };
    let answer = match part {
        Some(Part { left: None, rest }) => ProxyResponse::default().with(&rest),
        Some(Part { left: Some(body), rest }) => layers.serve(ProxyRequest { body, ..request }).await.with(&rest),
        None => layers.serve(request).await,
    };
    let step = ask(Moment::After);
    // A transaction is answered when its rows are seen. What loses its answer need not wait for that.
    let is_lost = matches!(step, Step::Cut | Step::Half | Step::Respond(..));
    if let Some(seen) = answer.seen.filter(|_| !is_lost) {
        tokio::time::sleep_until(seen.into()).await;
    }
    if let Some(answer) = instead(step, &answer.body).await {
        return answer;
    }
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

impl Layers {
    /// Has the emulator do the call as DynamoDB does: its transactions are seen row by row.
    async fn serve(&self, request: ProxyRequest) -> ProxyResponse {
        let target = request.header("x-amz-target");
        let Some(name) = target.strip_prefix("DynamoDB_20120810.").filter(|_| self.proxy.commits.is_on()) else {
            return self.send(request).await;
        };
        let (layers, name) = (self.clone(), name.to_owned());
        // What the emulator has begun is done, whether its caller waits or not.
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
        let mut answer = self.send(request).await;
        if answer.status.is_success() {
            let mut body = serde_json::from_slice(&answer.body).unwrap();
            self.proxy.commits.show(name, &mut body, Instant::now());
            answer.body = Bytes::from(body.to_string());
        }
        answer
    }

    /// A transaction that reads is refused while another one's rows are to be seen.
    async fn read_together(&self, request: ProxyRequest) -> ProxyResponse {
        let rows = commits::read_together(&request.json());
        let answer = self.send(request).await;
        match self.proxy.commits.refuse_reading(&rows, Instant::now()) {
            Some(refusal) => ProxyResponse::refused(&refusal),
            None => answer,
        }
    }

    async fn write(&self, name: &str, request: ProxyRequest) -> ProxyResponse {
        let rows = commits::written(name, &request.json());
        let may = self.proxy.commits.begin(&rows, Instant::now());
        let answer = if may.iter().all(|may| *may) {
            self.send(request).await
        } else {
            match partial_failures::split(name, &request.body, "TransactionConflict", |entry| may[entry]) {
                None => ProxyResponse::refused(&commits::refusal("TransactionConflictException")),
                Some(Part { left: None, rest }) => ProxyResponse::default().with(&rest),
                Some(Part { left: Some(body), rest }) => self.send(ProxyRequest { body, ..request }).await.with(&rest),
            }
        };
        self.proxy.commits.end(rows.iter().zip(may).filter(|(_, may)| *may).map(|(row, _)| row));
        answer
    }

    async fn transact(&self, name: &str, request: ProxyRequest) -> ProxyResponse {
        let asked = request.json();
        let rows = commits::written(name, &asked);
        if let Err(refusal) = self.proxy.commits.prepare(&rows, &asked["ClientRequestToken"], Instant::now()) {
            return ProxyResponse::refused(&refusal);
        }
        self.proxy.commits.hold(&rows, &self.rows(request.clone(), commits::table_of(&asked), &rows).await);
        let answer = self.send(request).await;
        let seen = self.proxy.commits.decide(&rows, answer.status.is_success(), Instant::now());
        ProxyResponse { seen: Some(seen), ..answer }
    }

    /// The rows as the emulator has them, asked for in the manner of another request.
    async fn rows(&self, mut request: ProxyRequest, table: &str, rows: &[commits::Key]) -> Vec<Value> {
        let keys: Vec<_> = rows.iter().map(|(pk, sk)| json!({ "pk": { "S": pk }, "sk": { "S": sk } })).collect();
        let asked = json!({ "RequestItems": { table: { "Keys": keys, "ConsistentRead": true } } });
        request.body = Bytes::from(asked.to_string());
        request.headers.insert("x-amz-target", HeaderValue::from_static("DynamoDB_20120810.BatchGetItem"));
        let answer: Value = serde_json::from_slice(&self.send(request).await.body).unwrap();
        answer["Responses"][table].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    async fn send(&self, request: ProxyRequest) -> ProxyResponse {
        /// DynamoDB's checksum of an answer, which may be changed here.
        const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
        let (began, target) = (Instant::now(), request.header("x-amz-target"));
        let Proxy { dynamodb, others, meter, pace, .. } = &*self.proxy;
        let upstream = if target.starts_with("DynamoDB") { dynamodb } else { others };
        let mut headers = request.headers;
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        let call = self.client.request(request.method, format!("{upstream}{}", request.uri)).headers(headers);
        let asked = if meter.is_some() { capacity::asking(&target, request.body) } else { request.body };
        let answer = call.body(asked.clone()).send().await.unwrap();
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(CONTENT_LENGTH);
        headers.remove(CHECKSUM);
        let body = answer.bytes().await.unwrap();
        if let Some(meter) = meter {
            meter.count(&target, &asked, &body, began.elapsed());
        }
        tokio::time::sleep_until((began + pace.least(&target)).into()).await;
        ProxyResponse { status, headers, body, seen: None }
    }
}

/// What is answered instead of these bytes, if anything is.
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

/// A body that breaks off after this makes the server close the connection; with nothing before it, without any answer.
fn cut(after: Bytes) -> Response<Body> {
    let broken = Err::<Bytes, _>(std::io::Error::other("cut"));
    let parts = if after.is_empty() { vec![broken] } else { vec![Ok(after), broken] };
    Response::new(Body::from_stream(futures_util::stream::iter(parts)))
}
