use proptest::prelude::*;
use rstest::rstest;

use super::format::Format;
use super::*;

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

/// The seed's sample, in either format.
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

const XML_SAMPLE: &str = r#"<ArrayOfCancellationCreation xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://schemas.datacontract.org/2004/07/">
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
</ArrayOfCancellationCreation>"#;

#[test]
fn the_samples_are_read() {
    assert_eq!(read(Format::Json, JSON_SAMPLE.as_bytes()), Ok(sample()));
    assert_eq!(read(Format::Xml, XML_SAMPLE.as_bytes()), Ok(sample()));
}

#[test]
fn other_encodings_are_read_by_their_byte_order_mark() {
    for (format, text) in [(Format::Json, JSON_SAMPLE), (Format::Xml, XML_SAMPLE)] {
        let little: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        for body in [little.as_slice(), &big, format!("\u{feff}{text}").as_bytes()] {
            assert_eq!(read(format, body), Ok(sample()));
        }
        assert!(read(format, &little[..little.len() - 1]).is_err());
        assert!(read(format, &little[2..]).is_err());
        assert!(read(format, b"\xff\xfe\x00\xd8").is_err());
        assert!(read(format, b"[\xff]").is_err());
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
#[case::fraction_pin(r#"[{"PIN": 1.5}]"#)]
#[case::bad_in_the_last(r#"[{"OrderID": 1}, {"OrderID": "x"}]"#)]
fn json_is_refused(#[case] body: &str) {
    assert!(read(Format::Json, body.as_bytes()).is_err());
}

/// One entry with this content, in a document of the right form.
fn document(content: &str) -> String {
    format!(
        r#"<ArrayOfCancellationCreation xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://schemas.datacontract.org/2004/07/"><CancellationCreation>{content}</CancellationCreation></ArrayOfCancellationCreation>"#
    )
}

#[rstest]
#[case::nothing("", Entry::default())]
#[case::another_order("<OrderID>1</OrderID><IsInternationalOrder>true</IsInternationalOrder>", Entry { is_international: true, ..entry(1) })]
#[case::unknown("<Extra a='1'><b/>text</Extra><OrderID>1</OrderID>", entry(1))]
#[case::other_case("<orderid>2</orderid><OrderID>1</OrderID>", entry(1))]
#[case::other_namespace("<OrderID xmlns='urn:x'>2</OrderID><OrderID>1</OrderID>", entry(1))]
#[case::prefix("<o:OrderID xmlns:o='http://schemas.datacontract.org/2004/07/'>1</o:OrderID>", entry(1))]
#[case::odd_nil_of_an_unknown("<Extra i:nil='maybe'/><OrderID>1</OrderID>", entry(1))]
#[case::entries_within("<CancellationCreation/><CancellationCreation/><OrderID>1</OrderID>", entry(1))]
#[case::nil("<OrderID i:nil='true'>rubbish<a/></OrderID>", Entry::default())]
#[case::nil_by_one("<OrderID i:nil='1'/>", Entry::default())]
#[case::not_nil("<OrderID i:nil='false'>1</OrderID>", entry(1))]
#[case::nil_of_another("<OrderID nil='true'>1</OrderID>", entry(1))]
#[case::white_space("<OrderID> \t\r\n+0012 </OrderID>", entry(12))]
#[case::negative("<OrderID>-12</OrderID>", entry(-12))]
#[case::bool_by_one("<IsInternationalOrder> 1 </IsInternationalOrder>", international(true))]
#[case::bool_by_zero("<IsInternationalOrder>0</IsInternationalOrder>", international(false))]
#[case::uid_n("<InternationalOrderUID> 6269C4035B9F47DDB8C37ECBEF8F686D </InternationalOrderUID>", uid_of(UID))]
#[case::uid_b("<InternationalOrderUID>{6269c403-5b9f-47dd-b8c3-7ecbef8f686d}</InternationalOrderUID>", uid_of(UID))]
#[case::empty_pin("<PIN/>", pin(""))]
#[case::empty_pin_in_two("<PIN></PIN>", pin(""))]
#[case::pin_as_it_is("<PIN> 1 2 </PIN>", pin(" 1 2 "))]
#[case::cdata("<PIN>1<![CDATA[<2&]]>3</PIN>", pin("1<2&3"))]
#[case::comment("<!-- a --><PIN>1<!-- b -->2</PIN><!-- c -->", pin("12"))]
#[case::references("<PIN>&lt;&amp;&#65;&#x42;&quot;&apos;&gt;</PIN>", pin("<&AB\"'>"))]
#[case::line_ends("<PIN>1\r\n2\r3</PIN>", pin("1\n2\n3"))]
#[case::integer_by_reference("<OrderID>&#49;2</OrderID>", entry(12))]
fn xml_is_read(#[case] content: &str, #[case] expected: Entry) {
    assert_eq!(read(Format::Xml, document(content).as_bytes()).unwrap(), [Some(expected)]);
}

#[rstest]
#[case::twice("<OrderID>1</OrderID><OrderID>1</OrderID>")]
#[case::nil_twice("<OrderID i:nil='true'/><OrderID>1</OrderID>")]
#[case::nil_bool("<IsInternationalOrder i:nil='true'/>")]
#[case::odd_nil("<OrderID i:nil='maybe'/>")]
#[case::upper_bool("<IsInternationalOrder>True</IsInternationalOrder>")]
#[case::yes("<IsInternationalOrder>yes</IsInternationalOrder>")]
#[case::empty_bool("<IsInternationalOrder/>")]
#[case::thousands("<OrderID>1,000</OrderID>")]
#[case::fraction("<OrderID>1.0</OrderID>")]
#[case::empty_id("<OrderID></OrderID>")]
#[case::overflow("<OrderID>2147483648</OrderID>")]
#[case::two_signs("<OrderID>--1</OrderID>")]
#[case::empty_uid("<InternationalOrderUID/>")]
#[case::bad_uid("<InternationalOrderUID>6269c403</InternationalOrderUID>")]
#[case::element_in_value("<OrderID>1<b/></OrderID>")]
#[case::text_between("<OrderID>1</OrderID>text")]
#[case::unknown_entity("<PIN>&x;</PIN>")]
#[case::bad_reference("<PIN>&#0;</PIN>")]
#[case::bare_ampersand("<PIN>&</PIN>")]
#[case::processing("<?go?><PIN>1</PIN>")]
#[case::unclosed("<PIN>1")]
#[case::wrong_end("<PIN>1</Pin>")]
#[case::undeclared_prefix("<x:PIN>1</x:PIN>")]
#[case::attribute_twice("<PIN a='1' a='2'>1</PIN>")]
#[case::attribute_without_quotes("<PIN a=1>1</PIN>")]
#[case::end_of_cdata("<PIN>]]></PIN>")]
#[case::namespace_by_reference("<x:OrderID xmlns:x='http://schemas.datacontract.org/2004/07&#47;'>1</x:OrderID>")]
#[case::name_in_a_name("<IsInternationalOrder<PIN/>")]
#[case::no_name("<></>")]
#[case::no_prefix("<:PIN/>")]
#[case::empty_namespace("<PIN xmlns:x=''/>")]
#[case::empty_prefix("<PIN xmlns:='u'/>")]
#[case::nil_by_two_names("<OrderID i:nil='true' j:nil='false' xmlns:j='http://www.w3.org/2001/XMLSchema-instance'/>")]
#[case::no_character("<PIN>&#xFFFE;</PIN>")]
#[case::control_character("<PIN>\u{1}</PIN>")]
fn xml_is_refused(#[case] content: &str) {
    assert!(read(Format::Xml, document(content).as_bytes()).is_err());
}

#[rstest]
#[case::empty("", false)]
#[case::blank("  ", false)]
#[case::declaration(&format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{XML_SAMPLE}"), true)]
#[case::declaration_alone(&format!("<?xml version='1.0'?>\n<!-- c -->{XML_SAMPLE}\n<!-- d -->"), true)]
#[case::other_encoding(&format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{XML_SAMPLE}"), false)]
#[case::latin(&format!("<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>{XML_SAMPLE}"), false)]
#[case::late_declaration(&format!(" <?xml version=\"1.0\"?>{XML_SAMPLE}"), false)]
#[case::dtd(&format!("<!DOCTYPE a>{XML_SAMPLE}"), false)]
#[case::second_root(&format!("{XML_SAMPLE}<a/>"), false)]
#[case::text_after(&format!("{XML_SAMPLE}x"), false)]
#[case::wrong_root(&XML_SAMPLE.replace("ArrayOfCancellationCreation", "Array"), false)]
#[case::wrong_namespace(&XML_SAMPLE.replace("2004/07/", "2004/07"), false)]
#[case::cut_off(&XML_SAMPLE[..XML_SAMPLE.len() - 1], false)]
#[case::any_prefix(&XML_SAMPLE.replace("xmlns=", "xmlns:a=").replace("<C", "<a:C").replace("</C", "</a:C").replace("<A", "<a:A")
    .replace("</A", "</a:A").replace("<I", "<a:I").replace("</I", "</a:I").replace("<O", "<a:O").replace("</O", "</a:O")
    .replace("<P", "<a:P").replace("</P", "</a:P"), true)]
