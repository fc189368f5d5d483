//! Checks of the values in a JSON body, within a limit on their number.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::problem::{Invalid, Problem};

/// Maximum names and values in a body; strings are not counted. Our limit: the contract needs about 1,600, nearly all
/// of them in 3,200 bytes of metadata. The rest is for unknown members, which are ignored.
///
/// Each can take a hundred times its own size in memory. A string takes only its length, and the list of external IDs
/// has its own limit, whose error the contract defines.
pub const MAX_VALUES: usize = 20_000;
/// Maximum length of a name quoted in a response, in bytes. Our limit: a response must not be as large as its
/// request.
const MAX_QUOTED: usize = 255;

/// The number of names and values that may still be read. `None` once the limit is exceeded.
pub(super) struct Budget(Cell<Option<usize>>);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(Cell::new(Some(MAX_VALUES)))
    }

    /// Counts a name or value, and fails once the limit is exceeded.
    fn spend<E: Error>(&self) -> Result<(), E> {
        self.0.set(self.0.get().and_then(|left| left.checked_sub(1)));
        self.0.get().map(|_left| ()).ok_or_else(|| E::custom("too many values"))
    }

    /// Returns the problem to report for a member that could not be read, or for the body if `name` is empty.
    pub(super) fn refusal(&self, name: &str, error: &serde_json::Error) -> Problem {
        let name = Some(name).filter(|name| (1..=MAX_QUOTED).contains(&name.len()));
        let invalid = if self.0.get().is_none() {
            let pointer =
                name.map_or_else(String::new, |name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            Invalid::body(pointer, format!("has too many values: a body may have {MAX_VALUES}, not counting strings"))
        } else {
            let name = name.map_or_else(String::new, |name| format!("{name}: "));
            Invalid::body("", format!("is not valid JSON: {name}{error}"))
        };
        Problem::invalid(vec![invalid])
    }
}

/// Maximum size of a member that is checked level by level, which takes time proportional to its size times its
/// depth. Our limit.
pub(super) const SMALL: usize = 4 * 1024;
/// Maximum nesting of a member's value. `serde_json` and clients' parsers have the same limit.
pub(super) const MAX_DEPTH: usize = 127;

/// Checks that no object in a value has duplicate member names (contract: 400). Parsers differ on which duplicate
/// counts, and a wrong choice would affect cards.
///
/// In a small value that only the client reads, numbers may exceed our types' ranges, and strings may contain
/// anything that JSON permits. In a large value they may not.
pub(super) fn check(value: &str, budget: &Budget) -> serde_json::Result<()> {
    if value.len() > SMALL {
        return Strict(budget).deserialize(&mut serde_json::Deserializer::from_str(value));
    }
    let mut open = vec![(0, value)];
    while let Some((depth, value)) = open.pop() {
        let mut inner: Vec<&RawValue> = Vec::new();
        match value.as_bytes().first() {
            Some(b'"') => continue,
            Some(b'{') => inner.extend(members(value, budget)?.into_values()),
            Some(b'[') => inner = serde_json::from_str(value)?,
            _ => {}
        }
        budget.spend::<serde_json::Error>()?;
        if depth == MAX_DEPTH && value.starts_with(['{', '[']) {
            return Err(serde_json::Error::custom("it is nested too deep"));
        }
        open.extend(inner.into_iter().map(|value| (depth + 1, value.get())));
    }
    Ok(())
}

/// Returns the members of an object, and fails on duplicate names.
pub(super) fn members<'a>(object: &'a str, budget: &Budget) -> serde_json::Result<BTreeMap<String, &'a RawValue>> {
    serde_json::Deserializer::from_str(object).deserialize_map(Members(budget))
}

struct Members<'b>(&'b Budget);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            self.0.spend()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(members)
    }
}

const TWICE: &str = "an object has duplicate member names";

/// A JSON value in which no object has duplicate member names, within the budget.
#[derive(Clone, Copy)]
struct Strict<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.0.spend()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.0.spend()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.0.spend()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.0.spend()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.spend()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.spend()?;
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.spend()?;
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.0.spend()?;
            map.next_value_seed(self)?;
            if !names.insert(name) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(())
    }
}
