use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn item(number: usize, batch: u32) -> BulkItem {
    let external_id = format!("{number:06}").parse().unwrap();
    BulkItem { external_id, batch, state: ItemState::Pending, card_id: None, issued: None, canceled: None }
}

/// Returns a bulk with ten items in batches 1 and 2.
fn bulk() -> Bulk {
    let settings = json!({ "program_id": 1, "pin_length": 4, "contactless_enabled": true });
    let new = Bulk::new("b".parse().unwrap(), serde_json::from_value(settings).unwrap(), 10);
    Bulk { batches: BTreeSet::from([FIRST_BATCH, 2]), last_batch: 2, ..new }
}

fn operation() -> OperationId {
    "0192d1c0-0000-7000-8000-000000000001".parse().unwrap()
}

#[rstest]
#[case::new(bulk(), BulkStatus::Created)]
#[case::one_is_left(Bulk { issued: 9, ..bulk() }, BulkStatus::Created)]
#[case::all_issued(Bulk { issued: 10, ..bulk() }, BulkStatus::Completed)]
#[case::the_rest_is_canceled(Bulk { issued: 7, canceled: 3, canceled_blank: 3, ..bulk() }, BulkStatus::Completed)]
#[case::canceled_with_their_cards(Bulk { issued: 7, canceled: 3, ..bulk() }, BulkStatus::Created)]
#[case::more_than_all(Bulk { issued: u32::MAX, canceled_blank: 1, ..bulk() }, BulkStatus::Completed)]
#[case::one_batch_is_settled(Bulk { settled: BTreeSet::from([2]), ..bulk() }, BulkStatus::Created)]
#[case::all_are_settled(Bulk { settled: BTreeSet::from([1, 2]), ..bulk() }, BulkStatus::Completed)]
#[case::starting(Bulk { starting: BTreeSet::from([operation()]), ..bulk() }, BulkStatus::Running)]
#[case::starting_again(Bulk { issued: 10, starting: BTreeSet::from([operation()]), ..bulk() }, BulkStatus::Running)]
#[case::canceling(Bulk { canceling: BTreeSet::from([operation()]), ..bulk() }, BulkStatus::Created)]
fn a_bulk_is_completed_once_no_item_waits_for_a_card(#[case] bulk: Bulk, #[case] expected: BulkStatus) {
    assert_eq!(bulk.status(), expected);
}

#[test]
fn a_running_cancel_takes_precedence_over_completed_ones() {
    let extents = [None, Some(CancelType::Partial), Some(CancelType::Full)];
    let of = |canceling: &[OperationId]| {
        let canceling: BTreeSet<_> = canceling.iter().copied().collect();
        extents.map(|extent| Bulk { extent, canceling: canceling.clone(), ..bulk() }.cancellation())
    };
    let state = |state| Some(BulkCancellation { state });
    assert_eq!(of(&[]), [None, state(CancellationState::Partial), state(CancellationState::Full)]);
    assert_eq!(of(&[operation()]), [state(CancellationState::Running); 3]);
}

#[test]
fn only_a_cancel_seals_a_bulk() {
    assert!(!bulk().is_sealed());
    assert!(!Bulk { canceled: 10, extent: Some(CancelType::Partial), ..bulk() }.is_sealed());
    assert!(Bulk { sealed_by: Some(operation()), ..bulk() }.is_sealed());
}

fn items(numbers: std::ops::Range<usize>) -> Vec<BulkItem> {
    numbers.map(|number| item(number, 1)).collect()
}

#[test]
fn a_chunk_is_cut_as_soon_as_it_is_full() {
    let batches = BTreeSet::from([1]);
    for (found, full, open) in [(99, 0, 99), (100, 1, 0), (199, 1, 99), (200, 2, 0)] {
        let (chunks, cursor) = PlanCursor::default().advance(items(0..found), &batches, false);
        assert_eq!((chunks.len(), cursor.chunks, cursor.open.len()), (full, full.try_into().unwrap(), open));
    }
}

