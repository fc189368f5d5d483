//! `DynamoDB`: the calls that Bindery makes.

use serde_json::{Value, json};

use super::call_outcome::CallOutcome;
use super::rows::{Key, Rows, key, text};
use super::{Reply, list};

/// Returns the partitions that a call reads or writes.
pub(super) fn partitions(action: &str, request: &Value) -> Vec<String> {
    if action == "BatchExecuteStatement" {
        return list(&request["Statements"]).iter().map(|statement| key_of(statement).0).collect();
    }
    let mut found = Vec::new();
    collect_partitions(request, &mut found);
    found
}

fn collect_partitions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), &value["S"]) {
                    ("pk" | ":pk", Value::String(partition)) => found.push(partition.clone()),
                    _ => collect_partitions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_partitions(value, found)),
        _ => {}
    }
}

/// Responds to a call. The effects are the partitions written.
pub(super) fn respond(action: &str, request: &Value, outcome: CallOutcome, rows: &mut Rows) -> Reply {
    match (action, outcome) {
        (_, CallOutcome::Throttled) => Reply::error("ProvisionedThroughputExceededException"),
        (_, CallOutcome::Invalid) => Reply::error("ValidationException"),
        ("GetItem", CallOutcome::Success | CallOutcome::More) => {
            Reply::ok(rows.get(&key(&request["Key"])).map_or(json!({}), |row| json!({ "Item": row })))
        }
        ("Query", CallOutcome::Success | CallOutcome::More) => query(request, outcome == CallOutcome::More, rows),
        ("BatchGetItem", CallOutcome::Success | CallOutcome::More | CallOutcome::Partial) => {
            batch_get(request, outcome, rows)
        }
        (
            "GetItem" | "Query" | "BatchGetItem",
            CallOutcome::Empty | CallOutcome::ConditionFailed | CallOutcome::ConditionFailedNoRow,
        ) => Reply::ok(json!({})),
        ("PutItem", _) => put(request, outcome, rows),
        ("UpdateItem", _) => {
            let row = rows.get(&key(&request["Key"]));
            let row = if matches!(outcome, CallOutcome::Success | CallOutcome::More) {
                row.map(|row| updated(row, request))
            } else {
                row
            };
            one(outcome, row, text(&request["Key"]["pk"]))
        }
        ("TransactWriteItems", _) => transact(request, outcome, rows),
        ("TransactGetItems", CallOutcome::Busy) => transact_get(request),
        ("TransactGetItems", CallOutcome::Success | CallOutcome::More | CallOutcome::Empty) => {
            Reply::ok(json!({ "Responses": [] }))
        }
        ("BatchWriteItem", _) => batch_write(request, outcome, rows),
        ("BatchExecuteStatement", _) => batch_execute(request, outcome, rows),
        _ => Reply::error("InternalServerError"),
    }
}

/// Returns the row after an update's plain assignments: `SET #name = :value`. The result is returned, but not stored.
fn updated(mut row: Value, request: &Value) -> Value {
    let update = request["UpdateExpression"].as_str().unwrap_or_default();
    for (name, value) in update.trim_start_matches("SET ").split(", ").filter_map(|set| set.split_once(" = ")) {
        let name = request["ExpressionAttributeNames"][name].as_str().unwrap_or(name);
        if let Some(value) = request["ExpressionAttributeValues"].get(value) {
            row[name] = value.clone();
        }
    }
    row
}

/// Responds that another transaction holds one of the rows.
fn transact_get(request: &Value) -> Reply {
    let mut reply = Reply::error("TransactionCanceledException");
    let reasons = list(&request["TransactItems"]).iter().map(|_| json!({ "Code": "TransactionConflict" }));
    reply.body["CancellationReasons"] = reasons.collect();
    reply
}

/// Responds to a write of one row, given the row before and after it.
fn one(outcome: CallOutcome, row: Option<Value>, partition: String) -> Reply {
    let with_row = |mut body: Value, name: &str, row: Option<Value>| {
        if let Some(row) = row {
            body[name] = row;
        }
        body
    };
    match outcome {
        CallOutcome::Success | CallOutcome::More => {
            Reply::ok(with_row(json!({}), "Attributes", row)).with(vec![partition.into()])
        }
        CallOutcome::Empty => Reply::ok(json!({})).with(vec![partition.into()]),
        CallOutcome::ConditionFailed | CallOutcome::ConditionFailedNoRow => {
            let mut reply = Reply::error("ConditionalCheckFailedException");
            reply.body = with_row(reply.body, "Item", row.filter(|_| outcome == CallOutcome::ConditionFailed));
            reply
        }
        CallOutcome::Busy => Reply::error("TransactionConflictException"),
        _ => Reply::error("InternalServerError"),
    }
}

fn put(request: &Value, outcome: CallOutcome, rows: &mut Rows) -> Reply {
    let row = &request["Item"];
    let condition = request["ConditionExpression"].as_str().unwrap_or_default();
    let is_there = rows.was_put(&key(row)) && condition.starts_with("attribute_not_exists(pk)");
    let outcome = if is_there && matches!(outcome, CallOutcome::Success | CallOutcome::Empty) {
        CallOutcome::ConditionFailed
    } else {
        outcome
    };
    let reply = one(outcome, rows.get(&key(row)), text(&row["pk"]));
    if !reply.effects.is_empty() {
        rows.put(row.clone());
    }
    reply
}

