//! Reading API Gateway's events, with any content that a client, a token or a proxy puts into them.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerJwtDescription, ApiGatewayV2httpRequest,
    ApiGatewayV2httpRequestContext,
};
use lambda_http::http::header::{HeaderName, HeaderValue};
use lambda_http::http::{HeaderMap, Method};
use lambda_http::request::LambdaRequest;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::claims::Claims;

/// Headers that are dropped. `lambda_http` builds only the request's URL from them, which no code reads, and panics
/// if they do not form one.
const URL_HEADERS: [&str; 2] = ["host", "x-forwarded-proto"];
/// Stage variable that marks a body declared as Base64 that is not. The API's stages have no variables of their own.
pub(super) const MALFORMED_BODY: &str = "malformed-body";

/// An event of API Gateway's format 2.0 (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).
///
/// Any JSON is accepted. A part of the wrong type counts as missing, and only the parts that are needed are read.
/// Otherwise a claim that no code reads could make every request of a caller fail.
#[derive(Debug)]
pub struct ApiGatewayRequest(ApiGatewayV2httpRequest);

impl From<ApiGatewayRequest> for LambdaRequest {
    fn from(event: ApiGatewayRequest) -> Self {
        Self::ApiGatewayV2(event.0)
    }
}

impl<'de> Deserialize<'de> for ApiGatewayRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::of)
    }
}

impl ApiGatewayRequest {
    fn of(mut event: Value) -> Self {
        let mut request = ApiGatewayV2httpRequest::default();
        request.raw_query_string = text(&event["rawQueryString"]).map(encoded);
        request.headers = headers(&event["headers"]);
        request.path_parameters = texts(&event["pathParameters"]);
        request.request_context = context(&event["requestContext"]);
        request.request_context.route_key = Some(path(&event).to_owned());
        request.is_base64_encoded = event["isBase64Encoded"] == true;
        request.body = match event.get_mut("body").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(Value::String(body)) if !request.is_base64_encoded || STANDARD.decode(&body).is_ok() => Some(body),
            Some(_) => {
                request.stage_variables = HashMap::from([(MALFORMED_BODY.to_owned(), "true".to_owned())]);
                None
            }
        };
        Self(request)
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn texts(values: &Value) -> HashMap<String, String> {
    let values = values.as_object().into_iter().flatten();
    values.filter_map(|(name, value)| Some((name.clone(), text(value)?.to_owned()))).collect()
}

/// Returns the headers. Values that are not text or not visible ASCII become empty strings, so that a malformed
/// header is not reported as a server error. Every header that we read rejects empty values, so a malformed
/// `Idempotency-Key` is not treated as absent.
fn headers(headers: &Value) -> HeaderMap {
    let headers = headers.as_object().into_iter().flatten();
    let headers = headers.filter(|(name, _)| !URL_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)));
    let header = |(name, value): (&String, &Value)| {
        let value = text(value).and_then(|value| HeaderValue::from_str(value).ok());
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.unwrap_or(HeaderValue::from_static(""))))
    };
    headers.filter_map(header).collect()
}

/// Returns the request's path as the API defines it, which is the path of its route. The path that the client
/// requested also contains the stage's name or an API mapping's prefix. A function without a gateway, and an API with
/// one route for all paths, have only that path.
fn path(event: &Value) -> &str {
    let route = text(&event["requestContext"]["routeKey"]).and_then(|route| route.split_once(' '));
    route.map_or_else(|| text(&event["rawPath"]).unwrap_or_default(), |(_, path)| path)
}

fn context(context: &Value) -> ApiGatewayV2httpRequestContext {
    let mut read = ApiGatewayV2httpRequestContext::default();
    let method = text(&context["http"]["method"]).and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    read.http.method = method.unwrap_or_default();
    read.authorizer = context["authorizer"]["jwt"]["claims"].as_object().map(authorizer);
    read
}

/// Returns the authorizer's part, with only the claims that are read.
fn authorizer(claims: &Map<String, Value>) -> ApiGatewayRequestAuthorizer {
    let (mut authorizer, mut jwt) =
        (ApiGatewayRequestAuthorizer::default(), ApiGatewayRequestAuthorizerJwtDescription::default());
    jwt.claims = Claims::of_gateway(claims).into_texts();
    authorizer.jwt = Some(jwt);
    authorizer
}

