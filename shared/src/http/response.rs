//! The response to a successful request, and the conversion of results to HTTP responses.

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use lambda_http::http::{Response, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde::Serialize;

use super::problem::Problem;
use super::{CORRELATION_HEADER, ErrorBody, HeaderMap};
use crate::domain::ids::{CorrelationId, OperationId};

const JSON: &str = "application/json";
/// The header that marks a replayed response. The IETF's draft of `Idempotency-Key` leaves this to services, and
/// several use this name.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The response to a successful request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) operation_id: Option<OperationId>,
    is_replayed: bool,
    content_type: String,
    body: String,
    pub(super) counts: InstructionCounts,
}

/// The instructions that a response accepts and refuses, for the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct InstructionCounts {
    pub(super) accepted: u32,
    pub(super) refused: Vec<&'static str>,
}

impl ApiResponse {
    /// Returns 200 with this body.
    ///
    /// # Errors
    /// Returns [`Problem::broken`] if the body cannot be serialized.
    pub fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(Problem::broken)?;
        Ok(Self::text(JSON.to_owned(), body))
    }

    /// Returns 200 with a body of this content type.
    #[must_use]
    pub fn text(content_type: String, body: String) -> Self {
        let (status, counts) = (StatusCode::OK, InstructionCounts::default());
        Self { status, operation_id: None, is_replayed: false, content_type, body, counts }
    }

    /// Sets the number of accepted instructions and the codes of the refused ones, for the metrics. A replayed
    /// response is not counted again.
    #[must_use]
    pub fn counted(self, accepted: u32, refused: Vec<&'static str>) -> Self {
        Self { counts: InstructionCounts { accepted, refused }, ..self }
    }

    /// Adds the `Location` of the operation that the request created.
    #[must_use]
    pub fn located(self, operation_id: OperationId) -> Self {
        Self { operation_id: Some(operation_id), ..self }
    }

    /// Sets the status to 201.
    #[must_use]
    pub fn created(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// Replaces the body with this one, as JSON.
    ///
    /// # Errors
    /// Returns [`Problem::broken`] if the body cannot be serialized.
    pub fn with_body(self, body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { body: serde_json::to_string(body).map_err(Problem::broken)?, ..self })
    }

    /// Marks the response as replayed, if an earlier request with the same idempotency key got it already.
    #[must_use]
    pub fn replayed(self, is_replayed: bool) -> Self {
        Self { is_replayed, ..self }
    }

    /// Returns 202: the instruction is accepted, and the operation shows its outcome. A retry gets the same response,
    /// regardless of the operation's progress.
    #[must_use]
    pub fn accepted(operation_id: OperationId) -> Self {
        let body = format!(r#"{{"operation_id":"{operation_id}","status":"PENDING"}}"#);
        Self { status: StatusCode::ACCEPTED, ..Self::text(JSON.to_owned(), body).located(operation_id) }
    }
}

/// Returns the relative reference (RFC 3986, 4.2) from the request's URL to the start of the API's paths. Only the
/// client knows the prefix before them, such as the name of a stage or of an API mapping.
pub(super) fn path_to_root(request: &Request) -> String {
    let path = match request.request_context_ref() {
        // `ApiGatewayRequest` has stored the path there.
        Some(RequestContext::ApiGatewayV2(context)) => context.route_key.as_deref().unwrap_or_default(),
        _ => "",
    };
    "../".repeat(path.matches('/').count().saturating_sub(1))
}

/// The information in every response other than status and body.
pub(super) struct ResponseInfo<'a> {
    pub(super) request_id: &'a str,
    pub(super) cid: &'a CorrelationId,
    /// The relative reference that [`path_to_root`] returns.
    pub(super) path_to_root: &'a str,
}

/// Converts a result to an HTTP response.
pub(super) fn response(
    result: &Result<ApiResponse, Problem>,
    errors: Option<&(ErrorBody, HeaderMap)>,
    info: &ResponseInfo<'_>,
) -> Response<Body> {
    let (status, (content_type, body)) = match (result, errors) {
        (Ok(response), _) => (response.status, (response.content_type.clone(), response.body.clone())),
        (Err(problem), Some((errors, headers))) => (problem.status(), errors(headers, &problem.detail)),
        (Err(problem), None) => {
            (problem.status(), ("application/problem+json".to_owned(), problem.body(info.request_id)))
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
    // Responses name accounts and customers, and shared caches do not check tokens (RFC 9111, 5.2.2.5).
    insert(CACHE_CONTROL, "no-store");
    insert(HeaderName::from_static(CORRELATION_HEADER), info.cid.as_str());
    if let Ok(ApiResponse { operation_id: Some(id), .. }) = result {
        insert(LOCATION, &format!("{}operations/{id}", info.path_to_root));
    }
    if let Ok(ApiResponse { is_replayed: true, .. }) = result {
        insert(REPLAYED_HEADER, "true");
    }
    if status == StatusCode::UNAUTHORIZED {
        insert(WWW_AUTHENTICATE, "Bearer");
    }
    if let Err(Problem { retry_after: Some(seconds), .. }) = result {
        insert(RETRY_AFTER, &seconds.to_string());
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

    /// The reference leads to `operations/` under the same prefix as the request.
    #[rstest]
    #[case::a_route("PUT /wallet/v2/cards/{cardId}/noname/bind", "/v1/wallet/v2/cards/7/noname/bind", 5)]
    #[case::one_parameter("POST /cards/v1/bulks/{bulkID}/start", "/cards/v1/bulks/b/start", 4)]
    #[case::short("POST /cards/v1/bulks", "/live/cards/v1/bulks", 2)]
    #[case::one_route_for_all("$default", "/api/orders/cancellations", 2)]
    #[case::an_escaped_slash("POST /cards/v1/bulks/{bulkID}/cancel", "/cards/v1/bulks/a%2Fb/cancel", 4)]
    fn a_location_leads_up_to_where_the_paths_begin(#[case] route: &str, #[case] path: &str, #[case] up: usize) {
        let event = json!({ "rawPath": path, "requestContext": { "routeKey": route, "http": { "method": "GET" } } });
        let event: ApiGatewayRequest = serde_json::from_value(event).unwrap();
        assert_eq!(path_to_root(&LambdaRequest::from(event).into()), "../".repeat(up));
    }
}
