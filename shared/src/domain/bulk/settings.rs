//! The settings of a bulk, which the client chooses when creating it.

use serde::{Deserialize, Serialize};

use crate::domain::ids::ProgramId;

/// The number of digits of a card's PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum PinLength {
    /// A PIN of four digits.
    Four,
    /// A PIN of six digits.
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
    /// The card has one of the modes.
    Single,
    /// The card has both modes.
    Combo,
}

/// The settings that the client chose for the bulk. Those that only the embosser needs are included in responses
/// about the bulk, and are not used otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkSettings {
    /// The card program's ID.
    pub program_id: ProgramId,
    /// True if the cards can be used for contactless payments.
    pub contactless_enabled: bool,
    /// The number of digits of the cards' PINs.
    pub pin_length: PinLength,
    /// The client's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// True if the card network's automatic billing updater is notified of the cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abu_enabled: Option<bool>,
    /// Additional text for embossing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embossing_custom_field: Option<String>,
    /// The embosser's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embossing_group: Option<String>,
    /// The use of the cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_type: Option<ModeType>,
    /// The cards' period of validity, in hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity_period_hours: Option<u64>,
    /// The client's own metadata: the original text of a JSON object, because parsing and serializing it may change
    /// numbers.
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
