//! Tests which XML is read, how, and which is refused.

use rstest::rstest;

use super::*;

#[rstest]
#[case::nothing("", Entry::default())]
#[case::another_order(
    "<OrderID>1</OrderID><IsInternationalOrder>true</IsInternationalOrder>",
    Entry { is_international: true, ..entry(1) }
)]
#[case::unknown("<Extra a='1'><b/>text</Extra><OrderID>1</OrderID>", entry(1))]
#[case::other_case("<orderid>2</orderid><OrderID>1</OrderID>", entry(1))]
#[case::other_namespace("<OrderID xmlns='urn:x'>2</OrderID><OrderID>1</OrderID>", entry(1))]
#[case::prefix("<o:OrderID xmlns:o='http://schemas.datacontract.org/2004/07/'>1</o:OrderID>", entry(1))]
#[case::invalid_nil_of_an_unknown("<Extra i:nil='maybe'/><OrderID>1</OrderID>", entry(1))]
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
#[case::namespace_by_reference(
    "<x:OrderID xmlns:x='http://schemas.datacontract.org/2004/07&#47;'>1</x:OrderID>",
    entry(1)
)]
#[case::nil_by_reference("<OrderID i:nil='&#x20;tru&#101; '/>", Entry::default())]
#[case::nil_with_a_line_end("<OrderID i:nil='true\r\n'/>", Entry::default())]
#[case::invalid_nil_in_an_unknown("<Extra><OrderID i:nil='maybe'/></Extra><OrderID>1</OrderID>", entry(1))]
#[case::inner_prefix(
    "<a:X xmlns:a='u'><a:OrderID xmlns:a='http://schemas.datacontract.org/2004/07/'/></a:X><OrderID>1</OrderID>",
    entry(1)
)]
#[case::no_namespace("<OrderID xmlns=''>2</OrderID><OrderID>1</OrderID>", entry(1))]
#[case::spaces_in_tags("<OrderID\n\tx = '1'\ty\n=\n'2' >1</OrderID\n>", entry(1))]
#[case::line_end_by_reference("<PIN>1&#13;2&#xA;3</PIN>", pin("1\r2\n3"))]
#[case::zeros_before_a_reference("<PIN>&#000000000000065;&#x00000000000041;</PIN>", pin("AA"))]
#[case::far_characters(
    "<PIN>&#x10FFFF;\u{10ffff}\u{fffd}\u{7f}\u{85}\u{2028}</PIN>",
    pin("\u{10ffff}\u{10ffff}\u{fffd}\u{7f}\u{85}\u{2028}")
)]
#[case::end_of_cdata_in_parts("<PIN>]]<!-- -->>]]&gt;]]<![CDATA[>]]></PIN>", pin("]]>]]>]]>"))]
#[case::brackets_in_cdata("<PIN><![CDATA[]]]]><![CDATA[]]></PIN>", pin("]]"))]
#[case::short_comment("<!----><PIN><!-- - -> <x> & --></PIN>", pin(""))]
#[case::names(
    "<_:é·\u{300}.-9 xmlns:_='u' \u{37f}='' \u{10000}='' \u{2c00}='' xml:lang='' xmlns:xmlx='u'/><PIN/>",
    pin("")
)]
#[case::xml_declared("<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:id='1'/><PIN/>", pin(""))]
#[case::same_name_of_two_namespaces("<a b='' i:b='' xmlns:j='u' j:b=''/><PIN/>", pin(""))]
#[case::quotes_in_values("<a b='\"' c=\"'>\"/><PIN/>", pin(""))]
fn xml_is_read(#[case] content: &str, #[case] expected: Entry) {
    assert_eq!(read(Format::Xml, document(content).as_bytes()).unwrap(), [Some(expected)]);
}

