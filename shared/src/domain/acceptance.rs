//! Which operation, and which acceptance of it.

use super::ids::OperationId;
use super::time::Timestamp;

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
