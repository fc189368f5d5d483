//! The wire format between the endpoint and its .NET clients, exact to the byte: negotiates formats, reads requests and
//! writes responses. The meaning of an instruction does not belong here.
//!
//! The rules are those of ASP.NET Web API with `DataContractSerializer` and `Json.NET` (contract), except where those
//! lose data silently.

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

/// The maximum depth of nesting, the same as .NET's quota for XML. Unknown members may be nested; they are skipped.
pub const MAX_DEPTH: usize = 32;

/// The maximum number of entries in a request (contract).
pub const MAX_ENTRIES: usize = 1000;

/// The maximum number of values in a JSON body. Our limit: the contract needs six per entry. The rest is for members
/// that are skipped.
pub const MAX_VALUES: usize = 20_000;

/// The maximum number of nodes in an XML body: starts and ends of elements, attributes, comments and pieces of text,
/// where a reference is a piece of its own.
///
/// Our limit: the contract needs fewer than 90 per entry. That is an entry with five members, white space around them,
/// two attributes each, and all digits written as references.
pub const MAX_NODES: usize = 100_000;

/// One entry of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The ID of a domestic order.
    pub order_id: Option<i32>,
    /// The person for whom the cancellation is requested.
    pub creator_id: Option<i32>,
    /// The person's PIN.
    pub pin: Option<Pin>,
    /// True if the ID of the international order counts, false if that of the domestic order does.
    pub is_international: bool,
    /// The ID of an international order.
    pub international_order_uid: Option<Uuid>,
}

/// A PIN as the client sent it. It is never written anywhere, and its debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    /// Returns the PIN, for verification.
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

/// The result of one entry in the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryResult {
    /// The domestic order's ID, as in the request.
    pub order_id: Option<i32>,
    /// The international order's ID, as in the request.
    pub international_order_uid: Option<Uuid>,
    /// The reasons why the entry was not accepted; empty if it was.
    pub errors: Vec<&'static str>,
}

/// The error for a body that is not a list of entries, or has too many. It names the member, but quotes nothing,
/// because a value may be a PIN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The body has more than [`MAX_ENTRIES`] entries.
    #[error("A request must not have more than {MAX_ENTRIES} entries.")]
    TooMany,
    /// Any other error.
    #[error("{0}")]
    Wrong(String),
}

impl Unreadable {
    fn new(reason: impl Into<String>) -> Self {
        Self::Wrong(reason.into())
    }

    /// Returns the error for a member whose value is not as expected.
    fn member(name: &str, expected: &str) -> Self {
        Self::Wrong(format!("{name} must be {expected}."))
    }
}

/// Reads the entries of a request, by the format and charset of its `Content-Type`. `None` is a null entry.
///
/// # Errors
/// [`Unreadable`] if anything in the body is invalid. Then no entry counts.
pub fn read(format: Format, charset: Charset, body: &[u8]) -> Result<Vec<Option<Entry>>, Unreadable> {
    let (text, encoding) = encoding::decode(body, charset)?;
    match format {
        Format::Json => json::read(&text),
        Format::Xml => xml::read(&text, encoding),
    }
}

/// The white space allowed around integers, booleans and UIDs.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Parses a 32-bit integer. White space around it, a sign and leading zeros are allowed.
fn integer(text: &str) -> Option<i32> {
    text.trim_matches(SPACE).parse().ok()
}

/// Parses a UID in one of .NET's formats D, N and B.
fn uid(text: &str) -> Option<Uuid> {
    const N: usize = 32;
    const D: usize = 36;
    const B: usize = 38;
    let text = text.trim_matches(SPACE);
    if matches!(text.len(), N | D | B) { Uuid::try_parse(text).ok() } else { None }
}
