//! Operations and their chunks' results.

use std::collections::BTreeSet;

use shared::domain::bind::BindOutcome;
use shared::domain::bulk::{Bulk, Planned};
use shared::domain::cancel::ChunkResult;
use shared::domain::ids::OperationId;
use shared::domain::operation::{Operation, OperationState, Progress, Subject};
use shared::domain::time::Timestamp;
use shared::store::Counts;

use super::Conflict;
use crate::broken::Broken;
use crate::hashed::Hashed;
use crate::process::Process;
use crate::scenario::is_first_plan;
use crate::transaction::Key;
use crate::world::{AnyMessage, Place, Task, World};

/// The current operation, whether or not the write changed it. `None` if it has no row.
pub type CurrentOperation = Option<Hashed<Operation>>;

/// The outcome of recording an operation.
#[derive(Debug, Clone, Hash)]
pub enum Recorded {
    /// The operation is new.
    New,
    /// An operation with this ID was recorded before.
    Existing(Hashed<Operation>),
}

/// The stored state of a cancel's chunk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChunkState {
    /// Nothing is stored yet.
    Open,
    /// The chunk was given up, and other deliveries that do not know that may still cancel its items.
    HeldOfLate,
    /// The chunk was given up, and all other deliveries of it know that.
    HeldForLong,
    /// The chunk is complete, with this result.
    Done(Hashed<ChunkResult>),
}

/// Returns the outcome that is stored with a bind.
pub fn outcome(operation: &Operation) -> Option<&BindOutcome> {
    match &operation.subject {
        Subject::BindCard { outcome, .. } => outcome.as_ref(),
        _ => None,
    }
}

/// Returns the progress of an operation on a bulk. An operation of another kind has none.
pub fn progress(operation: &Operation) -> &Progress {
    static NONE: Progress = Progress {
        batches: BTreeSet::new(),
        planned: None,
        chunks: None,
        items_total: None,
        done: BTreeSet::new(),
        items_done: 0,
        items_changed: 0,
        items_blank: 0,
        items_failed: 0,
    };
    match &operation.subject {
        Subject::StartBulk { progress, .. } | Subject::CancelBulk { progress, .. } => progress,
        _ => &NONE,
    }
}

fn progress_mut(operation: &mut Operation) -> Option<&mut Progress> {
    match &mut operation.subject {
        Subject::StartBulk { progress, .. } | Subject::CancelBulk { progress, .. } => Some(progress),
        _ => None,
    }
}

impl World {
    /// `GetItem` operation.
    pub(crate) fn operation(&self, operation: OperationId) -> CurrentOperation {
        self.operations.get(&operation).cloned()
    }

    /// `PutItem` operation, if its ID has no row.
    pub(crate) fn record_operation(&mut self, operation: &Hashed<Operation>) -> Recorded {
        if let Some(existing) = self.operation(operation.operation_id) {
            return Recorded::Existing(existing);
        }
        self.operations.insert(operation.operation_id, operation.clone());
        Recorded::New
    }

    /// `UpdateItem` operation: ends an operation that was done within its request.
    pub(crate) fn end_request(&mut self, operation: OperationId) {
        let pending = |operation: &Operation| operation.state == OperationState::Pending;
        self.update(operation, pending, |operation| operation.state = OperationState::Succeeded);
    }

    /// `UpdateItem` operation: ends a bind with this outcome, unless it has one. Returns the stored outcome, or
    /// `None` if the operation has no row.
    pub(crate) fn end_bind(
        &mut self,
        operation: OperationId,
        new: &Hashed<BindOutcome>,
    ) -> Option<Hashed<BindOutcome>> {
        let row = self.operations.get_mut(&operation)?;
        if let Some(stored) = outcome(row) {
            return Some(Hashed::new(stored.clone()));
        }
        row.edit(|operation| {
            operation.state = match **new {
                BindOutcome::Success { .. } => OperationState::Succeeded,
                BindOutcome::Failure { .. } => OperationState::Failed,
            };
            operation.ended_at = Some(new.at());
            if let Subject::BindCard { outcome, .. } = &mut operation.subject {
                *outcome = Some(BindOutcome::clone(new));
            }
        });
        Some(new.clone())
    }

    /// `TransactWriteItems` of `mark_running`: if the operation is PENDING, fixes its batches, and lists it on the
    /// header as running. Returns the current operation.
    pub(crate) fn mark_running(
        &mut self,
        operation: OperationId,
        batches: &BTreeSet<u32>,
    ) -> Result<Hashed<Operation>, Conflict> {
        self.are_free(operation)?;
        let row = self.begin_alone(operation, batches)?;
        self.note_under_way(operation);
        Ok(row)
    }

