//! The state of an operation, and the status of an instruction's outcome.

use serde::{Deserialize, Serialize};

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationState {
    /// Accepted, or about to be: its message may not have been sent yet.
    Pending,
    /// Some of the work is done.
    Running,
    /// All of the work is done.
    Succeeded,
    /// Refused finally; nothing was changed.
    Failed,
}

/// The status of an instruction's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    /// The instruction was carried out.
    Success,
    /// The instruction was refused finally.
    Failure,
}
