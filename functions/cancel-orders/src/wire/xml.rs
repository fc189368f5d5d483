//! Reads XML as `DataContractSerializer` does, but accepts members in any order. The serializer silently drops members
//! that are out of order, and a lost `IsInternationalOrder` cancels the wrong order.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::encoding::Encoding;
use super::markup::{Element, Markup, Node};
use super::source::malformed;
use super::{Entry, MAX_ENTRIES, Pin, SPACE, Unreadable, integer, uid};

const NAMESPACE: &str = "http://schemas.datacontract.org/2004/07/";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

const MEMBERS: [&str; 5] = ["CreatorID", "InternationalOrderUID", "IsInternationalOrder", "OrderID", "PIN"];

/// Reads the entries of a request.
pub(super) fn read(text: &str, encoding: Encoding) -> Result<Vec<Option<Entry>>, Unreadable> {
    // Normalize line ends to `\n` before parsing (XML 1.0, section 2.11).
    let text =
        if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { Cow::from(text) };
    let mut document = Document(Markup::open(&text, encoding)?);
    match document.next_element()? {
        Node::Open(root) if is(&root, "ArrayOfCancellationCreation") && !is_nil(&root)? => {}
        _ => {
            return Err(Unreadable::new(
                "The root element must be ArrayOfCancellationCreation of the data contract's namespace.",
            ));
        }
    }
    let mut entries = Vec::new();
    loop {
        match document.next_element()? {
            Node::Open(element) if !is(&element, "CancellationCreation") => document.skip()?,
            Node::Open(_) if entries.len() == MAX_ENTRIES => return Err(Unreadable::TooMany),
            Node::Open(element) if is_nil(&element)? => {
                document.skip()?;
                entries.push(None);
            }
            Node::Open(_) => entries.push(Some(document.entry()?)),
            Node::Close => break,
            Node::Text(_) | Node::End => return Err(malformed()),
        }
    }
    match document.next_element()? {
        Node::End => Ok(entries),
        Node::Open(_) | Node::Close | Node::Text(_) => Err(malformed()),
    }
}

/// Returns whether an element has this name in the contract's namespace.
fn is(element: &Element<'_>, name: &str) -> bool {
    element.local == name && element.namespace == NAMESPACE
}

fn is_nil(element: &Element<'_>) -> Result<bool, Unreadable> {
    let nil = element.attributes.iter().find(|attribute| attribute.local == "nil" && attribute.namespace == INSTANCE);
    let invalid = || Unreadable::new("nil must be true or false.");
    nil.map_or(Ok(false), |nil| boolean(&nil.value).ok_or_else(invalid))
}

struct Document<'a>(Markup<'a>);

impl<'a> Document<'a> {
    /// Returns the next node that is not white space.
    fn next_element(&mut self) -> Result<Node<'a>, Unreadable> {
        loop {
            match self.0.next()? {
                Node::Text(text) if text.chars().all(|c| SPACE.contains(&c)) => {}
                Node::Text(_) => return Err(Unreadable::new("There is text between elements.")),
                node => return Ok(node),
            }
        }
    }

    /// Skips the rest of the current element.
    fn skip(&mut self) -> Result<(), Unreadable> {
        let outside = self.0.depth() - 1;
        while self.0.depth() > outside {
            self.0.next()?;
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<Entry, Unreadable> {
        let mut entry = Entry::default();
        let mut seen = BTreeSet::new();
        loop {
            let element = match self.next_element()? {
                Node::Open(element) => element,
                Node::Close => return Ok(entry),
                Node::Text(_) | Node::End => return Err(malformed()),
            };
            let Some(name) = MEMBERS.into_iter().find(|name| is(&element, name)) else {
                self.skip()?;
                continue;
            };
            let nil = is_nil(&element)?;
            if !seen.insert(name) {
                return Err(Unreadable::new(format!("{name} must not be repeated.")));
            }
            match name {
                "OrderID" => entry.order_id = self.integer(name, nil)?,
                "CreatorID" => entry.creator_id = self.integer(name, nil)?,
                "PIN" => entry.pin = self.value(name, nil)?.map(Pin),
                "IsInternationalOrder" => {
                    let value = self.value(name, nil)?.and_then(|value| boolean(&value));
                    entry.is_international = value.ok_or_else(|| Unreadable::member(name, "a boolean"))?;
                }
                // InternationalOrderUID.
                _ => {
                    let value = self.value(name, nil)?;
                    let bad = || Unreadable::member(name, "a globally unique identifier");
                    entry.international_order_uid = value.map(|value| uid(&value).ok_or_else(bad)).transpose()?;
                }
            }
        }
    }

    fn integer(&mut self, name: &str, nil: bool) -> Result<Option<i32>, Unreadable> {
        let value = self.value(name, nil)?;
        value.map(|value| integer(&value).ok_or_else(|| Unreadable::member(name, "a 32-bit integer"))).transpose()
    }

    /// Returns the text of the current element, or `None` if the element is nil, whatever its content is.
    fn value(&mut self, name: &str, nil: bool) -> Result<Option<String>, Unreadable> {
        if nil {
            self.skip()?;
            return Ok(None);
        }
        let mut value = String::new();
        loop {
            match self.0.next()? {
                Node::Text(text) => value.push_str(&text),
                Node::Close => return Ok(Some(value)),
                Node::Open(_) | Node::End => return Err(Unreadable::member(name, "text only")),
            }
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim_matches(SPACE) {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
