//! Canceling items of a bulk: the effect on an item, its card and the bulk.
//!
//! An item without a card is canceled itself, and never gets one. If its card was issued, the card is canceled, and
//! the item's state derives from the card's. Either one gets this operation's mark.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::acceptance::Acceptance;
use super::bulk::{Bulk, BulkItem, ItemState, PlannedItem};
use super::card::{Card, CardStatus};
use super::ids::{CardId, ExternalId, OperationId};
use super::operation::Progress;
use super::status::EventStatus;
use super::time::Timestamp;

pub use super::bulk::CancelType;

/// The outcome of a cancel for an item, as the contract spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelCode {
    /// The item had an unbound card; both are canceled.
    ExternalIdAndCardCanceled,
    /// The item had no card, and will never get one.
    ExternalIdCanceled,
    /// An earlier operation canceled the item.
    AlreadyCanceled,
    /// The bulk has no such item.
    ExternalIdNotFound,
    /// Another transaction, such as an issue or a reissue, locked the item or its card on every attempt.
    InvalidBulkItemStatus,
    /// The item's card does not exist.
    CardNotFoundForCancellation,
    /// The item's card is bound, or in any other state except unbound and canceled.
    InvalidCardStatusForCancellation,
}

impl CancelCode {
    /// Returns whether the item is canceled now, as an event's status.
    #[must_use]
    pub const fn status(self) -> EventStatus {
        match self {
            Self::ExternalIdAndCardCanceled | Self::ExternalIdCanceled | Self::AlreadyCanceled => EventStatus::Success,
            Self::ExternalIdNotFound
            | Self::InvalidBulkItemStatus
            | Self::CardNotFoundForCancellation
            | Self::InvalidCardStatusForCancellation => EventStatus::Failure,
        }
    }

    /// Returns whether this operation changed the item or its card.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::ExternalIdAndCardCanceled | Self::ExternalIdCanceled)
    }

    /// Returns the code's text, for clients' logs.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::ExternalIdAndCardCanceled => "The external ID and its card were canceled.",
            Self::ExternalIdCanceled => "The external ID was canceled; it had no card yet.",
            Self::AlreadyCanceled => "The external ID was canceled before.",
            Self::ExternalIdNotFound => "The bulk has no such external ID.",
            Self::InvalidBulkItemStatus => "The external ID's card is being issued.",
            Self::CardNotFoundForCancellation => "The external ID's card was not found.",
            Self::InvalidCardStatusForCancellation => "The external ID's card is not UNBOUND.",
        }
    }
}

/// The next action for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAction {
    /// Cancel the item, if it still has no card.
    CancelItem,
    /// Cancel the item's card, if it is still unbound.
    CancelCard(CardId),
    /// Take no further action.
    Done(CancelCode),
}

/// Returns this cancel's next action for an item. The item may have been read a while ago, because items only move
/// forward.
#[must_use]
pub fn next_action(item: &BulkItem, acceptance: Acceptance) -> CancelAction {
    match (item.state, item.card_id) {
        (ItemState::Pending, _) => CancelAction::CancelItem,
        (ItemState::Issued, Some(card_id)) => CancelAction::CancelCard(card_id),
        (ItemState::Issued, None) => CancelAction::Done(CancelCode::CardNotFoundForCancellation),
        (ItemState::Canceled, _) if item.canceled.as_ref().is_some_and(|mark| mark.is_of(acceptance)) => {
            CancelAction::Done(CancelCode::ExternalIdCanceled)
        }
        (ItemState::Canceled, _) => CancelAction::Done(CancelCode::AlreadyCanceled),
    }
}

/// Returns the code for an item whose card could not be canceled, or `None` if the card is unbound.
#[must_use]
pub fn code_for_card(card: &Card, acceptance: Acceptance) -> Option<CancelCode> {
    if card.canceled.as_ref().is_some_and(|mark| mark.is_of(acceptance)) {
        return Some(CancelCode::ExternalIdAndCardCanceled);
    }
    match card.status {
        CardStatus::Unbound => None,
        CardStatus::Canceled => Some(CancelCode::AlreadyCanceled),
        CardStatus::Created
        | CardStatus::Normal
        | CardStatus::Blocked
        | CardStatus::Pending
        | CardStatus::Warning
        | CardStatus::Reissued
        | CardStatus::Lost
        | CardStatus::Robbed
        | CardStatus::Fraud
        | CardStatus::Damaged
        | CardStatus::Expired
        | CardStatus::Deleted
        | CardStatus::Broken
        | CardStatus::Theft
        | CardStatus::Defect
        | CardStatus::Inoperative => Some(CancelCode::InvalidCardStatusForCancellation),
    }
}

