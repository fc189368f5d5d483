//! Parses an XML document to elements and text, with the namespaces of names. Refuses documents that are not
//! well-formed, also in the parts that the reader skips.
//!
//! Bindery has its own parser because we found none that is lean and refuses exactly what it must. It is small
//! because it refuses much of XML (contract): DTDs, therefore also entities, and processing instructions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::encoding::Encoding;
use super::source::{Name, Source, malformed};
use super::uri::is_uri_reference;
use super::{MAX_DEPTH, MAX_NODES, Unreadable};

/// The maximum number of attributes of an element. Our limit: each is compared with all before it.
const MAX_ATTRIBUTES: usize = 32;

/// The maximum length of a tag, in bytes. Our limit: the contract's tags are far shorter.
const MAX_TAG_BYTES: usize = 8 * 1024;

/// The namespace of the prefix `xml`, which needs no declaration.
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the prefix `xmlns`, which must never be declared.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// A node of the document. Comments are skipped.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// The start of an element.
    Open(Element<'a>),
    /// The end of an element.
    Close,
    /// A piece of text.
    Text(Cow<'a, str>),
    /// The end of the document.
    End,
}

/// An element without its content. The namespace is empty if the element is in no namespace.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) namespace: Cow<'a, str>,
    pub(super) local: &'a str,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// An attribute that does not declare a namespace.
#[derive(Debug)]
pub(super) struct Attribute<'a> {
    pub(super) namespace: Cow<'a, str>,
    pub(super) local: &'a str,
    pub(super) value: Cow<'a, str>,
}

#[derive(Debug)]
struct Opened<'a> {
    name: &'a str,
    /// The prefixes that the element declares.
    declares: Vec<&'a str>,
}

/// A parser of one document.
#[derive(Debug)]
pub(super) struct Markup<'a> {
    source: Source<'a>,
    opened: Vec<Opened<'a>>,
    /// The namespaces bound to each prefix, the innermost element's last. The empty prefix is for elements without a
    /// prefix.
    namespaces: BTreeMap<&'a str, Vec<Cow<'a, str>>>,
    /// True if the current element is an empty-element tag, and so ends at once.
    is_empty: bool,
    /// The number of nodes that may still follow.
    left: usize,
}

impl<'a> Markup<'a> {
    /// Creates a parser, and reads an XML declaration if there is one. Line ends must be normalized to `\n`.
    pub(super) fn open(text: &'a str, encoding: Encoding) -> Result<Self, Unreadable> {
        let mut source = Source::new(text)?;
        let fits: &[&str] = match encoding {
            Encoding::Utf8 => &["utf-8"],
            Encoding::Utf16Le => &["utf-16", "utf-16le"],
            Encoding::Utf16Be => &["utf-16", "utf-16be"],
        };
        if let Some(declared) = source.declaration()?
            && !fits.iter().any(|fit| fit.eq_ignore_ascii_case(declared))
        {
            return Err(Unreadable::new("The XML declaration names another encoding than that of the body."));
        }
        let namespaces = BTreeMap::from([("xml", vec![Cow::Borrowed(XML)])]);
        Ok(Self { source, opened: Vec::new(), namespaces, is_empty: false, left: MAX_NODES })
    }

    /// Returns the number of open elements.
    pub(super) fn depth(&self) -> usize {
        self.opened.len()
    }

