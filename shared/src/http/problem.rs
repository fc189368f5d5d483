//! Errors as clients see them: RFC 9457 `application/problem+json`.
//!
//! An error has two messages. One is for the caller: what to change, by the name of the field or
//! header. The other, where there is one, is for the operator's log: what broke. The caller's never
//! tells what stands in the table of another tenant, and neither holds a secret.

use std::fmt;

use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};

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

/// What kind of problem it is, for programs. A word that was published never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // They say it.
pub enum ProblemCode {
    InvalidRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    OutOfRange,
    BodyTooLarge,
    TooMany,
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
    /// The status that it is answered with. A card that is not there is 403, not 404: the contract has no 404 for it, and
    /// a foreign card must look the same. 406 is the contract's for a list of no items, or too many.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CardNotFound | Self::ReissuedCardNotFound => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::OutOfRange => StatusCode::NOT_ACCEPTABLE,
            Self::BulkClosed
            | Self::BulkCanceled
            | Self::CardNotUnbound
            | Self::ReissuedCardNotEligible
            | Self::ReissuedCardAlreadyReplaced => StatusCode::CONFLICT,
            Self::BodyTooLarge | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
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

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) code: ProblemCode,
    pub(super) detail: String,
    pub(super) errors: Vec<Invalid>,
    /// For the operator.
    pub(super) cause: Option<String>,
}

impl Problem {
    /// A problem of this kind; `detail` says what to change.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl ToString) -> Self {
        Self { code, detail: detail.to_string(), errors: Vec::new(), cause: None }
    }

    /// These parts of the request are not as they must be.
    #[must_use]
    pub fn invalid(errors: Vec<Invalid>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}.", one.place, one.detail),
            many => format!("{} parts of the request are invalid.", many.len()),
        };
        Self { errors, ..Self::new(ProblemCode::InvalidRequest, detail) }
    }

    /// No token, or none that is valid.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ProblemCode::Unauthorized, "The access token is missing or invalid.")
    }

    /// The token does not allow it.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(ProblemCode::Forbidden, detail)
    }

    /// Unknown and foreign look alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "The specified resource was not found.")
    }

    /// The body has more bytes than the endpoint takes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(ProblemCode::BodyTooLarge, format!("The body must not exceed {limit} bytes."))
    }

    /// The idempotency key came before with another request.
    #[must_use]
    pub fn key_reused() -> Self {
        Self::new(ProblemCode::IdempotencyKeyReused, "The Idempotency-Key was used with another request.")
    }

    /// A bug or bad data; `cause` is for the operator alone.
    #[must_use]
    pub fn broken(cause: impl ToString) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(ProblemCode::InternalError, "Internal server error.") }
    }

    /// Something we depend on did not answer. Whether the instruction was accepted is unknown;
    /// repeating it with the same `Idempotency-Key` is safe.
    #[must_use]
    pub fn unavailable(cause: impl ToString) -> Self {
        let detail = "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key.";
        Self { cause: Some(cause.to_string()), ..Self::new(ProblemCode::Unavailable, detail) }
    }

    /// The status that it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.code.status()
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
