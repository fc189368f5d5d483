//! The fake `EventBridge`, which takes events.

use serde_json::{Value, json};

use super::call_outcome::CallOutcome;
use super::{Reply, list};

/// Responds to a call. The effects are the events taken.
pub(super) fn respond(request: &Value, outcome: CallOutcome) -> Reply {
    let is_taken = |position: usize| match outcome {
        CallOutcome::Success | CallOutcome::More => true,
        CallOutcome::Partial => position.is_multiple_of(2),
        _ => false,
    };
    match outcome {
        CallOutcome::Empty => return Reply::ok(json!({})),
        CallOutcome::Throttled | CallOutcome::Busy => return Reply::error("ThrottlingException"),
        CallOutcome::Invalid => return Reply::error("ValidationException"),
        _ => {}
    }
    let (mut responses, mut taken) = (Vec::new(), Vec::new());
    for (position, entry) in list(&request["Entries"]).iter().enumerate() {
        if is_taken(position) {
            responses.push(json!({ "EventId": "e" }));
            taken.push(serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap());
        } else {
            responses.push(json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "as the input specifies" }));
        }
    }
    let failed = responses.len() - taken.len();
    Reply::ok(json!({ "FailedEntryCount": failed, "Entries": responses })).with(taken)
}
