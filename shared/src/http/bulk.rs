//! Code shared by the endpoints about bulks.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Members;
use super::problem::Invalid;
use crate::domain::bulk::{Bulk, BulkCancellation, BulkSettings, BulkStatus, MAX_ITEMS_PER_REQUEST};
use crate::domain::ids::{BulkId, ExternalId};

/// Maximum size of the body of a request about a bulk (contract).
pub const MAX_BULK_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Maximum invalid items named in a response. Our limit.
const MAX_ERRORS: usize = 10;

/// The external IDs in a body.
#[derive(Debug, Default)]
pub struct ExternalIds {
    /// The distinct IDs, in order. At most one more than [`MAX_ITEMS_PER_REQUEST`] is stored; further ones are only
    /// counted.
    pub ids: BTreeSet<ExternalId>,
    /// The number of IDs in the body, including duplicates.
    pub sent: usize,
    invalid: Vec<Invalid>,
}

/// Returns the body's distinct `external_ids`, in order, if a request may contain that number.
///
/// # Errors
/// Returns the errors of [`external_ids`]. Also returns an error if there are no IDs or more than
/// [`MAX_ITEMS_PER_REQUEST`].
pub fn counted_external_ids(members: &Members<'_>) -> Result<BTreeSet<ExternalId>, Vec<Invalid>> {
    let ids = external_ids(members)?.ids;
    match check_count(ids.len()) {
        None => Ok(ids),
        Some(detail) => Err(vec![Invalid::body("/external_ids", detail)]),
    }
}

/// Returns the body's `external_ids`.
///
/// # Errors
/// Returns [`Invalid`] if the list is not an array, or for items that are not external IDs.
pub fn external_ids(members: &Members<'_>) -> Result<ExternalIds, Vec<Invalid>> {
    let mut list = serde_json::Deserializer::from_str(members.text("external_ids").unwrap_or_default());
    match list.deserialize_seq(ExternalIds::default()) {
        Err(_) => Err(vec![Invalid::body("/external_ids", "must be an array of strings")]),
        Ok(ids) if ids.invalid.is_empty() => Ok(ids),
        Ok(ids) => Err(ids.invalid),
    }
}

impl<'de> Visitor<'de> for ExternalIds {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            if self.invalid.len() < MAX_ERRORS {
                self.take(item.get());
            }
            self.sent += 1;
        }
        Ok(self)
    }
}

impl ExternalIds {
    fn take(&mut self, item: &str) {
        let invalid = |detail| Invalid::body(format!("/external_ids/{}", self.sent), detail);
        match serde_json::from_str::<String>(item).map(|text| text.parse::<ExternalId>()) {
            Ok(Ok(id)) if self.ids.len() <= MAX_ITEMS_PER_REQUEST => drop(self.ids.insert(id)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.invalid.push(invalid(error.to_string())),
            Err(_) => self.invalid.push(invalid("must be a string".to_owned())),
        }
    }
}

/// Returns an error text if a request may not contain this number of items.
#[must_use]
pub fn check_count(items: usize) -> Option<String> {
    let is_right = (1..=MAX_ITEMS_PER_REQUEST).contains(&items);
    (!is_right).then(|| format!("must have 1 to {MAX_ITEMS_PER_REQUEST} items"))
}

/// A bulk as the API returns it. A member without a value is omitted, because clients generated from the published
/// API reject null.
#[derive(Debug, Serialize)]
pub struct BulkBody {
    id: BulkId,
    #[serde(flatten)]
    settings: SettingsBody,
    size: u32,
    status: BulkStatus,
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<BulkCancellation>,
}

#[derive(Debug, Serialize)]
struct SettingsBody {
    #[serde(flatten)]
    settings: BulkSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Counts {
    items: u32,
    issued: u32,
    canceled: u32,
}

impl From<Bulk> for BulkBody {
    fn from(mut bulk: Bulk) -> Self {
        let (status, cancellation) = (bulk.status(), bulk.cancellation());
        // The metadata was valid JSON when it was received.
        let metadata = bulk.settings.metadata.take().and_then(|metadata| RawValue::from_string(metadata).ok());
        Self {
            id: bulk.bulk_id,
            settings: SettingsBody { settings: bulk.settings, metadata },
            size: bulk.items,
            status,
            counts: Counts { items: bulk.items, issued: bulk.issued, canceled: bulk.canceled },
            cancellation,
        }
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::{Body, http};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::http::body::json_object;

    #[rstest]
    #[case::plain(json!({ "external_ids": ["a", "b"] }), Ok(2))]
    #[case::twice(json!({ "external_ids": ["a", "b", "a"] }), Ok(2))]
    #[case::none(json!({ "external_ids": [] }), Ok(0))]
    #[case::any_text(json!({ "external_ids": ["#/\"", "\u{ffff}", "😀".repeat(255)] }), Ok(3))]
    #[case::control_characters(json!({ "external_ids": ["a\n", "\u{0}", "a", "\u{9b}"] }), Err(3))]
    #[case::missing(json!({}), Err(1))]
    #[case::null(json!({ "external_ids": null }), Err(1))]
    #[case::no_array(json!({ "external_ids": "a" }), Err(1))]
    #[case::bad_items(json!({ "external_ids": ["", 1, null, "a", "x".repeat(256)] }), Err(4))]
    #[case::many_bad_items(json!({ "external_ids": vec![0; 100] }), Err(10))]
    fn external_ids_are_texts_each_once(#[case] body: Value, #[case] expected: Result<usize, usize>) {
        let request = http::Request::builder().header("content-type", "application/json");
        let request = request.body(Body::Text(body.to_string())).unwrap();
        let ids = external_ids(&json_object(&request, MAX_BULK_BODY_BYTES).unwrap().unwrap());
        assert_eq!(ids.map(|ids| ids.ids.len()).map_err(|errors| errors.len()), expected);
    }

    /// IDs beyond the maximum are counted but not stored.
    #[rstest]
    #[case::as_many_as_may_be(MAX_ITEMS_PER_REQUEST, MAX_ITEMS_PER_REQUEST, None)]
    #[case::one_more(MAX_ITEMS_PER_REQUEST + 1, MAX_ITEMS_PER_REQUEST + 1, Some("must have 1 to 1000 items"))]
    #[case::many_more(100_000, MAX_ITEMS_PER_REQUEST + 1, Some("must have 1 to 1000 items"))]
    fn no_more_ids_are_kept_than_may_be(#[case] sent: usize, #[case] kept: usize, #[case] error: Option<&str>) {
        let ids: Vec<_> = (0..sent).map(|number| number.to_string()).collect();
        let request = http::Request::builder().header("content-type", "application/json");
        let request = request.body(Body::Text(json!({ "external_ids": ids }).to_string())).unwrap();
        let members = json_object(&request, usize::MAX).unwrap().unwrap();
        let ids = external_ids(&members).unwrap();
        assert_eq!((ids.ids.len(), ids.sent), (kept, sent));
        assert_eq!(check_count(ids.ids.len()).as_deref(), error);
        assert_eq!(counted_external_ids(&members).is_ok(), error.is_none());
    }
}
