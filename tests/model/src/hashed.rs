//! Values of the code's own types, as parts of a state.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use shared::domain::ids::OperationId;

/// A value in a state: shared, and hashed once, when it is made. The checker tells states apart by a hash of 64 bits,
/// so a hash may identify a value too. The hash is that of the `Debug` output, which shows the whole value: the
/// code's types do not implement `Hash`.
pub struct Hashed<T> {
    value: Arc<T>,
    digest: u64,
}

impl<T: Debug> Hashed<T> {
    /// Makes a new value.
    pub fn new(value: T) -> Self {
        struct Shown(DefaultHasher);
        impl Write for Shown {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut shown = Shown(DefaultHasher::new());
        // Hashing cannot fail, and no type's own Debug fails.
        let _ = write!(shown, "{value:?}");
        Self { value: Arc::new(value), digest: shown.0.finish() }
    }
}

impl<T: Debug + Clone> Hashed<T> {
    /// Replaces the value with a changed one.
    pub fn edit(&mut self, change: impl FnOnce(&mut T)) {
        let mut value = T::clone(self);
        change(&mut value);
        *self = Self::new(value);
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), digest: self.digest }
    }
}

impl<T: Debug> Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<T> Eq for Hashed<T> {}

impl<T> PartialOrd for Hashed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Hashed<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A change of a card or an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The card was created, and the item got it.
    Issued,
    /// The card was bound.
    Bound,
    /// The card was replaced.
    Replaced,
    /// The card, or the item without one, was canceled.
    Canceled,
}

/// A row with the history of its changes. Workers do not see the history. It lets the properties check the row
/// instead of trusting it.
#[derive(Debug, Clone)]
pub struct Tracked<T> {
    /// The row in the table.
    pub row: T,
    /// Each transition and the operation that made it, in order.
    pub history: Vec<(Transition, OperationId)>,
}

impl<T: Debug + Clone> Hashed<Tracked<T>> {
    /// Writes a change that is a transition.
    pub fn apply(&mut self, transition: Transition, by: OperationId, change: impl FnOnce(&mut T)) {
        self.edit(|tracked| {
            change(&mut tracked.row);
            tracked.history.push((transition, by));
        });
    }
}