/// Returns the query with every character that a URI cannot contain percent-encoded. Otherwise building the request
/// would panic.
fn encoded(query: &str) -> String {
    let mut encoded = String::with_capacity(query.len());
    for byte in query.bytes() {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use lambda_http::{Body, Request, RequestExt};
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/a", "rawQueryString": "limit=1",
            "cookies": ["a=b"], "headers": { "accept": "a", "host": "b" },
            "queryStringParameters": { "limit": "1" }, "pathParameters": { "cardId": "1" },
            "requestContext": {
                "accountId": "0", "apiId": "a", "stage": "$default", "requestId": "r", "time": "t", "timeEpoch": 1,
                "authorizer": { "jwt": { "claims": { "scope": "a", "account_id": "1" }, "scopes": ["a"] } },
                "http": {
                    "method": "PUT", "path": "/a", "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t",
                },
            },
            "stageVariables": { "a": "b" }, "body": "YQ==", "isBase64Encoded": true,
        })
    }

    fn request(event: &Value) -> Request {
        // The runtime reads events the same way.
        let event: ApiGatewayRequest = serde_json::from_str(&event.to_string()).unwrap();
        LambdaRequest::from(event).into()
    }

    #[test]
    fn a_request_has_the_parts_of_its_event() {
        let request = request(&event());
        assert_eq!((request.method(), request.body()), (&Method::PUT, &Body::Binary(b"a".to_vec())));
        assert_eq!(request.headers().get("accept").unwrap(), "a");
        assert_eq!(request.path_parameters_ref().unwrap().first("cardId"), Some("1"));
        assert_eq!(request.query_string_parameters_ref().unwrap().first("limit"), Some("1"));
        assert!(request.stage_variables_ref().is_none_or(|variables| variables.first(MALFORMED_BODY).is_none()));
    }

    #[rstest]
    #[case(json!("YQ="), true, true)]
    #[case(json!("%"), true, true)]
    #[case(json!({}), false, true)]
    #[case(json!(["a"]), true, true)]
    #[case(json!(null), true, false)]
    #[case(json!("%"), false, false)]
    fn a_body_that_cannot_be_read_is_known(#[case] body: Value, #[case] is_base64: bool, #[case] is_malformed: bool) {
        let mut event = event();
        (event["body"], event["isBase64Encoded"]) = (body, is_base64.into());
        let request = request(&event);
        let variables = request.stage_variables_ref();
        assert_eq!(variables.is_some_and(|variables| variables.first(MALFORMED_BODY).is_some()), is_malformed);
    }

    /// Any input yields a request without a panic. After a panic, the client would not get a response of ours.
    #[rstest]
    #[case::none(json!({}), "", "")]
    #[case::host_with_space(json!({ "host": "a b" }), "/", "")]
    #[case::host_cut_off(json!({ "Host": "[" }), "/", "")]
    #[case::host_not_ascii(json!({ "HOST": "\u{e4}" }), "/", "")]
    #[case::no_protocol(json!({ "host": "a", "x-forwarded-proto": "" }), "/", "")]
    #[case::two_protocols(json!({ "host": "a", "x-forwarded-proto": "https,http" }), "/", "")]
    #[case::header_not_ascii(json!({ "accept": "\u{e4}\n" }), "/", "")]
    #[case::header_without_a_name(json!({ "": "a", "a b": "c" }), "/", "")]
    #[case::path(json!({}), "//@:#?%zz \u{e4}<>", "")]
    #[case::query(json!({}), "/", "<>\"{}|^`\\ \u{e4}#%zz&=")]
    fn any_text_makes_a_request(#[case] headers: Value, #[case] path: &str, #[case] query: &str) {
        let mut event = event();
        event["headers"] = headers;
        (event["rawPath"], event["rawQueryString"]) = (path.into(), query.into());
        assert!(request(&event).headers().get("host").is_none());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let one = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        one.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Puts the value into each place of `whole` in turn, and checks the results.
    fn in_any_place(whole: &Value, value: &Value, check: &mut dyn FnMut(Value)) {
        check(value.clone());
        if let Value::Object(members) = whole {
            for (name, member) in members {
                in_any_place(member, value, &mut |member| {
                    let mut whole = members.clone();
                    whole.insert(name.clone(), member);
                    check(Value::Object(whole));
                });
            }
        }
    }

    proptest! {
        #[test]
        fn any_json_in_any_place_makes_a_request(value in any_json()) {
            in_any_place(&event(), &value, &mut |event| drop(request(&event)));
        }
    }
}
