//! What travels between the endpoint and its .NET clients, to the byte: which format, how requests are read,
//! how answers are written. What an instruction means does not belong here.
//!
//! The rules are those of ASP.NET Web API with `DataContractSerializer` and `Json.NET` (contract), except where
//! those lose data silently.

mod encoding;
pub mod format;
mod json;
mod markup;
mod source;
#[cfg(test)]
mod tests;
mod uri;
mod write;
mod xml;

use std::fmt;

use uuid::Uuid;

use format::Format;

pub use encoding::Charset;
pub use write::{error, results};

/// Deepest nesting, as .NET's own quota of XML. Unknown members may be nested, and are passed over.
pub const MAX_DEPTH: usize = 32;

/// Most entries of a request (contract).
pub const MAX_ENTRIES: usize = 1000;

/// Most values of a body in JSON. Ours: the contract needs six an entry. The rest is for members that are passed over.
pub const MAX_VALUES: usize = 20_000;

/// Most nodes of a body in XML: elements, and their ends, attributes, comments, pieces of text, of which a reference is one.
/// Ours: the contract needs fewer than 90 an entry, which has five members, white space around them, perhaps two attributes
/// each, and all of its digits by reference.
pub const MAX_NODES: usize = 100_000;

/// One entry of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The domestic order.
    pub order_id: Option<i32>,
    /// On whose behalf.
    pub creator_id: Option<i32>,
    /// Their PIN.
    pub pin: Option<Pin>,
    /// Which of the two IDs counts.
    pub is_international: bool,
    /// The international order.
    pub international_order_uid: Option<Uuid>,
}

/// A PIN as it was sent. It is never written anywhere: its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    /// The PIN, to be verified.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// What the client is told of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryResult {
    /// As it was asked.
    pub order_id: Option<i32>,
    /// As it was asked.
    pub international_order_uid: Option<Uuid>,
    /// Why it was not accepted; empty if it was.
    pub errors: Vec<&'static str>,
}

/// A body that is not a list of entries, or of too many. It says where, and quotes nothing: a value may be a PIN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There are more than [`MAX_ENTRIES`].
    #[error("A request must not have more than {MAX_ENTRIES} entries.")]
    TooMany,
    /// Anything else.
    #[error("{0}")]
    Wrong(String),
}

impl Unreadable {
    fn new(reason: impl Into<String>) -> Self {
        Self::Wrong(reason.into())
    }

    /// A member that does not hold what it should.
    fn member(name: &str, expected: &str) -> Self {
        Self::Wrong(format!("{name} must be {expected}."))
    }
}

/// Reads a request's entries, by what its `Content-Type` says; `None` is a null entry.
///
/// # Errors
/// [`Unreadable`] if anything in the body is wrong: then nothing of it counts.
pub fn read(format: Format, charset: Charset, body: &[u8]) -> Result<Vec<Option<Entry>>, Unreadable> {
    let (text, encoding) = encoding::decode(body, charset)?;
    match format {
        Format::Json => json::read(&text),
        Format::Xml => xml::read(&text, encoding),
    }
}

/// White space around integers, booleans and UIDs.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A 32-bit integer: white space around it, a sign and leading zeros are allowed.
fn integer(text: &str) -> Option<i32> {
    text.trim_matches(SPACE).parse().ok()
}

/// A UID in one of .NET's forms D, N and B.
fn uid(text: &str) -> Option<Uuid> {
    const N: usize = 32;
    const D: usize = 36;
    const B: usize = 38;
    let text = text.trim_matches(SPACE);
    if matches!(text.len(), N | D | B) { Uuid::try_parse(text).ok() } else { None }
}