fn transact(request: &Value, outcome: CallOutcome, rows: &mut Rows) -> Reply {
    let writes = list(&request["TransactItems"]);
    let canceled = |code: &str| {
        let mut reply = Reply::error("TransactionCanceledException");
        reply.body["CancellationReasons"] = writes.iter().map(|_| json!({ "Code": code })).collect();
        reply
    };
    match outcome {
        CallOutcome::Success | CallOutcome::More | CallOutcome::Empty => {
            for row in writes.iter().filter_map(|write| write["Put"].get("Item")) {
                rows.put(row.clone());
            }
            let partition = |write: &Value| {
                let key = write["Put"].get("Item").unwrap_or(&write["Update"]["Key"]);
                key["pk"]["S"].clone()
            };
            Reply::ok(json!({})).with(writes.iter().map(partition).collect())
        }
        CallOutcome::ConditionFailed | CallOutcome::ConditionFailedNoRow => canceled("ConditionalCheckFailed"),
        CallOutcome::Busy => canceled("TransactionConflict"),
        _ => canceled("ValidationError"),
    }
}

fn query(request: &Value, more: bool, rows: &Rows) -> Reply {
    let value = |name: &str| request["ExpressionAttributeValues"][name]["S"].as_str();
    let pk = value(":pk").unwrap();
    let mut names: Vec<String> = match (value(":first"), value(":last")) {
        // Both ends of the range exist, and nothing between them.
        (Some(first), Some(last)) => vec![first.to_owned(), last.to_owned()],
        _ => vec!["I#a".to_owned(), "I#b".to_owned()],
    };
    names.dedup();
    let found: Vec<_> = names.into_iter().filter_map(|sk| rows.get(&(pk.to_owned(), sk))).collect();
    let mut body = json!({ "Items": found, "Count": found.len() });
    if more {
        body["LastEvaluatedKey"] = json!({ "pk": { "S": pk }, "sk": { "S": "I#b" } });
    }
    Reply::ok(body)
}

fn batch_get(request: &Value, outcome: CallOutcome, rows: &Rows) -> Reply {
    let (mut found, mut left) = (json!({}), json!({}));
    for (table, wanted) in request["RequestItems"].as_object().unwrap() {
        let keys = list(&wanted["Keys"]);
        let now = if outcome == CallOutcome::Partial { keys.len() / 2 } else { keys.len() };
        found[table] = keys[..now].iter().filter_map(|wanted| rows.get(&key(wanted))).collect();
        if now < keys.len() {
            left[table] = json!({ "Keys": keys[now..] });
        }
    }
    Reply::ok(json!({ "Responses": found, "UnprocessedKeys": left }))
}

fn batch_write(request: &Value, outcome: CallOutcome, rows: &mut Rows) -> Reply {
    let (mut left, mut effects) = (json!({}), Vec::new());
    for (table, writes) in request["RequestItems"].as_object().unwrap() {
        let writes = list(writes);
        let now = match outcome {
            CallOutcome::Success | CallOutcome::More | CallOutcome::Empty => writes.len(),
            CallOutcome::Partial => writes.len() / 2,
            _ => 0,
        };
        for write in &writes[..now] {
            let row = &write["PutRequest"]["Item"];
            rows.put(row.clone());
            effects.push(row["pk"]["S"].clone());
        }
        if now < writes.len() {
            left[table] = writes[now..].into();
        }
    }
    Reply::ok(json!({ "UnprocessedItems": left })).with(effects)
}

fn batch_execute(request: &Value, outcome: CallOutcome, rows: &Rows) -> Reply {
    let error = |code: &str| json!({ "Error": { "Code": code, "Message": "as the input specifies" } });
    let (mut responses, mut effects) = (Vec::new(), Vec::new());
    for (position, statement) in list(&request["Statements"]).iter().enumerate() {
        let key = key_of(statement);
        responses.push(match outcome {
            CallOutcome::Empty => return Reply::ok(json!({})),
            CallOutcome::Partial if position % 2 == 1 => error("ThrottlingError"),
            CallOutcome::Success | CallOutcome::More | CallOutcome::Partial => {
                effects.push(key.0.into());
                json!({})
            }
            CallOutcome::Busy => error("TransactionConflict"),
            CallOutcome::ConditionFailedNoRow => error("ConditionalCheckFailed"),
            _ => {
                let mut error = error("ConditionalCheckFailed");
                error["Error"]["Item"] = rows.get(&key).unwrap_or_default();
                error
            }
        });
    }
    Reply::ok(json!({ "Responses": responses })).with(effects)
}

/// Returns the key of the row that a statement writes, based on the form of Bindery's statements.
fn key_of(statement: &Value) -> Key {
    let is_insertion = statement["Statement"].as_str().unwrap().starts_with("INSERT");
    let parameters = list(&statement["Parameters"]);
    let first = if is_insertion { 0 } else { 2 };
    (text(&parameters[first]), text(&parameters[first + 1]))
}
