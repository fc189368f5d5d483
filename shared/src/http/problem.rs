//! Errors as clients see them: RFC 9457 `application/problem+json`.
//!
//! An error has two messages. One is for the caller: what to change, by the name of the field or
//! header. The other, where there is one, is for the operator's log: what broke. The caller's never
//! tells what stands in the table of another tenant, and neither holds a secret.

use std::fmt;

use lambda_http::http::StatusCode;
use serde::Serialize;

use crate::queue::SendError;
use crate::store::StoreError;

/// What a client is told to wait before it repeats, in seconds.
pub const RETRY_AFTER_SECONDS: &str = "1";

/// A part of the request that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalid {
    #[serde(flatten)]
    place: Place,
    detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Pointer(String),
    Header(&'static str),
    Parameter(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) if pointer.is_empty() => f.write_str("The body"),
            Self::Pointer(pointer) => write!(f, "The body's {pointer}"),
            Self::Header(name) => write!(f, "The header {name}"),
            Self::Parameter(name) => write!(f, "The parameter {name}"),
        }
    }
}

impl Invalid {
    /// A member of the body, by JSON pointer (`""` is the body itself).
    #[must_use]
    pub fn body(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self { place: Place::Pointer(pointer.into()), detail: detail.to_string() }
    }

    /// A header.
    #[must_use]
    pub fn header(name: &'static str, detail: impl ToString) -> Self {
        Self { place: Place::Header(name), detail: detail.to_string() }
    }

    /// A parameter of the path or the query.
    #[must_use]
    pub fn parameter(name: &'static str, detail: impl ToString) -> Self {
        Self { place: Place::Parameter(name), detail: detail.to_string() }
    }
}

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) errors: Vec<Invalid>,
    /// For the operator.
    pub(super) cause: Option<String>,
}

impl Problem {
    /// A problem with a stable code of its own.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        Self { status, code, detail: detail.to_string(), errors: Vec::new(), cause: None }
    }

    /// 400: these parts of the request are not as they must be.
    #[must_use]
    pub fn invalid(errors: Vec<Invalid>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}.", one.place, one.detail),
            many => format!("{} parts of the request are invalid.", many.len()),
        };
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail) }
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "The access token is missing or invalid.")
    }

    /// 403, about the token.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: unknown and foreign look alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "The specified resource was not found.")
    }

    /// 406: a list has no items, or too many (the contract's status for it).
    #[must_use]
    pub fn out_of_range(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "out-of-range", detail)
    }

    /// 409: the resource's state forbids it.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: the body has more bytes than the endpoint takes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("The body must not exceed {limit} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    /// 413: a list has more items than the endpoint takes.
    #[must_use]
    pub fn too_many(detail: impl ToString) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many", detail)
    }

    /// 415: the body is of another type than the endpoint reads.
    #[must_use]
    pub fn unsupported(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// 400, for a reason that names its place itself.
    #[must_use]
    pub fn unreadable(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    /// 422: the idempotency key came before with another request.
    #[must_use]
    pub fn key_reused() -> Self {
        let detail = "The Idempotency-Key was used with another request.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    }

    /// 500: a bug or bad data; `cause` is for the operator alone.
    #[must_use]
    pub fn broken(cause: impl ToString) -> Self {
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "Internal server error.");
        Self { cause: Some(cause.to_string()), ..problem }
    }

    /// 503: something we depend on did not answer. Whether the instruction was accepted is unknown;
    /// repeating it with the same `Idempotency-Key` is safe.
    #[must_use]
    pub fn unavailable(cause: impl ToString) -> Self {
        let detail = "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { cause: Some(cause.to_string()), ..problem }
    }

    /// The body, for the request of this ID.
    pub(super) fn body(&self, request_id: &str) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: &'a str,
            #[serde(skip_serializing_if = "<[Invalid]>::is_empty")]
            errors: &'a [Invalid],
        }
        let body = Body {
            r#type: format!("urn:bindery:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id,
            errors: &self.errors,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::Retry { .. } => Self::unavailable(error),
            StoreError::Broken { .. } => Self::broken(error),
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::unavailable(error)
    }
}
