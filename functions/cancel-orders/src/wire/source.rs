//! Reads the smallest pieces of an XML document: names, quoted values, references and the declaration.
//!
//! Each piece must match its production in XML 1.0 (fifth edition) and Namespaces in XML 1.0. Anything else is an
//! error.

use std::borrow::Cow;

use super::{SPACE, Unreadable};

pub(super) fn malformed() -> Unreadable {
    Unreadable::new("The body is not well-formed XML.")
}

/// A name of the form `local` or `prefix:local`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// The name as written.
    pub(super) whole: &'a str,
    /// The prefix; empty if there is no prefix.
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
}

/// The part of the text that is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a>(&'a str);

impl<'a> Source<'a> {
    /// Creates a source of this text. Line ends must be normalized to `\n`.
    pub(super) fn new(text: &'a str) -> Result<Self, Unreadable> {
        if text.chars().all(is_char) { Ok(Self(text)) } else { Err(malformed()) }
    }

    /// Returns the number of bytes left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// Skips `what` if it comes next. Returns whether it did.
    pub(super) fn eat(&mut self, what: &str) -> bool {
        let rest = self.0.strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Skips `what`, which must come next.
    pub(super) fn expect(&mut self, what: &str) -> Result<(), Unreadable> {
        if self.eat(what) { Ok(()) } else { Err(malformed()) }
    }

    /// Skips white space. Returns whether there was any.
    pub(super) fn space(&mut self) -> bool {
        !self.take_while(|c| SPACE.contains(&c)).is_empty()
    }

    /// Skips an equals sign, with or without white space around it.
    pub(super) fn equals(&mut self) -> Result<(), Unreadable> {
        self.space();
        self.expect("=")?;
        self.space();
        Ok(())
    }

    /// Takes the text before `end`, which must follow, and skips `end`.
    pub(super) fn until(&mut self, end: &str) -> Result<&'a str, Unreadable> {
        let (taken, rest) = self.0.split_once(end).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !belongs(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Takes a name.
    pub(super) fn name(&mut self) -> Result<Name<'a>, Unreadable> {
        let whole = self.take_while(|c| c == ':' || is_in_name(c));
        let is_part = |part: &str| part.starts_with(begins_name) && !part.contains(':');
        let (prefix, local) = whole.split_once(':').unwrap_or(("", whole));
        if is_part(local) && (is_part(prefix) || local == whole) {
            Ok(Name { whole, prefix, local })
        } else {
            Err(malformed())
        }
    }

    /// Takes the text up to the next tag, reference, comment or CDATA section.
    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let text = self.take_while(|c| !matches!(c, '<' | '&'));
        if text.contains("]]>") { Err(malformed()) } else { Ok(text) }
    }

    /// Skips the rest of a comment.
    pub(super) fn comment(&mut self) -> Result<(), Unreadable> {
        self.until("--")?;
        self.expect(">")
    }

    fn quoted(&mut self) -> Result<&'a str, Unreadable> {
        let quote = if self.eat("'") { "'" } else { "\"" };
        if quote == "\"" {
            self.expect(quote)?;
        }
        self.until(quote)
    }

    /// Takes the value of an attribute.
    pub(super) fn value(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let quoted = self.quoted()?;
        if quoted.contains('<') {
            return Err(malformed());
        }
        if !quoted.contains(['&', '\t', '\n']) {
            return Ok(Cow::Borrowed(quoted));
        }
        let (mut source, mut value) = (Source(quoted), String::with_capacity(quoted.len()));
        while source.left() > 0 {
            if source.eat("&") {
                value.push(source.reference()?);
            } else {
                // Literal white space becomes a space. White space by reference is not changed.
                value.extend(source.take_while(|c| c != '&').chars().map(|c| if SPACE.contains(&c) { ' ' } else { c }));
            }
        }
        Ok(Cow::Owned(value))
    }

    /// Takes the rest of a reference. Only the five predefined entities are known.
    pub(super) fn reference(&mut self) -> Result<char, Unreadable> {
        let (digits, radix) = match self.until(";")? {
            "amp" => return Ok('&'),
            "apos" => return Ok('\''),
            "gt" => return Ok('>'),
            "lt" => return Ok('<'),
            "quot" => return Ok('"'),
            reference => match (reference.strip_prefix("#x"), reference.strip_prefix('#')) {
                (Some(digits), _) => (digits, 16),
                (None, Some(digits)) => (digits, 10),
                (None, None) => return Err(malformed()),
            },
        };
        // Without this check, `from_str_radix` would accept a sign.
        let number = digits.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(digits, radix).ok());
        number.flatten().and_then(char::from_u32).filter(|c| is_char(*c)).ok_or_else(malformed)
    }

    /// Takes the XML declaration, if there is one. Returns the encoding that it declares, if any.
    pub(super) fn declaration(&mut self) -> Result<Option<&'a str>, Unreadable> {
        if !self.eat("<?xml") {
            return Ok(None);
        }
        // All versions 1.x are read by the rules of 1.0 (XML 1.0, section 2.8).
        let version = self.declared("version")?.and_then(|version| version.strip_prefix("1."));
        let is_version = |version: &str| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let encoding = self.declared("encoding")?;
        let is_encoding = |encoding: &str| {
            encoding.starts_with(|c: char| c.is_ascii_alphabetic())
                && encoding.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let standalone = self.declared("standalone")?;
        self.space();
        self.expect("?>")?;
        let is_well_formed = version.is_some_and(is_version)
            && encoding.is_none_or(is_encoding)
            && standalone.is_none_or(|standalone| matches!(standalone, "yes" | "no"));
        if is_well_formed { Ok(encoding) } else { Err(malformed()) }
    }

    /// Takes this part of the declaration if it comes next, and returns its value.
    fn declared(&mut self, name: &str) -> Result<Option<&'a str>, Unreadable> {
        let mut ahead = *self;
        if !(ahead.space() && ahead.eat(name)) {
            return Ok(None);
        }
        *self = ahead;
        self.equals()?;
        self.quoted().map(Some)
    }
}

/// Returns whether this is a `Char` of XML.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// Returns whether this is a `NameStartChar` of XML other than the colon.
fn begins_name(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

/// Returns whether this is a `NameChar` of XML other than the colon.
fn is_in_name(c: char) -> bool {
    begins_name(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
