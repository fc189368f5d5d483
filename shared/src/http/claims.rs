//! The claims that Bindery reads from a token, in the token's own form and in the gateway's form.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::number::whole;

/// The claims that Bindery reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) tenant_id: Option<String>,
    pub(super) account_id: Option<String>,
    /// The scopes, as words without spaces and brackets.
    pub(super) scopes: Vec<String>,
}

impl Claims {
    /// Reads the claims of a token.
    pub(super) fn of_token(claims: &Map<String, Value>) -> Self {
        Self::read(claims, words)
    }

    /// Reads the claims as the gateway passes them. All are strings, and `[a b]` is a list.
    pub(super) fn of_gateway(claims: &Map<String, Value>) -> Self {
        let unlisted = |text: &str| {
            let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            words(list.unwrap_or(text))
        };
        Self::read(claims, unlisted)
    }

    /// Reads the claims. `scp` is read if there is no `scope`.
    fn read(claims: &Map<String, Value>, words: impl Fn(&str) -> Vec<String>) -> Self {
        let claim = |name: &str| claims.get(name).filter(|value| !value.is_null());
        let scopes = match claim("scope").or_else(|| claim("scp")) {
            Some(Value::String(text)) => words(text),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).filter_map(word).collect(),
            _ => Vec::new(),
        };
        Self { tenant_id: claim("tenant_id").map(text), account_id: claim("account_id").map(text), scopes }
    }

    /// Returns the claims in the form that [`Self::of_gateway`] reads.
    pub(super) fn into_texts(self) -> HashMap<String, String> {
        let Self { tenant_id, account_id, scopes } = self;
        let scope = Some(format!("[{}]", scopes.join(" ")));
        let claims = [("tenant_id", tenant_id), ("account_id", account_id), ("scope", scope)];
        claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Returns a string, or the digits of a whole number. Any other value yields its JSON, which matches no ID.
fn text(value: &Value) -> String {
    let of_other = || {
        let json = value.to_string();
        whole(&json).map_or(json, |number| number.to_string())
    };
    value.as_str().map_or_else(of_other, ToOwned::to_owned)
}

/// Returns the words of a text, or none if it contains a bracket. The gateway writes nested values with brackets, and
/// a word inside one must not count as a scope.
fn words(text: &str) -> Vec<String> {
    let text = if text.contains(['[', ']']) { "" } else { text };
    text.split(' ').filter_map(word).collect()
}

/// Returns the text if it is one word.
fn word(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains([' ', '[', ']'])).then(|| text.to_owned())
}
