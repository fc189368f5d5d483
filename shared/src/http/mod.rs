//! The parts of an endpoint that are the same for every instruction: authentication, reading, responding and logging.
//!
//! An [`Endpoint`] receives a [`RequestContext`] whose token is already verified, and returns an [`ApiResponse`] or a
//! [`Problem`]. The contract sets the order of checks: 401, 403 (scope), 400, then those that depend on stored state.
//! Organizations that are shut out or send too much are refused after their token is checked ([`Admission`]).

mod accept;
mod admission;
mod body;
pub mod bulk;
mod claims;
mod gateway_request;
mod idempotency;
mod identity;
mod keys;
mod page;
mod problem;
mod response;
mod token;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::http::header::HeaderValue;
use lambda_http::http::{Method, Response};
use lambda_http::{Adapter, Body, LambdaEvent, Request, RequestExt, Service as HttpService, service_fn};
use serde::Serialize;
use uuid::Uuid;

use crate::aws::Service;
use crate::domain::ids::{CorrelationId, OrgId};
use crate::domain::time::Timestamp;
use crate::environment::Environment;
use crate::metrics::Metrics;
use crate::{Error, block_on, clock, telemetry};

pub use accept::{Accepted, First, Prepared, ToSend, accept, open, operation, record, recorded, send};
pub use admission::Admission;
pub use body::{MAX_VALUES, Members};
pub use gateway_request::ApiGatewayRequest;
pub use idempotency::{IdempotencyRecord, MAX_KEY_BYTES, Replay};
pub use identity::{Identity, Scope};
pub use lambda_http::http::HeaderMap;
pub use page::{DEFAULT_LIMIT, MAX_LIMIT, cursor, page};
pub use problem::{Invalid, Problem, ProblemCode, RETRY_AFTER_SECONDS};
pub use response::ApiResponse;
pub use token::{IssuerError, Verifier};

const CORRELATION_HEADER: &str = "x-correlation-id";
/// Time reserved at the end of an invocation for responding that it timed out.
const RESPONSE_BUDGET: Duration = Duration::from_millis(200);

/// An endpoint: the function that handles the requests of one route.
pub trait Endpoint: Sized + Send + Sync + 'static {
    /// The function's name. It is part of every idempotency key's record: never change it.
    const NAME: &'static str;
    /// The scope that callers need.
    const SCOPE: Scope;
    /// The tokens that a request takes from its organization's bucket: as many times one as the gateway's limit of this
    /// route is below that of the fastest one (`RouteSettings` in infra/template.yaml). So an organization can take the
    /// same share of every route.
    const TOKENS: u32;
    /// The services that every request calls. The connections to them are opened at start.
    const CALLS: &'static [Service];
    /// Maximum size of a request's body, in bytes (contract). It is 0 for an endpoint without a body.
    const MAX_BODY_BYTES: usize = 0;
    /// The error format of an endpoint whose contract does not use `application/problem+json`. Such an endpoint
    /// verifies tokens itself, because its clients cannot read the gateway's own 401.
    const ERRORS: Option<ErrorBody> = None;

    /// Creates the endpoint from its environment.
    ///
    /// # Errors
    /// Returns an error if a part of the endpoint cannot be created. Missing variables are recorded in `environment`.
    fn from_env(environment: &Environment) -> Result<Self, Error>;

    /// Loads in advance what the first request would otherwise wait for. A failure is ignored: the first request
    /// loads it then.
    fn warm_up(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Handles a request.
    ///
    /// # Errors
    /// Every response other than success is a [`Problem`].
    fn handle(&self, context: &RequestContext) -> impl Future<Output = Result<ApiResponse, Problem>> + Send;
}

/// A request whose caller is authenticated.
#[derive(Debug)]
pub struct RequestContext {
    request: Request,
    max_body_bytes: usize,
    /// The authenticated caller.
    pub identity: Identity,
    /// The correlation ID, which links the request to all its effects.
    pub cid: CorrelationId,
    /// The time when the request was received.
    pub now: Timestamp,
    /// The metrics that count the request.
    pub metrics: Metrics,
}

impl RequestContext {
    /// Returns the context of a request now, from a caller without an account.
    #[cfg(test)]
    fn of(request: Request) -> Self {
        let org_id = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let identity = Identity { org_id, account_id: None };
        let (cid, now) = (CorrelationId::from_uuid(Uuid::nil()), clock::now());
        let metrics = Metrics::new(String::new(), String::new());
        Self { request, max_body_bytes: 0, identity, cid, now, metrics }
    }

    /// Returns a path parameter.
    ///
    /// # Errors
    /// Returns [`Invalid`] if it cannot be parsed as `T`.
    pub fn path<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, Invalid> {
        let parameters = self.request.path_parameters_ref();
        let text = parameters.and_then(|parameters| parameters.first(name)).unwrap_or_default();
        text.parse().map_err(|error: T::Err| Invalid::parameter(name, error))
    }

