//! What every endpoint does around its own instruction: who calls, reading the request, answering,
//! and one log line.
//!
//! A handler gets a [`Call`], in which the token is checked already, and answers an [`Answer`] or a
//! [`Problem`]. The order of checks is the contract's: 401, 403 (scope), 400, then what the state says.

mod accept;
mod answer;
mod body;
pub mod bulk;
mod claims;
mod event;
mod idempotency;
mod identity;
mod keys;
mod page;
mod problem;
mod token;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::http::header::HeaderValue;
use lambda_http::http::{Method, Response};
use lambda_http::{Adapter, Body, Error, LambdaEvent, Request, RequestExt, Service, service_fn};
use serde::Serialize;
use uuid::Uuid;

use crate::clock;
use crate::domain::ids::{CorrelationId, OrgId};
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;

pub use accept::{Accepting, First, Prepared, ToSend, accept, open, operation, record, recorded, send};
pub use answer::Answer;
pub use body::{MAX_VALUES, Members};
pub use event::Event;
pub use idempotency::{MAX_KEY_BYTES, Replay, Ticket};
pub use identity::{Identity, Scope};
pub use lambda_http::http::HeaderMap;
pub use page::{DEFAULT_LIMIT, MAX_LIMIT, cursor, page};
pub use problem::{Invalid, Problem, ProblemCode, RETRY_AFTER_SECONDS};
pub use token::{IssuerError, Verifier};

const CORRELATION_HEADER: &str = "x-correlation-id";
/// Kept back of an invocation's time for saying that it did not suffice.
const ANSWERING_TIME: Duration = Duration::from_millis(200);

/// A request whose caller is known.
#[derive(Debug)]
pub struct Call {
    request: Request,
    /// The caller.
    pub identity: Identity,
    /// Ties the request to all that comes of it.
    pub cid: CorrelationId,
    /// When it came.
    pub now: Timestamp,
    /// What the request is counted in.
    pub metrics: Metrics,
}

impl Call {
    /// A parameter of the path.
    ///
    /// # Errors
    /// [`Invalid`] if it is not a `T`.
    pub fn path<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, Invalid> {
        let parameters = self.request.path_parameters_ref();
        let text = parameters.and_then(|parameters| parameters.first(name)).unwrap_or_default();
        text.parse().map_err(|error: T::Err| Invalid::parameter(name, error))
    }

    /// A parameter of the query.
    ///
    /// # Errors
    /// [`Invalid`] if it is there and not a `T`.
    pub fn query<T: std::str::FromStr>(&self, name: &'static str, expected: &str) -> Result<Option<T>, Invalid> {
        let parameters = self.request.query_string_parameters_ref();
        let Some(text) = parameters.and_then(|parameters| parameters.first(name)) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Invalid::parameter(name, format!("must be {expected}")))
    }

    /// A required header. One that comes several times counts as malformed: which one is meant?
    ///
    /// # Errors
    /// [`Invalid`] if it is missing or not a `T`.
    pub fn header<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, Invalid> {
        let mut values = self.request.headers().get_all(name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (Some(Ok(text)), None) => text.parse().map_err(|error: T::Err| Invalid::header(name, error)),
            (None, _) => Err(Invalid::header(name, "is required")),
            _ => Err(Invalid::header(name, "is malformed")),
        }
    }

    /// A header that may be missing; `None` too if it is not ASCII.
    #[must_use]
    pub fn optional_header(&self, name: &'static str) -> Option<&str> {
        text_of(self.request.headers(), name)
    }

    /// Returns how long the answer may still take. After that it is said to be unavailable, whatever was done.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        clock::time_left(self.request.lambda_context().deadline).saturating_sub(ANSWERING_TIME)
    }

    /// The body; empty if there is none.
    ///
    /// # Errors
    /// 413 beyond `limit` bytes.
    pub fn bytes(&self, limit: usize) -> Result<&[u8], Problem> {
        body::bytes(&self.request, limit)
    }

    /// The members of the body's JSON object; `None` without a body.
    ///
    /// # Errors
    /// 413 beyond `limit` bytes; 400 if it is not JSON, not an object, or not said to be JSON.
    pub fn json_object(&self, limit: usize) -> Result<Option<Members<'_>>, Problem> {
        body::json_object(&self.request, limit)
    }

    /// The ticket of an instruction; see [`Ticket`].
    ///
    /// # Errors
    /// 400 if the `Idempotency-Key` is malformed.
    pub fn ticket(&self, endpoint: &'static str, asked: &impl Serialize) -> Result<Ticket, Problem> {
        Ticket::new(&self.request, &self.identity, endpoint, asked)
    }
}

/// How an endpoint's errors are written that are not `application/problem+json`: from the request's headers and
/// what is to be said, content type and body.
pub type ErrorBody = fn(&HeaderMap, &str) -> (String, String);

/// The header's text, if it has one.
#[must_use]
pub fn text_of<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Serves an endpoint whose callers need `scope`, until the runtime ends.
///
/// # Errors
/// Those of the runtime; and if the issuer of tokens cannot be believed.
pub async fn run<F, Fut>(scope: Scope, handler: F) -> Result<(), Error>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    serve(scope, None, Verifier::from_env()?, boxed(handler)).await
}

/// The same, for an endpoint whose contract has errors of another form, and which says even that no token was valid.
///
/// # Errors
/// Those of the runtime.
pub async fn run_saying<F, Fut>(scope: Scope, errors: ErrorBody, verifier: Verifier, handler: F) -> Result<(), Error>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    serve(scope, Some(errors), verifier, boxed(handler)).await
}

