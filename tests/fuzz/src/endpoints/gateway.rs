//! The event that the gateway makes from a request.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::contract::{Route, SCOPES};
use crate::input::Input;
use crate::world::{ACCOUNT, ORG, TOKEN, TOKEN_MARK, with_pin};

/// Returns the event, in version 2.0 of API Gateway's format.
pub(super) fn event(route: &Route, input: &Input<'_>) -> Value {
    let written = input.setting("path").unwrap_or_default();
    let path = route
        .parameter()
        .map_or_else(|| route.path.clone(), |parameter| route.path.replace(&format!("{{{parameter}}}"), written));
    let mut context = json!({
        "accountId": "0", "apiId": "test", "stage": "$default", "requestId": "r", "routeKey": "$default",
        "http": { "method": route.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t" },
    });
    let has_gateway = input.setting("no-gateway").is_none();
    if has_gateway {
        context["authorizer"] = json!({ "jwt": { "claims": claims(input) } });
    }
    let value = if has_gateway { decoded(written) } else { written.to_owned() };
    let parameters: Map<String, Value> =
        route.parameter().into_iter().map(|parameter| (parameter.to_owned(), value.as_str().into())).collect();
    let (body, is_base64) = body(route, input);
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path,
        "rawQueryString": input.setting("query").unwrap_or_default(), "headers": headers(input),
        "requestContext": context, "pathParameters": parameters, "body": body, "isBase64Encoded": is_base64,
    });
    if let Some((pointer, value)) = input.setting("put").and_then(|put| put.split_once(' '))
        && let Some(place) = event.pointer_mut(pointer)
    {
        *place = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    event
}

/// Returns the organization that the caller's token names.
pub(super) fn tenant<'a>(input: &'a Input<'_>) -> &'a str {
    if input.setting("no-gateway").is_some() { ORG } else { input.setting("tenant").unwrap_or(ORG) }
}

fn claims(input: &Input<'_>) -> Value {
    let claims =
        [("tenant_id", "tenant", ORG), ("account_id", "account", ACCOUNT), ("scope", "scope", SCOPES.as_str())];
    let claims = claims.map(|(claim, setting, usual)| (claim, input.setting(setting).unwrap_or(usual)));
    claims.into_iter().filter(|(_, value)| !value.is_empty()).map(|(claim, value)| (claim.to_owned(), value)).collect()
}

/// Returns the headers. Values of headers with the same name are joined.
fn headers<'a>(input: &'a Input<'_>) -> BTreeMap<&'a str, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in &input.headers {
        let value = if name == "authorization" { value.replace(TOKEN_MARK, TOKEN.trim()) } else { value.clone() };
        let joined = headers.entry(name.as_str()).and_modify(|values| *values = format!("{values},{value}"));
        joined.or_insert(value);
    }
    headers.entry("host").or_insert_with(|| "api.test".to_owned());
    headers
}

/// Returns the body, and whether it is in Base64. A body that is not text must be.
fn body(route: &Route, input: &Input<'_>) -> (Option<String>, bool) {
    // In other requests, a PIN would be arbitrary text.
    let bytes = if route.name == "cancel-orders" { with_pin(input.body) } else { input.body.to_vec() };
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => (None, false),
        Ok(text) if input.setting("base64").is_none() => (Some(text), false),
        Ok(text) => (Some(STANDARD.encode(text)), true),
        Err(error) => (Some(STANDARD.encode(error.as_bytes())), true),
    }
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let hex = others.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &others[2..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
