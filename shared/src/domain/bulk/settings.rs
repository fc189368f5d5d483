//! What a client sets when it creates a bulk.

use serde::{Deserialize, Serialize};

use crate::domain::ids::ProgramId;

/// The digits of a card's PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum PinLength {
    /// Four.
    Four,
    /// Six.
    Six,
}

impl TryFrom<u8> for PinLength {
    type Error = &'static str;

    fn try_from(digits: u8) -> Result<Self, &'static str> {
        match digits {
            4 => Ok(Self::Four),
            6 => Ok(Self::Six),
            _ => Err("must be 4 or 6"),
        }
    }
}

impl From<PinLength> for u8 {
    fn from(length: PinLength) -> Self {
        match length {
            PinLength::Four => 4,
            PinLength::Six => 6,
        }
    }
}

/// The modes of a card, credit and debit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModeType {
    /// It has one of them.
    Single,
    /// It has both.
    Combo,
}

/// What the client set when it created the bulk. What only the embosser needs goes into answers about the bulk, and
/// nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkSettings {
    /// The card program.
    pub program_id: ProgramId,
    /// Whether the cards pay without contact.
    pub contactless_enabled: bool,
    /// Digits of the cards' PINs.
    pub pin_length: PinLength,
    /// The client's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// Whether the card network's automatic billing updater is told of the cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abu_enabled: Option<bool>,
    /// What is embossed beside the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embossing_custom_field: Option<String>,
    /// The embosser's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embossing_group: Option<String>,
    /// How the cards are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_type: Option<ModeType>,
    /// How long the cards are valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity_period_hours: Option<u64>,
    /// The client's own: the text of a JSON object as it came, since a number read and written again may be another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_four_digits_or_six() {
        let is_read = |digits: &u8| PinLength::try_from(*digits).is_ok_and(|length| u8::from(length) == *digits);
        assert_eq!((0..=u8::MAX).filter(is_read).collect::<Vec<_>>(), [4, 6]);
    }
}
