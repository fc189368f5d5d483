//! Decodes a body's bytes to text.

use std::borrow::Cow;

use super::Unreadable;

/// The `charset` of a `Content-Type`, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, unless there is another byte order mark. Also stands for any other charset, and for a missing one.
    #[default]
    Utf8,
    /// UTF-16 in either byte order.
    Utf16,
    /// UTF-16 in little-endian order.
    Utf16Le,
    /// UTF-16 in big-endian order.
    Utf16Be,
}

impl Charset {
    const NAMED: [(&str, Self); 3] =
        [("utf-16", Self::Utf16), ("utf-16le", Self::Utf16Le), ("utf-16be", Self::Utf16Be)];

    /// Returns the charset of a `Content-Type`.
    #[must_use]
    pub fn of_content_type(value: &str) -> Self {
        let mut is_quoted = false;
        let parameters = value.split(|c| {
            is_quoted ^= c == '"';
            c == ';' && !is_quoted
        });
        let charset = parameters.skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim())
        });
        let charset = charset.unwrap_or_default();
        let charset = charset.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(charset);
        let known = Self::NAMED.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(charset));
        known.map_or(Self::Utf8, |(_, charset)| charset)
    }
}

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// Returns the text of a body, without its byte order mark. The mark takes precedence over the charset
/// (RFC 7303, section 3.3).
pub(super) fn decode(body: &[u8], charset: Charset) -> Result<(Cow<'_, str>, Encoding), Unreadable> {
    let (encoding, bytes) = match (body, charset) {
        ([0xff, 0xfe, rest @ ..], _) => (Encoding::Utf16Le, rest),
        ([0xfe, 0xff, rest @ ..], _) => (Encoding::Utf16Be, rest),
        ([0xef, 0xbb, 0xbf, rest @ ..], _) | (rest, Charset::Utf8) => (Encoding::Utf8, rest),
        // RFC 2781 makes this big-endian, but .NET clients send little-endian. Both formats begin with an ASCII
        // character, so the first byte shows the order.
        ([0, ..], Charset::Utf16) | (_, Charset::Utf16Be) => (Encoding::Utf16Be, body),
        (_, Charset::Utf16 | Charset::Utf16Le) => (Encoding::Utf16Le, body),
    };
    let text = match encoding {
        Encoding::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Encoding::Utf16Le => utf_16(bytes, u16::from_le_bytes),
        Encoding::Utf16Be => utf_16(bytes, u16::from_be_bytes),
    };
    let text = text.ok_or_else(|| {
        Unreadable::new("The body is not UTF-8, or not UTF-16 as its Content-Type or byte order mark states.")
    })?;
    Ok((text, encoding))
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Cow<'_, str>> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok().filter(|_| bytes.len().is_multiple_of(2)).map(Cow::Owned)
}