    /// Writes only the operation's row of `mark_running`.
    pub(crate) fn begin_alone(
        &mut self,
        operation: OperationId,
        batches: &BTreeSet<u32>,
    ) -> Result<Hashed<Operation>, Conflict> {
        let row = self.operations.get_mut(&operation).filter(|row| row.state == OperationState::Pending);
        let row = row.ok_or(Conflict)?;
        row.edit(|operation| {
            operation.state = OperationState::Running;
            if let Some(progress) = progress_mut(operation) {
                progress.batches.clone_from(batches);
            }
        });
        Ok(row.clone())
    }

    /// `UpdateItem` operation refuse.
    pub(crate) fn refuse(&mut self, operation: OperationId, items: u32, now: Timestamp) -> CurrentOperation {
        let pending = |operation: &Operation| operation.state == OperationState::Pending;
        self.update(operation, pending, |operation| {
            (operation.state, operation.ended_at) = (OperationState::Failed, Some(now));
            if let Some(progress) = progress_mut(operation) {
                progress.items_total = Some(items);
            }
        })
    }

    /// `UpdateItem` operation chunks.
    pub(crate) fn set_chunks(&mut self, operation: OperationId, chunks: u32, items: u32) -> CurrentOperation {
        let unset = |operation: &Operation| progress(operation).chunks.is_none();
        self.know_planned(operation, chunks);
        self.update(operation, unset, |operation| {
            if let Some(progress) = progress_mut(operation) {
                (progress.chunks, progress.items_total) = (Some(chunks), Some(items));
            }
        })
    }

    /// `UpdateItem` operation planned, if less was planned before. Returns false if the row is prepared or gone.
    pub(crate) fn note_planned(&mut self, operation: OperationId, planned: &Planned) -> bool {
        if self.prepared.contains_key(&Key::Operation(operation)) {
            return false;
        }
        self.know_planned(operation, planned.chunks);
        let further =
            |operation: &Operation| progress(operation).planned.as_ref().is_none_or(|p| p.chunks < planned.chunks);
        let noted = self.update(operation, further, |operation| {
            if let Some(progress) = progress_mut(operation) {
                progress.planned = Some(planned.clone());
            }
        });
        noted.is_some()
    }

    /// Remembers that this number of chunks is known to be planned.
    pub(crate) fn know_planned(&mut self, operation: OperationId, chunks: u32) {
        if let Some(known) = self.planned.entry(operation).or_insert(Some(0)) {
            *known = (*known).max(chunks);
        }
    }

    /// `bindery resume`: `UpdateItem` operation forget plan, then sends the plan's first message again. Returns
    /// `None` if there is no plan to forget. While a delivery of that message runs, resuming is impossible too: equal
    /// messages are one entry here, so the delivery would delete the new one as well.
    pub(crate) fn forget_plan(&mut self, operation: OperationId, broken: Broken) -> Option<()> {
        let planned = |operation: &Operation| {
            let progress = progress(operation);
            let is_planned = progress.planned.is_some() || progress.is_planned();
            let is_complete = progress.is_complete() && broken != Broken::ForgetsComplete;
            operation.state == OperationState::Running && is_planned && !is_complete
        };
        let first = |message: &AnyMessage| message.operation_id == operation && is_first_plan(message);
        let at_work = |process: &Process| matches!(&process.task, Task::Message(message) if first(message));
        if self.processes.iter().any(at_work) || !planned(self.operations.get(&operation)?) {
            return None;
        }
        if self.prepared.contains_key(&Key::Operation(operation)) {
            return None;
        }
        self.update(operation, planned, |operation| {
            if let Some(progress) = progress_mut(operation) {
                (progress.planned, progress.chunks, progress.items_total) = (None, None, None);
            }
        })?;
        // Chunks that were planned before may be planned again.
        self.planned.insert(operation, None);
        self.messages.iter_mut().filter(|(message, _)| first(message)).for_each(|(_, place)| *place = Place::Queue);
        Some(())
    }