/// Malformed XML is refused everywhere: directly in an entry, as a value, and deep in a skipped element.
#[rstest]
#[case::bare_ampersand("a & b")]
#[case::unknown_entity("&x;")]
#[case::entity_in_another_case("&LT;")]
#[case::entity_without_end("&lt")]
#[case::entity_with_space("&lt ;")]
#[case::no_reference("&;")]
#[case::no_number("&#;")]
#[case::no_hexadecimal("&#x;")]
#[case::upper_x("&#X41;")]
#[case::signed_reference("&#+65;")]
#[case::hexadecimal_as_decimal("&#4A;")]
#[case::zero("&#0;")]
#[case::control_by_reference("&#x1F;")]
#[case::surrogate_by_reference("&#xD800;")]
#[case::no_character_by_reference("&#xFFFE;")]
#[case::beyond_unicode("&#x110000;")]
#[case::beyond_any_number("&#99999999999999999999;")]
#[case::control("\u{1}")]
#[case::control_in_a_comment("<!-- \u{1f} -->")]
#[case::control_in_cdata("<![CDATA[\u{8}]]>")]
#[case::control_in_a_value("<a b='\u{b}'/>")]
#[case::no_character("\u{ffff}")]
#[case::end_of_cdata("]]>")]
#[case::cdata_in_another_case("<![cdata[a]]>")]
#[case::cdata_without_end("<![CDATA[a]]")]
#[case::hyphens_in_a_comment("<!-- a -- b -->")]
#[case::hyphen_at_its_end("<!-- a --->")]
#[case::comment_of_three("<!--->")]
#[case::comment_without_end("<!-- a")]
#[case::processing("<?go?>")]
#[case::style("<?xml-stylesheet href=''?>")]
#[case::declaration_within("<?xml version='1.0'?>")]
#[case::dtd_within("<!DOCTYPE a>")]
#[case::element_declaration("<!ELEMENT a ANY>")]
#[case::no_name("<></>")]
#[case::space_before_a_name("< a/>")]
#[case::digit_first("<1a/>")]
#[case::hyphen_first("<-a/>")]
#[case::combining_first("<\u{300}a/>")]
#[case::times_sign("<a\u{d7}/>")]
#[case::greek_question_mark("<a\u{37e}/>")]
#[case::private_use("<a\u{e000}/>")]
#[case::far_private_use("<a\u{f0000}/>")]
#[case::bracket_in_a_name("<a[/>")]
#[case::name_in_a_name("<a<b/>")]
#[case::no_prefix("<:a/>")]
#[case::no_local_name("<i:/>")]
#[case::two_colons("<i:a:b/>")]
#[case::local_name_with_a_digit_first("<i:1/>")]
#[case::attribute_with_two_colons("<a i:b:c=''/>")]
#[case::undeclared_prefix("<x:a/>")]
#[case::undeclared_prefix_of_an_attribute("<a x:b=''/>")]
#[case::prefix_of_a_sibling("<a xmlns:x='u'/><x:b/>")]
#[case::prefix_of_an_inner("<x:a><b xmlns:x='u'/></x:a>")]
#[case::prefix_undone("<a xmlns:i=''/>")]
#[case::prefix_without_a_name("<a xmlns:='u'/>")]
#[case::xmlns_as_a_prefix("<xmlns:a/>")]
#[case::xmlns_declared("<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>")]
#[case::xmlns_declared_as_another("<a xmlns:xmlns='u'/>")]
#[case::xml_bound_to_another("<a xmlns:xml='u'/>")]
#[case::another_bound_to_xml("<a xmlns:x='http://www.w3.org/XML/1998/namespace'/>")]
#[case::another_bound_to_xmlns("<a xmlns:x='http://www.w3.org/2000/xmlns/'/>")]
#[case::xml_as_the_default("<a xmlns='http://www.w3.org/XML/1998/namespace'/>")]
#[case::xmlns_as_the_default("<a xmlns='http://www.w3.org/2000/xmlns&#x2F;'/>")]
#[case::namespace_that_is_no_uri("<a xmlns='a b'/>")]
#[case::attribute_twice("<a b='1' b='2'/>")]
#[case::attribute_twice_by_two_prefixes("<a xmlns:x='u' xmlns:y='u' x:b='' y:b=''/>")]
#[case::attribute_twice_by_outer_and_inner(
    "<a xmlns:x='u' xmlns:j='http://www.w3.org/2001/XMLSchema-instance' i:b='' j:b=''/>"
)]
#[case::prefix_declared_twice("<a xmlns:x='u' xmlns:x='u'/>")]
#[case::default_declared_twice("<a xmlns='u' xmlns='v'/>")]
#[case::attribute_without_a_value("<a b/>")]
#[case::attribute_without_quotes("<a b=1/>")]
#[case::attribute_without_a_name("<a =''/>")]
#[case::attributes_without_space("<a b=''c=''/>")]
#[case::other_quotes("<a b=‘1’/>")]
#[case::value_without_end("<a b='></a>")]
#[case::less_than_in_a_value("<a b='<'/>")]
#[case::ampersand_in_a_value("<a b='&'/>")]
#[case::entity_in_a_value("<a b='&x;'/>")]
#[case::zero_in_a_value("<a b='&#0;'/>")]
#[case::slash_apart("<a / >")]
#[case::slash_first("</a/>")]
#[case::wrong_end("<a></b>")]
#[case::end_of_another_prefix("<x:a xmlns:x='u' xmlns:y='u'></y:a>")]
#[case::end_in_another_case("<a></A>")]
#[case::ends_crossed("<a><b></a></b>")]
#[case::end_with_an_attribute("<a></a b=''>")]
#[case::end_with_space_first("<a></ a>")]
#[case::end_too_many("</a>")]
#[case::end_missing("<a>")]
fn malformed_xml_is_refused(#[case] content: &str) {
    let places = [content.to_owned(), format!("<PIN>{content}</PIN>"), format!("<Extra><b>{content}</b></Extra>")];
    for place in places {
        assert!(read(Format::Xml, document(&place).as_bytes()).is_err(), "{place}");
    }
}