    /// Returns a query parameter.
    ///
    /// # Errors
    /// Returns [`Invalid`] if it is present and cannot be parsed as `T`.
    pub fn query<T: std::str::FromStr>(&self, name: &'static str, expected: &str) -> Result<Option<T>, Invalid> {
        let parameters = self.request.query_string_parameters_ref();
        let Some(text) = parameters.and_then(|parameters| parameters.first(name)) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Invalid::parameter(name, format!("must be {expected}")))
    }

    /// Returns a required header. A repeated header is malformed, because it is ambiguous.
    ///
    /// # Errors
    /// Returns [`Invalid`] if it is missing, repeated or cannot be parsed as `T`.
    pub fn header<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &'static str) -> Result<T, Invalid> {
        let mut values = self.request.headers().get_all(name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (Some(Ok(text)), None) => text.parse().map_err(|error: T::Err| Invalid::header(name, error)),
            (None, _) => Err(Invalid::header(name, "is required")),
            _ => Err(Invalid::header(name, "is malformed")),
        }
    }

    /// Returns an optional header, or `None` if it is missing or not ASCII.
    #[must_use]
    pub fn optional_header(&self, name: &'static str) -> Option<&str> {
        text_of(self.request.headers(), name)
    }

    /// Returns the time left for handling the request. After that, the client receives 503, even if the work was
    /// done.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        clock::time_left(self.request.lambda_context().deadline).saturating_sub(RESPONSE_BUDGET)
    }

    /// Returns the body, which is empty if the request has no body.
    ///
    /// # Errors
    /// Returns 413 if it exceeds [`Endpoint::MAX_BODY_BYTES`].
    pub fn bytes(&self) -> Result<&[u8], Problem> {
        body::bytes(&self.request, self.max_body_bytes)
    }

    /// Returns the members of the body's JSON object, or `None` without a body.
    ///
    /// # Errors
    /// Returns 413 if it exceeds [`Endpoint::MAX_BODY_BYTES`]. Returns 400 if it is not a JSON object, or its content
    /// type is not JSON.
    pub fn json_object(&self) -> Result<Option<Members<'_>>, Problem> {
        body::json_object(&self.request, self.max_body_bytes)
    }

    /// Returns the instruction's [`IdempotencyRecord`].
    ///
    /// # Errors
    /// Returns 400 if the `Idempotency-Key` is malformed.
    pub fn idempotency(&self, endpoint: &'static str, content: &impl Serialize) -> Result<IdempotencyRecord, Problem> {
        IdempotencyRecord::new(&self.request, &self.identity, endpoint, content)
    }
}

/// A function that formats an endpoint's errors in a form other than `application/problem+json`. It takes the
/// request's headers and the error's detail, and returns the content type and the body.
pub type ErrorBody = fn(&HeaderMap, &str) -> (String, String);

/// Returns the header's text, or `None` if it is missing or not visible ASCII.
#[must_use]
pub fn text_of<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Serves an endpoint until the runtime ends. This is all that the `main` of an endpoint's function calls.
///
/// # Errors
/// Returns the environment's missing or invalid variables, an error of the runtime, or [`IssuerError`] if the token
/// issuer's URL is not secure.
pub fn serve<E: Endpoint>() -> Result<(), Error> {
    telemetry::init();
    block_on(async {
        let environment = Environment::of_process()?;
        let (endpoint, verifier, admission) = environment.make(|environment| {
            let admission = Admission::from_env::<E>(environment);
            Ok((E::from_env(environment)?, verifier::<E>(environment)?, admission))
        })?;
        let verifying = async {
            if E::ERRORS.is_some() {
                verifier.warm_up().await;
            }
        };
        tokio::join!(endpoint.warm_up(), verifying, environment.aws.warm_up(E::CALLS));
        run(Serving::of(endpoint, verifier, admission, environment.metrics.clone())).await
    })
}

fn verifier<E: Endpoint>(environment: &Environment) -> Result<Verifier, IssuerError> {
    match E::ERRORS {
        None => Verifier::from_env(),
        Some(_) => Verifier::new(environment.text("AUTH_ISSUER"), environment.text("AUTH_AUDIENCE")),
    }
}

/// Returns the endpoint as a service without the runtime. It takes an event and returns a response.
pub fn service<E: Endpoint>(
    endpoint: E,
    verifier: Verifier,
    admission: Admission,
    metrics: Metrics,
) -> impl HttpService<LambdaEvent<ApiGatewayRequest>, Response: Serialize, Error = Error, Future: Send> {
    service_of(Serving::of(endpoint, verifier, admission, metrics))
}

/// A closure that calls an endpoint's handler. It is boxed so that the runtime is compiled once, here, and not for
/// each function.
type Handler = Box<dyn Fn(RequestContext) -> BoxFuture<'static, Result<ApiResponse, Problem>> + Send + Sync>;

