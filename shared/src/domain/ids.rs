//! Identifiers, each with its own type, which are validated on entry.
//!
//! An ID value is always well formed, so the rest of the code never validates one again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The largest integer that JavaScript represents exactly. Integer IDs do not exceed it (contract).
pub const MAX_INTEGER_ID: u64 = (1 << 53) - 1;

/// Maximum length of an external ID, in Unicode code points (contract: the seed's `maxLength`).
pub const MAX_EXTERNAL_ID_CHARS: usize = 255;

/// Maximum length of a bulk ID, in Unicode code points (contract).
pub const MAX_BULK_ID_CHARS: usize = 255;

/// Maximum length of a correlation ID, in bytes. Our limit: the ID is copied into every event and log line.
pub const MAX_CORRELATION_ID_BYTES: usize = 255;

/// The error for a text that is not a valid identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {expected}")]
pub struct InvalidId {
    expected: &'static str,
}

/// Returns whether a text contains no character that controls a device or ends a line: no control characters (C0,
/// DEL, C1), and no Unicode separators of lines or paragraphs. Our rule: embossers may process the text line by line,
/// and print it.
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
            /// Creates the ID, if `value` is in `1..=`[`MAX_INTEGER_ID`].
            #[must_use]
            pub const fn new(value: u64) -> Option<Self> {
                if value >= 1 && value <= MAX_INTEGER_ID { Some(Self(value)) } else { None }
            }

            /// Returns the ID as a plain integer.
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

        /// Accepts only decimal digits: no sign, no space, no fraction.
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
    /// The ID of a card.
    CardId
}
integer_id! {
    /// The ID of a customer's account, to which a card is bound.
    AccountId
}
integer_id! {
    /// The ID of a customer.
    CustomerId
}
integer_id! {
    /// The ID of the card program of a bulk.
    ProgramId
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the ID as text.
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
    /// The ID of an organization, which is the tenant: `TN-` and a hyphenated UUID (contract).
    ///
    /// The spelling is preserved. Another spelling is another tenant, so a similar ID cannot reach a tenant's data.
    /// An ID never contains `#`, so a key that starts with one cannot imitate another tenant's key.
    OrgId,
    "`TN-` and a UUID",
    |text| text.strip_prefix("TN-").is_some_and(|uuid| uuid.len() == 36 && Uuid::try_parse(uuid).is_ok())
}
text_id! {
    /// The ID of a bulk. It is opaque text: only its length is checked, so that a key can contain it.
    BulkId,
    "1 to 255 characters",
    |text| (1..=MAX_BULK_ID_CHARS).contains(&text.chars().count())
}
text_id! {
    /// The client's own name for a bulk's item: any text that [fits on a line](is_of_one_line).
    ExternalId,
    "1 to 255 characters, none of which is a control character or ends a line",
    |text| (1..=MAX_EXTERNAL_ID_CHARS).contains(&text.chars().count()) && is_of_one_line(text)
}
text_id! {
    /// The ID that links a request to its operation, messages, events and log lines.
    CorrelationId,
    "1 to 255 printable ASCII characters",
    |text| {
        (1..=MAX_CORRELATION_ID_BYTES).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    }
}

impl BulkId {
    /// Creates a bulk ID from a UUID.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl CorrelationId {
    /// Creates a correlation ID from a UUID.
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

/// The namespace of operation IDs that derive from an idempotency key. Never change it: repeated requests would no
/// longer find their operations.
const OPERATION_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_6c0e_3b0a_4f3c_9a55_1b1d_e29c_0b47);

/// The ID of an operation: an accepted instruction, from the 202 response to its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(Uuid);

impl OperationId {
    /// Returns the operation ID for a key at one endpoint of one organization, or of one account if the token is an
    /// account's. It is always the same.
    #[must_use]
    pub fn from_key(org: &OrgId, account: Option<AccountId>, endpoint: &str, key: &str) -> Self {
        // The name is unambiguous: only the key can contain a line feed, and no account ID is empty.
        let account = account.map(|account| account.to_string()).unwrap_or_default();
        let name = format!("{org}\n{account}\n{endpoint}\n{key}");
        Self(Uuid::new_v5(&OPERATION_NAMESPACE, name.as_bytes()))
    }

    /// Creates an operation ID from the caller's UUID (a UUIDv7, if the client sent no key).
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// Returns the ID as a UUID.
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

/// Accepts only the hyphenated form, so that an operation has only one address.
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
    fn an_organization_has_one_form(#[case] text: &str, #[case] valid: bool) {
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
    fn ids_that_we_create_are_uuids() {
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
        fn an_external_id_has_no_control_character_or_line_end(
            before in "\\PC{0,9}", c in "[\\p{Cc}\\p{Zl}\\p{Zp}]", after in "\\PC{0,9}",
        ) {
            let text = format!("{before}{c}{after}");
            prop_assert!(text.parse::<ExternalId>().is_err());
        }

        #[test]
        fn any_other_text_is_an_external_id(text in "[^\\p{Cc}\\p{Zl}\\p{Zp}]{1,255}") {
            let id: ExternalId = text.parse().unwrap();
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn a_key_names_one_operation_of_one_organization_account_and_endpoint() {
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

    /// A repeated request must find its operation even after a deployment.
    #[rstest]
    #[case(Some(7), "69b999ce-8df1-5140-8c2d-35dc966aefcc")]
    #[case(None, "308cc6a9-98f4-52ae-a14e-5d2ae6e52035")]
    fn a_key_always_names_the_same_operation(#[case] account: Option<u64>, #[case] operation: &str) {
        let org = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap();
        let account = account.and_then(AccountId::new);
        assert_eq!(OperationId::from_key(&org, account, "bind-card", "k").to_string(), operation);
    }
}
