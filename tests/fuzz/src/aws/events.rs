//! `EventBridge`: takes events.

use serde_json::{Value, json};

use super::fate::Fate;
use super::{Reply, list};

/// The effects are the events taken.
pub(super) fn answer(request: &Value, fate: Fate) -> Reply {
    let is_taken = |position: usize| match fate {
        Fate::Well | Fate::More => true,
        Fate::Partly => position.is_multiple_of(2),
        _ => false,
    };
    match fate {
        Fate::Empty => return Reply::ok(json!({})),
        Fate::Throttled | Fate::Busy => return Reply::error("ThrottlingException"),
        Fate::Invalid => return Reply::error("ValidationException"),
        _ => {}
    }
    let (mut answers, mut taken) = (Vec::new(), Vec::new());
    for (position, entry) in list(&request["Entries"]).iter().enumerate() {
        if is_taken(position) {
            answers.push(json!({ "EventId": "e" }));
            taken.push(serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap());
        } else {
            answers.push(json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "as the input has it" }));
        }
    }
    let failed = answers.len() - taken.len();
    Reply::ok(json!({ "FailedEntryCount": failed, "Entries": answers })).with(taken)
}
