//! Identifiers, each a type of its own, checked where they enter.
//!
//! An ID that exists is well formed: the rest of the code never checks one again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The largest integer that JavaScript holds exactly. Integer IDs stay at or below it (contract).
pub const MAX_INTEGER_ID: u64 = (1 << 53) - 1;

/// Longest external ID, in Unicode code points (contract: the seed's `maxLength`).
pub const MAX_EXTERNAL_ID_CHARS: usize = 255;

/// Longest bulk ID, in Unicode code points (contract).
pub const MAX_BULK_ID_CHARS: usize = 255;

/// Longest correlation ID, in bytes. Ours: it is copied into every event and log line.
pub const MAX_CORRELATION_ID_BYTES: usize = 255;

/// A text that is not the identifier it was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {expected}")]
pub struct InvalidId {
    expected: &'static str,
}

/// Whether a text has nothing that commands a device or ends a line: no control character (C0, DEL, C1), and neither of
/// Unicode's separators of lines and paragraphs. What is handed to embossers must not: they may read lines, and print. Ours.
#[must_use]
pub fn is_of_one_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The ID, if `value` lies in `1..=`[`MAX_INTEGER_ID`].
            #[must_use]
            pub const fn new(value: u64) -> Option<Self> {
                if value >= 1 && value <= MAX_INTEGER_ID { Some(Self(value)) } else { None }
            }

            /// The ID as a plain integer.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        /// Decimal digits and nothing else: no sign, no space, no fraction.
        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Some(text)
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok())
                    .and_then(Self::new)
                    .ok_or(InvalidId { expected: "an integer from 1 to 9007199254740991" })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = u64::deserialize(deserializer)?;
                Self::new(value).ok_or_else(|| {
                    serde::de::Error::custom("an ID must be an integer from 1 to 9007199254740991")
                })
            }
        }
    };
}

