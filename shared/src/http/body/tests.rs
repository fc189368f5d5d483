use lambda_http::http;
use proptest::prelude::*;
use rstest::rstest;

use super::values::{MAX_DEPTH, SMALL};
use super::*;

const LIMIT: usize = 64;

/// Returns the names of the members, in order.
fn read(content_type: Option<&str>, body: &str) -> Result<Option<Vec<String>>, Problem> {
    let mut request = http::Request::builder();
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Body::Text(body.to_owned())).unwrap();
    let members = json_object(&request, LIMIT)?;
    Ok(members.map(|Members(members)| members.into_keys().collect()))
}

#[rstest]
#[case::plain(Some("application/json"), "{}")]
#[case::charset(Some("Application/JSON; charset=utf-8"), "{}")]
#[case::unknown_members(Some("application/json"), r#"{"a":[{"b":1},{"b":1.5}],"c":null}"#)]
fn taken(#[case] content_type: Option<&str>, #[case] body: &str) {
    assert!(read(content_type, body).unwrap().is_some());
}

#[rstest]
#[case::no_type(None, "{}")]
#[case::other_type(Some("text/plain"), "{}")]
#[case::like_json(Some("application/jsonx"), "{}")]
#[case::array(Some("application/json"), "[]")]
#[case::twice(Some("application/json"), r#"{"a":1,"a":1}"#)]
#[case::twice_below(Some("application/json"), r#"{"a":[{"b":1,"b":2}]}"#)]
#[case::twice_escaped(Some("application/json"), r#"{"a":1,"\u0061":1}"#)]
#[case::trailing(Some("application/json"), "{} {}")]
#[case::comment(Some("application/json"), "{/**/}")]
#[case::cut_off(Some("application/json"), "{")]
#[case::space_alone(Some("application/json"), "  ")]
fn refused(#[case] content_type: Option<&str>, #[case] body: &str) {
    assert_eq!(read(content_type, body).unwrap_err().status(), 400);
}

#[rstest]
#[case::marked("\u{feff}{\"a\":1}", "a")]
#[case::null_is_absence(r#"{"a":1,"b":null}"#, "a")]
#[case::not_below(r#"{"a":{"b":null}}"#, "a")]
fn some_members_are_there(#[case] body: &str, #[case] expected: &str) {
    let members = read(Some("application/json"), body).unwrap().unwrap();
    assert_eq!(members, [expected]);
}

#[rstest]
#[case::null("null")]
#[case::mark_alone("\u{feff}")]
#[case::marked_null("\u{feff} null ")]
fn there_is_no_body(#[case] body: &str) {
    assert_eq!(read(Some("application/json"), body), Ok(None));
}

#[test]
fn one_mark_is_skipped() {
    assert_eq!(read(Some("application/json"), "\u{feff}\u{feff}{}").unwrap_err().status(), 400);
}

#[rstest]
#[case(r#"{ "x": 1, "m": { "a" : 1.10 } }"#, Some(r#"{ "a" : 1.10 }"#))]
#[case("\u{feff}{\"\\u006d\":{\"a\":123456789012345678901234567890}}", Some(r#"{"a":123456789012345678901234567890}"#))]
#[case::larger_than_any(r#"{"m":[1e400]}"#, Some("[1e400]"))]
#[case::half_a_character(r#"{"m":"\ud800"}"#, Some(r#""\ud800""#))]
#[case(r#"{"m":null}"#, None)]
#[case(r#"{"M":1}"#, None)]
fn a_member_is_as_it_came(#[case] body: &str, #[case] expected: Option<&str>) {
    let request = http::Request::builder().header("content-type", "application/json");
    let request = request.body(Body::Text(body.to_owned())).unwrap();
    assert_eq!(json_object(&request, LIMIT * 2).unwrap().unwrap().text("m"), expected);
}

