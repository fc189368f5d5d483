//! Tests bodies with the maximum of entries, values and nodes, and with one more.

use rstest::rstest;

use super::*;

fn json(entries: &[String]) -> String {
    format!("[{}]", entries.join(","))
}

fn xml(inner: &str) -> String {
    format!(
        "<ArrayOfCancellationCreation xmlns='http://schemas.datacontract.org/2004/07/' \
         xmlns:i='http://www.w3.org/2001/XMLSchema-instance'>{inner}</ArrayOfCancellationCreation>"
    )
}

/// Returns the number of entries read, or the error's text.
fn read_from(format: Format, body: &str) -> Result<usize, String> {
    read(format, body.as_bytes()).map(|entries| entries.len()).map_err(|error| error.to_string())
}

const TOO_MANY: &str = "A request must not have more than 1000 entries.";

/// Too many entries have their own error (contract: 413), whatever else is wrong with the entries.
#[rstest]
#[case::json(Format::Json, "{}", ",")]
#[case::nulls(Format::Json, "null", ",")]
#[case::no_entries(Format::Json, "[[]]", ",")]
#[case::xml(Format::Xml, "<CancellationCreation/>", "")]
#[case::xml_nil(Format::Xml, "<CancellationCreation i:nil='true'/>", "")]
fn a_thousand_entries_are_read_and_no_more(#[case] format: Format, #[case] piece: &str, #[case] between: &str) {
    let body = |count: usize| {
        let entries = vec![piece; count].join(between);
        if format == Format::Json { format!("[{entries}]") } else { xml(&entries) }
    };
    if piece != "[[]]" {
        assert_eq!(read_from(format, &body(MAX_ENTRIES)), Ok(MAX_ENTRIES));
    }
    for count in [MAX_ENTRIES + 1, (1 << 20) / (piece.len() + 1)] {
        assert_eq!(read(format, body(count).as_bytes()), Err(Unreadable::TooMany));
        assert_eq!(read_from(format, &body(count)), Err(TOO_MANY.to_owned()));
    }
}

#[rstest]
#[case::numbers("0", 1)]
#[case::texts("\"[,\"", 1)]
#[case::members(r#"{"a":0,"b":[0]}"#, 4)]
fn values_are_read_up_to_the_limit(#[case] piece: &str, #[case] values: usize) {
    let body = |count: usize| format!("[{{\"x\":[{}]}}]", vec![piece; count].join(","));
    // The body, its array and the entry with its member count, too. Each bracket counts for the first value in it.
    let most = (MAX_VALUES - 3) / values;
    assert_eq!(read_from(Format::Json, &body(most)), Ok(1));
    assert_eq!(read_from(Format::Json, &body(most + 1)), Err("The body has too many values.".to_owned()));
}

#[rstest]
#[case::elements("<a/>", 2)]
#[case::attributes("<a b='' c='' d=''/>", 5)]
#[case::declarations("<a xmlns:b='c'/>", 3)]
#[case::comments("<!---->", 1)]
#[case::comments_between_text("<a> <!----> </a>", 5)]
#[case::references("<a>&#32;&#32;&#32;</a>", 5)]
#[case::cdata("<a><![CDATA[]]></a>", 3)]
fn nodes_are_read_up_to_the_limit(#[case] piece: &str, #[case] nodes: usize) {
    // Five more nodes are the root, its two declarations, its end and the document's end.
    let most = (MAX_NODES - 5) / nodes;
    assert_eq!(read_from(Format::Xml, &xml(&piece.repeat(most))), Ok(0));
    assert_eq!(read_from(Format::Xml, &xml(&piece.repeat(most + 1))), Err("The body has too many nodes.".to_owned()));
}

/// A thousand entries with all members, as long as any serializer writes them.
#[test]
fn the_largest_request_of_the_contract_is_read() {
    let members = [
        ("CreatorID", "-2147483648"),
        ("InternationalOrderUID", UID),
        ("IsInternationalOrder", "false"),
        ("OrderID", "-2147483648"),
        ("PIN", "1234"),
    ];
    let quoted: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\" : \"{value}\"")).collect();
    let entry = format!("{{ {} }}", quoted.join(" , ").replace("\"false\"", "false"));
    assert_eq!(read_from(Format::Json, &json(&vec![entry; MAX_ENTRIES])), Ok(MAX_ENTRIES));

    let by_reference = |text: &str| text.chars().map(|c| format!("&#{};", u32::from(c))).collect::<Vec<_>>().concat();
    let element = |(name, value): &(&str, &str)| {
        let value = by_reference(value.trim_start_matches("-21474836"));
        format!("\n    <{name} xmlns:i='http://www.w3.org/2001/XMLSchema-instance' i:nil='false'>{value}</{name}>")
    };
    let entry = members.iter().map(element).collect::<String>();
    let entry = format!("\n  <CancellationCreation>{entry}\n  </CancellationCreation>");
    let body = xml(&entry.repeat(MAX_ENTRIES));
    assert_eq!(read_from(Format::Xml, &body), Ok(MAX_ENTRIES));
}
