//! Stands between a function and the emulator, so that a test can step in between two of its calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};

/// Where a call is when the test may step in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has not reached the emulator.
    Before,
    /// The emulator has done it; the function has not heard of it.
    After,
}

/// What is to be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

type Hook = Arc<Mutex<Box<dyn FnMut(&Call<'_>, Moment) -> Step + Send>>>;

/// A call on its way.
#[derive(Debug)]
pub struct Call<'a> {
    /// The service's name of it, such as `DynamoDB_20120810.UpdateItem`.
    pub target: &'a str,
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
    let router = Router::new().fallback(forward).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn forward(
    State(proxy): State<Proxy>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers.get("x-amz-target").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let ask = |moment| {
        let mut hook = proxy.hook.lock().unwrap();
        hook(&Call { target: &target, body: &body }, moment)
    };
    if let Some(answer) = instead(ask(Moment::Before)).await {
        return answer;
    }
    headers.remove("host");
    let upstream = if target.starts_with("DynamoDB") { &proxy.dynamodb } else { &proxy.upstream };
    let answer = proxy
        .client
        .request(method, format!("{upstream}{uri}"))
        .headers(headers)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    if let Some(answer) = instead(ask(Moment::After)).await {
        return answer;
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn instead(step: Step) -> Option<Response<Body>> {
    match step {
        Step::Pass => None,
        Step::Wait(time) => {
            tokio::time::sleep(time).await;
            None
        }
        Step::Hang => std::future::pending().await,
        Step::Answer(status, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Some(response)
        }
        Step::Cut => {
            // A body that breaks off makes the server close the connection without an answer.
            let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            Some(Response::new(Body::from_stream(broken)))
        }
    }
}
