//! Reading XML as `DataContractSerializer` does, but members in any order: it drops those that come out of
//! order without a word, and a lost `IsInternationalOrder` cancels the wrong order.

use std::collections::BTreeSet;

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};

use super::{Encoding, Entry, MAX_DEPTH, Pin, SPACE, Unreadable, integer, uid};

const NAMESPACE: &str = "http://schemas.datacontract.org/2004/07/";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Most attributes of an element. Ours: each is compared with all before it.
const MAX_ATTRIBUTES: usize = 32;

/// Longest tag, in bytes. Ours: the contract's are far shorter.
const MAX_TAG_BYTES: usize = 8 * 1024;

/// Reads the entries.
pub(super) fn read(text: &str, encoding: Encoding) -> Result<Vec<Option<Entry>>, Unreadable> {
    let mut document = Document::open(text, encoding)?;
    let Node::Open { name: Some("ArrayOfCancellationCreation"), nil: false } = document.next_element()? else {
        return Err(Unreadable::new(
            "The root element must be ArrayOfCancellationCreation of the data contract's namespace.",
        ));
    };
    let mut entries = Vec::new();
    loop {
        match document.next_element()? {
            Node::Open { name: Some("CancellationCreation"), nil: true } => {
                document.skip()?;
                entries.push(None);
            }
            Node::Open { name: Some("CancellationCreation"), nil: false } => entries.push(Some(document.entry()?)),
            Node::Open { .. } => document.skip()?,
            Node::Close => break,
            Node::Text(_) | Node::End => return Err(malformed()),
        }
    }
    match document.next_element()? {
        Node::End => Ok(entries),
        Node::Open { .. } | Node::Close | Node::Text(_) => Err(malformed()),
    }
}

/// What XML 1.0 can hold.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn malformed() -> Unreadable {
    Unreadable::new("The body is not well-formed XML.")
}

/// A piece of the document. Comments are passed over.
enum Node {
    /// An element begins: its name, if it is one of the contract's.
    Open { name: Option<&'static str>, nil: bool },
    /// An element ends.
    Close,
    /// Some text.
    Text(String),
    /// The document ends.
    End,
}

/// What no name holds. The parser takes what stands there for a name, whatever it is.
const NOT_IN_NAMES: [char; 9] = ['<', '>', '&', '"', '\'', '/', '=', ' ', '\t'];

fn is_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.contains(':') && !part.contains(NOT_IN_NAMES);
    name.split_once(':').map_or_else(|| part(name), |(prefix, local)| part(prefix) && part(local))
}

/// The names that mean something, all of one namespace.
const NAMES: [&str; 7] = [
    "ArrayOfCancellationCreation",
    "CancellationCreation",
    "CreatorID",
    "InternationalOrderUID",
    "IsInternationalOrder",
    "OrderID",
    "PIN",
];

/// Those of an entry.
const MEMBERS: [&str; 5] = ["CreatorID", "InternationalOrderUID", "IsInternationalOrder", "OrderID", "PIN"];

struct Document<'a> {
    reader: NsReader<&'a [u8]>,
    depth: usize,
}

impl<'a> Document<'a> {
    /// Begins to read: white space and an XML declaration are passed over.
    fn open(text: &'a str, encoding: Encoding) -> Result<Self, Unreadable> {
        if !text.chars().all(is_char) {
            return Err(malformed());
        }
        let mut reader = NsReader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        let mut document = Self { reader, depth: 0 };
        if text.starts_with("<?xml") {
            match document.reader.read_event() {
                Ok(Event::Decl(declaration)) => check_declaration(&declaration, encoding)?,
                _ => return Err(malformed()),
            }
        }
        Ok(document)
    }

