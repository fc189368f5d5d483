//! What a client is told of an entry, and how the operation keeps it: a letter each.

/// What a client is told of an entry. The letters are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryStatus {
    /// Its cancellation is accepted.
    Accepted = b'A',
    /// It is null.
    Missing = b'M',
    /// It names no domestic order.
    OrderIdRequired = b'O',
    /// It names no international order.
    UidRequired = b'U',
    /// It names no creator.
    CreatorRequired = b'C',
    /// It names neither.
    UidAndCreatorRequired = b'B',
    /// There is no such order, or it is none that this person may act on.
    NotFound = b'F',
    /// The order is final.
    NotActive = b'N',
    /// A cancellation is pending.
    Pending = b'P',
    /// A PIN is required, and it is missing or wrong.
    PinInvalid = b'I',
    /// The person's PIN was guessed wrong too often.
    PinLocked = b'L',
    /// An entry before it names the same order.
    Repeated = b'R',
    /// The queue did not take it: it did not happen.
    NotSent = b'S',
}

/// What letters are read as: all that a client may be told.
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

    /// What the metrics call it, if it is a refusal.
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

    /// The contract's texts.
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

/// The letters of these.
#[must_use]
pub fn written(told: &[EntryStatus]) -> String {
    told.iter().map(|told| told.letter()).collect()
}

/// What these letters say. An unknown one is of a newer version: that it was not accepted is all that is sure.
#[must_use]
pub fn read(letters: &str) -> Vec<EntryStatus> {
    let told = |letter| ALL.into_iter().find(|told| told.letter() == letter).unwrap_or(EntryStatus::NotSent);
    letters.chars().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metrics' names are those of the dashboard and the API's problems: a client's mistake, its order's state, its PIN.
    #[test]
    fn what_is_not_accepted_has_a_name_and_a_text() {
        let names = ALL.map(|told| told.refusal().unwrap_or("accepted"));
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
        for told in ALL {
            assert_eq!(told.errors().is_empty(), told == EntryStatus::Accepted);
            assert!(told.errors().iter().all(|text| text.contains(' ') && text.ends_with('.')));
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(written(&ALL), "AMOUCBFNPILRS");
        assert_eq!(read(&written(&ALL)), ALL);
        assert_eq!(read("A?"), [EntryStatus::Accepted, EntryStatus::NotSent]);
    }
}