/// A plan whose row agrees with its message has nothing to read again. Any other plan continues where the row says.
#[test]
fn a_plan_that_agrees_with_its_row_retains_its_open_items() {
    let batches = BTreeSet::from([1]);
    let (chunks, cursor) = PlanCursor::default().advance(items(0..150), &batches, false);
    let planned = cursor.planned(&chunks).unwrap();
    assert_eq!((planned.chunks, planned.items, planned.after.as_str()), (1, 100, "000099"));
    assert_eq!(cursor.clone().resume_from(Some(&planned)), cursor);
    let (_, open) = PlanCursor::default().advance(items(0..50), &batches, false);
    assert_eq!(open.clone().resume_from(None), open);
    assert_eq!(open.planned(&[]), None);

    let at_the_row = PlanCursor { chunks: 1, items: 100, open: vec![], after: Some(planned.after.clone()) };
    assert_eq!(open.resume_from(Some(&planned)), at_the_row);
    assert_eq!(cursor.resume_from(None), PlanCursor::default());
}

proptest! {
    /// The chunks are the same for all page sizes, and contain every counted item once.
    #[test]
    fn chunks_contain_every_item_once_in_order(
        of_batches in prop::collection::vec(1_u32..4, 0..900), pages in prop::collection::vec(0_usize..250, 0..8),
    ) {
        let items: Vec<BulkItem> = of_batches.into_iter().enumerate().map(|(n, batch)| item(n, batch)).collect();
        let batches = BTreeSet::from([1, 3]);
        let (mut chunks, mut cursor, mut rest) = (Vec::new(), PlanCursor::default(), items.clone().into_iter());
        for page in pages {
            let (full, next) = cursor.advance(rest.by_ref().take(page).collect(), &batches, false);
            chunks.extend(full);
            cursor = next;
        }
        let (full, cursor) = cursor.advance(rest.collect(), &batches, true);
        chunks.extend(full);
        let (at_once, whole) = PlanCursor::default().advance(items.clone(), &batches, true);
        prop_assert_eq!((&chunks, &cursor), (&at_once, &whole));

        let counted: Vec<_> = items.into_iter().filter(|item| batches.contains(&item.batch)).collect();
        prop_assert_eq!((cursor.chunks as usize, cursor.items as usize), (chunks.len(), counted.len()));
        let mut covered = Vec::new();
        for (expected, (number, chunk)) in (0..).zip(chunks) {
            prop_assert_eq!(number, expected);
            let range = Range::of(&chunk).unwrap();
            let between = &range.first..=&range.last;
            let inside: Vec<_> = counted.iter().filter(|item| between.contains(&&item.external_id)).collect();
            prop_assert_eq!((inside.len(), chunk.len()), (range.items, range.items));
            prop_assert!(inside.iter().all(|item| range.batches.contains(&item.batch)));
            covered.extend(chunk);
        }
        prop_assert_eq!(covered, counted.into_iter().map(PlannedItem::from).collect::<Vec<_>>());
    }

    /// A plan that continues where its operation's row says yields the same remaining chunks as an uninterrupted
    /// plan.
    #[test]
    fn a_plan_continues_at_the_end_of_any_page(
        of_batches in prop::collection::vec(1_u32..4, 0..900), page in 0_usize..900, from in 0_usize..900,
    ) {
        let items: Vec<BulkItem> = of_batches.into_iter().enumerate().map(|(n, batch)| item(n, batch)).collect();
        let batches = BTreeSet::from([1, 3]);
        let first = items[..page.min(items.len())].to_vec();
        let (mut chunks, cursor) = PlanCursor::default().advance(first, &batches, false);
        // A copy of the plan's message, which may be behind the row or ahead of it.
        let copy = items[..from.min(items.len())].to_vec();
        let (_, copy) = PlanCursor::default().advance(copy, &batches, false);
        let on = copy.resume_from(cursor.planned(&chunks).as_ref());
        let is_left = |item: &&BulkItem| on.after.as_ref().is_none_or(|after| item.external_id > *after);
        let rest = items.iter().filter(is_left).cloned().collect();
        let (of_rest, end) = on.advance(rest, &batches, true);
        chunks.extend(of_rest);
        prop_assert_eq!((chunks, end), PlanCursor::default().advance(items, &batches, true));
    }
}
