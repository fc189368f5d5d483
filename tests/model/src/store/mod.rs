//! The table's calls: those of `shared::store`, by their names. Each is one call to DynamoDB, and its condition
//! that of the code's expression.

mod bulks;
mod cards;
mod operations;

pub use bulks::Committed;
pub use operations::{CurrentOperation, ChunkState, Recorded, outcome, progress};

/// What came of a conditional write: done, or the row as it is, if there is one.
pub type Changed<T> = Result<(), Option<T>>;

/// A condition of a transaction did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conflict;
