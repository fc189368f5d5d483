//! A successful answer, and how answers become responses.

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use lambda_http::http::{Response, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde::Serialize;

use super::problem::{self, Problem};
use super::{CORRELATION_HEADER, ErrorBody, HeaderMap};
use crate::domain::ids::{CorrelationId, OperationId};

const JSON: &str = "application/json";
/// Says that an answer was given before (a draft of the IETF has `Idempotency-Key`, and leaves this to the services;
/// several say it so).
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) operation_id: Option<OperationId>,
    is_replayed: bool,
    content_type: String,
    body: String,
    pub(super) tally: InstructionCounts,
}

/// What an answer says of instructions, for the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct InstructionCounts {
    pub(super) accepted: u32,
    pub(super) refused: Vec<&'static str>,
}

impl ApiResponse {
    /// Returns 200 with this body.
    ///
    /// # Errors
    /// [`Problem::broken`] if the body has no JSON form.
    pub fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(Problem::broken)?;
        Ok(Self::text(JSON.to_owned(), body))
    }

    /// Returns 200 with this body, of this type.
    #[must_use]
    pub fn text(content_type: String, body: String) -> Self {
        let (status, tally) = (StatusCode::OK, InstructionCounts::default());
        Self { status, operation_id: None, is_replayed: false, content_type, body, tally }
    }

    /// Returns the same, counted in the metrics: so many instructions were accepted by it, and those refused for these
    /// reasons. An answer given again is not counted again.
    #[must_use]
    pub fn counted(self, accepted: u32, refused: Vec<&'static str>) -> Self {
        Self { tally: InstructionCounts { accepted, refused }, ..self }
    }

    /// Returns the same, with the `Location` of the operation that the request made.
    #[must_use]
    pub fn located(self, operation_id: OperationId) -> Self {
        Self { operation_id: Some(operation_id), ..self }
    }

    /// Returns the same body, as 201.
    #[must_use]
    pub fn created(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// Returns the same with this body, as JSON.
    ///
    /// # Errors
    /// [`Problem::broken`] if the body has no JSON form.
    pub fn with_body(self, body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { body: serde_json::to_string(body).map_err(Problem::broken)?, ..self })
    }

    /// Returns the same, saying so if an earlier request with the same idempotency key was answered so.
    #[must_use]
    pub fn replayed(self, is_replayed: bool) -> Self {
        Self { is_replayed, ..self }
    }

    /// Returns 202: the instruction is accepted, and the operation tells what becomes of it. A repeated request
    /// gets the same answer, however far the operation has come.
    #[must_use]
    pub fn accepted(operation_id: OperationId) -> Self {
        let body = format!(r#"{{"operation_id":"{operation_id}","status":"PENDING"}}"#);
        Self { status: StatusCode::ACCEPTED, ..Self::text(JSON.to_owned(), body).located(operation_id) }
    }
}

/// Returns the relative reference (RFC 3986, 4.2) from the request's URL to where the API's paths begin. Whatever comes
/// before them, the name of a stage or of an API mapping, only the client knows.
pub(super) fn way_up(request: &Request) -> String {
    let path = match request.request_context_ref() {
        // The event's reader has put the path there.
        Some(RequestContext::ApiGatewayV2(context)) => context.route_key.as_deref().unwrap_or_default(),
        _ => "",
    };
    "../".repeat(path.matches('/').count().saturating_sub(1))
}

/// What a response says besides its answer.
pub(super) struct Said<'a> {
    pub(super) request_id: &'a str,
    pub(super) cid: &'a CorrelationId,
    /// See [`way_up`].
    pub(super) way_up: &'a str,
}

/// Returns the response of an answer.
pub(super) fn response(
    result: &Result<ApiResponse, Problem>,
    errors: Option<&(ErrorBody, HeaderMap)>,
    said: &Said<'_>,
) -> Response<Body> {
    let (status, (content_type, body)) = match (result, errors) {
        (Ok(answer), _) => (answer.status, (answer.content_type.clone(), answer.body.clone())),
        (Err(problem), Some((errors, headers))) => (problem.status(), errors(headers, &problem.detail)),
        (Err(problem), None) => {
            (problem.status(), ("application/problem+json".to_owned(), problem.body(said.request_id)))
        }
    };
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    insert(CONTENT_TYPE, &content_type);
    // Cards name accounts and customers, and no cache checks tokens (RFC 9111, 5.2.2.5).
    insert(CACHE_CONTROL, "no-store");
    insert(HeaderName::from_static(CORRELATION_HEADER), said.cid.as_str());
    if let Ok(ApiResponse { operation_id: Some(id), .. }) = result {
        insert(LOCATION, &format!("{}operations/{id}", said.way_up));
    }
    if let Ok(ApiResponse { is_replayed: true, .. }) = result {
        insert(REPLAYED_HEADER, "true");
    }
    if status == StatusCode::UNAUTHORIZED {
        insert(WWW_AUTHENTICATE, "Bearer");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        insert(RETRY_AFTER, problem::RETRY_AFTER_SECONDS);
    }
    response
}

#[cfg(test)]
mod tests {
    use lambda_http::request::LambdaRequest;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::http::ApiGatewayRequest;

    /// Whatever stands before the API's paths, the reference leads to `operations/` beside them.
    #[rstest]
    #[case::a_route("PUT /wallet/v2/cards/{cardId}/noname/bind", "/v1/wallet/v2/cards/7/noname/bind", 5)]
    #[case::one_parameter("POST /cards/v1/bulks/{bulkID}/start", "/cards/v1/bulks/b/start", 4)]
    #[case::short("POST /cards/v1/bulks", "/live/cards/v1/bulks", 2)]
    #[case::one_route_for_all("$default", "/api/orders/cancellations", 2)]
    #[case::an_escaped_slash("POST /cards/v1/bulks/{bulkID}/cancel", "/cards/v1/bulks/a%2Fb/cancel", 4)]
    fn a_location_leads_up_to_where_the_paths_begin(#[case] route: &str, #[case] path: &str, #[case] up: usize) {
        let event = json!({ "rawPath": path, "requestContext": { "routeKey": route, "http": { "method": "GET" } } });
        let event: ApiGatewayRequest = serde_json::from_value(event).unwrap();
        assert_eq!(way_up(&LambdaRequest::from(event).into()), "../".repeat(up));
    }
}
