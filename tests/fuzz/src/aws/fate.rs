//! How calls are answered, as inputs have it.

use std::collections::VecDeque;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// `+`, or any other letter: it does what it should, and finds what it looks for.
    Well,
    /// `.`: it answers `{}`. Nothing is there.
    Empty,
    /// `c`: its condition does not hold; the row is as it is.
    Refused,
    /// `n`: its condition does not hold: there is no row.
    RefusedForNone,
    /// `b`: other transactions are at the row.
    Busy,
    /// `t`: it is throttled.
    Throttled,
    /// `v`: it is called invalid.
    Invalid,
    /// `p`: every second of its entries is left undone.
    Partly,
    /// `m`: there is more, in another page.
    More,
    /// `5`: the service fails.
    Failed,
    /// `!`: the service cannot be reached.
    Unreachable,
    /// `g`: the answer is garbled.
    Garbled,
}

impl Fate {
    const fn read(letter: u8) -> Self {
        match letter {
            b'.' => Self::Empty,
            b'c' => Self::Refused,
            b'n' => Self::RefusedForNone,
            b'b' => Self::Busy,
            b't' => Self::Throttled,
            b'v' => Self::Invalid,
            b'p' => Self::Partly,
            b'm' => Self::More,
            b'5' => Self::Failed,
            b'!' => Self::Unreachable,
            b'g' => Self::Garbled,
            _ => Self::Well,
        }
    }
}

/// The fates of a service's calls, one after the other; then all is well.
#[derive(Debug, Default)]
pub struct Plan(VecDeque<Fate>);

impl Plan {
    /// Most calls that are planned. One that finds more pages all the time would never end.
    const MAX_CALLS: usize = 64;

    /// One letter each.
    #[must_use]
    pub fn read(letters: &str) -> Self {
        Self(letters.bytes().take(Self::MAX_CALLS).map(Fate::read).collect())
    }

    /// That of the next call.
    pub fn take(&mut self) -> Fate {
        self.0.pop_front().unwrap_or(Fate::Well)
    }
}
