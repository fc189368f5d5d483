//! Properties of the bulk, its items, and the operations on them.

use std::collections::BTreeSet;

use shared::domain::bulk::{BulkItem, BulkStatus, ItemState};
use shared::domain::cancel::{CancelCode, CancelType, ItemRef};
use shared::domain::card::CardStatus;
use shared::domain::ids::{ExternalId, OperationId};
use shared::domain::operation::{Operation, OperationState, Subject};

use super::{by, is_life};
use crate::expected_events::{are_published, expected_events};
use crate::hashed::Transition;
use crate::store::progress;
use crate::world::{ItemRow, World};

/// Checks that an item gets one card, or is canceled and never gets one, and that its marks match its history.
pub fn items_move_forward(world: &World) -> bool {
    world.items.iter().all(|item| {
        let BulkItem { state, issued, canceled, .. } = &item.row;
        let life: &[Transition] = match state {
            ItemState::Pending => &[],
            ItemState::Issued => &[Transition::Issued],
            ItemState::Canceled => &[Transition::Canceled],
        };
        is_life(item, life)
            && by(item, Transition::Issued) == issued.as_ref().map(|mark| mark.by)
            && by(item, Transition::Canceled) == canceled.as_ref().map(|mark| mark.by)
    })
}

/// Checks that the result a cancel stored for an item is what it did to it, or what prevented it.
pub fn results_are_true(world: &World) -> bool {
    let mut results = world.results.iter();
    results.all(|((id, _), result)| result.iter().all(|(code, item)| result_is_true(world, *id, code, item)))
}

fn result_is_true(world: &World, id: OperationId, code: CancelCode, named: &ItemRef) -> bool {
    let item = world.item(&named.external_id);
    let card = item.as_ref().and_then(|item| item.row.card_id).and_then(|card| world.cards.get(&card));
    let item_by = item.as_ref().and_then(|item| by(item, Transition::Canceled));
    let card_by = card.and_then(|card| by(card, Transition::Canceled));
    let batches = world.operations.get(&id).map(|operation| &progress(operation).batches);
    match code {
        CancelCode::ExternalIdAndCardCanceled => card_by == Some(id),
        CancelCode::ExternalIdCanceled => item_by == Some(id),
        CancelCode::AlreadyCanceled => card_by.or(item_by).is_some_and(|by| by != id),
        CancelCode::InvalidCardStatusForCancellation => card.is_some_and(|card| by(card, Transition::Bound).is_some()),
        CancelCode::InvalidBulkItemStatus => item_by != Some(id) && card_by != Some(id),
        CancelCode::ExternalIdNotFound => !item.zip(batches).is_some_and(|(item, of)| of.contains(&item.row.batch)),
        // Items and cards never go away.
        CancelCode::CardNotFoundForCancellation => false,
    }
}

/// Checks that each operation that succeeded has processed all its items.
pub fn are_gone_through(world: &World) -> bool {
    succeeded(world).all(|operation| {
        let id = operation.operation_id;
        let in_batches = |batches: &BTreeSet<u32>| -> BTreeSet<_> {
            let items = world.items.iter().filter(|item| batches.contains(&item.row.batch));
            items.map(|item| item.row.external_id.clone()).collect()
        };
        let all = match &operation.subject {
            Subject::StartBulk { progress, .. } => {
                let pending = |item: &ItemRow| item.row.state == ItemState::Pending;
                let batches = &progress.batches;
                !world.items.iter().any(|item| batches.contains(&item.row.batch) && pending(item))
            }
            // This includes whatever was added to the bulk before or since.
            Subject::CancelBulk { cancel_type: CancelType::Full, .. } => {
                has_results_of(world, id, &in_batches(&world.bulk.batches))
            }
            Subject::CancelBulk { cancel_type: CancelType::Partial, .. } => {
                has_results_of(world, id, &world.named.get(&id).into_iter().flatten().cloned().collect())
            }
            _ => true,
        };
        let mut messages = world.messages.keys().filter(|message| message.operation_id == id);
        all && messages
            .all(|message| expected_events(world, message).is_some_and(|events| are_published(world, message, &events)))
    })
}

