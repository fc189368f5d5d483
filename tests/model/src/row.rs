//! Values of the code's own types, as parts of a state.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use shared::domain::ids::OperationId;

/// A value that a state holds: shared, and hashed once, when it is made. The checker tells states apart by
/// a hash of 64 bits, so a value may be known by one too. It is taken of what `Debug` shows, which is all
/// of it: the code's types are not made to be hashed.
pub struct Row<T> {
    value: Arc<T>,
    digest: u64,
}

impl<T: Debug> Row<T> {
    /// A new value.
    pub fn new(value: T) -> Self {
        struct Shown(DefaultHasher);
        impl Write for Shown {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut shown = Shown(DefaultHasher::new());
        // Hashing cannot fail, and no type's own Debug does.
        let _ = write!(shown, "{value:?}");
        Self { value: Arc::new(value), digest: shown.0.finish() }
    }
}

impl<T: Debug + Clone> Row<T> {
    /// Changes it.
    pub fn edit(&mut self, change: impl FnOnce(&mut T)) {
        let mut value = T::clone(self);
        change(&mut value);
        *self = Self::new(value);
    }
}

impl<T> Deref for Row<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), digest: self.digest }
    }
}

impl<T: Debug> Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<T> Eq for Row<T> {}

impl<T> PartialOrd for Row<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Row<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl<T> Hash for Row<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// What can become of a card or an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The card came to be; the item got it.
    Issued,
    /// The card was bound.
    Bound,
    /// The card was replaced.
    Replaced,
    /// The card, or the item without one, was canceled.
    Canceled,
}

/// A row, and beside it all that was ever done to it. Workers do not see the latter: it is for the
/// properties, which so need not believe the row.
#[derive(Debug, Clone)]
pub struct Tracked<T> {
    /// As the table has it.
    pub row: T,
    /// What was done, by whom, in order.
    pub history: Vec<(Transition, OperationId)>,
}

impl<T: Debug + Clone> Row<Tracked<T>> {
    /// A write that is a transition.
    pub fn apply(&mut self, transition: Transition, by: OperationId, change: impl FnOnce(&mut T)) {
        self.edit(|tracked| {
            change(&mut tracked.row);
            tracked.history.push((transition, by));
        });
    }
}
