//! The outcomes of calls, as inputs specify them.

use std::collections::VecDeque;

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// `+`, or any other letter: the call succeeds, and finds what it looks for.
    Success,
    /// `.`: the response is `{}`, and nothing is found.
    Empty,
    /// `c`: the condition does not hold, and the row is returned.
    ConditionFailed,
    /// `n`: the condition does not hold because there is no row.
    ConditionFailedNoRow,
    /// `b`: other transactions hold the row.
    Busy,
    /// `t`: the call is throttled.
    Throttled,
    /// `v`: the call is rejected as invalid.
    Invalid,
    /// `p`: every second entry fails.
    Partial,
    /// `m`: another page follows.
    More,
    /// `5`: the service fails.
    Failed,
    /// `!`: the service cannot be reached.
    Unreachable,
    /// `g`: the response is not valid JSON.
    Garbled,
}

impl CallOutcome {
    const fn read(letter: u8) -> Self {
        match letter {
            b'.' => Self::Empty,
            b'c' => Self::ConditionFailed,
            b'n' => Self::ConditionFailedNoRow,
            b'b' => Self::Busy,
            b't' => Self::Throttled,
            b'v' => Self::Invalid,
            b'p' => Self::Partial,
            b'm' => Self::More,
            b'5' => Self::Failed,
            b'!' => Self::Unreachable,
            b'g' => Self::Garbled,
            _ => Self::Success,
        }
    }
}

/// The outcomes of a service's calls, in order. All later calls succeed.
#[derive(Debug, Default)]
pub struct Plan(VecDeque<CallOutcome>);

impl Plan {
    /// Most outcomes in a plan: a call that always finds another page would never end.
    const MAX_CALLS: usize = 64;

    /// Reads a plan of one letter for each call.
    #[must_use]
    pub fn read(letters: &str) -> Self {
        Self(letters.bytes().take(Self::MAX_CALLS).map(CallOutcome::read).collect())
    }

    /// Returns the outcome of the next call.
    pub fn take(&mut self) -> CallOutcome {
        self.0.pop_front().unwrap_or(CallOutcome::Success)
    }
}