    /// `UpdateItem` operation complete chunk. With `again`, also if the chunk is already complete.
    pub(crate) fn complete_chunk(
        &mut self,
        operation: OperationId,
        chunk: u32,
        counts: Counts,
        again: bool,
    ) -> CurrentOperation {
        let Counts { items, changed, without_card, failed } = counts;
        let open = |operation: &Operation| again || !progress(operation).done.contains(&chunk);
        self.update(operation, open, |operation| {
            if let Some(progress) = progress_mut(operation) {
                progress.done.insert(chunk);
                progress.items_done += items;
                progress.items_changed += changed;
                progress.items_blank += without_card;
                progress.items_failed += failed;
            }
        })
    }

    fn update(
        &mut self,
        operation: OperationId,
        condition: impl FnOnce(&Operation) -> bool,
        update: impl FnOnce(&mut Operation),
    ) -> CurrentOperation {
        let row = self.operations.get_mut(&operation)?;
        if condition(row) {
            row.edit(update);
        }
        Some(row.clone())
    }

    /// `TransactWriteItems` end start.
    pub(crate) fn end_start(&mut self, operation: OperationId, issued: u32, now: Timestamp) -> Result<(), Conflict> {
        self.are_free(operation)?;
        self.end_running(operation, now, None)?;
        self.count_issued(operation, issued);
        Ok(())
    }

    /// `TransactWriteItems` end cancel, on the condition that the header is as it was read. If not `guarded`, on no
    /// condition.
    pub(crate) fn end_cancel(
        &mut self,
        operation: OperationId,
        (read, after): (&Bulk, &Bulk),
        now: Timestamp,
        guarded: bool,
    ) -> Result<(), Conflict> {
        self.are_free(operation)?;
        let Bulk { extent, items, canceled, .. } = *self.bulk;
        if guarded && (extent, items, canceled) != (read.extent, read.items, read.canceled) {
            return Err(Conflict);
        }
        self.end_running(operation, now, Some(after))?;
        self.count_canceled(operation, after);
        Ok(())
    }

    /// Fails if another transaction has prepared the operation or the header. A write conflicts even if it changes
    /// nothing.
    fn are_free(&self, operation: OperationId) -> Result<(), Conflict> {
        let rows = [Key::Operation(operation), Key::Bulk];
        if rows.iter().any(|row| self.prepared.contains_key(row)) { Err(Conflict) } else { Ok(()) }
    }

    /// Writes only the operation's row of an end: RUNNING → SUCCEEDED.
    pub(crate) fn end_running(
        &mut self,
        operation: OperationId,
        now: Timestamp,
        after: Option<&Bulk>,
    ) -> Result<(), Conflict> {
        let row = self.operations.get_mut(&operation).filter(|row| row.state == OperationState::Running);
        row.ok_or(Conflict)?.edit(|operation| {
            (operation.state, operation.ended_at) = (OperationState::Succeeded, Some(now));
            if let Subject::CancelBulk { bulk_status, cancellation, .. } = &mut operation.subject {
                (*bulk_status, *cancellation) = (after.map(Bulk::status), after.and_then(Bulk::cancellation));
            }
        });
        Ok(())
    }

    /// `GetItem` result.
    pub(crate) fn chunk_state(&self, operation: OperationId, chunk: u32) -> ChunkState {
        let chunk = (operation, chunk);
        if let Some(result) = self.results.get(&chunk) {
            return ChunkState::Done(result.clone());
        }
        if !self.held.contains(&chunk) {
            return ChunkState::Open;
        }
        // The code decides this by the time that has passed since the chunk was given up.
        let may_cancel = |process: &Process| process.remembered().any(|state: &ChunkState| *state == ChunkState::Open);
        let others_may_cancel =
            self.processes.iter().any(|other| other.task.chunk() == Some(chunk) && may_cancel(other));
        if others_may_cancel { ChunkState::HeldOfLate } else { ChunkState::HeldForLong }
    }

    /// `PutItem` held, unless the chunk is given up or complete already.
    pub(crate) fn put_held(&mut self, operation: OperationId, chunk: u32) {
        if !self.results.contains_key(&(operation, chunk)) {
            self.held.insert((operation, chunk));
        }
    }

    /// `PutItem` result, unless there is one. With `over`, overwrites it. Returns the stored result.
    pub(crate) fn put_result(
        &mut self,
        operation: OperationId,
        chunk: u32,
        result: &Hashed<ChunkResult>,
        over: bool,
    ) -> Hashed<ChunkResult> {
        self.held.remove(&(operation, chunk));
        let stored = self.results.entry((operation, chunk)).or_insert_with(|| result.clone());
        if over {
            stored.clone_from(result);
        }
        stored.clone()
    }
}
