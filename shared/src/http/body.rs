//! Reading a JSON body strictly and within limits, with errors that name the invalid part.

#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::gateway_request::MALFORMED_BODY;
use super::problem::{Invalid, Problem};
use crate::BYTE_ORDER_MARK;
use values::Budget;
pub use values::MAX_VALUES;

/// Rejects a request whose body could not be read from the gateway's event.
///
/// # Errors
/// Returns 400.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let is_malformed = request.stage_variables_ref().is_some_and(|variables| variables.first(MALFORMED_BODY).is_some());
    if is_malformed { Err(Problem::invalid(vec![Invalid::body("", "is not text or valid Base64")])) } else { Ok(()) }
}

/// Returns the body's bytes, or 413 if they exceed the limit.
pub(super) fn bytes(request: &Request, limit: usize) -> Result<&[u8], Problem> {
    let bytes: &[u8] = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        // `Body` is non-exhaustive. `Body::Empty` has no bytes.
        _ => &[],
    };
    if bytes.len() > limit { Err(Problem::too_large(limit)) } else { Ok(bytes) }
}

/// Returns the bytes of a JSON body, without a byte order mark.
fn json_bytes(request: &Request, limit: usize) -> Result<&[u8], Problem> {
    let bytes = bytes(request, limit)?;
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes))
}

/// The members of a JSON object, as their original text. A null member counts as absent, because many serializers
/// write absent members as null.
#[derive(Debug, PartialEq)]
pub struct Members<'a>(BTreeMap<String, &'a str>);

impl Members<'_> {
    /// Returns whether the object has this member.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the member's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }

    /// Returns the member's value, if it is of this type.
    #[must_use]
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.text(name)?).ok()
    }
}

/// Returns the members of the body's JSON object, or `None` if there is no body or it is null.
pub(super) fn json_object(request: &Request, limit: usize) -> Result<Option<Members<'_>>, Problem> {
    let bytes = json_bytes(request, limit)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(request) {
        return Err(Problem::invalid(vec![Invalid::header("content-type", "must be application/json")]));
    }
    let invalid = |detail: &str| Problem::invalid(vec![Invalid::body("", detail)]);
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not valid JSON: it is not UTF-8"))?;
    let budget = Budget::new();
    let value = serde_json::from_str::<&RawValue>(text).map_err(|error| budget.refusal("", &error))?.get();
    if value == "null" {
        return Ok(None);
    }
    if !value.starts_with('{') {
        return Err(invalid("must be a JSON object"));
    }
    let members = values::members(value, &budget).map_err(|error| budget.refusal("", &error))?;
    for (name, value) in &members {
        values::check(value.get(), &budget).map_err(|error| budget.refusal(name, &error))?;
    }
    let members = members.into_iter().map(|(name, value)| (name, value.get()));
    Ok(Some(Members(members.filter(|(_, text)| *text != "null").collect())))
}

fn is_json(request: &Request) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