#[rstest]
#[case::twice("<OrderID>1</OrderID><OrderID>1</OrderID>")]
#[case::nil_twice("<OrderID i:nil='true'/><OrderID>1</OrderID>")]
#[case::nil_bool("<IsInternationalOrder i:nil='true'/>")]
#[case::invalid_nil("<OrderID i:nil='maybe'/>")]
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
#[case::unclosed("<PIN>1")]
#[case::wrong_end("<PIN>1</Pin>")]
#[case::nil_by_two_names("<OrderID i:nil='true' j:nil='false' xmlns:j='http://www.w3.org/2001/XMLSchema-instance'/>")]
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
#[case::full_declaration(&format!("<?xml\n version = '1.0'\tencoding='UTF-8' standalone=\"no\"\n?>{XML_SAMPLE}"), true)]
#[case::standalone(&format!("<?xml version='1.0' standalone='yes'?>{XML_SAMPLE}"), true)]
#[case::later_version(&format!("<?xml version='1.1'?>{XML_SAMPLE}"), true)]
#[case::version_two(&format!("<?xml version='2.0'?>{XML_SAMPLE}"), false)]
#[case::half_a_version(&format!("<?xml version='1.'?>{XML_SAMPLE}"), false)]
#[case::no_version(&format!("<?xml encoding='utf-8'?>{XML_SAMPLE}"), false)]
#[case::nothing_declared(&format!("<?xml?>{XML_SAMPLE}"), false)]
#[case::declared_in_another_order(&format!("<?xml encoding='utf-8' version='1.0'?>{XML_SAMPLE}"), false)]
#[case::standalone_first(&format!("<?xml version='1.0' standalone='yes' encoding='utf-8'?>{XML_SAMPLE}"), false)]
#[case::declared_without_space(&format!("<?xml version='1.0'encoding='utf-8'?>{XML_SAMPLE}"), false)]
#[case::standalone_maybe(&format!("<?xml version='1.0' standalone='maybe'?>{XML_SAMPLE}"), false)]
#[case::no_encoding(&format!("<?xml version='1.0' encoding=''?>{XML_SAMPLE}"), false)]
#[case::something_else_declared(&format!("<?xml version='1.0' a='b'?>{XML_SAMPLE}"), false)]
#[case::upper_declaration(&format!("<?XML version='1.0'?>{XML_SAMPLE}"), false)]
#[case::declaration_without_end(&format!("<?xml version='1.0'>{XML_SAMPLE}"), false)]
#[case::two_declarations(&format!("<?xml version='1.0'?><?xml version='1.0'?>{XML_SAMPLE}"), false)]
#[case::two_marks(&format!("\u{feff}\u{feff}{XML_SAMPLE}"), false)]
#[case::style(&format!("<?xml-stylesheet href='a'?>{XML_SAMPLE}"), false)]
#[case::processing_after(&format!("{XML_SAMPLE}<?go?>"), false)]
#[case::late_dtd(&format!("{XML_SAMPLE}<!DOCTYPE a>"), false)]
#[case::text_before(&format!("x{XML_SAMPLE}"), false)]
#[case::reference_before(&format!("&#32;{XML_SAMPLE}"), false)]
#[case::reference_after(&format!("{XML_SAMPLE}&#32;"), false)]
#[case::cdata_after(&format!("{XML_SAMPLE}<![CDATA[]]>"), false)]
#[case::comment_without_end(&format!("{XML_SAMPLE}<!-- "), false)]
#[case::late_declaration(&format!(" <?xml version=\"1.0\"?>{XML_SAMPLE}"), false)]
#[case::dtd(&format!("<!DOCTYPE a>{XML_SAMPLE}"), false)]
#[case::second_root(&format!("{XML_SAMPLE}<a/>"), false)]
#[case::text_after(&format!("{XML_SAMPLE}x"), false)]
#[case::wrong_root(&XML_SAMPLE.replace("ArrayOfCancellationCreation", "Array"), false)]
#[case::wrong_namespace(&XML_SAMPLE.replace("2004/07/", "2004/07"), false)]
#[case::cut_off(&XML_SAMPLE[..XML_SAMPLE.len() - 1], false)]
#[case::any_prefix(&XML_SAMPLE.replace("xmlns=", "xmlns:a=").replace("<C", "<a:C").replace("</C", "</a:C")
    .replace("<A", "<a:A").replace("</A", "</a:A").replace("<I", "<a:I").replace("</I", "</a:I")
    .replace("<O", "<a:O").replace("</O", "</a:O").replace("<P", "<a:P").replace("</P", "</a:P"), true)]
