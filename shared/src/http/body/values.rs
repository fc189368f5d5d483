//! Looking into the values of a JSON body, however many of whatever kind it has.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::problem::{Invalid, Problem};

/// Most names and values of a body; texts are not counted. Ours: the contract needs 1,600 or so, nearly all of them in
/// metadata of 3,200 bytes. The rest is for members that are passed over.
///
/// Each may take a hundred times its own bytes. A text takes no more than it is long, and the list of external IDs has a
/// limit of its own, which is answered as the contract has it.
pub const MAX_VALUES: usize = 20_000;
/// Longest name that an answer quotes, in bytes. Ours: an answer must not be as large as its request.
const MAX_QUOTED: usize = 255;

/// How many names and values may still be read; `None` once that were too many.
pub(super) struct Budget(Cell<Option<usize>>);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(Cell::new(Some(MAX_VALUES)))
    }

    /// One more is read.
    fn spend<E: Error>(&self) -> Result<(), E> {
        self.0.set(self.0.get().and_then(|left| left.checked_sub(1)));
        self.0.get().map(|_left| ()).ok_or_else(|| E::custom("too many values"))
    }

    /// What is said of a member that could not be read; of the body, if it has no name.
    pub(super) fn refusal(&self, name: &str, error: &serde_json::Error) -> Problem {
        let name = Some(name).filter(|name| (1..=MAX_QUOTED).contains(&name.len()));
        let invalid = if self.0.get().is_none() {
            let pointer =
                name.map_or_else(String::new, |name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            Invalid::body(pointer, format!("has too many values: a body may have {MAX_VALUES}, texts aside"))
        } else {
            let name = name.map_or_else(String::new, |name| format!("{name}: "));
            Invalid::body("", format!("is not valid JSON: {name}{error}"))
        };
        Problem::invalid(vec![invalid])
    }
}

/// Largest text of a member that is looked into level by level, which takes as long as it is long times as deep. Ours.
pub(super) const SMALL: usize = 4 * 1024;
/// Deepest nesting of a member's value: as deep as `serde_json` follows, and clients' readers do.
pub(super) const MAX_DEPTH: usize = 127;

/// Whether no object in a value has two members of one name (contract: 400). Readers differ on which of the two counts, and
/// cards are at stake.
///
/// Numbers may be larger than any of ours, and texts whatever JSON has, where nobody but the client reads them. Of a large
/// value that is not so.
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

/// The members of an object, in which no name may come twice.
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

const TWICE: &str = "an object has two members of one name";

/// Any JSON value in which no object has two members of one name, within the budget.
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
