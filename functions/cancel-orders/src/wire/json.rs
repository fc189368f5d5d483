//! Reads JSON as `Json.NET` does, but only strict JSON.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Entry, MAX_DEPTH, MAX_ENTRIES, MAX_VALUES, Pin, SPACE, Unreadable, integer, uid};

const MEMBERS: [&str; 5] = ["OrderID", "CreatorID", "PIN", "IsInternationalOrder", "InternationalOrderUID"];

/// Reads the entries of a request.
pub(super) fn read(text: &str) -> Result<Vec<Option<Entry>>, Unreadable> {
    let Size { depth, values } = Size::of(text);
    if depth > MAX_DEPTH {
        return Err(Unreadable::new("The body is nested too deeply."));
    }
    let not_a_list = || Unreadable::new("The body must be a JSON array of cancellation instructions.");
    let Entries(entries) = serde_json::from_str(text).map_err(|_| not_a_list())?;
    if entries.len() > MAX_ENTRIES {
        return Err(Unreadable::TooMany);
    }
    if values > MAX_VALUES {
        return Err(Unreadable::new("The body has too many values."));
    }
    entries
        .into_iter()
        .map(|entry| if entry.get() == "null" { Ok(None) } else { read_entry(entry).map(Some) })
        .collect()
}

/// The size of a text, if it is JSON.
struct Size {
    /// The depth of nested arrays and objects.
    depth: usize,
    /// The number of values, or slightly more: an empty array counts as two.
    values: usize,
}

impl Size {
    fn of(text: &str) -> Self {
        let (mut depth, mut deepest, mut values, mut in_text, mut escaped) = (0_usize, 0, 1, false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b',' if !in_text => values += 1,
                b'[' | b'{' if !in_text => {
                    values += 1;
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Self { depth: deepest, values }
    }
}

/// The entries of a request. If there are too many, only one more than the maximum.
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = array.next_element()? {
                    if entries.len() <= MAX_ENTRIES {
                        entries.push(entry);
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

fn read_entry(entry: &RawValue) -> Result<Entry, Unreadable> {
    let not_an_entry = |_| Unreadable::new("A cancellation instruction must be a JSON object.");
    let Members(members) = serde_json::from_str(entry.get()).map_err(not_an_entry)?;
    let mut entry = Entry::default();
    for (name, value) in members {
        let exact = MEMBERS.iter().find(|member| **member == name);
        let member = exact.or_else(|| MEMBERS.iter().find(|member| member.eq_ignore_ascii_case(&name)));
        let value = Json::of(value);
        match member {
            Some(&"OrderID") => entry.order_id = value.integer("OrderID")?,
            Some(&"CreatorID") => entry.creator_id = value.integer("CreatorID")?,
            Some(&"PIN") => entry.pin = value.pin()?,
            Some(&"IsInternationalOrder") => entry.is_international = value.boolean("IsInternationalOrder")?,
            Some(&"InternationalOrderUID") => entry.international_order_uid = value.uid("InternationalOrderUID")?,
            // Unknown members are ignored.
            _ => {}
        }
    }
    Ok(entry)
}

/// The members of an object in their order, with repeated ones. The last one of a name counts, but all must be valid.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The value of a member, as far as it matters.
enum Json<'a> {
    Null,
    Text(String),
    Bool(bool),
    /// The number, as written in the body.
    Number(&'a str),
    Nested,
}

impl<'a> Json<'a> {
    fn of(value: &'a RawValue) -> Self {
        match value.get() {
            "null" => Self::Null,
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            text if text.starts_with('"') => serde_json::from_str(text).map_or(Self::Nested, Self::Text),
            text if text.starts_with(['[', '{']) => Self::Nested,
            text => Self::Number(text),
        }
    }

    fn integer(self, name: &str) -> Result<Option<i32>, Unreadable> {
        let value = match self {
            Self::Null => return Ok(None),
            Self::Text(text) if text.is_empty() => return Ok(None),
            Self::Text(text) => integer(&text),
            Self::Number(text) => integer(text),
            Self::Bool(_) | Self::Nested => None,
        };
        value.map(Some).ok_or_else(|| Unreadable::member(name, "a 32-bit integer"))
    }

    fn uid(self, name: &str) -> Result<Option<uuid::Uuid>, Unreadable> {
        let value = match self {
            Self::Null => return Ok(None),
            Self::Text(text) if text.is_empty() => return Ok(None),
            Self::Text(text) => uid(&text),
            Self::Bool(_) | Self::Number(_) | Self::Nested => None,
        };
        value.map(Some).ok_or_else(|| Unreadable::member(name, "a globally unique identifier"))
    }

    fn boolean(self, name: &str) -> Result<bool, Unreadable> {
        let value = match self {
            Self::Bool(value) => Some(value),
            Self::Text(text) => match text.trim_matches(SPACE) {
                text if text.eq_ignore_ascii_case("true") => Some(true),
                text if text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            },
            Self::Number(text) => {
                // Any form of a number; an exponent cannot make zero anything else.
                let digits = text.split(['e', 'E']).next().unwrap_or_default();
                Some(digits.bytes().any(|byte| (b'1'..=b'9').contains(&byte)))
            }
            Self::Null | Self::Nested => None,
        };
        value.ok_or_else(|| Unreadable::member(name, "a boolean"))
    }

    fn pin(self) -> Result<Option<Pin>, Unreadable> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(Pin(text))),
            Self::Number(text) if !text.contains(['.', 'e', 'E']) => Ok(Some(Pin(text.to_owned()))),
            Self::Number(_) | Self::Bool(_) | Self::Nested => Err(Unreadable::member("PIN", "a string")),
        }
    }
}
