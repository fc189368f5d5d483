//! The formats of `cancel-orders`: reading JSON and XML in any encoding, choosing a format, and writing both.
//!
//! An input's headers are `content-type` and `accept`. The setting `:utf-16 le` or `:utf-16 be` encodes the body in
//! UTF-16.

use std::fmt::Write;

use cancel_orders::wire::format::{Format, ResponseFormat, of_content_type};
use cancel_orders::wire::{Charset, Entry, EntryResult, error, read, results};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use crate::input::Input;
use crate::world::{PIN, assert_no_secret, with_pin};
use crate::{Outcome, left_of_memory};

/// Deepest nesting that is read (contract).
const MAX_DEPTH: usize = 32;

/// Reads the input's body, and writes possible responses. The outcome's word says whether the body could be read.
#[must_use]
pub fn run(bytes: &[u8]) -> Option<Outcome> {
    let input = Input::read(bytes);
    let header = |name: &str| input.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let (accept, content_type) = (header("accept"), header("content-type"));
    let chosen = ResponseFormat::negotiate(accept, content_type);
    assert_eq!(of_content_type(chosen.media_type), Some(chosen.format));
    let format = content_type.and_then(of_content_type).unwrap_or(chosen.format);

    let body = with_pin(input.body);
    let body = match (std::str::from_utf8(&body), input.setting("utf-16")) {
        (Ok(text), Some(order)) => utf_16(text, order),
        _ => body,
    };
    let charset = content_type.map(Charset::of_content_type).unwrap_or_default();
    let (entries, left) = left_of_memory(body.len(), || read(format, charset, &body));
    assert!(left >= 0, "reading took {left} bytes too many");
    let word = match entries {
        Ok(entries) => {
            if charset == Charset::Utf8 {
                assert_is_bounded(format, &body);
                check_encodings(format, &body, &entries);
            }
            check_results(&entries);
            "read"
        }
        Err(unreadable) => {
            check_error(bytes, &unreadable.to_string());
            "refused"
        }
    };
    Some(Outcome { word: word.to_owned(), came_far: true })
}

fn utf_16(text: &str, order: &str) -> Vec<u8> {
    let bytes = if order == "be" { u16::to_be_bytes } else { u16::to_le_bytes };
    "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
}

/// Checks that an error names a place, and reveals no secret.
fn check_error(input: &[u8], reason: &str) {
    assert_no_secret(input, [reason]);
    assert!(reason.len() < 100 && reason.ends_with('.'), "{reason}");
    assert_eq!(serde_json::from_str::<String>(&error(Format::Json, reason)).unwrap(), reason);
    assert_well_formed(&error(Format::Xml, reason));
}

/// Checks that a text has the same meaning in every encoding, unless it declares its own.
fn check_encodings(format: Format, body: &[u8], entries: &[Option<Entry>]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if text.starts_with("<?xml") || text.starts_with('\u{feff}') {
        return;
    }
    for order in ["le", "be"] {
        let wide = utf_16(text, order);
        assert_eq!(read(format, Charset::Utf8, &wide).as_deref(), Ok(entries));
        assert_eq!(read(format, Charset::Utf16, &wide[2..]).as_deref(), Ok(entries));
    }
    let marked = format!("\u{feff}{text}\n");
    assert_eq!(read(format, Charset::Utf16, marked.as_bytes()).as_deref(), Ok(entries));
}

/// Checks that results for any entries, accepted or not, can be read by other parsers.
fn check_results(entries: &[Option<Entry>]) {
    let result = |(position, entry): (usize, &Option<Entry>)| EntryResult {
        order_id: entry.as_ref().and_then(|entry| entry.order_id),
        international_order_uid: entry.as_ref().and_then(|entry| entry.international_order_uid),
        errors: [&[][..], &["Order was not found."], &["a < b & c > d", "\"'"]][position % 3].to_vec(),
    };
    let written: Vec<EntryResult> = entries.iter().enumerate().map(result).collect();
    let json: Vec<Value> = serde_json::from_str(&results(Format::Json, &written)).expect("JSON");
    assert_eq!(json.len(), entries.len());
    for (json, result) in json.iter().zip(&written) {
        assert_eq!(json["OrderID"].as_i64(), result.order_id.map(i64::from));
        assert_eq!(json["Success"], result.errors.is_empty());
    }
    let xml = results(Format::Xml, &written);
    assert_well_formed(&xml);
    assert_eq!(xml.matches("<CancellationCreationResult>").count(), entries.len());
    assert!(entries.iter().all(|entry| !format!("{entry:?}").contains(PIN)), "a PIN shows");
}

/// Panics if the body is nested deeper than the limit, counted by brackets outside of strings, or by tags.
fn assert_is_bounded(format: Format, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let deepest = match format {
        // A body that is not UTF-8 was read as UTF-16.
        _ if body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") => return,
        Format::Json => depth_of_json(&text),
        Format::Xml => depth_of_xml(text.trim_start_matches('\u{feff}')),
    };
    assert!(deepest <= MAX_DEPTH, "read at a depth of {deepest}");
}

fn depth_of_json(text: &str) -> usize {
    let mut outside = String::with_capacity(text.len());
    let mut parts = text.split('"');
    outside.push_str(parts.next().unwrap_or_default());
    while let Some(string) = parts.next() {
        // After an unescaped backslash before the quote, the string goes on.
        let is_escaped = string.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        if !is_escaped {
            outside.push_str(parts.next().unwrap_or_default());
        }
    }
    deepest(outside.chars().map(|c| match c {
        '[' | '{' => 1,
        ']' | '}' => -1,
        _ => 0,
    }))
}

fn depth_of_xml(text: &str) -> usize {
    let mut reader = Reader::from_str(text);
    let events = std::iter::from_fn(|| match reader.read_event().expect("XML") {
        Event::Start(_) => Some(1),
        Event::End(_) => Some(-1),
        Event::Eof => None,
        _ => Some(0),
    });
    deepest(events)
}

fn deepest(steps: impl Iterator<Item = isize>) -> usize {
    let depths = steps.scan(0_isize, |depth, step| {
        *depth += step;
        Some(*depth)
    });
    depths.max().unwrap_or_default().unsigned_abs()
}

/// Panics unless this is one complete XML element, with any content.
pub fn assert_well_formed(xml: &str) {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let (mut depth, mut roots, mut seen) = (0_usize, 0, String::new());
    loop {
        match reader.read_event().expect("XML") {
            Event::Start(start) => {
                roots += usize::from(depth == 0);
                depth += 1;
                start.attributes().for_each(|attribute| assert!(attribute.is_ok(), "{xml}"));
            }
            Event::End(_) => depth -= 1,
            Event::Text(text) => write!(seen, "{}", text.xml10_content()).unwrap(),
            Event::GeneralRef(_) => {}
            Event::Eof => break,
            other => panic!("{other:?} in {xml}"),
        }
        assert!(depth > 0 || roots == 1, "text outside of the root: {xml}");
    }
    assert_eq!((depth, roots), (0, 1), "{xml}");
    assert!(!seen.contains('<'), "{xml}");
}
