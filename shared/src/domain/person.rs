//! A person who creates orders or acts on them: their PIN, and how often it was guessed wrong.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::order::PersonId;
use super::time::Timestamp;

/// Wrong PINs in a row after which a person's PIN is locked (contract).
pub const MAX_TRIES: usize = 5;
/// How long it is locked, in seconds (contract: 15 minutes).
pub const LOCK_SECONDS: i64 = 15 * 60;

/// A person as their row has it. There need not be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    pub creator_id: PersonId,
    /// Whether the orders that they created are canceled only with a PIN: that of the person for whom it is asked.
    pub pin_required: bool,
    /// The PIN, hashed by Argon2id with a pepper: a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_hash: Option<String>,
    /// The wrong tries in a row, each by its ID: so a try counts once, however often it is written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wrong: BTreeSet<String>,
    /// Until when the PIN is locked once there were [`MAX_TRIES`] of them, in seconds after 1970.
    #[serde(default)]
    pub locked_until: i64,
}

impl Person {
    /// A person whose PIN was just set: no wrong try counts against it.
    #[must_use]
    pub const fn with_pin(creator_id: PersonId, pin_required: bool, pin_hash: String) -> Self {
        Self { creator_id, pin_required, pin_hash: Some(pin_hash), wrong: BTreeSet::new(), locked_until: 0 }
    }

    /// Whether the PIN was locked, but is not any more: the tries count from nothing again.
    #[must_use]
    pub fn lock_has_ended(&self, now: Timestamp) -> bool {
        self.wrong.len() >= MAX_TRIES && self.locked_until <= now.epoch_seconds()
    }
}

/// What is said of a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// There were too many wrong ones: whether this one is right is not said.
    Locked,
}