fn a_document_must_be_whole_and_valid(#[case] body: &str, #[case] good: bool) {
    assert_eq!(read(Format::Xml, body.as_bytes()).ok(), good.then(sample));
}

#[test]
fn null_entries_are_read_and_other_elements_are_skipped() {
    let body = XML_SAMPLE.replace("</ArrayOf", "<CancellationCreation i:nil='true'/><Other/></ArrayOf");
    let mut expected = sample();
    expected.push(None);
    assert_eq!(read(Format::Xml, body.as_bytes()), Ok(expected));
    let empty = r#"<ArrayOfCancellationCreation xmlns="http://schemas.datacontract.org/2004/07/" />"#;
    assert_eq!(read(Format::Xml, empty.as_bytes()), Ok(Vec::new()));
}

/// Without a declared default namespace, a name without a prefix is in no namespace.
#[test]
fn an_element_of_no_namespace_is_skipped() {
    let body = r#"<a:ArrayOfCancellationCreation xmlns:a="http://schemas.datacontract.org/2004/07/"><Other/><a:CancellationCreation><OrderID>2</OrderID><a:OrderID>1</a:OrderID></a:CancellationCreation></a:ArrayOfCancellationCreation>"#;
    assert_eq!(read(Format::Xml, body.as_bytes()), Ok(vec![Some(entry(1))]));
}

/// The length counts from the tag's name to its end. The rest of the tag has ten bytes here.
#[test]
fn a_tag_has_at_most_eight_kibibytes() {
    let with = |value: usize| document(&format!("<PIN a='{}'/>", "x".repeat(value)));
    assert_eq!(read(Format::Xml, with(8 * 1024 - 10).as_bytes()), Ok(vec![Some(pin(""))]));
    assert!(read(Format::Xml, with(8 * 1024 - 9).as_bytes()).is_err());
}

/// Documents that would exhaust the memory, stack or time of a careless parser are refused.
#[rstest]
#[case::billion_laughs(format!(
    "<!DOCTYPE l [<!ENTITY a \"lol\"><!ENTITY b \"{}\">]>{}", "&a;".repeat(10_000), document("<PIN>&b;</PIN>")
))]
#[case::deep("<a>".repeat(100_000))]
#[case::deep_in_an_entry(document(&format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000))))]
#[case::long_attribute(document(&format!("<PIN a='{}'/>", "x".repeat(1 << 20))))]
#[case::many_attributes(document(&format!(
    "<PIN {}/>",
    (0..100_000).map(|n| format!("a{n}='' ")).collect::<Vec<_>>().concat()
)))]
#[case::many_namespaces(document(&format!(
    "<PIN {}/>",
    (0..50_000).map(|n| format!("xmlns:a{n}='u' ")).collect::<Vec<_>>().concat()
)))]
fn malicious_documents_are_refused(#[case] body: String) {
    assert!(read(Format::Xml, body.as_bytes()).is_err());
}