integer_id! {
    /// A card.
    CardId
}
integer_id! {
    /// A customer's account, which a card is bound to.
    AccountId
}
integer_id! {
    /// A customer.
    CustomerId
}
integer_id! {
    /// The card program that a bulk is made under.
    ProgramId
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The ID as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId { expected: $expected }) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// An organisation: the tenant, `TN-` and a hyphenated UUID (contract).
    ///
    /// Kept as spelt: another spelling is another tenant, so nothing can be reached by a look-alike.
    /// Its fixed form holds no `#`, so a key that starts with it cannot imitate another tenant's.
    OrgId,
    "`TN-` and a UUID",
    |text| text.strip_prefix("TN-").is_some_and(|uuid| uuid.len() == 36 && Uuid::try_parse(uuid).is_ok())
}
text_id! {
    /// A bulk. An opaque text: the form is never checked, only that a key can hold it.
    BulkId,
    "1 to 255 characters",
    |text| (1..=MAX_BULK_ID_CHARS).contains(&text.chars().count())
}
text_id! {
    /// The client's own name for a bulk's item. Any text that [fits on a line](is_of_one_line).
    ExternalId,
    "1 to 255 characters, none of which is a control character or ends a line",
    |text| (1..=MAX_EXTERNAL_ID_CHARS).contains(&text.chars().count()) && is_of_one_line(text)
}
text_id! {
    /// Ties a request to its operation, messages, events and log lines.
    CorrelationId,
    "1 to 255 printable ASCII characters",
    |text| (1..=MAX_CORRELATION_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl BulkId {
    /// One of our own making.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl CorrelationId {
    /// One of our own making.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

/// The namespace of operation IDs that are made of an idempotency key. Never change it: a repeated
/// request would no longer find its operation.
const OPERATION_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_6c0e_3b0a_4f3c_9a55_1b1d_e29c_0b47);

/// An accepted instruction, from the 202 to its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(Uuid);

impl OperationId {
    /// The operation that `key` names at one endpoint for one organisation, or for one of its accounts where the token is
    /// an account's: always the same one.
    #[must_use]
    pub fn from_key(org: &OrgId, account: Option<AccountId>, endpoint: &str, key: &str) -> Self {
        // Unambiguous: only the last can hold a line feed, and no account is empty.
        let account = account.map(|account| account.to_string()).unwrap_or_default();
        let name = format!("{org}\n{account}\n{endpoint}\n{key}");
        Self(Uuid::new_v5(&OPERATION_NAMESPACE, name.as_bytes()))
    }

    /// An operation under an ID made by the caller (a UUIDv7, where there is no key).
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The ID as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hyphenated form alone: one operation has one address.
impl FromStr for OperationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(Self).ok_or(InvalidId { expected: "a UUID" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", Some(1))]
    #[case("007", Some(7))]
    #[case("9007199254740991", Some(MAX_INTEGER_ID))]
    #[case("9007199254740992", None)]
    #[case("0", None)]
    #[case("", None)]
    #[case("-1", None)]
    #[case("+1", None)]
    #[case(" 1", None)]
    #[case("1.0", None)]
    #[case("1e3", None)]
    #[case("٣", None)]
    #[case("99999999999999999999999", None)]
    fn integer_ids_are_decimal_digits(#[case] text: &str, #[case] value: Option<u64>) {
        assert_eq!(text.parse::<CardId>().ok().map(CardId::get), value);
    }

    #[rstest]
    #[case("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", true)]
    #[case("TN-6CF9A3A5-8EA1-4A37-9A43-5D6B1D4F0C11", true)]
    #[case("TN-6cf9a3a58ea14a379a435d6b1d4f0c11", false)]
    #[case("tn-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", false)]
    #[case("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#", false)]
    #[case("TN-{6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c1}", false)]
    #[case("", false)]
    fn an_organisation_has_one_form(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<OrgId>().is_ok(), valid);
    }

    #[rstest]
    #[case("6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", true)]
    #[case("6cf9a3a58ea14a379a435d6b1d4f0c11", false)]
    #[case("{6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11}", false)]
    #[case("urn:uuid:6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", false)]
    #[case("6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c1g", false)]
    #[case("", false)]
    fn an_operation_has_one_address(#[case] text: &str, #[case] valid: bool) {
        let operation = text.parse::<OperationId>();
        assert_eq!(operation.as_ref().ok().map(ToString::to_string), valid.then(|| text.to_owned()));
        assert_eq!(operation.ok().map(|id| *id.as_uuid()), Uuid::try_parse(text).ok().filter(|_| valid));
    }

    #[test]
    fn what_we_make_is_written_as_a_uuid() {
        let id = Uuid::from_u128(7);
        assert_eq!(BulkId::from_uuid(id).as_str(), id.to_string());
        assert_eq!(CorrelationId::from_uuid(id).as_str(), id.to_string());
        assert_eq!(*OperationId::from_uuid(id).as_uuid(), id);
    }

    #[test]
    fn a_correlation_id_is_printable() {
        assert!(" !~".parse::<CorrelationId>().is_ok());
        assert!(["", "\u{1f}", "\u{7f}", "é"].iter().all(|text| text.parse::<CorrelationId>().is_err()));
        assert!("c".repeat(MAX_CORRELATION_ID_BYTES).parse::<CorrelationId>().is_ok());
        assert!("c".repeat(MAX_CORRELATION_ID_BYTES + 1).parse::<CorrelationId>().is_err());
    }

    #[test]
    fn characters_are_code_points() {
        assert!("😀".repeat(255).parse::<ExternalId>().is_ok());
        assert!("😀".repeat(256).parse::<ExternalId>().is_err());
        assert!("".parse::<ExternalId>().is_err());
    }

    proptest! {
        #[test]
        fn what_commands_a_device_or_ends_a_line_is_no_external_id(
            before in "\\PC{0,9}", c in "[\\p{Cc}\\p{Zl}\\p{Zp}]", after in "\\PC{0,9}",
        ) {
            let text = format!("{before}{c}{after}");
            prop_assert!(text.parse::<ExternalId>().is_err());
        }

        #[test]
        fn any_other_text_is_one(text in "[^\\p{Cc}\\p{Zl}\\p{Zp}]{1,255}") {
            let id: ExternalId = text.parse().unwrap();
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn a_key_names_one_operation_of_one_organisation_account_and_endpoint() {
        let org: OrgId = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let other: OrgId = "TN-00000000-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let account = AccountId::new(7);
        let id = OperationId::from_key(&org, account, "bind-card", "k");
        assert_eq!(id, OperationId::from_key(&org, account, "bind-card", "k"));
        assert_ne!(id, OperationId::from_key(&org, account, "bind-card", "K"));
        assert_ne!(id, OperationId::from_key(&org, account, "cancel-bulk", "k"));
        assert_ne!(id, OperationId::from_key(&other, account, "bind-card", "k"));
        assert_ne!(id, OperationId::from_key(&org, AccountId::new(8), "bind-card", "k"));
        assert_ne!(id, OperationId::from_key(&org, None, "bind-card", "k"));
    }

    /// A repeated request must find its operation after a deployment, too.
    #[rstest]
    #[case(Some(7), "69b999ce-8df1-5140-8c2d-35dc966aefcc")]
    #[case(None, "308cc6a9-98f4-52ae-a14e-5d2ae6e52035")]
    fn a_key_names_the_same_operation_for_ever(#[case] account: Option<u64>, #[case] operation: &str) {
        let org = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let account = account.and_then(AccountId::new);
        assert_eq!(OperationId::from_key(&org, account, "bind-card", "k").to_string(), operation);
    }
}
