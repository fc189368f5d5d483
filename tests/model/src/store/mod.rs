//! The table's calls, with the names of `shared::store`. Each is one call to DynamoDB, and its condition is that of
//! the code's expression.

mod bulks;
mod cards;
mod operations;

pub use bulks::Committed;
pub use operations::{ChunkState, CurrentOperation, Recorded, outcome, progress};

/// The result of a conditional write: success, or the current row, if there is one.
pub type Changed<T> = Result<(), Option<T>>;

/// A condition of a transaction did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conflict;
