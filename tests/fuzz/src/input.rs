//! The form of inputs: lines, an empty line, and a body of any bytes.
//!
//! ```text
//! :endpoint bind-card
//! x-account-id: 400155667788
//!
//! {"reissued_card_id": 3}
//! ```
//!
//! A line with a colon in front is a setting of the target's; every other is a header. A fuzzer that changes a piece of
//! such a text leaves the rest of its meaning alone, and people can read it.

/// An input.
#[derive(Debug)]
pub struct Input<'a> {
    settings: Vec<(String, String)>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads any bytes. What does not make sense is passed over.
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

    /// The value of a setting, if it is there; the first counts.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Whether this can be a header's name: no server hands on another.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
