//! `DynamoDB`: the calls that Bindery makes.

use serde_json::{Value, json};

use super::fate::Fate;
use super::rows::{Key, Rows, key, text};
use super::{Reply, list};

/// The partitions that a call reads or writes.
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

/// The effects are the partitions written.
pub(super) fn answer(action: &str, request: &Value, fate: Fate, rows: &mut Rows) -> Reply {
    match (action, fate) {
        (_, Fate::Throttled) => Reply::error("ProvisionedThroughputExceededException"),
        (_, Fate::Invalid) => Reply::error("ValidationException"),
        ("GetItem", Fate::Well | Fate::More) => {
            Reply::ok(rows.get(&key(&request["Key"])).map_or(json!({}), |row| json!({ "Item": row })))
        }
        ("Query", Fate::Well | Fate::More) => query(request, fate == Fate::More, rows),
        ("BatchGetItem", Fate::Well | Fate::More | Fate::Partly) => batch_get(request, fate, rows),
        ("GetItem" | "Query" | "BatchGetItem", Fate::Empty | Fate::Refused | Fate::RefusedForNone) => {
            Reply::ok(json!({}))
        }
        ("PutItem", _) => put(request, fate, rows),
        ("UpdateItem", _) => {
            let row = rows.get(&key(&request["Key"]));
            let row = if matches!(fate, Fate::Well | Fate::More) { row.map(|row| updated(row, request)) } else { row };
            one(fate, row, text(&request["Key"]["pk"]))
        }
        ("TransactWriteItems", _) => transact(request, fate, rows),
        ("TransactGetItems", Fate::Busy) => transact_get(request),
        ("TransactGetItems", Fate::Well | Fate::More | Fate::Empty) => Reply::ok(json!({ "Responses": [] })),
        ("BatchWriteItem", _) => batch_write(request, fate, rows),
        ("BatchExecuteStatement", _) => batch_execute(request, fate, rows),
        _ => Reply::error("InternalServerError"),
    }
}

/// The row after what an update sets plainly: `SET #name = :value`. (It is answered so, and not kept.)
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

/// Another transaction is at one of the rows.
fn transact_get(request: &Value) -> Reply {
    let mut reply = Reply::error("TransactionCanceledException");
    let reasons = list(&request["TransactItems"]).iter().map(|_| json!({ "Code": "TransactionConflict" }));
    reply.body["CancellationReasons"] = reasons.collect();
    reply
}

/// One write of a row, which is this before and after.
fn one(fate: Fate, row: Option<Value>, partition: String) -> Reply {
    let with_row = |mut body: Value, name: &str, row: Option<Value>| {
        if let Some(row) = row {
            body[name] = row;
        }
        body
    };
    match fate {
        Fate::Well | Fate::More => Reply::ok(with_row(json!({}), "Attributes", row)).with(vec![partition.into()]),
        Fate::Empty => Reply::ok(json!({})).with(vec![partition.into()]),
        Fate::Refused | Fate::RefusedForNone => {
            let mut reply = Reply::error("ConditionalCheckFailedException");
            reply.body = with_row(reply.body, "Item", row.filter(|_| fate == Fate::Refused));
            reply
        }
        Fate::Busy => Reply::error("TransactionConflictException"),
        _ => Reply::error("InternalServerError"),
    }
}

fn put(request: &Value, fate: Fate, rows: &mut Rows) -> Reply {
    let row = &request["Item"];
    let condition = request["ConditionExpression"].as_str().unwrap_or_default();
    let is_there = rows.was_put(&key(row)) && condition.starts_with("attribute_not_exists(pk)");
    let fate = if is_there && matches!(fate, Fate::Well | Fate::Empty) { Fate::Refused } else { fate };
    let reply = one(fate, rows.get(&key(row)), text(&row["pk"]));
    if !reply.effects.is_empty() {
        rows.put(row.clone());
    }
    reply
}

fn transact(request: &Value, fate: Fate, rows: &mut Rows) -> Reply {
    let writes = list(&request["TransactItems"]);
    let canceled = |code: &str| {
        let mut reply = Reply::error("TransactionCanceledException");
        reply.body["CancellationReasons"] = writes.iter().map(|_| json!({ "Code": code })).collect();
        reply
    };
    match fate {
        Fate::Well | Fate::More | Fate::Empty => {
            for row in writes.iter().filter_map(|write| write["Put"].get("Item")) {
                rows.put(row.clone());
            }
            let partition = |write: &Value| {
                let key = write["Put"].get("Item").unwrap_or(&write["Update"]["Key"]);
                key["pk"]["S"].clone()
            };
            Reply::ok(json!({})).with(writes.iter().map(partition).collect())
        }
        Fate::Refused | Fate::RefusedForNone => canceled("ConditionalCheckFailed"),
        Fate::Busy => canceled("TransactionConflict"),
        _ => canceled("ValidationError"),
    }
}

fn query(request: &Value, more: bool, rows: &Rows) -> Reply {
    let value = |name: &str| request["ExpressionAttributeValues"][name]["S"].as_str();
    let pk = value(":pk").unwrap();
    let mut names: Vec<String> = match (value(":first"), value(":last")) {
        // The ends of the range are there, and nothing between them.
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

fn batch_get(request: &Value, fate: Fate, rows: &Rows) -> Reply {
    let (mut found, mut left) = (json!({}), json!({}));
    for (table, wanted) in request["RequestItems"].as_object().unwrap() {
        let keys = list(&wanted["Keys"]);
        let now = if fate == Fate::Partly { keys.len() / 2 } else { keys.len() };
        found[table] = keys[..now].iter().filter_map(|wanted| rows.get(&key(wanted))).collect();
        if now < keys.len() {
            left[table] = json!({ "Keys": keys[now..] });
        }
    }
    Reply::ok(json!({ "Responses": found, "UnprocessedKeys": left }))
}

fn batch_write(request: &Value, fate: Fate, rows: &mut Rows) -> Reply {
    let (mut left, mut effects) = (json!({}), Vec::new());
    for (table, writes) in request["RequestItems"].as_object().unwrap() {
        let writes = list(writes);
        let now = match fate {
            Fate::Well | Fate::More | Fate::Empty => writes.len(),
            Fate::Partly => writes.len() / 2,
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

fn batch_execute(request: &Value, fate: Fate, rows: &Rows) -> Reply {
    let error = |code: &str| json!({ "Error": { "Code": code, "Message": "as the input has it" } });
    let (mut answers, mut effects) = (Vec::new(), Vec::new());
    for (position, statement) in list(&request["Statements"]).iter().enumerate() {
        let key = key_of(statement);
        answers.push(match fate {
            Fate::Empty => return Reply::ok(json!({})),
            Fate::Partly if position % 2 == 1 => error("ThrottlingError"),
            Fate::Well | Fate::More | Fate::Partly => {
                effects.push(key.0.into());
                json!({})
            }
            Fate::Busy => error("TransactionConflict"),
            Fate::RefusedForNone => error("ConditionalCheckFailed"),
            _ => {
                let mut error = error("ConditionalCheckFailed");
                error["Error"]["Item"] = rows.get(&key).unwrap_or_default();
                error
            }
        });
    }
    Reply::ok(json!({ "Responses": answers })).with(effects)
}

/// The key of the row that a statement writes, by the form that Bindery's statements have.
fn key_of(statement: &Value) -> Key {
    let is_insertion = statement["Statement"].as_str().unwrap().starts_with("INSERT");
    let parameters = list(&statement["Parameters"]);
    let first = if is_insertion { 0 } else { 2 };
    (text(&parameters[first]), text(&parameters[first + 1]))
}