/// Days since an item's mark of issue after which its card counts as missing. One transaction writes the item and the
/// card, and `DynamoDB` makes its rows visible one by one, so the card may become visible later. That takes
/// milliseconds, but clocks may differ by a day.
const CARD_IS_THERE_AFTER_DAYS: i64 = 2;

/// Returns the code for an issued item whose card has no row, or `None` if the card may not be visible yet.
#[must_use]
pub fn code_for_missing_card(item: &BulkItem, now: Timestamp) -> Option<CancelCode> {
    let may_be_new = item.issued.as_ref().is_some_and(|mark| mark.at.plus_days(CARD_IS_THERE_AFTER_DAYS) > now);
    (!may_be_new).then_some(CancelCode::CardNotFoundForCancellation)
}

/// An item that a cancel named or found. The fields' names are short, because rows and messages contain hundreds of
/// items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRef {
    /// The item's external ID.
    #[serde(rename = "id")]
    pub external_id: ExternalId,
    /// The item's card, if it has one.
    #[serde(rename = "card", default, skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CardId>,
}

impl From<PlannedItem> for ItemRef {
    fn from(item: PlannedItem) -> Self {
        Self { external_id: item.id, card_id: item.card }
    }
}

/// The result of a chunk of a cancel. Once stored, all its events derive from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// The time when the result was first stored.
    pub at: Timestamp,
    /// The chunk's items by outcome.
    pub items: BTreeMap<CancelCode, Vec<ItemRef>>,
}

impl ChunkResult {
    /// Returns every item and its outcome, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (CancelCode, &ItemRef)> {
        self.items.iter().flat_map(|(code, items)| items.iter().map(|item| (*code, item)))
    }

    /// Returns the number of items with a code of this kind.
    #[must_use]
    pub fn count(&self, kind: impl Fn(CancelCode) -> bool) -> usize {
        self.items.iter().filter(|(code, _)| kind(**code)).map(|(_, items)| items.len()).sum()
    }
}

/// The stored state of a chunk of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChunkState {
    /// The chunk is complete. Its result never changes.
    Done(ChunkResult),
    /// The chunk was given up: some items were locked on every attempt, and the rest are finished. Later deliveries do
    /// not retry.
    Held {
        /// The time when this state was stored.
        held_since: Timestamp,
    },
}