/// Decides what an endpoint answers. Boxed, so that the runtime is compiled here once, and not with each function.
type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Answer, Problem>> + Send + Sync>;

fn boxed<F, Fut>(handler: F) -> Handler
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    Arc::new(move |call| handler(call).boxed())
}

async fn serve(scope: Scope, errors: Option<ErrorBody>, verifier: Verifier, handler: Handler) -> Result<(), Error> {
    let service = service_of(scope, errors, verifier, Metrics::from_env()?, handler);
    lambda_http::lambda_runtime::run(service).await
}

/// The same endpoint without the runtime: an event in, a response out. Its surroundings are given, not read from the
/// environment.
pub fn service<F, Fut>(
    scope: Scope,
    errors: Option<ErrorBody>,
    verifier: Verifier,
    metrics: Metrics,
    handler: F,
) -> impl Service<LambdaEvent<Event>, Response: Serialize, Error = Error, Future: Send>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    service_of(scope, errors, verifier, metrics, boxed(handler))
}

fn service_of(
    scope: Scope,
    errors: Option<ErrorBody>,
    verifier: Verifier,
    metrics: Metrics,
    handler: Handler,
) -> impl Service<LambdaEvent<Event>, Response: Serialize, Error = Error, Future: Send> {
    let mut adapter = Adapter::from(service_fn(move |request: Request| {
        let (handler, verifier, metrics) = (handler.clone(), verifier.clone(), metrics.clone());
        async move {
            let response = respond(request, scope, errors, &verifier, &metrics, &handler).await;
            metrics.flush();
            Ok::<_, Error>(response)
        }
    }));
    service_fn(move |event: LambdaEvent<Event>| {
        let LambdaEvent { payload, context } = event;
        adapter.call(LambdaEvent { payload: payload.into(), context })
    })
}

async fn respond(
    request: Request,
    scope: Scope,
    errors: Option<ErrorBody>,
    verifier: &Verifier,
    metrics: &Metrics,
    handler: &Handler,
) -> Response<Body> {
    let started = Instant::now();
    let context = request.lambda_context();
    let time = clock::time_left(context.deadline).saturating_sub(ANSWERING_TIME);
    let errors = errors.map(|errors| (errors, request.headers().clone()));
    let way_up = answer::way_up(&request);
    let is_instruction = request.method() != Method::GET;
    let asked_cid = correlation_id(&request);
    let cid = asked_cid.clone().unwrap_or_else(|_| CorrelationId::from_uuid(Uuid::now_v7()));
    let mut tenant: Option<OrgId> = None;
    let answering = async {
        let identity = identity::identify(&request, scope, verifier).await?;
        tenant = Some(identity.org_id.clone());
        asked_cid.map_err(|invalid| Problem::invalid(vec![invalid]))?;
        body::check(&request)?;
        handler(Call { request, identity, cid: cid.clone(), now: clock::now(), metrics: metrics.clone() }).await
    };
    let answering = AssertUnwindSafe(answering).catch_unwind();
    let result = match tokio::time::timeout(time, answering).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Problem::broken("the handler panicked")),
        Err(_elapsed) => Err(Problem::unavailable("no time was left")),
    };
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    count(metrics, is_instruction, &result);
    let said = answer::Said { request_id: &context.request_id, cid: &cid, way_up: &way_up };
    log(&result, &context.request_id, &cid, tenant.as_ref().map(OrgId::as_str), duration_ms);
    answer::response(&result, errors.as_ref(), &said)
}

/// The client's correlation ID, or a new one.
fn correlation_id(request: &Request) -> Result<CorrelationId, Invalid> {
    match request.headers().get(CORRELATION_HEADER).map(HeaderValue::to_str) {
        None => Ok(CorrelationId::from_uuid(Uuid::now_v7())),
        Some(Ok(text)) => text.parse().map_err(|error| Invalid::header(CORRELATION_HEADER, error)),
        Some(Err(_)) => Err(Invalid::header(CORRELATION_HEADER, "must be printable ASCII")),
    }
}

fn count(metrics: &Metrics, is_instruction: bool, result: &Result<Answer, Problem>) {
    match result {
        Err(problem) if problem.status().is_server_error() => metrics.failed(),
        // A read instructs nothing.
        _ if !is_instruction => {}
        Ok(Answer { tally: answer::Tally { accepted, refused }, .. }) => {
            metrics.accepted(*accepted);
            for code in refused {
                metrics.refused(code, 1);
            }
        }
        Err(problem) => metrics.refused(problem.code, 1),
    }
}

fn log(
    result: &Result<Answer, Problem>,
    request_id: &str,
    cid: &CorrelationId,
    tenant: Option<&str>,
    duration_ms: u64,
) {
    let cid = cid.as_str();
    match result {
        Ok(answer) => {
            let operation_id = answer.operation_id.map(|id| id.to_string());
            let outcome = answer.status.as_u16();
            tracing::info!(request_id, cid, tenant, operation_id, outcome, duration_ms, "request answered");
        }
        Err(problem) => {
            let (outcome, code) = (problem.status().as_u16(), tracing::field::display(problem.code));
            if let Some(cause) = &problem.cause {
                tracing::error!(request_id, cid, tenant, outcome, code, cause, duration_ms, "request failed");
            } else {
                tracing::info!(request_id, cid, tenant, outcome, code, duration_ms, "request refused");
            }
        }
    }
}