/// Returns whether the results name each of these items once, and nothing else.
fn has_results_of(world: &World, id: OperationId, items: &BTreeSet<ExternalId>) -> bool {
    let results = world.results.range((id, 0)..=(id, u32::MAX)).flat_map(|(_, result)| result.iter());
    let mut named: Vec<_> = results.map(|(_, item)| &item.external_id).collect();
    named.sort();
    named.into_iter().eq(items)
}

/// Checks that operations that succeeded report what they did, and that the header is their sum.
pub fn are_counted(world: &World) -> bool {
    if !world.gone.is_empty() {
        // What a missing operation did is in the header, but in no operation.
        return true;
    }
    let (mut issued, mut canceled) = (0, 0);
    let operations_are_correct = succeeded(world).all(|operation| {
        let (progress, id) = (progress(operation), operation.operation_id);
        let changed = match operation.subject {
            Subject::StartBulk { .. } => {
                issued += progress.items_changed;
                changed_items(world, (Transition::Issued, id))
            }
            Subject::CancelBulk { .. } => {
                canceled += progress.items_changed;
                let change = (Transition::Canceled, id);
                changed_items(world, change) + changed_cards(world, change)
            }
            _ => return true,
        };
        progress.items_changed as usize == changed && Some(progress.items_done) == progress.items_total
    });
    operations_are_correct && (world.bulk.issued, world.bulk.canceled) == (issued, canceled) && header_is_correct(world)
}

fn header_is_correct(world: &World) -> bool {
    let bulk = &world.bulk;
    let items = || world.items.iter().filter(|item| bulk.batches.contains(&item.row.batch));
    let is_canceled = |item: &ItemRow| match item.row.card_id.and_then(|card| world.cards.get(&card)) {
        Some(card) => card.row.status == CardStatus::Canceled,
        None => item.row.state == ItemState::Canceled,
    };
    let is_canceled_whole = bulk.extent == Some(CancelType::Full);
    let under_way = |is_of: fn(&Subject) -> bool| -> BTreeSet<OperationId> {
        let running = world.operations.values().filter(|operation| operation.state == OperationState::Running);
        running.filter(|operation| is_of(&operation.subject)).map(|operation| operation.operation_id).collect()
    };
    let is_pending = |item: &ItemRow| item.row.state == ItemState::Pending;
    let is_done = bulk.status() != BulkStatus::Running && bulk.canceling.is_empty();
    bulk.items as usize == items().count()
        && bulk.starting == under_way(|subject| matches!(subject, Subject::StartBulk { .. }))
        && bulk.canceling == under_way(|subject| matches!(subject, Subject::CancelBulk { .. }))
        && (!is_done || (bulk.status() == BulkStatus::Completed) != items().any(is_pending))
        && (!is_canceled_whole || bulk.sealed_by.is_some() && items().all(is_canceled))
        && (is_canceled_whole || bulk.items == 0 || bulk.canceled < bulk.items)
}

fn succeeded(world: &World) -> impl Iterator<Item = &Operation> {
    let operations = world.operations.values().map(|operation| &**operation);
    let on_bulk = |operation: &&Operation| !matches!(operation.subject, Subject::BindCard { .. });
    operations.filter(on_bulk).filter(|operation| operation.state == OperationState::Succeeded)
}

fn changed_items(world: &World, change: (Transition, OperationId)) -> usize {
    world.items.iter().flat_map(|item| &item.history).filter(|done| **done == change).count()
}

fn changed_cards(world: &World, change: (Transition, OperationId)) -> usize {
    world.cards.values().flat_map(|card| &card.history).filter(|done| **done == change).count()
}
