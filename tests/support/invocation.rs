//! What an invocation of a function came to, and what a test asks of it.

use serde_json::{Value, json};

/// What an invocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// The function answered.
    Responded(Value),
    /// The function reported an error.
    Failed(Value),
    /// The process died first.
    Crashed,
    /// Lambda did not run it: it would be the next one of a chain that is too long.
    Stopped,
}

impl Invocation {
    /// Returns what the function answered; fails if it did not.
    #[must_use]
    #[track_caller]
    pub fn payload(self) -> Value {
        let Self::Responded(payload) = self else { panic!("{self:?}") };
        payload
    }

    /// Returns the body of an endpoint's response, which must have this status.
    #[allow(clippy::must_use_candidate)]
    #[track_caller]
    pub fn response(self, status: u16) -> Value {
        let payload = self.payload();
        assert_eq!(payload["statusCode"], status, "{payload}");
        serde_json::from_str(payload["body"].as_str().unwrap()).unwrap()
    }

    /// Fails unless a worker acknowledged all messages of its batch.
    #[track_caller]
    pub fn acknowledged(self) {
        assert_eq!(self, Self::Responded(json!({ "batchItemFailures": [] })));
    }
}
