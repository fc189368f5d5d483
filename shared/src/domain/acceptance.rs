//! The identity of an operation's acceptance: its ID and its time.

use super::ids::OperationId;
use super::time::Timestamp;

/// The time for which an operation, and therefore its idempotency key, is kept, in days. This is longer than any queue
/// stores a message (14 days), and longer than any redrive takes.
pub const RETENTION_DAYS: i64 = 90;

/// An operation, as accepted at a certain time.
///
/// An idempotency key determines the operation's ID. If the key is used again after the operation's row has expired,
/// or was lost in a restore of the table, the new operation has the same ID. It must not take the first one's effects
/// for its own. So marks and messages contain both the ID and the time, and both are compared. An event's `event_id`
/// derives from both.
///
/// Within [`RETENTION_DAYS`], a retry of a bind or of a cancellation of orders can still find the first operation's
/// mark or record after the row was lost. It then records the same operation again, with its first time of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acceptance {
    /// The operation's ID.
    pub operation_id: OperationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
}

/// Returns the expiry of an operation accepted at `accepted_at`, in Unix seconds.
#[must_use]
pub fn expires_at(accepted_at: Timestamp) -> i64 {
    accepted_at.plus_days(RETENTION_DAYS).epoch_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_stored_for_ninety_days() {
        let accepted_at: Timestamp = serde_json::from_value(serde_json::json!("2026-11-22T03:04:05.678Z")).unwrap();
        assert_eq!(expires_at(accepted_at), 1_795_316_645 + 90 * 24 * 60 * 60);
    }
}
