//! Reading the gateway's events, whatever a client put into its request.

use std::fmt::Write;

use lambda_http::http::header::HeaderValue;
use lambda_http::request::LambdaRequest;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Headers of which nothing is made but the request's URL.
const URL_HEADERS: [&str; 2] = ["host", "x-forwarded-proto"];

/// A request in which a header that its type cannot hold (one that is not visible ASCII) is empty: a
/// client's odd header, or a proxy's, must not look like our failure. Nor may one that counts be
/// overlooked, as if no idempotency key had been sent; none that we read may be empty.
///
/// Headers that only the URL is made of are left out. Nobody reads it, and one that were none would be a panic.
#[derive(Debug)]
pub struct Event(LambdaRequest);

impl From<Event> for LambdaRequest {
    fn from(event: Event) -> Self {
        event.0
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut event = Value::deserialize(deserializer)?;
        if let Some(headers) = event.get_mut("headers").and_then(Value::as_object_mut) {
            headers.retain(|name, _| !URL_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)));
            for value in headers.values_mut() {
                if value.as_str().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                    *value = Value::String(String::new());
                }
            }
        }
        if let Some(Value::String(query)) = event.get_mut("rawQueryString") {
            *query = encoded(query);
        }
        let event = serde_json::value::to_raw_value(&event).map_err(serde::de::Error::custom)?;
        serde_json::from_str(event.get()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The query with all that a URI cannot hold percent-encoded; else building the request would panic.
fn encoded(query: &str) -> String {
    let mut encoded = String::with_capacity(query.len());
    for byte in query.bytes() {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use lambda_http::Request;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// Whatever comes makes a request, without a panic: that would leave the client without an answer of ours.
    #[rstest]
    #[case::none(json!({}), "", "")]
    #[case::host_with_space(json!({ "host": "a b" }), "/", "")]
    #[case::host_cut_off(json!({ "Host": "[" }), "/", "")]
    #[case::host_not_ascii(json!({ "HOST": "\u{e4}" }), "/", "")]
    #[case::no_protocol(json!({ "host": "a", "x-forwarded-proto": "" }), "/", "")]
    #[case::two_protocols(json!({ "host": "a", "x-forwarded-proto": "https,http" }), "/", "")]
    #[case::header_not_ascii(json!({ "accept": "\u{e4}\n" }), "/", "")]
    #[case::path(json!({}), "//@:#?%zz \u{e4}<>", "")]
    #[case::query(json!({}), "/", "<>\"{}|^`\\ \u{e4}#%zz&=")]
    fn any_event_makes_a_request(#[case] headers: Value, #[case] path: &str, #[case] query: &str) {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
            "requestContext": { "accountId": "0", "apiId": "a", "stage": "$default", "requestId": "r", "http": {
                "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t",
            } },
            "isBase64Encoded": false,
        });
        let event: Event = serde_json::from_value(event).unwrap();
        let request = Request::from(LambdaRequest::from(event));
        assert!(request.headers().get("host").is_none());
    }
}