/// Returns the bulk as it will be after this cancel, all of whose chunks are complete.
#[must_use]
pub fn bulk_after(bulk: &Bulk, operation: OperationId, cancel_type: CancelType, progress: &Progress) -> Bulk {
    let mut after = bulk.clone();
    after.canceling.remove(&operation);
    after.canceled = bulk.canceled.saturating_add(progress.items_changed);
    after.canceled_blank = bulk.canceled_blank.saturating_add(progress.items_blank);
    let all_of_it = cancel_type == CancelType::Full && progress.items_failed == 0;
    if all_of_it || bulk.extent == Some(CancelType::Full) || after.canceled >= bulk.items {
        after.extent = Some(CancelType::Full);
        after.sealed_by = bulk.sealed_by.or(Some(operation));
    } else {
        after.extent = Some(CancelType::Partial);
    }
    after
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::CancelType::{Full, Partial};
    use super::*;
    use crate::domain::bulk::BulkStatus;
    use crate::domain::card::Mark;

    const MINE: &str = "0192d1c0-0000-7000-8000-000000000001";
    const ANOTHER: &str = "0192d1c0-0000-7000-8000-000000000002";
    const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";
    const AT: &str = "2026-11-22T03:04:06.789Z";

    fn acceptance() -> Acceptance {
        Acceptance {
            operation_id: MINE.parse().unwrap(),
            accepted_at: serde_json::from_value(json!(ACCEPTED)).unwrap(),
        }
    }

    fn item(state: &str, card: Option<u64>, mark: Option<(&str, &str)>) -> BulkItem {
        let mark = mark.map(|(by, accepted_at)| json!({ "by": by, "accepted_at": accepted_at, "at": AT }));
        let item = json!({ "external_id": "e", "batch": 1, "state": state, "card_id": card, "canceled": mark });
        serde_json::from_value(item).unwrap()
    }

    fn card(status: &str, mark: Option<(&str, &str)>) -> Card {
        let mark = mark.map(|(by, accepted_at)| json!({ "by": by, "accepted_at": accepted_at, "at": AT }));
        let card = json!({
            "card_id": 7, "status": status, "program_id": 1, "contactless_enabled": true,
            "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z", "canceled": mark,
        });
        serde_json::from_value(card).unwrap()
    }

    #[rstest]
    #[case::pending(item("PENDING", None, None), CancelAction::CancelItem)]
    #[case::issued(item("ISSUED", Some(7), None), CancelAction::CancelCard(CardId::new(7).unwrap()))]
    #[case::without_a_card(item("ISSUED", None, None), CancelAction::Done(CancelCode::CardNotFoundForCancellation))]
    #[case::mine(item("CANCELED", None, Some((MINE, ACCEPTED))), CancelAction::Done(CancelCode::ExternalIdCanceled))]
    #[case::anothers(
        item("CANCELED", None, Some((ANOTHER, ACCEPTED))),
        CancelAction::Done(CancelCode::AlreadyCanceled)
    )]
    // The key of an operation that has expired was used again.
    #[case::long_ago(
        item("CANCELED", None, Some((MINE, "2026-08-01T00:00:00.000Z"))),
        CancelAction::Done(CancelCode::AlreadyCanceled)
    )]
    fn an_items_state_determines_the_next_action(#[case] item: BulkItem, #[case] expected: CancelAction) {
        assert_eq!(next_action(&item, acceptance()), expected);
    }

    #[rstest]
    #[case::unbound(card("UNBOUND", None), None)]
    #[case::mine(card("CANCELED", Some((MINE, ACCEPTED))), Some(CancelCode::ExternalIdAndCardCanceled))]
    #[case::anothers(card("CANCELED", Some((ANOTHER, ACCEPTED))), Some(CancelCode::AlreadyCanceled))]
    #[case::without_a_mark(card("CANCELED", None), Some(CancelCode::AlreadyCanceled))]
    fn a_cards_state_determines_its_items_code(#[case] card: Card, #[case] expected: Option<CancelCode>) {
        assert_eq!(code_for_card(&card, acceptance()), expected);
    }

    #[rstest]
    #[case::about_to_be_seen("2026-11-22T03:04:05.678Z", None)]
    #[case::by_a_clock_ahead("2026-11-23T03:04:05.678Z", None)]
    #[case::by_a_clock_behind("2026-11-21T03:04:05.678Z", None)]
    #[case::gone("2026-11-20T03:04:05.678Z", Some(CancelCode::CardNotFoundForCancellation))]
    fn a_card_that_may_become_visible_is_not_missing(#[case] issued_at: &str, #[case] expected: Option<CancelCode>) {
        let mut item = item("ISSUED", Some(7), None);
        item.issued = Some(Mark::new(acceptance(), serde_json::from_value(json!(issued_at)).unwrap()));
        assert_eq!(code_for_missing_card(&item, acceptance().accepted_at), expected);
    }

    #[rstest]
    fn a_card_in_any_other_state_is_left_alone(
        #[values(
            "CREATED",
            "NORMAL",
            "BLOCKED",
            "PENDING",
            "WARNING",
            "REISSUED",
            "LOST",
            "ROBBED",
            "FRAUD",
            "DAMAGED",
            "EXPIRED",
            "DELETED",
            "BROKEN",
            "THEFT",
            "DEFECT",
            "INOPERATIVE"
        )]
        status: &str,
    ) {
        let code = code_for_card(&card(status, None), acceptance()).unwrap();
        assert_eq!(code, CancelCode::InvalidCardStatusForCancellation);
        assert_eq!(code.status(), EventStatus::Failure);
    }

    #[rstest]
    #[case(CancelCode::ExternalIdAndCardCanceled, EventStatus::Success, true)]
    #[case(CancelCode::ExternalIdCanceled, EventStatus::Success, true)]
    #[case(CancelCode::AlreadyCanceled, EventStatus::Success, false)]
    #[case(CancelCode::ExternalIdNotFound, EventStatus::Failure, false)]
    #[case(CancelCode::InvalidBulkItemStatus, EventStatus::Failure, false)]
    #[case(CancelCode::CardNotFoundForCancellation, EventStatus::Failure, false)]
    #[case(CancelCode::InvalidCardStatusForCancellation, EventStatus::Failure, false)]
    fn a_code_has_a_status_and_a_message(
        #[case] code: CancelCode,
        #[case] status: EventStatus,
        #[case] is_change: bool,
    ) {
        assert_eq!((code.status(), code.is_change()), (status, is_change));
        assert!(code.message().starts_with("The ") && code.message().ends_with('.'));
    }

    #[test]
    fn a_planned_item_is_named_with_its_card() {
        let (id, card): (ExternalId, _) = ("e".parse().unwrap(), CardId::new(7));
        let found = ItemRef::from(PlannedItem { id: id.clone(), batch: 3, card });
        assert_eq!(found, ItemRef { external_id: id, card_id: card });
    }

    #[test]
    fn a_stored_result_is_small_and_can_be_read() {
        let result = json!({
            "at": ACCEPTED,
            "items": {
                "EXTERNAL_ID_AND_CARD_CANCELED": [{ "id": "a", "card": 7 }], "EXTERNAL_ID_NOT_FOUND": [{ "id": "b" }],
            },
        });
        let read: ChunkResult = serde_json::from_value(result.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), result);
        let named: Vec<_> = read.iter().map(|(code, item)| (code, item.external_id.as_str())).collect();
        assert_eq!(named, [(CancelCode::ExternalIdAndCardCanceled, "a"), (CancelCode::ExternalIdNotFound, "b")]);
        let counts = [CancelCode::is_change, |_| true, |_| false].map(|kind: fn(CancelCode) -> bool| read.count(kind));
        assert_eq!(counts, [1, 2, 0]);
    }

    fn bulk(extent: Option<CancelType>, sealed_by: Option<&str>, items: u32, canceled: u32) -> Bulk {
        let settings = json!({ "program_id": 1, "pin_length": 4, "contactless_enabled": true });
        let new = Bulk::new("b".parse().unwrap(), serde_json::from_value(settings).unwrap(), items);
        let canceling = BTreeSet::from([MINE.parse().unwrap()]);
        Bulk { canceled, extent, sealed_by: sealed_by.map(|by| by.parse().unwrap()), canceling, ..new }
    }

    #[rstest]
    #[case::all_of_it(bulk(None, Some(MINE), 10, 0), Full, 10, 0, (Full, Some(MINE)))]
    #[case::some_failed(bulk(None, Some(MINE), 10, 0), Full, 9, 1, (Partial, Some(MINE)))]
    #[case::others_helped(bulk(None, Some(MINE), 10, 0), Full, 4, 0, (Full, Some(MINE)))]
    #[case::named(bulk(None, None, 10, 0), Partial, 3, 0, (Partial, None))]
    #[case::none_of_it(bulk(None, None, 10, 0), Partial, 0, 3, (Partial, None))]
    #[case::none_but_sealed(bulk(None, Some(MINE), 10, 0), Full, 0, 10, (Partial, Some(MINE)))]
    #[case::the_rest(bulk(Some(Partial), None, 10, 7), Partial, 3, 2, (Full, Some(MINE)))]
    #[case::another_under_way(bulk(None, Some(ANOTHER), 10, 0), Partial, 3, 0, (Partial, Some(ANOTHER)))]
    #[case::second_full(bulk(None, Some(ANOTHER), 10, 0), Full, 3, 1, (Partial, Some(ANOTHER)))]
    #[case::impossible_counts(bulk(None, None, 10, u32::MAX), Partial, 1, 0, (Full, Some(MINE)))]
    #[case::for_good(bulk(Some(Full), Some(ANOTHER), 10, 10), Partial, 0, 5, (Full, Some(ANOTHER)))]
    fn a_bulk_is_canceled_when_every_item_is(
        #[case] bulk: Bulk,
        #[case] cancel_type: CancelType,
        #[case] changed: u32,
        #[case] failed: u32,
        #[case] (extent, sealed_by): (CancelType, Option<&str>),
    ) {
        let progress = Progress { items_changed: changed, items_failed: failed, ..Progress::default() };
        let after = bulk_after(&bulk, MINE.parse().unwrap(), cancel_type, &progress);
        assert_eq!((after.extent, after.sealed_by), (Some(extent), sealed_by.map(|by| by.parse().unwrap())));
        assert!(after.canceling.is_empty());
    }

    proptest! {
        /// However a bulk's items are spread over cancels, and in whatever order these end, the last one leaves the
        /// bulk canceled and no earlier one does.
        #[test]
        fn many_partial_cancels_add_up_to_a_full_one(parts in prop::collection::vec(1_u32..50, 1..8)) {
            let mut header = bulk(None, None, parts.iter().sum(), 0);
            for (number, changed) in parts.iter().enumerate() {
                let progress = Progress { items_changed: *changed, items_blank: *changed, ..Progress::default() };
                header = bulk_after(&header, MINE.parse().unwrap(), Partial, &progress);
                let is_last = number + 1 == parts.len();
                prop_assert_eq!(header.extent == Some(Full), is_last);
                prop_assert_eq!(header.status() == BulkStatus::Completed, is_last);
            }
        }
    }
}