    fn next(&mut self) -> Result<Node, Unreadable> {
        loop {
            let event = self.reader.read_event().map_err(|_| malformed())?;
            return Ok(match event {
                Event::Start(start) => self.begin(&start)?,
                Event::End(_) => {
                    self.depth -= 1;
                    Node::Close
                }
                Event::Text(text) => {
                    let text = text.xml10_content().into_owned();
                    if text.contains("]]>") {
                        return Err(malformed());
                    }
                    Node::Text(text)
                }
                Event::CData(text) if self.depth > 0 => Node::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) if self.depth > 0 => {
                    let text = match reference.resolve_char_ref() {
                        Ok(Some(c)) if is_char(c) => c.to_string(),
                        Ok(None) => resolve_xml_entity(&reference.xml10_content()).ok_or_else(malformed)?.to_owned(),
                        _ => return Err(malformed()),
                    };
                    Node::Text(text)
                }
                Event::Comment(_) => continue,
                Event::Eof if self.depth == 0 => Node::End,
                // Of a declaration, only the first may be. DTDs bring entities, and instructions are for nobody here.
                _ => return Err(malformed()),
            });
        }
    }

    fn begin(&mut self, start: &BytesStart<'_>) -> Result<Node, Unreadable> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable::new("The body is nested too deep."));
        }
        if start.len() > MAX_TAG_BYTES || !is_name(start.name().into_inner()) {
            return Err(malformed());
        }
        let resolver = self.reader.resolver();
        let (namespace, local) = resolver.resolve_element(start.name());
        let name = match namespace {
            ResolveResult::Bound(namespace) if namespace.into_inner() == NAMESPACE => {
                NAMES.into_iter().find(|name| *name == local.into_inner())
            }
            ResolveResult::Bound(_) | ResolveResult::Unbound => None,
            ResolveResult::Unknown(_) => return Err(malformed()),
        };
        let mut nil = None;
        for (count, attribute) in start.attributes().enumerate() {
            let attribute = attribute.ok().filter(|_| count < MAX_ATTRIBUTES).ok_or_else(malformed)?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| malformed())?;
            let key = attribute.key.into_inner();
            if !is_name(key) || attribute.value.contains('<') {
                return Err(malformed());
            }
            if key.starts_with("xmlns:") || key == "xmlns" {
                // The parser takes a namespace's name as it stands there, references and all.
                if attribute.value.contains('&') || (key != "xmlns" && value.is_empty()) {
                    return Err(malformed());
                }
                continue;
            }
            match resolver.resolve_attribute(attribute.key) {
                (ResolveResult::Unknown(_), _) => return Err(malformed()),
                (ResolveResult::Bound(namespace), local)
                    if name.is_some() && namespace.into_inner() == INSTANCE && local.into_inner() == "nil" =>
                {
                    let value = boolean(&value).ok_or_else(|| Unreadable::new("nil must be true or false."))?;
                    if nil.replace(value).is_some() {
                        return Err(malformed());
                    }
                }
                _ => {}
            }
        }
        Ok(Node::Open { name, nil: nil.unwrap_or(false) })
    }

    /// The next node that is not white space.
    fn next_element(&mut self) -> Result<Node, Unreadable> {
        loop {
            match self.next()? {
                Node::Text(text) if text.chars().all(|c| SPACE.contains(&c)) => {}
                Node::Text(_) => return Err(Unreadable::new("There is text between elements.")),
                node => return Ok(node),
            }
        }
    }

    /// Passes over the rest of the element that has begun.
    fn skip(&mut self) -> Result<(), Unreadable> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<Entry, Unreadable> {
        let mut entry = Entry::default();
        let mut seen = BTreeSet::new();
        loop {
            let (name, nil) = match self.next_element()? {
                Node::Open { name, nil } => (name, nil),
                Node::Close => return Ok(entry),
                Node::Text(_) | Node::End => return Err(malformed()),
            };
            let name = name.filter(|name| MEMBERS.contains(name));
            if let Some(name) = name
                && !seen.insert(name)
            {
                return Err(Unreadable::new(format!("{name} must come once.")));
            }
            match name {
                Some("OrderID") => entry.order_id = self.integer("OrderID", nil)?,
                Some("CreatorID") => entry.creator_id = self.integer("CreatorID", nil)?,
                Some("PIN") => entry.pin = self.value("PIN", nil)?.map(Pin),
                Some("IsInternationalOrder") => {
                    let value = self.value("IsInternationalOrder", nil)?;
                    let value = value.and_then(|value| boolean(&value));
                    entry.is_international =
                        value.ok_or_else(|| Unreadable::member("IsInternationalOrder", "a boolean"))?;
                }
                Some("InternationalOrderUID") => {
                    let value = self.value("InternationalOrderUID", nil)?;
                    let bad = || Unreadable::member("InternationalOrderUID", "a globally unique identifier");
                    entry.international_order_uid = value.map(|value| uid(&value).ok_or_else(bad)).transpose()?;
                }
                _ => self.skip()?,
            }
        }
    }

    fn integer(&mut self, name: &str, nil: bool) -> Result<Option<i32>, Unreadable> {
        let value = self.value(name, nil)?;
        value.map(|value| integer(&value).ok_or_else(|| Unreadable::member(name, "a 32-bit integer"))).transpose()
    }

    /// The text of the element that has begun; `None` if it is nil, whatever it holds.
    fn value(&mut self, name: &str, nil: bool) -> Result<Option<String>, Unreadable> {
        if nil {
            self.skip()?;
            return Ok(None);
        }
        let mut value = String::new();
        loop {
            match self.next()? {
                Node::Text(text) => value.push_str(&text),
                Node::Close => return Ok(Some(value)),
                Node::Open { .. } | Node::End => return Err(Unreadable::member(name, "text alone")),
            }
        }
    }
}

fn check_declaration(declaration: &BytesDecl<'_>, encoding: Encoding) -> Result<(), Unreadable> {
    let version = declaration.version().map_err(|_| malformed())?;
    let declared = declaration.encoding().transpose().map_err(|_| malformed())?;
    let fits: &[&str] = match encoding {
        Encoding::Utf8 => &["utf-8"],
        Encoding::Utf16 => &["utf-16", "utf-16le", "utf-16be"],
    };
    let fits = |declared: &str| fits.iter().any(|fit| fit.eq_ignore_ascii_case(declared));
    if version != "1.0" || declared.is_some_and(|declared| !fits(&declared)) {
        return Err(Unreadable::new("The XML declaration does not fit the body."));
    }
    Ok(())
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim_matches(SPACE) {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
