//! Calls of which AWS does only a part: it answers 200, and says of some entries that they were not done.

use axum::body::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The calls that can be done in part.
#[derive(Debug, Clone, Copy)]
enum Batch {
    SendMessages,
    PutEvents,
    Statements,
    Writes,
    Reads,
}

/// A call of which a part is done.
#[derive(Debug)]
pub(crate) struct Part {
    /// The body of the call of what is done, if anything is.
    pub left: Option<Bytes>,
    /// What is not.
    pub rest: Rest,
}

/// What was left out of a call, to be told in its answer.
#[derive(Debug)]
pub(crate) struct Rest {
    batch: Batch,
    /// What is said of a statement that is not done.
    code: &'static str,
    /// Where the entries stand in the request.
    place: String,
    request: Value,
    /// Whether each entry is done.
    done: Vec<bool>,
}

/// Draws which entries of the call are done. `None` if the call is all or nothing.
pub(crate) fn draw(target: &str, body: &[u8], seed: u64) -> Option<Part> {
    let mut rng = Rng::with_seed(seed);
    split(target, body, "ThrottlingError", |_| rng.bool())
}

/// Has the entries of the call done that `is_done` says, by their number. `None` if the call is all or nothing.
pub(crate) fn split(target: &str, body: &[u8], code: &'static str, is_done: impl FnMut(usize) -> bool) -> Option<Part> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let of_table =
        |request: &Value| Some(format!("/RequestItems/{}", request["RequestItems"].as_object()?.keys().next()?));
    let (batch, place) = match target.rsplit('.').next()? {
        "SendMessageBatch" => (Batch::SendMessages, "/Entries".to_owned()),
        "PutEvents" => (Batch::PutEvents, "/Entries".to_owned()),
        "BatchExecuteStatement" => (Batch::Statements, "/Statements".to_owned()),
        "BatchWriteItem" => (Batch::Writes, of_table(&request)?),
        "BatchGetItem" => (Batch::Reads, of_table(&request)? + "/Keys"),
        _ => return None,
    };
    let entries = request.pointer_mut(&place)?.as_array_mut()?;
    let done: Vec<bool> = (0..entries.len()).map(is_done).collect();
    let rest = Rest { batch, code, place, done, request: request.clone() };
    let entries = request.pointer_mut(&rest.place)?;
    *entries = rest.entries(true).into();
    let left = rest.done.contains(&true).then(|| Bytes::from(request.to_string()));
    Some(Part { left, rest })
}

impl Rest {
    /// The entries that are, or are not, done.
    fn entries(&self, done: bool) -> Vec<Value> {
        let all = self.request.pointer(&self.place).and_then(Value::as_array).unwrap();
        all.iter().zip(&self.done).filter(|(_, is_done)| **is_done == done).map(|(entry, _)| entry.clone()).collect()
    }

    /// The answer to what was left of the call, with what AWS says of the rest.
    pub(crate) fn completed(&self, response: &[u8]) -> Bytes {
        let mut response: Value = if response.is_empty() { json!({}) } else { serde_json::from_slice(response).unwrap() };
        match self.batch {
            Batch::SendMessages => {
                let failed = |entry: Value| json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false });
                response["Failed"] = self.entries(false).into_iter().map(failed).collect();
                response.as_object_mut().unwrap().entry("Successful").or_insert(json!([]));
            }
            Batch::PutEvents => {
                let failed = json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "m" });
                response["FailedEntryCount"] = self.entries(false).len().into();
                response["Entries"] = self.in_place(&response["Entries"], &failed);
            }
            Batch::Statements => {
                let failed = json!({ "Error": { "Code": self.code, "Message": "m" } });
                response["Responses"] = self.in_place(&response["Responses"], &failed);
            }
            Batch::Writes => response["UnprocessedItems"] = self.unprocessed(&response["UnprocessedItems"]),
            Batch::Reads => response["UnprocessedKeys"] = self.unprocessed(&response["UnprocessedKeys"]),
        }
        Bytes::from(response.to_string())
    }

    /// The answers of the entries that are done, and `failed` in the places of the others.
    fn in_place(&self, responses: &Value, failed: &Value) -> Value {
        let mut responses = responses.as_array().into_iter().flatten();
        self.done.iter().map(|done| if *done { responses.next().unwrap() } else { failed }.clone()).collect()
    }

    /// The entries that are not done, and those of what was left of the call that were not done either.
    fn unprocessed(&self, of_left: &Value) -> Value {
        let mut entries = self.entries(false);
        let of_left = of_left.pointer(self.place.trim_start_matches("/RequestItems"));
        entries.extend(of_left.and_then(Value::as_array).into_iter().flatten().cloned());
        if entries.is_empty() {
            return Value::Object(Map::new());
        }
        let mut request = self.request.clone();
        *request.pointer_mut(&self.place).unwrap() = entries.into();
        request["RequestItems"].take()
    }
}
