mod limits;
mod xml;

use proptest::prelude::*;
use rstest::rstest;

use super::format::Format;
use super::*;

/// Reads a body whose `Content-Type` has no charset.
fn read(format: Format, body: &[u8]) -> Result<Vec<Option<Entry>>, Unreadable> {
    super::read(format, Charset::default(), body)
}

const UID: &str = "6269c403-5b9f-47dd-b8c3-7ecbef8f686d";

fn entry(order_id: i32) -> Entry {
    Entry { order_id: Some(order_id), ..Entry::default() }
}

fn pin(pin: &str) -> Entry {
    Entry { pin: Some(Pin(pin.to_owned())), ..Entry::default() }
}

fn uid_of(text: &str) -> Entry {
    Entry { international_order_uid: Some(text.parse().unwrap()), ..Entry::default() }
}

fn international(is_international: bool) -> Entry {
    Entry { is_international, ..Entry::default() }
}

/// Returns the entries of the contract's samples.
fn sample() -> Vec<Option<Entry>> {
    let domestic = Entry {
        order_id: Some(12345),
        creator_id: Some(98765),
        pin: Some(Pin("1234".to_owned())),
        is_international: false,
        international_order_uid: None,
    };
    let international = Entry {
        order_id: None,
        creator_id: Some(98765),
        pin: Some(Pin("1111".to_owned())),
        is_international: true,
        international_order_uid: Some(UID.parse().unwrap()),
    };
    vec![Some(domestic), Some(international)]
}

const JSON_SAMPLE: &str = r#"[
  {
    "OrderID": 12345,
    "CreatorID": 98765,
    "PIN": "1234",
    "IsInternationalOrder": false,
    "InternationalOrderUID": null
  },
  {
    "OrderID": null,
    "CreatorID": 98765,
    "PIN": "1111",
    "IsInternationalOrder": true,
    "InternationalOrderUID": "6269c403-5b9f-47dd-b8c3-7ecbef8f686d"
  }
]"#;

const XML_SAMPLE: &str = concat!(
    r#"<ArrayOfCancellationCreation xmlns:i="http://www.w3.org/2001/XMLSchema-instance" "#,
    r#"xmlns="http://schemas.datacontract.org/2004/07/">
  <CancellationCreation>
    <CreatorID>98765</CreatorID>
    <InternationalOrderUID i:nil="true" />
    <IsInternationalOrder>false</IsInternationalOrder>
    <OrderID>12345</OrderID>
    <PIN>1234</PIN>
  </CancellationCreation>
  <CancellationCreation>
    <CreatorID>98765</CreatorID>
    <InternationalOrderUID>6269c403-5b9f-47dd-b8c3-7ecbef8f686d</InternationalOrderUID>
    <IsInternationalOrder>true</IsInternationalOrder>
    <OrderID i:nil="true" />
    <PIN>1111</PIN>
  </CancellationCreation>
</ArrayOfCancellationCreation>"#
);

#[test]
fn the_samples_are_read() {
    assert_eq!(read(Format::Json, JSON_SAMPLE.as_bytes()), Ok(sample()));
    assert_eq!(read(Format::Xml, XML_SAMPLE.as_bytes()), Ok(sample()));
}

#[derive(Debug, Clone, Copy)]
enum Bytes {
    Utf8,
    Little,
    Big,
}

