//! The fake SQS, which takes messages and changes their visibility timeouts.

use serde_json::{Value, json};

use super::call_outcome::CallOutcome;
use super::{Reply, list};

/// Responds to a call. The effects are the messages taken.
pub(super) fn respond(action: &str, request: &Value, outcome: CallOutcome) -> Reply {
    if action == "ChangeMessageVisibility" {
        return match outcome {
            CallOutcome::Success | CallOutcome::More | CallOutcome::Empty => Reply::ok(json!({})),
            CallOutcome::Invalid => Reply::error("ReceiptHandleIsInvalid"),
            _ => Reply::error("RequestThrottled"),
        };
    }
    let one = action == "SendMessage";
    match outcome {
        CallOutcome::Empty if one => Reply::ok(json!({})).with(vec![request.clone()]),
        CallOutcome::Empty => Reply::ok(json!({})),
        CallOutcome::Invalid => Reply::error("InvalidMessageContents"),
        CallOutcome::Success | CallOutcome::More if one => {
            Reply::ok(json!({ "MessageId": "m" })).with(vec![request.clone()])
        }
        CallOutcome::Success | CallOutcome::More => batch(request, |_| true),
        CallOutcome::Partial if !one => batch(request, |position| position % 2 == 0),
        CallOutcome::ConditionFailed | CallOutcome::ConditionFailedNoRow if !one => batch(request, |_| false),
        _ => Reply::error("RequestThrottled"),
    }
}

fn batch(request: &Value, is_taken: impl Fn(usize) -> bool) -> Reply {
    let entries = list(&request["Entries"]).iter().enumerate();
    let (taken, left): (Vec<_>, Vec<_>) = entries.partition(|(position, _)| is_taken(*position));
    let sent = |(_, entry): &(_, &Value)| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" });
    let failed = |(_, entry): &(_, &Value)| json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError" });
    let body = json!({
        "Successful": taken.iter().map(sent).collect::<Vec<_>>(), "Failed": left.iter().map(failed).collect::<Vec<_>>(),
    });
    Reply::ok(body).with(taken.into_iter().map(|(_, entry)| entry.clone()).collect())
}
