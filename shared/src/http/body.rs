//! Reading a JSON body: strictly, within a limit, and naming what is wrong.

#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::gateway_request::SPOILT_BODY;
use super::problem::{Invalid, Problem};
use crate::BYTE_ORDER_MARK;
use values::Budget;
pub use values::MAX_VALUES;

/// Refuses a request whose body could not be read out of the gateway's event.
///
/// # Errors
/// 400.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let is_spoilt = request.stage_variables_ref().is_some_and(|variables| variables.first(SPOILT_BODY).is_some());
    if is_spoilt { Err(Problem::invalid(vec![Invalid::body("", "is no text, or not valid Base64")])) } else { Ok(()) }
}

/// The body's bytes.
pub(super) fn bytes(request: &Request, limit: usize) -> Result<&[u8], Problem> {
    let bytes: &[u8] = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        // The type may grow other kinds; an empty one has no bytes.
        _ => &[],
    };
    if bytes.len() > limit { Err(Problem::too_large(limit)) } else { Ok(bytes) }
}

/// The bytes of a JSON body; those of the mark are skipped.
fn json_bytes(request: &Request, limit: usize) -> Result<&[u8], Problem> {
    let bytes = bytes(request, limit)?;
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes))
}

/// The members of a JSON object, as they came. One that is null counts as absent: many serializers write it so.
#[derive(Debug, PartialEq)]
pub struct Members<'a>(BTreeMap<String, &'a str>);

impl Members<'_> {
    /// Returns whether there is such a member.
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

/// The members of a JSON object in the body; `None` without a body, and of null.
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
