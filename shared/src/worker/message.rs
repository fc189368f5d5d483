//! The messages of a worker's queue, and how they are read.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::domain::time::Timestamp;
use crate::message::{Instruction, Message};

/// Maximum length of another message kind quoted in an error. Our limit.
const MAX_KIND_CHARS: usize = 40;

/// A message that a worker can receive.
pub trait QueueMessage: DeserializeOwned {
    /// The message's kind, as named in the log and, for our own messages, in the message.
    const KIND: &'static str;

    /// Returns the message's fields for the log.
    fn log_fields(&self) -> LogFields;

    /// Returns the time from which the message waits, if it is not the time at which SQS took the message.
    fn waits_since(&self) -> Option<Timestamp> {
        None
    }
}

/// The fields of a message that its log line contains.
#[derive(Debug, Clone)]
pub struct LogFields {
    /// The tenant's organization ID.
    pub tenant: String,
    /// The operation's ID.
    pub operation_id: Option<String>,
    /// The correlation ID of the request that started the operation.
    pub cid: Option<String>,
}

impl<T: Instruction> QueueMessage for Message<T> {
    const KIND: &'static str = T::KIND;

    fn log_fields(&self) -> LogFields {
        LogFields {
            tenant: self.org_id.to_string(),
            operation_id: Some(self.operation_id.to_string()),
            cid: Some(self.cid.to_string()),
        }
    }
}

/// Reads a message. Any failure concerns this message alone, even a panic while reading it.
pub(super) fn read<M: DeserializeOwned>(body: &str) -> Result<M, String> {
    let reading = std::panic::catch_unwind(|| serde_json::from_str(body));
    let reading = reading.map_err(|_panic| "its reader panicked".to_owned())?;
    // The error's own text may quote the message, so only its position is reported.
    reading.map_err(|error| reading_error(&error))
}

/// Returns the kind that one of our messages names, if it differs from `expected`. Quotes only text that can be a
/// kind.
pub(super) fn other_kind(body: &str, expected: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Ours {
        kind: String,
        #[serde(rename = "instruction")]
        _instruction: IgnoredAny,
    }
    let Ours { kind, .. } = read(body).ok()?;
    let can_be = (1..=MAX_KIND_CHARS).contains(&kind.len())
        && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (can_be && kind != expected).then_some(kind)
}

fn reading_error(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "not of the known form",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "cut off",
    };
    format!("{kind} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_reason_quotes_nothing_of_the_message() {
        let error = serde_json::from_str::<u8>("\"secret\"").unwrap_err();
        assert_eq!(reading_error(&error), "not of the known form at line 1 column 8");
    }

    #[rstest]
    #[case::another(r#"{"kind":"cancel-bulk","instruction":{}}"#, Some("cancel-bulk"))]
    #[case::its_own(r#"{"kind":"bind-card","instruction":{}}"#, None)]
    #[case::of_another_system(r#"{"kind":"cancel-bulk"}"#, None)]
    #[case::that_says_too_much(r#"{"kind":"pin 1234","instruction":{}}"#, None)]
    #[case::too_long(&format!(r#"{{"kind":"{}","instruction":1}}"#, "a".repeat(41)), None)]
    #[case::empty(r#"{"kind":"","instruction":1}"#, None)]
    #[case::unreadable("{", None)]
    fn a_message_of_another_kind_is_named(#[case] body: &str, #[case] kind: Option<&str>) {
        assert_eq!(other_kind(body, "bind-card").as_deref(), kind);
    }
}
