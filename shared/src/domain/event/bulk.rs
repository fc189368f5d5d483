//! Events about operations on a bulk, and about the items that they cancel.

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
    /// Creates the data about one item that a cancel named or found.
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

/// The reasons why a start was refused.
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
    /// Returns the data about a start of this bulk, or `None` if it has not ended or is another operation. Of the
    /// bulk, it contains only facts that never change.
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

/// Returns the event of a start of this bulk, or `None` if it has not ended.
#[must_use]
pub fn start_event(context: &EventContext, operation: &Operation, bulk: &Bulk) -> Option<Event> {
    let data = NonameBulkStartData::of(operation, bulk)?;
    Some(context.event(operation.ended_at?, &bulk.bulk_id, EventData::NonameBulkStart(data)))
}

/// The data of `noname_bulk_cancellation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NonameBulkCancellationData {
    /// The bulk's ID.
    pub bulk_id: BulkId,
    /// The bulk's card program.
    pub program_id: ProgramId,
    /// The cancel's operation ID.
    pub operation_id: OperationId,
    /// The items that the cancel was about.
    pub cancel_type: CancelType,
    /// The bulk's status when the cancel was done.
    pub bulk_status: BulkStatus,
    /// The state of the bulk's cancellation when the cancel was done.
    pub cancellation: BulkCancellation,
    /// The number of items that the cancel was about.
    pub requested: u32,
    /// The number of these items that are canceled, by this cancel or before.
    pub canceled: u32,
    /// The number of these items that are not canceled.
    pub failed: u32,
}