fn a_document_is_read_or_refused(#[case] body: &str, #[case] good: bool) {
    assert_eq!(read(Format::Xml, body.as_bytes()).ok(), good.then(sample));
}

#[test]
fn null_entries_and_other_elements_of_the_list() {
    let body = XML_SAMPLE.replace("</ArrayOf", "<CancellationCreation i:nil='true'/><Other/></ArrayOf");
    let mut expected = sample();
    expected.push(None);
    assert_eq!(read(Format::Xml, body.as_bytes()), Ok(expected));
    let empty = r#"<ArrayOfCancellationCreation xmlns="http://schemas.datacontract.org/2004/07/" />"#;
    assert_eq!(read(Format::Xml, empty.as_bytes()), Ok(Vec::new()));
}

/// What would cost a careless reader its memory, its stack or its time is refused.
#[rstest]
#[case::billion_laughs(format!(
    "<!DOCTYPE l [<!ENTITY a \"lol\"><!ENTITY b \"{}\">]>{}", "&a;".repeat(10_000), document("<PIN>&b;</PIN>")
))]
#[case::deep("<a>".repeat(100_000))]
#[case::deep_in_an_entry(document(&format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000))))]
#[case::long_attribute(document(&format!("<PIN a='{}'/>", "x".repeat(1 << 20))))]
#[case::many_attributes(document(&format!("<PIN {}/>", (0..100_000).map(|n| format!("a{n}='' ")).collect::<Vec<_>>().concat())))]
#[case::many_namespaces(document(&format!("<PIN {}/>", (0..50_000).map(|n| format!("xmlns:a{n}='u' ")).collect::<Vec<_>>().concat())))]
fn what_is_made_to_hurt_is_refused(#[case] body: String) {
    assert!(read(Format::Xml, body.as_bytes()).is_err());
}

