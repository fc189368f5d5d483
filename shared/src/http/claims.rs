//! What Bindery reads of a token: its claims, as a token has them and as the gateway writes them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::number::whole;

/// The claims that Bindery reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) tenant_id: Option<String>,
    pub(super) account_id: Option<String>,
    /// Words without spaces and brackets.
    pub(super) scopes: Vec<String>,
}

impl Claims {
    /// Those of a token.
    pub(super) fn of_token(claims: &Map<String, Value>) -> Self {
        Self::read(claims, words)
    }

    /// Those of what the gateway makes of a token: texts alone, of which `[a b]` is a list.
    pub(super) fn of_gateway(claims: &Map<String, Value>) -> Self {
        let unlisted = |text: &str| {
            let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            words(list.unwrap_or(text))
        };
        Self::read(claims, unlisted)
    }

    /// `scp` is read where there is no `scope`.
    fn read(claims: &Map<String, Value>, words: impl Fn(&str) -> Vec<String>) -> Self {
        let claim = |name: &str| claims.get(name).filter(|value| !value.is_null());
        let scopes = match claim("scope").or_else(|| claim("scp")) {
            Some(Value::String(text)) => words(text),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).filter_map(word).collect(),
            _ => Vec::new(),
        };
        Self { tenant_id: claim("tenant_id").map(text), account_id: claim("account_id").map(text), scopes }
    }

    /// What [`Self::of_gateway`] reads the same claims of.
    pub(super) fn into_texts(self) -> HashMap<String, String> {
        let Self { tenant_id, account_id, scopes } = self;
        let scope = Some(format!("[{}]", scopes.join(" ")));
        let claims = [("tenant_id", tenant_id), ("account_id", account_id), ("scope", scope)];
        claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// A text, the digits of a number; and of anything else its JSON, which names nothing.
fn text(value: &Value) -> String {
    let of_other = || {
        let json = value.to_string();
        whole(&json).map_or(json, |number| number.to_string())
    };
    value.as_str().map_or_else(of_other, ToOwned::to_owned)
}

/// The words of a text. One with a bracket in it has none: the gateway writes so what is no list of words but something
/// nested, of which a word in the middle must not pass for a scope.
fn words(text: &str) -> Vec<String> {
    let text = if text.contains(['[', ']']) { "" } else { text };
    text.split(' ').filter_map(word).collect()
}

/// The text, if it is one word.
fn word(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains([' ', '[', ']'])).then(|| text.to_owned())
}
