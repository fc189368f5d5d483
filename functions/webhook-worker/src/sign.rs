//! Signatures as Standard Webhooks 1.0 has them, which libraries in many languages verify.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret may begin with.
const PREFIX: &str = "whsec_";
/// Bytes of a key (specification).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys in use at once: an old one and a new one, and room to spare.
const MAX_KEYS: usize = 5;

/// The keys that events are signed with.
pub struct Keys(Vec<hmac::Key>);

/// What is wrong with the text of the keys. Nothing of it is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None, or too many.
    #[error("between one and {MAX_KEYS} keys are needed")]
    Count,
    /// One that is none.
    #[error("key {0} is not base64 of 24 to 64 bytes (with or without {PREFIX})")]
    Form(usize),
}

impl Keys {
    /// Those in the text, which spaces or line feeds separate: `whsec_` and base64, or base64 alone.
    ///
    /// # Errors
    /// [`KeyError`].
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

    /// The value of `webhook-signature`: one signature by each key, so that whoever knows any of them can verify it.
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

    /// As the reference libraries test it.
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
    fn a_key_that_is_none_is_refused_and_not_told(#[case] text: &str, #[case] error: KeyError) {
        let said = Keys::parse(text).unwrap_err();
        assert!(!said.to_string().contains("no-key"));
        assert_eq!(said, error);
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
        /// Nothing of what is signed can be another's: neither ID nor timestamp holds a full stop.
        #[test]
        fn what_is_signed_differs(body in ".*", other in ".*", at in any::<u64>()) {
            let keys = Keys::parse(SECRET).unwrap();
            prop_assert_eq!(keys.sign("a", at, &body) == keys.sign("a", at, &other), body == other);
            prop_assert_ne!(keys.sign("a", at, &body), keys.sign("a", at.wrapping_add(1), &body));
            prop_assert_ne!(keys.sign("a", at, &body), keys.sign("b", at, &body));
        }
    }
}
