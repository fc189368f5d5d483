//! The event that a new version receives, and the right response to it.

use serde_json::{Value, json};

/// The suffix of a worker's name.
const WORKER_SUFFIX: &str = "-worker";

/// A harmless event, by the kind of function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A request without a token. Every endpoint refuses it before it looks at anything else, and counts nothing.
    Request,
    /// A batch without messages. Every worker reports that none of them failed.
    Batch,
}

impl Probe {
    /// Returns the probe for the function of this name.
    #[must_use]
    pub fn of(function: &str) -> Self {
        if function.ends_with(WORKER_SUFFIX) { Self::Batch } else { Self::Request }
    }

    /// Returns the event: of API Gateway's format 2.0, or of SQS.
    #[must_use]
    pub fn event(self) -> Value {
        match self {
            Self::Request => json!({
                "version": "2.0", "routeKey": "GET /pre-traffic", "rawPath": "/pre-traffic", "rawQueryString": "",
                "headers": {}, "isBase64Encoded": false,
                "requestContext": {
                    "routeKey": "GET /pre-traffic", "stage": "$default", "requestId": "pre-traffic",
                    "http": { "method": "GET", "path": "/pre-traffic", "protocol": "HTTP/1.1" },
                },
            }),
            Self::Batch => json!({ "Records": [] }),
        }
    }

    /// Returns whether this is the right response.
    #[must_use]
    pub fn is_right(self, response: &Value) -> bool {
        match self {
            Self::Request => response["statusCode"] == 401,
            Self::Batch => response["batchItemFailures"] == json!([]),
        }
    }

    /// Describes the right response.
    #[must_use]
    pub const fn right(self) -> &'static str {
        match self {
            Self::Request => "401 to a request without a token",
            Self::Batch => "no failures of a batch without messages",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bindery-prod-get-card", json!({ "statusCode": 401 }), true)]
    #[case("bindery-prod-get-card", json!({ "statusCode": 200 }), false)]
    #[case("bindery-prod-get-card", json!({ "batchItemFailures": [] }), false)]
    #[case("bindery-prod-get-card", json!(null), false)]
    #[case("bindery-prod-bind-card-worker", json!({ "batchItemFailures": [] }), true)]
    #[case("bindery-prod-bind-card-worker", json!({ "batchItemFailures": [{ "itemIdentifier": "1" }] }), false)]
    #[case("bindery-prod-bind-card-worker", json!({ "statusCode": 401 }), false)]
    #[case("bindery-prod-bind-card-worker", json!(null), false)]
    fn only_the_right_response_lets_traffic_in(#[case] function: &str, #[case] response: Value, #[case] right: bool) {
        assert_eq!(Probe::of(function).is_right(&response), right);
    }
}
