//! The result of a function's invocation, and what tests assert about it.

use serde_json::{Value, json};

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// The function responded with this payload.
    Responded(Value),
    /// The function reported an error.
    Failed(Value),
    /// The process exited before it responded.
    Crashed,
    /// Lambda did not run it, because its chain of invocations would have been too long.
    Stopped,
}

impl Invocation {
    /// Returns the function's response payload. Panics if it did not respond.
    #[must_use]
    #[track_caller]
    pub fn payload(self) -> Value {
        let Self::Responded(payload) = self else { panic!("the function did not respond: {self:?}") };
        payload
    }

    /// Returns the body of an endpoint's response. Panics unless it has this status.
    #[allow(clippy::must_use_candidate)]
    #[track_caller]
    pub fn response(self, status: u16) -> Value {
        let payload = self.payload();
        assert_eq!(payload["statusCode"], status, "{payload}");
        serde_json::from_str(payload["body"].as_str().unwrap()).unwrap()
    }

    /// Panics unless a worker acknowledged all messages of its batch.
    #[track_caller]
    pub fn acknowledged(self) {
        assert_eq!(self, Self::Responded(json!({ "batchItemFailures": [] })));
    }
}
