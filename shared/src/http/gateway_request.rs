//! Reading the gateway's events, whatever a client, a token or a proxy put into them.

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

/// Headers of which nothing is made but the request's URL. Nobody reads that, so it has no path either; and one that were
/// none would be a panic.
const URL_HEADERS: [&str; 2] = ["host", "x-forwarded-proto"];
/// The stage variable that says that the body is said to be Base64, and is not. Stages of ours have no variables.
pub(super) const SPOILT_BODY: &str = "spoilt-body";

/// An event of API Gateway's format 2.0 (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).
///
/// Whatever JSON it is, it makes a request: a part that is not of its type counts as missing. Without that, one claim that
/// nobody reads could take every answer away from its callers. So of an event no more is read than is needed.
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
                request.stage_variables = HashMap::from([(SPOILT_BODY.to_owned(), "true".to_owned())]);
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

/// The headers. One that its type cannot hold, because it is not visible ASCII or no text, is empty: a client's odd
/// header, or a proxy's, must not look like our failure. Nor may one that counts be overlooked, as if no idempotency
/// key had been sent; none that we read may be empty.
fn headers(headers: &Value) -> HeaderMap {
    let headers = headers.as_object().into_iter().flatten();
    let headers = headers.filter(|(name, _)| !URL_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)));
    let header = |(name, value): (&String, &Value)| {
        let value = text(value).and_then(|value| HeaderValue::from_str(value).ok());
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.unwrap_or(HeaderValue::from_static(""))))
    };
    headers.filter_map(header).collect()
}

/// Returns the request's path, as the API has it: that of its route. The path that the client asked for has the stage's name
/// before it, or what an API mapping has. A function without a gateway, and an API with one route for all, know no other.
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

/// The authorizer's part, with the claims that are read.
fn authorizer(claims: &Map<String, Value>) -> ApiGatewayRequestAuthorizer {
    let (mut authorizer, mut jwt) =
        (ApiGatewayRequestAuthorizer::default(), ApiGatewayRequestAuthorizerJwtDescription::default());
    jwt.claims = Claims::of_gateway(claims).into_texts();
    authorizer.jwt = Some(jwt);
    authorizer
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
        // As the runtime reads it.
        let event: ApiGatewayRequest = serde_json::from_str(&event.to_string()).unwrap();
        LambdaRequest::from(event).into()
    }

    #[test]
    fn what_is_read_is_there() {
        let request = request(&event());
        assert_eq!((request.method(), request.body()), (&Method::PUT, &Body::Binary(b"a".to_vec())));
        assert_eq!(request.headers().get("accept").unwrap(), "a");
        assert_eq!(request.path_parameters_ref().unwrap().first("cardId"), Some("1"));
        assert_eq!(request.query_string_parameters_ref().unwrap().first("limit"), Some("1"));
        assert!(request.stage_variables_ref().is_none_or(|variables| variables.first(SPOILT_BODY).is_none()));
    }

    #[rstest]
    #[case(json!("YQ="), true, true)]
    #[case(json!("%"), true, true)]
    #[case(json!({}), false, true)]
    #[case(json!(["a"]), true, true)]
    #[case(json!(null), true, false)]
    #[case(json!("%"), false, false)]
    fn a_body_that_cannot_be_read_is_known(#[case] body: Value, #[case] is_base64: bool, #[case] is_spoilt: bool) {
        let mut event = event();
        (event["body"], event["isBase64Encoded"]) = (body, is_base64.into());
        let request = request(&event);
        let variables = request.stage_variables_ref();
        assert_eq!(variables.is_some_and(|variables| variables.first(SPOILT_BODY).is_some()), is_spoilt);
    }

    /// Whatever comes makes a request, without a panic: that would leave the client without an answer of ours.
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

    /// Puts this value into one place of `whole` after another.
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
