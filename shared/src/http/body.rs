//! Reading a JSON body: strictly, within a limit, and naming what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event::SPOILT_BODY;
use super::problem::{Invalid, Problem};
use crate::BYTE_ORDER_MARK;

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
    let invalid = |detail: String| Problem::invalid(vec![Invalid::body("", detail)]);
    let not_json = |error: serde_json::Error| invalid(format!("is not valid JSON: {error}"));
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("is not valid JSON: it is not UTF-8".to_owned()))?;
    let members = match serde_json::from_str(text).map_err(not_json)? {
        Shape::Members(members) => members,
        Shape::Other if text.trim() == "null" => return Ok(None),
        Shape::Values(_) | Shape::Other => return Err(invalid("must be a JSON object".to_owned())),
    };
    for (name, value) in &members {
        check_names(value.get()).map_err(|error| invalid(format!("is not valid JSON: {name}: {error}")))?;
    }
    let members = members.into_iter().map(|(name, value)| (name, value.get()));
    Ok(Some(Members(members.filter(|(_, text)| *text != "null").collect())))
}

/// Largest text of a member that is looked into level by level, which takes as long as it is long times as deep. Ours.
const SMALL: usize = 4 * 1024;
/// Deepest nesting of a member's value: as deep as `serde_json` follows, and clients' readers do.
const MAX_DEPTH: usize = 127;

/// Whether no object in a value has two members of one name (contract: 400). Readers differ on which of the two counts, and
/// cards are at stake.
///
/// Numbers may be larger than any of ours, and texts whatever JSON has, where nobody but the client reads them. Of a large
/// value that is not so.
fn check_names(value: &str) -> serde_json::Result<()> {
    if value.len() > SMALL {
        return serde_json::from_str(value).map(|Strict| ());
    }
    let mut open = vec![(0, value)];
    while let Some((depth, value)) = open.pop() {
        match serde_json::from_str(value)? {
            Shape::Other => {}
            _ if depth == MAX_DEPTH => return Err(serde_json::Error::custom("it is nested too deep")),
            Shape::Members(members) => open.extend(members.into_values().map(|value| (depth + 1, value.get()))),
            Shape::Values(values) => open.extend(values.into_iter().map(|value| (depth + 1, value.get()))),
        }
    }
    Ok(())
}

/// A JSON value, of which one level is looked into.
enum Shape<'a> {
    /// An object, in which no name comes twice.
    Members(BTreeMap<String, &'a RawValue>),
    /// An array.
    Values(Vec<&'a RawValue>),
    /// Anything else.
    Other,
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom(TWICE));
                    }
                }
                Ok(members)
            }
        }
        let value = <&RawValue>::deserialize(deserializer)?.get();
        let mut inner = serde_json::Deserializer::from_str(value);
        let shape = match value.as_bytes().first() {
            Some(b'{') => inner.deserialize_map(Names).map(Shape::Members),
            Some(b'[') => Vec::deserialize(&mut inner).map(Shape::Values),
            _ => return Ok(Shape::Other),
        };
        shape.map_err(D::Error::custom)
    }
}

const TWICE: &str = "an object has two members of one name";

fn is_json(request: &Request) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Any JSON value in which no object has two members of one name.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        while let Some(Strict) = seq.next_element()? {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict = map.next_value()?;
            if !names.insert(name) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Strict)
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::http;
    use proptest::prelude::*;
    use rstest::rstest;

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
    #[case(
        "\u{feff}{\"\\u006d\":{\"a\":123456789012345678901234567890}}",
        Some(r#"{"a":123456789012345678901234567890}"#)
    )]
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
}
