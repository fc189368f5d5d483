//! Signs events by Standard Webhooks 1.0. Libraries in many languages can verify these signatures.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The optional prefix of a key.
const PREFIX: &str = "whsec_";
/// The allowed sizes of a key, in bytes (specification).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The maximum number of keys in use. A change of keys needs two, the old one and the new one.
const MAX_KEYS: usize = 5;

/// The keys that events are signed with.
pub struct Keys(Vec<hmac::Key>);

/// The error for a text of keys that cannot be used. It does not quote the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has no key, or too many.
    #[error("between one and {MAX_KEYS} keys are needed")]
    Count,
    /// The key at this position (counted from 1) is malformed.
    #[error("key {0} is not base64 of 24 to 64 bytes (with or without {PREFIX})")]
    Form(usize),
}

impl Keys {
    /// Parses the keys in the text, separated by white space. Each is base64, with or without the prefix `whsec_`.
    ///
    /// # Errors
    /// [`KeyError`] if the text has no key, too many keys or a malformed one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() || words.len() > MAX_KEYS {
            return Err(KeyError::Count);
        }
        let key = |(position, word): (usize, &&str)| {
            let decoded = STANDARD.decode(word.strip_prefix(PREFIX).unwrap_or(word)).ok();
            let bytes = decoded.filter(|bytes| KEY_BYTES.contains(&bytes.len())).ok_or(KeyError::Form(position + 1))?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        words.iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the value of `webhook-signature`. It has one signature by each key, so that a consumer with any of the
    /// keys can verify it.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let content = format!("{id}.{timestamp}.{body}");
        let signature = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, content.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key(s)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// The key in the tests of the reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn sign(keys: &str) -> String {
        let keys = Keys::parse(keys).unwrap();
        keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#)
    }

    #[test]
    fn signatures_are_those_of_the_reference_libraries() {
        assert_eq!(sign(SECRET), SIGNATURE);
        assert_eq!(sign(&SECRET[PREFIX.len()..]), SIGNATURE);
    }

    #[test]
    fn every_key_signs() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = sign(&format!("{other}\n{SECRET} "));
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!((first, second), (sign(&other).as_str(), SIGNATURE));
        assert_ne!(first, second);
    }

    #[rstest]
    #[case("", KeyError::Count)]
    #[case(" \n", KeyError::Count)]
    #[case("a a a a a a", KeyError::Count)]
    #[case("whsec_", KeyError::Form(1))]
    #[case("whsec_c2hvcnQ=", KeyError::Form(1))]
    #[case("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw no-key", KeyError::Form(2))]
    fn an_invalid_key_is_refused_and_not_quoted(#[case] text: &str, #[case] expected: KeyError) {
        let error = Keys::parse(text).unwrap_err();
        assert!(!error.to_string().contains("no-key"));
        assert_eq!(error, expected);
    }

    #[test]
    fn a_key_has_24_to_64_bytes() {
        for (bytes, fits) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(Keys::parse(&STANDARD.encode(vec![1; bytes])).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", Keys::parse(SECRET).unwrap()), "1 key(s)");
    }

    proptest! {
        /// Different events have different signed texts, because neither ID nor timestamp contains a full stop.
        #[test]
        fn different_events_have_different_signatures(body in ".*", other in ".*", at in any::<u64>()) {
            let keys = Keys::parse(SECRET).unwrap();
            prop_assert_eq!(keys.sign("a", at, &body) == keys.sign("a", at, &other), body == other);
            prop_assert_ne!(keys.sign("a", at, &body), keys.sign("a", at.wrapping_add(1), &body));
            prop_assert_ne!(keys.sign("a", at, &body), keys.sign("b", at, &body));
        }
    }
}