impl Bytes {
    fn of(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Little => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Big => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

#[rstest]
#[case("application/xml", Charset::Utf8)]
#[case("text/xml; charset=utf-8", Charset::Utf8)]
#[case("text/xml; charset=us-ascii", Charset::Utf8)]
#[case("text/xml; charset=latin1", Charset::Utf8)]
#[case("application/json;charset=utf-16", Charset::Utf16)]
#[case("application/xml; a=b; CharSet=UTF-16LE ; c=d", Charset::Utf16Le)]
#[case("application/xml; charset=\"utf-16BE\"", Charset::Utf16Be)]
#[case("application/xml; a=\"b;c\"; charset=utf-16", Charset::Utf16)]
#[case("application/xml; charset=\"utf-16", Charset::Utf8)]
#[case("application/xml; a=\"b; charset=utf-16; c\"", Charset::Utf8)]
#[case("application/xml; charset=utf-8; charset=utf-16", Charset::Utf8)]
#[case("application/xml; charset", Charset::Utf8)]
#[case("charset=utf-16", Charset::Utf8)]
fn a_charset_is_read(#[case] content_type: &str, #[case] expected: Charset) {
    assert_eq!(Charset::of_content_type(content_type), expected);
}

const CHARSETS: [Charset; 4] = [Charset::Utf8, Charset::Utf16, Charset::Utf16Le, Charset::Utf16Be];

/// A byte order mark takes precedence over any charset. Without a mark, the charset counts.
#[rstest]
#[case::utf_8(Bytes::Utf8, &[Charset::Utf8])]
#[case::little(Bytes::Little, &[Charset::Utf16, Charset::Utf16Le])]
#[case::big(Bytes::Big, &[Charset::Utf16, Charset::Utf16Be])]
fn encodings_are_read_by_mark_or_charset(#[case] bytes: Bytes, #[case] without_mark: &[Charset]) {
    for (format, text) in [(Format::Json, JSON_SAMPLE), (Format::Xml, XML_SAMPLE)] {
        for charset in CHARSETS {
            let body = bytes.of(&format!("\u{feff}{text}"));
            assert_eq!(super::read(format, charset, &body), Ok(sample()), "{charset:?}");
            let expected = without_mark.contains(&charset).then(sample);
            assert_eq!(super::read(format, charset, &bytes.of(text)).ok(), expected, "{charset:?}");
        }
    }
}

#[rstest]
#[case::half_a_unit(b"[\0]\0 ")]
#[case::high_surrogate_alone(b"[\0{\0\"\0\x00\xd8\"\0:\x001\0}\0]\0")]
#[case::low_surrogate_alone(b"[\0{\0\"\0\x00\xdc\"\0:\x001\0}\0]\0")]
#[case::surrogates_the_wrong_way_round(b"[\0{\0\"\0\x00\xdc\x00\xd8\"\0:\x001\0}\0]\0")]
#[case::mark_of_utf_32(b"\xff\xfe\0\0[\0\0\0]\0\0\0")]
#[case::nothing(b"\xff\xfe")]
fn invalid_utf_16_is_refused(#[case] body: &[u8]) {
    assert!(super::read(Format::Json, Charset::Utf16, b"[\0{\0\"\0\x00\xd8\x00\xdc\"\0:\x001\0}\0]\0").is_ok());
    assert!(super::read(Format::Json, Charset::Utf16, body).is_err());
}

#[rstest]
#[case::overlong(b"[\"\xc0\xaf\"]")]
#[case::surrogate(b"[{\"\xed\xa0\x80\": 1}]")]
#[case::latin(b"[{\"\xe9\": 1}]")]
#[case::cut_off(b"[{\"\xc3\": 1}]")]
fn invalid_utf_8_is_refused(#[case] body: &[u8]) {
    assert!(read(Format::Json, body).is_err());
}

#[rstest]
#[case("UTF-8", &[Bytes::Utf8])]
#[case("Utf-16", &[Bytes::Little, Bytes::Big])]
#[case("utf-16LE", &[Bytes::Little])]
#[case("utf-16be", &[Bytes::Big])]
#[case("iso-8859-1", &[])]
#[case("utf-8\u{e9}", &[])]
fn a_declared_encoding_must_be_that_of_the_body(#[case] declared: &str, #[case] good: &[Bytes]) {
    let text = format!("\u{feff}<?xml version='1.0' encoding='{declared}'?>{XML_SAMPLE}");
    for bytes in [Bytes::Utf8, Bytes::Little, Bytes::Big] {
        let is_good = good.iter().any(|good| *good as u8 == bytes as u8);
        assert_eq!(read(Format::Xml, &bytes.of(&text)).ok(), is_good.then(sample), "{bytes:?}");
    }
}

#[rstest]
#[case::empty_list("[]", &[])]
#[case::null_entry("[null, {}]", &[None, Some(Entry::default())])]
#[case::white_space(" [ { } ] ", &[Some(Entry::default())])]
#[case::other_case(r#"[{"orderid": 1}]"#, &[Some(entry(1))])]
#[case::unknown(r#"[{"OrderID": 1, "Extra": {"a": [1, {}]}}]"#, &[Some(entry(1))])]
#[case::twice(r#"[{"OrderID": 1, "OrderID": 2}]"#, &[Some(entry(2))])]
#[case::twice_in_another_case(r#"[{"OrderID": 1, "ORDERID": 2}]"#, &[Some(entry(2))])]
#[case::quoted(r#"[{"OrderID": "12"}]"#, &[Some(entry(12))])]
#[case::quoted_with_space(r#"[{"OrderID": " 12 "}]"#, &[Some(entry(12))])]
#[case::quoted_nothing(r#"[{"OrderID": ""}]"#, &[Some(Entry::default())])]
#[case::negative(r#"[{"OrderID": -12}]"#, &[Some(entry(-12))])]
#[case::least(r#"[{"OrderID": -2147483648}]"#, &[Some(entry(i32::MIN))])]
#[case::most(r#"[{"OrderID": 2147483647}]"#, &[Some(entry(i32::MAX))])]
#[case::quoted_bool(r#"[{"IsInternationalOrder": "True"}]"#, &[Some(international(true))])]
#[case::lower_bool(r#"[{"IsInternationalOrder": "true"}]"#, &[Some(international(true))])]
#[case::quoted_false(r#"[{"IsInternationalOrder": " False "}]"#, &[Some(international(false))])]
#[case::one(r#"[{"IsInternationalOrder": 1}]"#, &[Some(international(true))])]
#[case::seven(r#"[{"IsInternationalOrder": -7}]"#, &[Some(international(true))])]
#[case::zero(r#"[{"IsInternationalOrder": 0}]"#, &[Some(international(false))])]
#[case::zero_with_exponent(r#"[{"IsInternationalOrder": 0e9}]"#, &[Some(international(false))])]
#[case::pin(r#"[{"PIN": " 0\"ä"}]"#, &[Some(pin(" 0\"ä"))])]
#[case::empty_pin(r#"[{"PIN": ""}]"#, &[Some(pin(""))])]
#[case::integer_pin(r#"[{"PIN": 1234}]"#, &[Some(pin("1234"))])]
#[case::long_pin(r#"[{"PIN": 123456789012345678901234567890}]"#, &[Some(pin("123456789012345678901234567890"))])]
#[case::uid_n(r#"[{"InternationalOrderUID": "6269C4035B9F47DDB8C37ECBEF8F686D"}]"#, &[Some(uid_of(UID))])]
#[case::uid_b(r#"[{"InternationalOrderUID": "{6269c403-5b9f-47dd-b8c3-7ecbef8f686d}"}]"#, &[Some(uid_of(UID))])]
#[case::no_uid(r#"[{"InternationalOrderUID": ""}]"#, &[Some(Entry::default())])]
fn json_is_read(#[case] body: &str, #[case] expected: &[Option<Entry>]) {
    assert_eq!(read(Format::Json, body.as_bytes()).unwrap(), expected);
}

#[rstest]
#[case::empty("")]
#[case::null("null")]
#[case::object("{}")]
#[case::number_entry("[1]")]
#[case::list_entry("[[]]")]
#[case::text_entry(r#"["a"]"#)]
#[case::comment("[/**/]")]
#[case::trailing_comma("[{},]")]
#[case::trailing_text("[] []")]
#[case::single_quotes("[{'OrderID': 1}]")]
#[case::cut_off("[{")]
#[case::fraction(r#"[{"OrderID": 1.0}]"#)]
#[case::exponent(r#"[{"OrderID": 1e3}]"#)]
#[case::overflow(r#"[{"OrderID": 2147483648}]"#)]
#[case::bool_id(r#"[{"OrderID": true}]"#)]
#[case::object_id(r#"[{"OrderID": {}}]"#)]
#[case::thousands(r#"[{"OrderID": "1,000"}]"#)]
#[case::text_id(r#"[{"OrderID": "x"}]"#)]
#[case::bad_though_replaced(r#"[{"OrderID": "x", "OrderID": 1}]"#)]
#[case::null_bool(r#"[{"IsInternationalOrder": null}]"#)]
#[case::empty_bool(r#"[{"IsInternationalOrder": ""}]"#)]
#[case::yes(r#"[{"IsInternationalOrder": "yes"}]"#)]
#[case::bad_uid(r#"[{"InternationalOrderUID": "6269c403"}]"#)]
#[case::urn(r#"[{"InternationalOrderUID": "urn:uuid:6269c403-5b9f-47dd-b8c3-7ecbef8f686d"}]"#)]
#[case::number_uid(r#"[{"InternationalOrderUID": 1}]"#)]
#[case::bool_pin(r#"[{"PIN": true}]"#)]
#[case::list_pin(r#"[{"PIN": [1]}]"#)]
#[case::object_bool(r#"[{"IsInternationalOrder": {"a": 1}}]"#)]
#[case::list_bool(r#"[{"IsInternationalOrder": [1]}]"#)]
#[case::fraction_pin(r#"[{"PIN": 1.5}]"#)]
#[case::bad_in_the_last(r#"[{"OrderID": 1}, {"OrderID": "x"}]"#)]
fn json_is_refused(#[case] body: &str) {
    assert!(read(Format::Json, body.as_bytes()).is_err());
}

/// Returns a document of one entry with this content.
fn document(content: &str) -> String {
    format!(
        r#"<ArrayOfCancellationCreation xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://schemas.datacontract.org/2004/07/"><CancellationCreation>{content}</CancellationCreation></ArrayOfCancellationCreation>"#
    )
}

#[test]
fn deep_json_is_refused_without_recursion() {
    let deep = |depth: usize| format!(r#"[{{"a":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    // Brackets inside strings close nothing.
    let hidden = |depth: usize| format!(r#"[{{"a":{}0{}}}]"#, r#"["]}","#.repeat(depth), "]".repeat(depth));
    for body in ["[".repeat(1_000_000), deep(500_000), deep(31), hidden(31)] {
        assert!(read(Format::Json, body.as_bytes()).is_err());
    }
    let brackets_in_text = format!(r#"[{{"PIN":"\"{}"}}]"#, "[".repeat(100));
    for body in [deep(30), hidden(30), brackets_in_text] {
        assert!(read(Format::Json, body.as_bytes()).is_ok());
    }
}

proptest! {
    /// Reading random bytes never panics.
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(Format::Json, &body);
        let _ = read(Format::Xml, &body);
    }

    #[test]
    fn corrupted_samples_are_read_or_refused(
        changes in prop::collection::vec((0.0_f64..1.0, any::<u8>(), 0_usize..4), 1..6),
    ) {
        for (format, sample) in [(Format::Json, JSON_SAMPLE), (Format::Xml, XML_SAMPLE)] {
            let mut body = sample.as_bytes().to_vec();
            for (place, byte, how) in &changes {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
                let place = (place * body.len() as f64) as usize;
                match how {
                    0 => body[place] = *byte,
                    1 => body.insert(place, *byte),
                    2 => { body.remove(place); }
                    _ => { let tail = body.split_off(place); body.extend(tail.iter().rev()); }
                }
            }
            let _ = read(format, &body);
        }
    }

    /// Both formats keep any PIN unchanged, and debug output never shows it.
    #[test]
    fn a_pin_is_read_unchanged_and_never_shown(text in "[^\u{0}-\u{1f}\u{fffe}\u{ffff}]{0,40}") {
        let json = serde_json::json!([{ "PIN": text }]).to_string();
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let xml = document(&format!("<PIN>{escaped}</PIN>"));
        for (format, body) in [(Format::Json, json), (Format::Xml, xml)] {
            let entries = read(format, body.as_bytes()).unwrap();
            let entry = entries[0].as_ref().unwrap();
            prop_assert_eq!(entry.pin.as_ref().unwrap().expose(), &text);
            let shown = format!("{entry:?}");
            prop_assert!(shown.contains("pin: Some(Pin)"), "shown");
        }
    }
}
