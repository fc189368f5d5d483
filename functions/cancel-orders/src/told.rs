//! What a client is told of an entry, and how the operation keeps it: a letter each.

/// What a client is told of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its cancellation is accepted.
    Accepted,
    /// It is null.
    Missing,
    /// It names no domestic order.
    OrderIdRequired,
    /// It names no international order.
    UidRequired,
    /// It names no creator.
    CreatorRequired,
    /// It names neither.
    UidAndCreatorRequired,
    /// There is no such order, or it is not this creator's.
    NotFound,
    /// The order is final.
    NotActive,
    /// A cancellation is pending.
    Pending,
    /// The creator's PIN is required, and it is missing or wrong.
    PinInvalid,
    /// The creator's PIN was guessed wrong too often.
    PinLocked,
    /// An entry before it names the same order.
    Repeated,
    /// The queue did not take it: it did not happen.
    NotSent,
}

/// Letters are stored. Never change one.
const LETTERS: [(Told, char); 13] = [
    (Told::Accepted, 'A'),
    (Told::Missing, 'M'),
    (Told::OrderIdRequired, 'O'),
    (Told::UidRequired, 'U'),
    (Told::CreatorRequired, 'C'),
    (Told::UidAndCreatorRequired, 'B'),
    (Told::NotFound, 'F'),
    (Told::NotActive, 'N'),
    (Told::Pending, 'P'),
    (Told::PinInvalid, 'I'),
    (Told::PinLocked, 'L'),
    (Told::Repeated, 'R'),
    (Told::NotSent, 'S'),
];

impl Told {
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
pub fn written(told: &[Told]) -> String {
    let letter = |told: &Told| LETTERS.iter().find(|(known, _)| known == told).map(|(_, letter)| *letter);
    told.iter().filter_map(letter).collect()
}

/// What these letters say. An unknown one is of a newer version: that it was not accepted is all that is sure.
pub fn read(letters: &str) -> Vec<Told> {
    let told = |letter| LETTERS.iter().find(|(_, known)| *known == letter).map_or(Told::NotSent, |(told, _)| *told);
    letters.chars().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let all = LETTERS.map(|(told, _)| told);
        assert_eq!(written(&all).len(), all.len());
        assert_eq!(read(&written(&all)), all);
    }
}
