//! Errors as clients see them: RFC 9457 `application/problem+json`.
//!
//! An error can have two messages. The detail is for the caller and states what to change, by the name of the field
//! or header. The cause is for the operator's log and states what broke. The detail never reveals data of another
//! tenant, and neither message contains a secret.

use std::fmt;

use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::queue::SendError;
use crate::store::StoreError;

/// Value of `Retry-After` if a dependency did not respond, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// A part of the request that is invalid.
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
    /// Reports a member of the body, by JSON pointer (`""` is the body itself).
    #[must_use]
    pub fn body(pointer: impl Into<String>, detail: impl ToString) -> Self {
        Self { place: Place::Pointer(pointer.into()), detail: detail.to_string() }
    }

    /// Reports a header.
    #[must_use]
    pub fn header(name: &'static str, detail: impl ToString) -> Self {
        Self { place: Place::Header(name), detail: detail.to_string() }
    }

    /// Reports a parameter of the path or the query.
    #[must_use]
    pub fn parameter(name: &'static str, detail: impl ToString) -> Self {
        Self { place: Place::Parameter(name), detail: detail.to_string() }
    }
}

/// A problem's type, for programs. A published value never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The names are clear.
pub enum ProblemCode {
    InvalidRequest,
    Unauthorized,
    Forbidden,
    OrganizationDenied,
    NotFound,
    OutOfRange,
    BodyTooLarge,
    TooMany,
    TooManyRequests,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    BulkClosed,
    BulkCanceled,
    CardNotFound,
    CardNotUnbound,
    ReissuedCardNotFound,
    ReissuedCardNotEligible,
    ReissuedCardAlreadyReplaced,
    InternalError,
    Unavailable,
}

impl ProblemCode {
    /// Returns the HTTP status. A missing card is 403, not 404: the contract has no 404 there, and another tenant's
    /// card must look the same. The contract uses 406 for a list with no items or too many.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::OrganizationDenied | Self::CardNotFound | Self::ReissuedCardNotFound => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::OutOfRange => StatusCode::NOT_ACCEPTABLE,
            Self::BulkClosed
            | Self::BulkCanceled
            | Self::CardNotUnbound
            | Self::ReissuedCardNotEligible
            | Self::ReissuedCardAlreadyReplaced => StatusCode::CONFLICT,
            Self::BodyTooLarge | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) code: ProblemCode,
    pub(super) detail: String,
    pub(super) errors: Vec<Invalid>,
    /// The cause, for the operator's log only.
    pub(super) cause: Option<String>,
    /// The value of `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    /// Creates a problem of this type. `detail` states what to change.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl ToString) -> Self {
        Self { code, detail: detail.to_string(), errors: Vec::new(), cause: None, retry_after: None }
    }

    /// Reports that these parts of the request are invalid.
    #[must_use]
    pub fn invalid(errors: Vec<Invalid>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}.", one.place, one.detail),
            many => format!("{} parts of the request are invalid.", many.len()),
        };
        Self { errors, ..Self::new(ProblemCode::InvalidRequest, detail) }
    }

    /// Reports a missing or invalid token.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ProblemCode::Unauthorized, "The access token is missing or invalid.")
    }

    /// Reports that the token does not permit the request.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(ProblemCode::Forbidden, detail)
    }

    /// Reports that the operator has shut the caller's organization out.
    #[must_use]
    pub fn denied() -> Self {
        Self::new(ProblemCode::OrganizationDenied, "The organization is shut out. Ask the operator of this API.")
    }

    /// Reports that the caller's organization has sent too many requests. It may send the next one in this many
    /// seconds.
    #[must_use]
    pub fn too_many_requests(seconds: u64) -> Self {
        let detail = "The organization sends too many requests. Repeat the request after the time in Retry-After.";
        Self { retry_after: Some(seconds), ..Self::new(ProblemCode::TooManyRequests, detail) }
    }

    /// Reports that a resource was not found. Unknown and foreign resources look alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "The specified resource was not found.")
    }

    /// Reports a body that is larger than the endpoint accepts.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(ProblemCode::BodyTooLarge, format!("The body must not exceed {limit} bytes."))
    }

    /// Reports an idempotency key that was used with another request.
    #[must_use]
    pub fn key_reused() -> Self {
        Self::new(ProblemCode::IdempotencyKeyReused, "The Idempotency-Key was used with another request.")
    }

    /// Reports a bug or bad data. Only the operator sees `cause`.
    #[must_use]
    pub fn broken(cause: impl ToString) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(ProblemCode::InternalError, "Internal server error.") }
    }

    /// Reports that a dependency did not respond. It is unknown whether the instruction was accepted; retrying with
    /// the same `Idempotency-Key` is safe.
    #[must_use]
    pub fn unavailable(cause: impl ToString) -> Self {
        let detail = "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key.";
        let retry_after = Some(RETRY_AFTER_SECONDS);
        Self { cause: Some(cause.to_string()), retry_after, ..Self::new(ProblemCode::Unavailable, detail) }
    }

    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// Returns the body of the response to the request with this ID.
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
            title: self.status().canonical_reason().unwrap_or_default(),
            status: self.status().as_u16(),
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
            StoreError::Unexpected { .. } | StoreError::Broken { .. } => Self::broken(error),
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::unavailable(error)
    }
}
