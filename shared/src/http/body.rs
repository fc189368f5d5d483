//! Reading a JSON body: strictly, within a limit, and naming what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::event::SPOILT_BODY;
use super::problem::{Invalid, Problem};

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

/// A byte order mark, which some serializers write before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The bytes of a JSON body; those of the mark are skipped.
fn json_bytes(request: &Request, limit: usize) -> Result<&[u8], Problem> {
    let bytes = bytes(request, limit)?;
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes))
}

/// The members of a JSON object in the body; `None` without a body, and of null. A member that is null counts as absent:
/// many serializers write it so.
pub(super) fn json_object(request: &Request, limit: usize) -> Result<Option<Map<String, Value>>, Problem> {
    let bytes = json_bytes(request, limit)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(request) {
        return Err(Problem::invalid(vec![Invalid::header("content-type", "must be application/json")]));
    }
    let invalid = |detail: String| Problem::invalid(vec![Invalid::body("", detail)]);
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Null)) => Ok(None),
        Ok(Strict(Value::Object(mut members))) => {
            members.retain(|_, value| !value.is_null());
            Ok(Some(members))
        }
        Ok(_) => Err(invalid("must be a JSON object".to_owned())),
        Err(error) => Err(invalid(format!("is not valid JSON: {error}"))),
    }
}

/// The text of a member of a JSON object in the body, as it came.
pub(super) fn json_text(request: &Request, limit: usize, member: &str) -> Result<Option<String>, Problem> {
    let members: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(json_bytes(request, limit)?);
    let mut members = members.map_err(|_| Problem::invalid(vec![Invalid::body("", "must be a JSON object")]))?;
    Ok(members.remove(member).map(RawValue::get).filter(|text| *text != "null").map(ToOwned::to_owned))
}

/// Returns the integer from 0 on that a JSON number is, if it is one: `5` or, as some serializers write it, `5.0`.
#[must_use]
pub fn integer(value: &Value) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is one of the integers up to MOST.
    let of_float = |float: f64| (float.fract() == 0.0 && (0.0..=MOST).contains(&float)).then_some(float as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(of_float))
}

/// The largest integer that a number with a fraction has exactly, and the next one too (2^53 - 1).
const MOST: f64 = 9_007_199_254_740_991.0;

fn is_json(request: &Request) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Any JSON value in which no object has two members of one name (contract: 400). Readers differ on
/// which of the two counts, and cards are at stake.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("an object has two members of one name"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::http;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const LIMIT: usize = 64;

    fn read(content_type: Option<&str>, body: &str) -> Result<Option<Map<String, Value>>, Problem> {
        let mut request = http::Request::builder();
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        json_object(&request.body(Body::Text(body.to_owned())).unwrap(), LIMIT)
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
    #[case::surrogate(Some("application/json"), r#"{"a":"\ud800"}"#)]
    fn refused(#[case] content_type: Option<&str>, #[case] body: &str) {
        assert_eq!(read(content_type, body).unwrap_err().status(), 400);
    }

    #[rstest]
    #[case::marked("\u{feff}{\"a\":1}", "a")]
    #[case::null_is_absence(r#"{"a":1,"b":null}"#, "a")]
    #[case::not_below(r#"{"a":{"b":null}}"#, "a")]
    fn some_members_are_there(#[case] body: &str, #[case] expected: &str) {
        let members = read(Some("application/json"), body).unwrap().unwrap();
        assert_eq!(members.keys().collect::<Vec<_>>(), [expected]);
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
    #[case(
        "\u{feff}{\"\\u006d\":{\"a\":123456789012345678901234567890}}",
        Some(r#"{"a":123456789012345678901234567890}"#)
    )]
    #[case(r#"{"m":null}"#, None)]
    #[case(r#"{"M":1}"#, None)]
    fn a_member_is_as_it_came(#[case] body: &str, #[case] expected: Option<&str>) {
        let request = http::Request::builder().body(Body::Text(body.to_owned())).unwrap();
        assert_eq!(json_text(&request, LIMIT * 2, "m").unwrap().as_deref(), expected);
    }

    #[rstest]
    #[case("5", Some(5))]
    #[case("5.0", Some(5))]
    #[case("5e0", Some(5))]
    #[case("-0.0", Some(0))]
    #[case("9007199254740991.0", Some(9_007_199_254_740_991))]
    #[case("9007199254740993.0", None)]
    #[case("5.5", None)]
    #[case("-5", None)]
    #[case("-5.0", None)]
    #[case("1e300", None)]
    #[case("\"5\"", None)]
    #[case("true", None)]
    #[case("[5]", None)]
    fn an_integer_may_have_a_fraction_of_zero(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(integer(&serde_json::from_str(text).unwrap()), expected);
    }

    #[test]
    fn an_empty_body_is_none_and_a_large_one_too_large() {
        assert_eq!(read(None, ""), Ok(None));
        assert_eq!(read(None, &" ".repeat(LIMIT + 1)).unwrap_err().status(), 413);
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        let request = http::Request::builder().header("content-type", "application/json");
        let request = request.body(Body::Text(deep)).unwrap();
        assert_eq!(json_object(&request, usize::MAX).unwrap_err().status(), 400);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in ".*") {
            let _ = read(Some("application/json"), &body);
        }
    }
}
