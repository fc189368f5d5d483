//! Which operation, and which acceptance of it.

use super::ids::OperationId;
use super::time::Timestamp;

/// How long an operation, and so an idempotency key, is kept: longer than any queue holds a message
/// (14 days) and any redrive takes.
pub const RETENTION_DAYS: i64 = 90;

/// An operation as it was accepted at one time.
///
/// An idempotency key makes the operation's ID. Used again after the operation's row has expired, or has gone away with a
/// restore of the table, it makes another operation of the same ID. What the first did is not what the second did: marks,
/// messages and events name both ID and time, and are compared by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acceptance {
    /// The operation.
    pub operation_id: OperationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// When the rows of an operation expire that was accepted then, in seconds after 1970.
#[must_use]
pub fn expires_at(accepted_at: Timestamp) -> i64 {
    accepted_at.plus_days(RETENTION_DAYS).epoch_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_kept_for_ninety_days() {
        let accepted_at: Timestamp = serde_json::from_value(serde_json::json!("2026-11-22T03:04:05.678Z")).unwrap();
        assert_eq!(expires_at(accepted_at), 1_795_316_645 + 90 * 24 * 60 * 60);
    }
}
