//! What a worker's queue carries, and how it is read.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::message::{Instruction, Message};

/// Longest kind of a message that is quoted. Ours.
const MAX_KIND_CHARS: usize = 40;

/// What a worker's queue carries.
pub trait QueueMessage: DeserializeOwned {
    /// Its kind, as the log names it, and the message itself if it is one of ours.
    const KIND: &'static str;

    /// Returns what a log line about the message names.
    fn log_fields(&self) -> LogFields;
}

/// What a log line about a message names.
#[derive(Debug, Clone)]
pub struct LogFields {
    /// The tenant.
    pub tenant: String,
    /// The operation.
    pub operation_id: Option<String>,
    /// The correlation ID of its request.
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

/// Reads a message. Whatever is wrong with it is its own affair, a panic of its reader's too.
pub(super) fn read<M: DeserializeOwned>(body: &str) -> Result<M, String> {
    let reading = std::panic::catch_unwind(|| serde_json::from_str(body));
    let reading = reading.map_err(|_panic| "its reader panicked".to_owned())?;
    // The error's own text may quote the message; where it went wrong is enough.
    reading.map_err(|error| reading_error(&error))
}

/// Returns the kind that a message of ours names, if it is another than this. Only what can be a kind is ever quoted.
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
