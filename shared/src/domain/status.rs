//! How far an operation has come, and whether it had its way.

use serde::{Deserialize, Serialize};

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationState {
    /// Accepted, or on the way to it: its message may still have to be sent.
    Pending,
    /// Some of it is done.
    Running,
    /// Done.
    Succeeded,
    /// Refused for good; nothing was changed.
    Failed,
}

/// Whether an instruction had its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    /// It had.
    Success,
    /// It was refused for good.
    Failure,
}