/// An endpoint's handler, with its settings, token verifier, admission and metrics.
struct Serving {
    scope: Scope,
    max_body_bytes: usize,
    errors: Option<ErrorBody>,
    verifier: Verifier,
    admission: Admission,
    metrics: Metrics,
    handler: Handler,
}

impl Serving {
    fn of<E: Endpoint>(endpoint: E, verifier: Verifier, admission: Admission, metrics: Metrics) -> Self {
        let endpoint = Arc::new(endpoint);
        let handler: Handler = Box::new(move |context| {
            let endpoint = Arc::clone(&endpoint);
            async move { endpoint.handle(&context).await }.boxed()
        });
        let (scope, max_body_bytes, errors) = (E::SCOPE, E::MAX_BODY_BYTES, E::ERRORS);
        Self { scope, max_body_bytes, errors, verifier, admission, metrics, handler }
    }
}

async fn run(serving: Serving) -> Result<(), Error> {
    lambda_http::lambda_runtime::run(service_of(serving)).await
}

fn service_of(
    serving: Serving,
) -> impl HttpService<LambdaEvent<ApiGatewayRequest>, Response: Serialize, Error = Error, Future: Send> {
    let serving = Arc::new(serving);
    let mut adapter = Adapter::from(service_fn(move |request: Request| {
        let serving = Arc::clone(&serving);
        async move {
            let response = respond(request, &serving).await;
            serving.metrics.flush();
            Ok::<_, Error>(response)
        }
    }));
    service_fn(move |event: LambdaEvent<ApiGatewayRequest>| {
        let LambdaEvent { payload, context } = event;
        adapter.call(LambdaEvent { payload: payload.into(), context })
    })
}

async fn respond(request: Request, serving: &Serving) -> Response<Body> {
    let Serving { scope, max_body_bytes, errors, verifier, admission, metrics, handler } = serving;
    let started = Instant::now();
    let context = request.lambda_context();
    let time = clock::time_left(context.deadline).saturating_sub(RESPONSE_BUDGET);
    let errors = errors.map(|errors| (errors, request.headers().clone()));
    let path_to_root = response::path_to_root(&request);
    let is_instruction = request.method() != Method::GET;
    let given_cid = correlation_id(&request);
    let cid = given_cid.clone().unwrap_or_else(|_| CorrelationId::from_uuid(Uuid::now_v7()));
    let mut tenant: Option<OrgId> = None;
    let handling = async {
        let identity = identity::identify(&request, *scope, verifier).await?;
        tenant = Some(identity.org_id.clone());
        admission.check(&identity.org_id).await?;
        given_cid.map_err(|invalid| Problem::invalid(vec![invalid]))?;
        body::check(&request)?;
        let (cid, now, metrics, max_body_bytes) = (cid.clone(), clock::now(), metrics.clone(), *max_body_bytes);
        handler(RequestContext { request, max_body_bytes, identity, cid, now, metrics }).await
    };
    let handling = AssertUnwindSafe(handling).catch_unwind();
    let result = match tokio::time::timeout(time, handling).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Problem::broken("the handler panicked")),
        Err(_elapsed) => Err(Problem::unavailable("no time was left")),
    };
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    count(metrics, is_instruction, &result);
    let info = response::ResponseInfo { request_id: &context.request_id, cid: &cid, path_to_root: &path_to_root };
    log(&result, &context.request_id, &cid, tenant.as_ref().map(OrgId::as_str), duration_ms);
    response::response(&result, errors.as_ref(), &info)
}

/// Returns the client's correlation ID, or a new one if the client sent none.
fn correlation_id(request: &Request) -> Result<CorrelationId, Invalid> {
    match request.headers().get(CORRELATION_HEADER).map(HeaderValue::to_str) {
        None => Ok(CorrelationId::from_uuid(Uuid::now_v7())),
        Some(Ok(text)) => text.parse().map_err(|error| Invalid::header(CORRELATION_HEADER, error)),
        Some(Err(_)) => Err(Invalid::header(CORRELATION_HEADER, "must be printable ASCII")),
    }
}

fn count(metrics: &Metrics, is_instruction: bool, result: &Result<ApiResponse, Problem>) {
    match result {
        Err(problem) if problem.status().is_server_error() => metrics.failed(),
        // A read is not an instruction.
        _ if !is_instruction => {}
        Ok(ApiResponse { counts: response::InstructionCounts { accepted, refused }, .. }) => {
            metrics.accepted(*accepted);
            for code in refused {
                metrics.refused(code, 1);
            }
        }
        Err(problem) => metrics.refused(problem.code, 1),
    }
}

fn log(
    result: &Result<ApiResponse, Problem>,
    request_id: &str,
    cid: &CorrelationId,
    tenant: Option<&str>,
    duration_ms: u64,
) {
    let cid = cid.as_str();
    match result {
        Ok(response) => {
            let operation_id = response.operation_id.map(|id| id.to_string());
            let outcome = response.status.as_u16();
            tracing::info!(request_id, cid, tenant, operation_id, outcome, duration_ms, "request handled");
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
