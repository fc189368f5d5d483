//! Writing answers, byte for byte as `Json.NET` and `DataContractSerializer` write them.

use std::fmt::Write;

use serde::Serialize;
use uuid::Uuid;

use super::EntryResult;
use super::format::Format;

/// The results, in their order.
#[must_use]
pub fn results(format: Format, results: &[EntryResult]) -> String {
    match format {
        Format::Json => json(&results.iter().map(JsonResult::from).collect::<Vec<_>>()),
        Format::Xml => xml(results),
    }
}

/// An error: a bare string.
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
    // Texts, numbers and UIDs: there is nothing in them that JSON could not hold.
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