/// Small and large values are checked by different code.
#[rstest]
#[case::small(1)]
#[case::large(SMALL)]
fn a_name_comes_once_at_any_depth(#[case] padding: usize) {
    let check = |value: &str| {
        let body = format!(r#"{{"a":[{{"x":"{}"}},{value}]}}"#, "x".repeat(padding));
        let request = http::Request::builder().header("content-type", "application/json");
        json_object(&request.body(Body::Text(body)).unwrap(), usize::MAX).is_ok()
    };
    assert!(check(r#"{"a":1,"b":{"a":[{"a":null},{"a":1.5}]}}"#));
    assert!(!check(r#"[[{"b":[{"a":1,"\u0061":1}]}]]"#));
}

#[test]
fn a_member_is_there_and_of_its_type() {
    let request = http::Request::builder().header("content-type", "application/json");
    let request = request.body(Body::Text(r#"{"a":7,"b":"7"}"#.to_owned())).unwrap();
    let members = json_object(&request, LIMIT).unwrap().unwrap();
    assert_eq!(["a", "b", "c"].map(|name| members.contains(name)), [true, true, false]);
    assert_eq!(["a", "b", "c"].map(|name| members.value::<u32>(name)), [Some(7), None, None]);
    assert_eq!(members.value::<String>("b").as_deref(), Some("7"));
}

/// A body is text or bytes, as the gateway passes it, up to the limit.
#[rstest]
#[case::text(Body::Text("x".repeat(LIMIT)), Some(LIMIT))]
#[case::bytes(Body::Binary(vec![0xff; LIMIT]), Some(LIMIT))]
#[case::nothing(Body::Empty, Some(0))]
#[case::text_too_long(Body::Text("x".repeat(LIMIT + 1)), None)]
#[case::bytes_too_long(Body::Binary(vec![0; LIMIT + 1]), None)]
fn a_body_has_its_bytes(#[case] body: Body, #[case] expected: Option<usize>) {
    let request = http::Request::builder().body(body).unwrap();
    let found = bytes(&request, LIMIT);
    assert_eq!(found.as_ref().ok().map(|bytes| bytes.len()), expected);
    assert!(found.is_ok_and(|bytes| request.body().as_ref() == bytes) || expected.is_none());
}

#[rstest]
#[case::text(serde_json::json!({ "body": "{}" }), true)]
#[case::base64(serde_json::json!({ "body": "e30=", "isBase64Encoded": true }), true)]
#[case::no_base64(serde_json::json!({ "body": "{", "isBase64Encoded": true }), false)]
#[case::no_text(serde_json::json!({ "body": 5 }), false)]
fn a_body_that_could_not_be_read_is_refused(#[case] event: serde_json::Value, #[case] is_taken: bool) {
    let event: crate::http::ApiGatewayRequest = serde_json::from_value(event).unwrap();
    let request = lambda_http::request::LambdaRequest::from(event).into();
    assert_eq!(check(&request).map_err(|problem| problem.status().as_u16()), if is_taken { Ok(()) } else { Err(400) });
}

#[test]
fn an_empty_body_is_absent_and_a_large_one_is_rejected() {
    assert_eq!(read(None, ""), Ok(None));
    assert_eq!(read(None, &" ".repeat(LIMIT + 1)).unwrap_err().status(), 413);
}

#[rstest]
#[case::allowed(MAX_DEPTH, 0, true)]
#[case::large_and_allowed(MAX_DEPTH, SMALL, true)]
#[case::one_more(MAX_DEPTH + 1, 0, false)]
#[case::large_and_one_more(MAX_DEPTH + 1, SMALL, false)]
#[case::bottomless(100_000, 0, false)]
fn deep_nesting_is_refused_not_followed(#[case] depth: usize, #[case] padding: usize, #[case] is_taken: bool) {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    let body = format!(r#"{{"a":{open}"{}"{close}}}"#, "x".repeat(padding));
    let request = http::Request::builder().header("content-type", "application/json");
    let request = request.body(Body::Text(body)).unwrap();
    assert_eq!(json_object(&request, usize::MAX).is_ok(), is_taken);
}

/// Returns the response for a rejected body, or `None` if the body is accepted.
fn refusal(body: &str) -> Option<String> {
    let request = http::Request::builder().header("content-type", "application/json");
    let request = request.body(Body::Text(body.to_owned())).unwrap();
    json_object(&request, usize::MAX).err().map(|problem| {
        assert_eq!(problem.status(), 400);
        problem.body("r")
    })
}

/// Returns an object whose member is an array with this number of pieces.
fn many(piece: &str, times: usize) -> String {
    format!("{{\"x\":[{}]}}", vec![piece; times].join(","))
}

/// The member's name and its array are two values, and each piece has the given number. Small and large values count
/// alike.
#[rstest]
#[case::numbers("0", 1)]
#[case::negative_numbers("-1", 1)]
#[case::booleans("true", 1)]
#[case::nulls("null", 1)]
#[case::floats("1.5", 1)]
#[case::objects("{}", 1)]
#[case::arrays("[[]]", 2)]
#[case::members(r#"{"":0}"#, 3)]
#[case::members_that_are_texts(r#"{"":""}"#, 2)]
#[case::objects_in_each_other(r#"{"":{"":{"":[0]}}}"#, 8)]
fn values_are_read_up_to_the_limit(#[case] piece: &str, #[case] values: usize) {
    let most = (MAX_VALUES - 2) / values;
    assert_eq!(refusal(&many(piece, most)), None);
    let problem = refusal(&many(piece, most + 1)).unwrap();
    assert!(problem.contains(r#""pointer":"/x","detail":"has too many values"#), "{problem}");
    // The budget applies to the body, not to each member.
    let small = format!("[{}]", vec![piece; 100].join(","));
    let members =
        |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"{n}\":{small}")).collect::<Vec<_>>().join(","));
    let most = MAX_VALUES / (100 * values + 2);
    assert_eq!(refusal(&members(most)), None);
    assert!(refusal(&members(most + 1)).unwrap().contains("\"pointer\":\"/"));
}

#[test]
fn members_are_read_up_to_the_limit() {
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|number| format!("\"{number}\":\"\"")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(refusal(&members(MAX_VALUES)), None);
    let problem = refusal(&members(MAX_VALUES + 1)).unwrap();
    assert!(problem.contains(r#""pointer":"","detail":"has too many values"#), "{problem}");
}

/// A list of strings has its own limit and its own error.
#[test]
fn texts_are_not_counted() {
    assert_eq!(refusal(&many(r#""a""#, 10 * MAX_VALUES)), None);
}

/// The largest body in the contract: a thousand of the longest IDs, all members, and metadata of the smallest values.
#[test]
fn the_largest_request_of_the_contract_is_read() {
    let ids: Vec<_> = (0..1000).map(|number| format!("{number:\u{1f600}<255}")).collect();
    let metadata = |piece: &str| format!("{{\"\":[{}]}}", vec![piece; (3200 - 8) / (piece.len() + 1)].join(","));
    for piece in ["0", "[]", "{}", r#"{"":0}"#, r#"{"":{"":[]}}"#] {
        let body = serde_json::json!({
            "external_ids": ids, "program_id": 1, "template_id": "t", "pin_length": 4, "contactless_enabled": true,
            "abu_enabled": true, "embossing_custom_field": "x".repeat(1000), "embossing_group": "gg",
            "mode_type": "SINGLE", "validity_period_hours": 1, "metadata": null,
        });
        let body = body.to_string().replace("null", &metadata(piece));
        assert!(body.len() > 1_000_000);
        assert_eq!(refusal(&body), None, "{piece}");
    }
}

/// A response quotes a name of reasonable length, escaped as a JSON pointer (RFC 6901).
#[rstest]
#[case::a_pointer("a/b~c", "/a~1b~0c")]
#[case::longest(&"n".repeat(255), &format!("/{}", "n".repeat(255)))]
#[case::too_long(&"n".repeat(256), "")]
fn a_name_that_is_too_long_is_not_quoted(#[case] name: &str, #[case] pointer: &str) {
    let problem = refusal(&format!("{{\"{name}\":[{}]}}", vec!["0"; MAX_VALUES].join(","))).unwrap();
    assert!(problem.contains(&format!("\"pointer\":\"{pointer}\"")), "{problem}");
    assert_eq!(refusal(&format!("{{\"{name}\":{{\"a\":0,\"a\":0}}}}")).unwrap().contains(name), !pointer.is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(body in ".*") {
        let _ = read(Some("application/json"), &body);
    }
}