    /// Returns the next node. Outside the root element, the caller decides which nodes are allowed.
    pub(super) fn next(&mut self) -> Result<Node<'a>, Unreadable> {
        self.spend(1)?;
        if std::mem::take(&mut self.is_empty) {
            return Ok(self.close());
        }
        while self.source.eat("<!--") {
            self.spend(1)?;
            self.source.comment()?;
        }
        let is_inside = self.depth() > 0;
        if self.source.eat("<?") || self.source.eat("<!DOCTYPE") {
            Err(Unreadable::new("The body must have no DTD and no processing instruction."))
        } else if self.source.eat("</") {
            self.end()
        } else if is_inside && self.source.eat("<![CDATA[") {
            Ok(Node::Text(self.source.until("]]>")?.into()))
        } else if self.source.eat("<") {
            self.begin()
        } else if is_inside && self.source.eat("&") {
            Ok(Node::Text(self.source.reference()?.to_string().into()))
        } else if self.source.left() > 0 {
            let text = self.source.text()?;
            // Only a reference outside the root element has no text here.
            if text.is_empty() { Err(malformed()) } else { Ok(Node::Text(text.into())) }
        } else if is_inside {
            Err(malformed())
        } else {
            Ok(Node::End)
        }
    }

    /// Counts nodes against the limit.
    fn spend(&mut self, nodes: usize) -> Result<(), Unreadable> {
        self.left = self.left.checked_sub(nodes).ok_or_else(|| Unreadable::new("The body has too many nodes."))?;
        Ok(())
    }

    fn begin(&mut self) -> Result<Node<'a>, Unreadable> {
        if self.depth() == MAX_DEPTH {
            return Err(Unreadable::new("The body is nested too deeply."));
        }
        let too_long = || Unreadable::new("A tag of the body is too long, or has too many attributes.");
        let before = self.source.left();
        let name = self.source.name()?;
        let mut attributes = Vec::new();
        loop {
            let is_apart = self.source.space();
            self.is_empty = self.source.eat("/>");
            if self.is_empty || self.source.eat(">") {
                break;
            }
            if !is_apart {
                return Err(malformed());
            }
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(too_long());
            }
            let name = self.source.name()?;
            self.source.equals()?;
            attributes.push((name, self.source.value()?));
        }
        if before - self.source.left() > MAX_TAG_BYTES {
            return Err(too_long());
        }
        self.spend(attributes.len())?;
        let declares = self.declare(&attributes)?;
        self.opened.push(Opened { name: name.whole, declares });
        let attributes = self.resolve(attributes)?;
        Ok(Node::Open(Element { namespace: self.namespace(name.prefix)?, local: name.local, attributes }))
    }

    /// Binds the prefixes that an element declares, and returns them.
    fn declare(&mut self, attributes: &[(Name<'a>, Cow<'a, str>)]) -> Result<Vec<&'a str>, Unreadable> {
        let mut declares = Vec::new();
        for (name, namespace) in attributes {
            let Some(prefix) = declared_by(name) else { continue };
            let is_reserved = prefix == "xmlns" || namespace == XMLNS || (prefix == "xml") != (namespace == XML);
            let is_undone = namespace.is_empty() && !prefix.is_empty();
            if is_reserved || is_undone || declares.contains(&prefix) || !is_uri_reference(namespace) {
                return Err(malformed());
            }
            self.namespaces.entry(prefix).or_default().push(namespace.clone());
            declares.push(prefix);
        }
        Ok(declares)
    }

    /// Returns the attributes that do not declare namespaces. They must have different names, and two prefixes of the
    /// same namespace do not make names different.
    fn resolve(&self, attributes: Vec<(Name<'a>, Cow<'a, str>)>) -> Result<Vec<Attribute<'a>>, Unreadable> {
        let mut resolved: Vec<Attribute<'a>> = Vec::new();
        for (name, value) in attributes {
            if declared_by(&name).is_some() {
                continue;
            }
            // The default namespace does not apply to attributes: without a prefix, they are in no namespace.
            let namespace = if name.prefix.is_empty() { Cow::Borrowed("") } else { self.namespace(name.prefix)? };
            if resolved.iter().any(|other| other.local == name.local && other.namespace == namespace) {
                return Err(malformed());
            }
            resolved.push(Attribute { namespace, local: name.local, value });
        }
        Ok(resolved)
    }

    fn namespace(&self, prefix: &str) -> Result<Cow<'a, str>, Unreadable> {
        match self.namespaces.get(prefix).and_then(|bound| bound.last()) {
            Some(namespace) => Ok(namespace.clone()),
            None if prefix.is_empty() => Ok(Cow::Borrowed("")),
            None => Err(malformed()),
        }
    }

    fn end(&mut self) -> Result<Node<'a>, Unreadable> {
        let name = self.source.name()?;
        self.source.space();
        self.source.expect(">")?;
        let is_that = self.opened.last().is_some_and(|opened| opened.name == name.whole);
        if is_that { Ok(self.close()) } else { Err(malformed()) }
    }

    /// Removes the innermost open element and its declarations.
    fn close(&mut self) -> Node<'a> {
        for prefix in self.opened.pop().into_iter().flat_map(|opened| opened.declares) {
            self.namespaces.get_mut(prefix).and_then(Vec::pop);
        }
        Node::Close
    }
}

/// Returns the prefix that an attribute of this name declares, which is empty for `xmlns` itself.
fn declared_by<'a>(name: &Name<'a>) -> Option<&'a str> {
    match (name.prefix, name.local) {
        ("", "xmlns") => Some(""),
        ("xmlns", prefix) => Some(prefix),
        _ => None,
    }
}