#[test]
fn deep_json_is_refused_not_followed() {
    let deep = |depth: usize| format!(r#"[{{"a":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    for body in ["[".repeat(1_000_000), deep(500_000), deep(31)] {
        assert!(read(Format::Json, body.as_bytes()).is_err());
    }
    let brackets_in_text = format!(r#"[{{"PIN":"\"{}"}}]"#, "[".repeat(100));
    for body in [deep(30), brackets_in_text] {
        assert!(read(Format::Json, body.as_bytes()).is_ok());
    }
}

proptest! {
    /// Whatever comes, it is read or refused; near misses of good bodies above all.
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(Format::Json, &body);
        let _ = read(Format::Xml, &body);
    }

    #[test]
    fn spoilt_samples_are_read_or_refused(
        spoils in prop::collection::vec((0.0_f64..1.0, any::<u8>(), 0_usize..4), 1..6),
    ) {
        for (format, sample) in [(Format::Json, JSON_SAMPLE), (Format::Xml, XML_SAMPLE)] {
            let mut body = sample.as_bytes().to_vec();
            for (place, byte, how) in &spoils {
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

    /// A PIN comes through both formats as it is, whatever it is, and is never shown.
    #[test]
    fn a_pin_is_kept_as_it_is(text in "[^\u{0}-\u{1f}\u{fffe}\u{ffff}]{0,40}") {
        let json = serde_json::json!([{ "PIN": text }]).to_string();
        let xml = document(&format!("<PIN>{}</PIN>", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")));
        for (format, body) in [(Format::Json, json), (Format::Xml, xml)] {
            let entries = read(format, body.as_bytes()).unwrap();
            let entry = entries[0].as_ref().unwrap();
            prop_assert_eq!(entry.pin.as_ref().unwrap().expose(), &text);
            let shown = format!("{entry:?}");
            prop_assert!(shown.contains("pin: Some(Pin)"), "shown");
        }
    }
}
