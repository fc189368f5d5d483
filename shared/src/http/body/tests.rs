use lambda_http::http;
use proptest::prelude::*;
use rstest::rstest;

use super::values::{MAX_DEPTH, SMALL};
use super::*;

const LIMIT: usize = 64;

/// The names of the members, in order.
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

/// Small values and large ones are looked into by other means.
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
fn an_empty_body_is_none_and_a_large_one_too_large() {
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

proptest! {
    #[test]
    fn any_text_is_read_or_refused(body in ".*") {
        let _ = read(Some("application/json"), &body);
    }
}
