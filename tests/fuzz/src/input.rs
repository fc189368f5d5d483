//! The form of inputs: lines, an empty line, and a body of any bytes.
//!
//! ```text
//! :endpoint bind-card
//! x-account-id: 400155667788
//!
//! {"reissued_card_id": 3}
//! ```
//!
//! A line that starts with a colon is a setting of the target. Every other line is a header. When a fuzzer changes a
//! piece of such a text, the rest keeps its meaning, and people can read it.

/// An input, split into its parts.
#[derive(Debug)]
pub struct Input<'a> {
    settings: Vec<(String, String)>,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The bytes after the empty line.
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads any bytes, and ignores what makes no sense.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 2..]));
        let mut input = Self { settings: Vec::new(), headers: Vec::new(), body };
        for line in String::from_utf8_lossy(head).lines() {
            if let Some(setting) = line.strip_prefix(':') {
                let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
                input.settings.push((name.to_owned(), value.to_owned()));
            } else if let Some((name, value)) = line.split_once(':')
                && is_token(name)
            {
                input.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        input
    }

    /// Returns the first value of a setting, if there is one.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Returns whether this is a valid header name. A server passes on no other.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
