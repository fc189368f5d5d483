//! Writes responses, byte for byte as `Json.NET` and `DataContractSerializer` do.

use std::fmt::Write;

use serde::Serialize;
use uuid::Uuid;

use super::EntryResult;
use super::format::Format;

/// Writes the results in their order.
#[must_use]
pub fn results(format: Format, results: &[EntryResult]) -> String {
    match format {
        Format::Json => json(&results.iter().map(JsonResult::from).collect::<Vec<_>>()),
        Format::Xml => xml(results),
    }
}

/// Writes an error as a bare string.
#[must_use]
pub fn error(format: Format, text: &str) -> String {
    match format {
        Format::Json => json(&text),
        Format::Xml => {
            let text = escaped(text);
            format!(r#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{text}</string>"#)
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonResult<'a> {
    #[serde(rename = "OrderID")]
    order_id: Option<i32>,
    #[serde(rename = "InternationalOrderUID")]
    international_order_uid: Option<Uuid>,
    success: bool,
    errors: Option<&'a [&'static str]>,
}

impl<'a> From<&'a EntryResult> for JsonResult<'a> {
    fn from(result: &'a EntryResult) -> Self {
        Self {
            order_id: result.order_id,
            international_order_uid: result.international_order_uid,
            success: result.errors.is_empty(),
            errors: (!result.errors.is_empty()).then_some(&result.errors),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    // Serializing strings, numbers and UIDs never fails.
    serde_json::to_string(value).unwrap_or_default()
}

const ROOT: &str = r#"ArrayOfCancellationCreationResult xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://schemas.datacontract.org/2004/07/TPP.Contracts.Services.Order""#;
const ERRORS: &str = r#"Errors xmlns:d3p1="http://schemas.microsoft.com/2003/10/Serialization/Arrays""#;

fn xml(results: &[EntryResult]) -> String {
    if results.is_empty() {
        return format!("<{ROOT} />");
    }
    let mut xml = format!("<{ROOT}>");
    for result in results {
        xml.push_str("<CancellationCreationResult>");
        if result.errors.is_empty() {
            push(&mut xml, format_args!(r#"<{ERRORS} i:nil="true" />"#));
        } else {
            push(&mut xml, format_args!("<{ERRORS}>"));
            for error in &result.errors {
                push(&mut xml, format_args!("<d3p1:string>{}</d3p1:string>", escaped(error)));
            }
            xml.push_str("</Errors>");
        }
        element(&mut xml, "InternationalOrderUID", result.international_order_uid);
        element(&mut xml, "OrderID", result.order_id);
        push(&mut xml, format_args!("<Success>{}</Success>", result.errors.is_empty()));
        xml.push_str("</CancellationCreationResult>");
    }
    xml.push_str("</ArrayOfCancellationCreationResult>");
    xml
}

fn element(xml: &mut String, name: &str, value: Option<impl std::fmt::Display>) {
    match value {
        Some(value) => push(xml, format_args!("<{name}>{value}</{name}>")),
        None => push(xml, format_args!(r#"<{name} i:nil="true" />"#)),
    }
}

fn push(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = xml.write_fmt(text);
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() && !matches!(c, '\t' | '\n') => {
                push(&mut escaped, format_args!("&#x{:X};", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn result(order_id: Option<i32>, uid: Option<&str>, errors: &[&'static str]) -> EntryResult {
        let international_order_uid = uid.map(|uid| uid.parse().unwrap());
        EntryResult { order_id, international_order_uid, errors: errors.to_vec() }
    }

    const OPENING: &str = r#"<ArrayOfCancellationCreationResult xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://schemas.datacontract.org/2004/07/TPP.Contracts.Services.Order">"#;

    /// The contract's sample, which has line breaks and indentation there.
    #[test]
    fn the_samples_are_written() {
        let given = [
            result(Some(1234), None, &[]),
            result(None, Some("03024a3c-8682-4951-8729-44f2df6f2f8b"), &[]),
            result(Some(2200), None, &["Order is not active."]),
        ];
        assert_eq!(
            results(Format::Json, &given),
            concat!(
                r#"[{"OrderID":1234,"InternationalOrderUID":null,"Success":true,"Errors":null},"#,
                r#"{"OrderID":null,"InternationalOrderUID":"03024a3c-8682-4951-8729-44f2df6f2f8b","Success":true,"Errors":null},"#,
                r#"{"OrderID":2200,"InternationalOrderUID":null,"Success":false,"Errors":["Order is not active."]}]"#,
            )
        );
        let nil_errors =
            r#"<Errors xmlns:d3p1="http://schemas.microsoft.com/2003/10/Serialization/Arrays" i:nil="true" />"#;
        let expected = format!(
            concat!(
                "{}",
                r#"<CancellationCreationResult>{}<InternationalOrderUID i:nil="true" /><OrderID>1234</OrderID><Success>true</Success></CancellationCreationResult>"#,
                r#"<CancellationCreationResult>{}<InternationalOrderUID>03024a3c-8682-4951-8729-44f2df6f2f8b</InternationalOrderUID><OrderID i:nil="true" /><Success>true</Success></CancellationCreationResult>"#,
                r#"<CancellationCreationResult><Errors xmlns:d3p1="http://schemas.microsoft.com/2003/10/Serialization/Arrays"><d3p1:string>Order is not active.</d3p1:string></Errors><InternationalOrderUID i:nil="true" /><OrderID>2200</OrderID><Success>false</Success></CancellationCreationResult>"#,
                "</ArrayOfCancellationCreationResult>",
            ),
            OPENING, nil_errors, nil_errors
        );
        assert_eq!(results(Format::Xml, &given), expected);
    }

    #[rstest]
    #[case::empty_json(Format::Json, &[], "[]")]
    #[case::empty_xml(Format::Xml, &[], &OPENING.replace('>', " />"))]
    #[case::negative(Format::Json, &[result(Some(-1), None, &[])], r#"[{"OrderID":-1,"InternationalOrderUID":null,"Success":true,"Errors":null}]"#)]
    #[case::two_errors(Format::Json, &[result(None, None, &["a", "b"])], r#"[{"OrderID":null,"InternationalOrderUID":null,"Success":false,"Errors":["a","b"]}]"#)]
    #[case::two_errors_xml(Format::Xml, &[result(None, None, &["a", "b<&>\"'"])], &format!(
    r#"{OPENING}<CancellationCreationResult><Errors xmlns:d3p1="http://schemas.microsoft.com/2003/10/Serialization/Arrays"><d3p1:string>a</d3p1:string><d3p1:string>b&lt;&amp;&gt;"'</d3p1:string></Errors><InternationalOrderUID i:nil="true" /><OrderID i:nil="true" /><Success>false</Success></CancellationCreationResult></ArrayOfCancellationCreationResult>"#
))]
    #[case::uid_in_lower_case(Format::Json, &[result(None, Some("6269C4035B9F47DDB8C37ECBEF8F686D"), &[])],
    r#"[{"OrderID":null,"InternationalOrderUID":"6269c403-5b9f-47dd-b8c3-7ecbef8f686d","Success":true,"Errors":null}]"#)]
    fn results_are_written(#[case] format: Format, #[case] given: &[EntryResult], #[case] expected: &str) {
        assert_eq!(results(format, given), expected);
    }

    #[rstest]
    #[case(Format::Json, "sample string 1", r#""sample string 1""#)]
    #[case(
        Format::Xml,
        "sample string 1",
        r#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">sample string 1</string>"#
    )]
    #[case(Format::Json, "a \"b\" <c> ä", r#""a \"b\" <c> ä""#)]
    #[case(
        Format::Xml,
        "a \"b\" <c> & ä\u{1}",
        r#"<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">a "b" &lt;c&gt; &amp; ä&#x1;</string>"#
    )]
    fn an_error_is_a_bare_string(#[case] format: Format, #[case] text: &str, #[case] expected: &str) {
        assert_eq!(error(format, text), expected);
    }
}
