//! Bodies that are costly to parse, of any size: many small values, and values of many kinds.

use std::iter;

/// A kind of body, which can be built in any size.
pub struct Shape {
    /// A short description for messages.
    pub name: String,
    /// The `Content-Type` to send.
    pub content_type: &'static str,
    build: Box<dyn Fn(usize) -> String + Send + Sync>,
    is_utf_16: bool,
}

impl Shape {
    /// Builds the body, of at most `size` bytes and not much less.
    pub fn bytes(&self, size: usize) -> Vec<u8> {
        if self.is_utf_16 {
            let text = (self.build)(size / 2 - 1);
            return "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        }
        let text = (self.build)(size);
        assert!(text.len() <= size, "{}: {} of {size}", self.name, text.len());
        text.into_bytes()
    }
}

/// The texts before and after the repeated pieces.
type Around = (&'static str, &'static str);

/// Builds a text of as many pieces as fit into `size` bytes, with `between` between them.
fn filled((before, after): Around, between: &str, size: usize, piece: impl Fn(usize) -> String) -> String {
    let mut text = before.to_owned();
    for number in 0.. {
        let next = piece(number);
        if text.len() + between.len() + next.len() + after.len() > size {
            break;
        }
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&next);
    }
    text + after
}

/// Returns a short name for a number, different for each number.
fn short(number: usize) -> String {
    const DIGITS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    let mut left = number;
    let digits = iter::from_fn(|| {
        let digit = char::from(DIGITS[left % 64]);
        left /= 64;
        Some((digit, left))
    });
    let mut text = String::from("n");
    for (digit, left) in digits {
        text.push(digit);
        if left == 0 {
            break;
        }
    }
    text
}

/// Places for many values: the body itself, an unknown member, and a list that the endpoint reads.
const LISTS: [(&str, Around); 3] = [
    ("body", ("[", "]")),
    ("unknown member", (r#"{"program_id":1,"external_ids":["a"],"cancel_type":"PARTIAL","x":["#, "]}")),
    ("external_ids", (r#"{"program_id":1,"cancel_type":"PARTIAL","external_ids":["#, "]}")),
];

/// A function that returns the piece of a number.
type Piece = fn(usize) -> String;

/// JSON values to repeat.
const PIECES: [(&str, Piece); 3] = [
    ("objects of one member", |_| r#"{"":0}"#.to_owned()),
    ("lists of one value", |_| "[0]".to_owned()),
    ("nested objects", |_| format!("{}0{}", r#"{"":"#.repeat(90), "}".repeat(90))),
];

/// Returns all shapes of JSON bodies.
pub fn json() -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name: String, build: Box<dyn Fn(usize) -> String + Send + Sync>| {
        shapes.push(Shape { name, content_type: "application/json", build, is_utf_16: false });
    };
    for (place, around) in LISTS {
        for (what, piece) in PIECES {
            add(format!("{place}: {what}"), Box::new(move |size| filled(around, ",", size, piece)));
        }
    }
    for (place, around) in [
        ("members", (r#"{"program_id":1,"external_ids":["a"],"#, "}")),
        ("members of a member", (r#"{"x":{"#, "}}")),
        ("members of an entry", (r#"[{"OrderID":1,"#, "}]")),
    ] {
        let member = |number| format!("\"{}\":0", short(number));
        add(place.to_owned(), Box::new(move |size| filled(around, ",", size, member)));
    }
    let list = LISTS[2].1;
    add("texts".to_owned(), Box::new(move |size| filled(list, ",", size, |number| format!("\"{}\"", short(number)))));
    add("zeros".to_owned(), Box::new(move |size| filled(list, ",", size, |_| "0".to_owned())));
    for (name, around, piece) in [
        ("one name of escapes", (r#"{""#, r#"":{"a":0,"a":0}}"#), r"\u0001"),
        ("one text", (r#"{"program_id":1,"external_ids":[""#, r#""]}"#), "n"),
        ("a PIN of escapes", (r#"[{"OrderID":1,"CreatorID":1,"PIN":""#, r#""}]"#), r"\u0031"),
        ("unclosed lists", ("", ""), "["),
    ] {
        add(name.to_owned(), Box::new(move |size| filled(around, "", size, |_| piece.to_owned())));
    }
    shapes
}

const ROOT: &str = concat!(
    r#"<ArrayOfCancellationCreation xmlns="http://schemas.datacontract.org/2004/07/" "#,
    r#"xmlns:i="http://www.w3.org/2001/XMLSchema-instance">"#
);
const END: &str = "</ArrayOfCancellationCreation>";

/// Returns all shapes of XML bodies, in UTF-8 and in UTF-16.
pub fn xml() -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name: &str, within: Around, piece: fn(usize) -> String| {
        for is_utf_16 in [false, true] {
            let build = move |size: usize| {
                let (before, after) = (format!("{ROOT}{}", within.0), format!("{}{END}", within.1));
                let inner = filled(("", ""), "", size - before.len() - after.len(), piece);
                before + &inner + &after
            };
            let name = format!("{name}{}", if is_utf_16 { ", UTF-16" } else { "" });
            shapes.push(Shape { name, content_type: "application/xml", build: Box::new(build), is_utf_16 });
        }
    };
    let entry = ("<CancellationCreation>", "</CancellationCreation>");
    let pin = ("<CancellationCreation><PIN>", "</PIN></CancellationCreation>");
    add("empty elements", ("", ""), |_| "<a/>".to_owned());
    add("elements of an entry", entry, |_| "<a/>".to_owned());
    add("nested elements", ("", ""), |_| format!("{}{}", "<a>".repeat(30), "</a>".repeat(30)));
    add("entries", ("", ""), |_| "<CancellationCreation/>".to_owned());
    add("null entries", ("", ""), |_| "<CancellationCreation i:nil=\"1\"/>".to_owned());
    add("attributes", ("", ""), |_| {
        format!("<a{}/>", (0..32).map(|number| format!(" {}=''", short(number))).collect::<Vec<_>>().concat())
    });
    add("bindings", ("", ""), |number| {
        let binding = |of| format!(" xmlns:{}='a'", short(32 * number + of));
        format!("<a{}/>", (0..32).map(binding).collect::<Vec<_>>().concat())
    });
    add("long bindings", ("", ""), |number| format!("<a xmlns:{}='{}&#97;'/>", short(number), "a".repeat(8000)));
    add("references", pin, |_| "&#49;".to_owned());
    add("text", pin, |_| "1".to_owned());
    add("CDATA", pin, |_| "<![CDATA[]]>".to_owned());
    add("comments", ("", ""), |_| "<!---->".to_owned());
    add("white space", ("", ""), |_| "\r".to_owned());
    shapes
}
