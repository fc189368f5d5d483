//! Batch calls that partly fail: AWS responds 200 and reports some entries as failed.

use axum::body::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The calls that can partly fail.
#[derive(Debug, Clone, Copy)]
enum Batch {
    SendMessages,
    PutEvents,
    Statements,
    Writes,
    Reads,
}

/// A call that is to fail in part.
#[derive(Debug)]
pub(crate) struct Part {
    /// The request's body with only the entries to carry out, or `None` if all are to fail.
    pub left: Option<Bytes>,
    /// The entries that are to fail.
    pub rest: Rest,
}

/// The entries left out of a call, which its response reports as failed.
#[derive(Debug)]
pub(crate) struct Rest {
    batch: Batch,
    /// The error code of a failed statement.
    code: &'static str,
    /// The JSON pointer to the request's entries.
    place: String,
    request: Value,
    /// True for each entry that is carried out.
    done: Vec<bool>,
}

/// Draws which entries of the call are carried out. Returns `None` if the call is not a batch.
pub(crate) fn draw(target: &str, body: &[u8], seed: u64) -> Option<Part> {
    let mut rng = Rng::with_seed(seed);
    split(target, body, "ThrottlingError", |_| rng.bool())
}

/// Splits the call into the entries to carry out, by `is_done` of their index, and the others. Returns `None` if the
/// call is not a batch.
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
    /// Returns the entries that are, or are not, carried out.
    fn entries(&self, done: bool) -> Vec<Value> {
        let all = self.request.pointer(&self.place).and_then(Value::as_array).unwrap();
        all.iter().zip(&self.done).filter(|(_, is_done)| **is_done == done).map(|(entry, _)| entry.clone()).collect()
    }

    /// Returns the response to the reduced call, completed with the errors of the other entries.
    pub(crate) fn completed(&self, response: &[u8]) -> Bytes {
        let mut response: Value =
            if response.is_empty() { json!({}) } else { serde_json::from_slice(response).unwrap() };
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

    /// Returns the responses of the entries that were carried out, with `failed` in the places of the others.
    fn in_place(&self, responses: &Value, failed: &Value) -> Value {
        let mut responses = responses.as_array().into_iter().flatten();
        self.done.iter().map(|done| if *done { responses.next().unwrap() } else { failed }.clone()).collect()
    }

    /// Returns the entries that were left out, and those of the reduced call that the service did not process.
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
