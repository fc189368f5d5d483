//! SQS: takes messages, and hides them.

use serde_json::{Value, json};

use super::fate::Fate;
use super::{Reply, list};

/// The effects are the messages taken.
pub(super) fn answer(action: &str, request: &Value, fate: Fate) -> Reply {
    if action == "ChangeMessageVisibility" {
        return match fate {
            Fate::Well | Fate::More | Fate::Empty => Reply::ok(json!({})),
            Fate::Invalid => Reply::error("ReceiptHandleIsInvalid"),
            _ => Reply::error("RequestThrottled"),
        };
    }
    let one = action == "SendMessage";
    match fate {
        Fate::Empty if one => Reply::ok(json!({})).with(vec![request.clone()]),
        Fate::Empty => Reply::ok(json!({})),
        Fate::Invalid => Reply::error("InvalidMessageContents"),
        Fate::Well | Fate::More if one => Reply::ok(json!({ "MessageId": "m" })).with(vec![request.clone()]),
        Fate::Well | Fate::More => batch(request, |_| true),
        Fate::Partly if !one => batch(request, |position| position % 2 == 0),
        Fate::Refused | Fate::RefusedForNone if !one => batch(request, |_| false),
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
