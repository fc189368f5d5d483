//! What is published of operations on a bulk, and of the items that they cancel.

use serde::Serialize;

use super::{Event, EventContext, EventData};
use crate::domain::bulk::{Bulk, BulkCancellation, BulkStatus};
use crate::domain::cancel::{CancelCode, CancelType, ItemRef};
use crate::domain::ids::{BulkId, CardId, ExternalId, OperationId, ProgramId};
use crate::domain::operation::{Operation, Subject};
use crate::domain::status::{EventStatus, OperationState};

/// The data of `noname_cancellation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NonameCancellationData {
    bulk_id: BulkId,
    program_id: ProgramId,
    external_id: ExternalId,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_id: Option<CardId>,
    pub(super) status: EventStatus,
    pub(super) message_code: CancelCode,
    message: &'static str,
}

impl NonameCancellationData {
    /// What is said of one item that a cancel named or found.
    #[must_use]
    pub fn new(bulk_id: BulkId, program_id: ProgramId, item: &ItemRef, code: CancelCode) -> Self {
        Self {
            bulk_id,
            program_id,
            external_id: item.external_id.clone(),
            card_id: item.card_id,
            status: code.status(),
            message_code: code,
            message: code.message(),
        }
    }
}

/// Why a start was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StartRefusal {
    /// A cancel sealed the bulk before the start could begin.
    BulkCanceled,
}

impl StartRefusal {
    const fn message(self) -> &'static str {
        match self {
            Self::BulkCanceled => "The bulk was canceled before its cards could be issued.",
        }
    }
}

/// The data of `noname_bulk_start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NonameBulkStartData {
    bulk_id: BulkId,
    program_id: ProgramId,
    operation_id: OperationId,
    status: EventStatus,
    requested: u32,
    issued: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_code: Option<StartRefusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

impl NonameBulkStartData {
    /// Returns what is said of a start of this bulk that has ended; `None` of one that has not, and of any other
    /// operation. Of the bulk, only what never changes is in it.
    #[must_use]
    pub fn of(operation: &Operation, bulk: &Bulk) -> Option<Self> {
        let Subject::StartBulk { progress, .. } = &operation.subject else { return None };
        let (requested, issued, refusal) = match operation.state {
            OperationState::Pending | OperationState::Running => return None,
            OperationState::Succeeded => (progress.items_done, progress.items_changed, None),
            OperationState::Failed => (progress.items_total.unwrap_or(0), 0, Some(StartRefusal::BulkCanceled)),
        };
        Some(Self {
            bulk_id: bulk.bulk_id.clone(),
            program_id: bulk.settings.program_id,
            operation_id: operation.operation_id,
            status: if refusal.is_some() { EventStatus::Failure } else { EventStatus::Success },
            requested,
            issued,
            message_code: refusal,
            message: refusal.map(StartRefusal::message),
        })
    }
}

/// Returns the event of a start of this bulk that has ended; `None` of one that has not.
#[must_use]
pub fn start_event(context: &EventContext, operation: &Operation, bulk: &Bulk) -> Option<Event> {
    let data = NonameBulkStartData::of(operation, bulk)?;
    Some(context.event(operation.ended_at?, &bulk.bulk_id, EventData::NonameBulkStart(data)))
}

/// The data of `noname_bulk_cancellation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NonameBulkCancellationData {
    /// The bulk.
    pub bulk_id: BulkId,
    /// Its program.
    pub program_id: ProgramId,
    /// The cancel.
    pub operation_id: OperationId,
    /// Which items it was about.
    pub cancel_type: CancelType,
    /// How far the bulk had come when it was done.
    pub bulk_status: BulkStatus,
    /// What cancels had made of the bulk when it was done.
    pub cancellation: BulkCancellation,
    /// How many items it was about.
    pub requested: u32,
    /// How many of them are canceled, by it or before.
    pub canceled: u32,
    /// How many are not.
    pub failed: u32,
}
