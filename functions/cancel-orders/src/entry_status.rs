//! The status of an entry, and its code in the operation's row: one letter per entry.

/// The status of an entry. The letters are stored, so never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryStatus {
    /// The cancellation is accepted.
    Accepted = b'A',
    /// The entry is null.
    Missing = b'M',
    /// The entry has no `OrderID`.
    OrderIdRequired = b'O',
    /// The entry has no `InternationalOrderUID`.
    UidRequired = b'U',
    /// The entry has no `CreatorID`.
    CreatorRequired = b'C',
    /// The entry has neither `InternationalOrderUID` nor `CreatorID`.
    UidAndCreatorRequired = b'B',
    /// There is no such order, or this person may not act on it.
    NotFound = b'F',
    /// The order's status is final.
    NotActive = b'N',
    /// The order has a pending cancellation.
    Pending = b'P',
    /// The required PIN is missing or wrong.
    PinInvalid = b'I',
    /// The PIN is locked after too many wrong attempts.
    PinLocked = b'L',
    /// An earlier entry names the same order.
    Repeated = b'R',
    /// The queue did not accept the message, so the order is not canceled.
    NotSent = b'S',
}

/// All statuses, in the order of the enum.
pub const ALL: [EntryStatus; 13] = [
    EntryStatus::Accepted,
    EntryStatus::Missing,
    EntryStatus::OrderIdRequired,
    EntryStatus::UidRequired,
    EntryStatus::CreatorRequired,
    EntryStatus::UidAndCreatorRequired,
    EntryStatus::NotFound,
    EntryStatus::NotActive,
    EntryStatus::Pending,
    EntryStatus::PinInvalid,
    EntryStatus::PinLocked,
    EntryStatus::Repeated,
    EntryStatus::NotSent,
];

impl EntryStatus {
    const fn letter(self) -> char {
        self as u8 as char
    }

    /// Returns the name of the refusal in the metrics, or `None` if the entry is accepted.
    #[must_use]
    pub const fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Accepted => None,
            Self::Missing
            | Self::OrderIdRequired
            | Self::UidRequired
            | Self::CreatorRequired
            | Self::UidAndCreatorRequired => Some("entry-incomplete"),
            Self::NotFound => Some("order-not-found"),
            Self::NotActive => Some("order-not-active"),
            Self::Pending => Some("order-pending"),
            Self::PinInvalid => Some("pin-invalid"),
            Self::PinLocked => Some("pin-locked"),
            Self::Repeated => Some("order-repeated"),
            Self::NotSent => Some("not-sent"),
        }
    }

    /// Returns the error texts of the contract.
    #[must_use]
    pub const fn errors(self) -> &'static [&'static str] {
        match self {
            Self::Accepted => &[],
            Self::Missing => &["Cancellation instruction is missing."],
            Self::OrderIdRequired => &["OrderID is required."],
            Self::UidRequired => &["InternationalOrderUID is required."],
            Self::CreatorRequired => &["CreatorID is required."],
            Self::UidAndCreatorRequired => &["InternationalOrderUID is required.", "CreatorID is required."],
            Self::NotFound => &["Order was not found."],
            Self::NotActive => &["Order is not active."],
            Self::Pending => &["Order already has a pending cancellation."],
            Self::PinInvalid => &["PIN is invalid."],
            Self::PinLocked => &["PIN is locked."],
            Self::Repeated => &["Order is repeated in this request."],
            Self::NotSent => &["Cancellation could not be accepted, try again."],
        }
    }
}

/// Encodes the statuses as letters.
#[must_use]
pub fn encode(statuses: &[EntryStatus]) -> String {
    statuses.iter().map(|status| status.letter()).collect()
}

/// Decodes the letters. An unknown letter is from a newer version. Only one thing is certain about its entry: it was
/// not accepted.
#[must_use]
pub fn decode(letters: &str) -> Vec<EntryStatus> {
    let status = |letter| ALL.into_iter().find(|status| status.letter() == letter).unwrap_or(EntryStatus::NotSent);
    letters.chars().map(status).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names show an operator the cause of a refusal: the client's mistake, the order's state or the PIN.
    #[test]
    fn each_refusal_has_a_name_and_a_text() {
        let names = ALL.map(|status| status.refusal().unwrap_or("accepted"));
        let incomplete = "entry-incomplete";
        assert_eq!(names[..6], ["accepted", incomplete, incomplete, incomplete, incomplete, incomplete]);
        assert_eq!(
            names[6..],
            [
                "order-not-found",
                "order-not-active",
                "order-pending",
                "pin-invalid",
                "pin-locked",
                "order-repeated",
                "not-sent"
            ]
        );
        for status in ALL {
            assert_eq!(status.errors().is_empty(), status == EntryStatus::Accepted);
            assert!(status.errors().iter().all(|text| text.contains(' ') && text.ends_with('.')));
        }
    }

    #[test]
    fn encoded_statuses_are_decoded() {
        assert_eq!(encode(&ALL), "AMOUCBFNPILRS");
        assert_eq!(decode(&encode(&ALL)), ALL);
        assert_eq!(decode("A?"), [EntryStatus::Accepted, EntryStatus::NotSent]);
    }
}
