//! Finds the rows that a call writes in its JSON.

use serde_json::Value;

/// The key of a row: its `pk` and `sk`.
pub(crate) type Key = (String, String);

/// Returns the rows that a call of this name writes, one for each of its entries.
pub(crate) fn written(name: &str, asked: &Value) -> Vec<Key> {
    let entries = |entries: &Value| entries.as_array().unwrap().clone();
    match name {
        "PutItem" | "UpdateItem" | "DeleteItem" => vec![key_written(asked)],
        "BatchWriteItem" => {
            let of_tables = asked["RequestItems"].as_object().unwrap().values();
            of_tables.flat_map(entries).map(|entry| key_written(only(&entry).1)).collect()
        }
        "BatchExecuteStatement" => entries(&asked["Statements"]).iter().map(key_of_statement).collect(),
        "TransactWriteItems" => {
            let of_entry = |entry: &Value| {
                let (kind, write) = only(entry);
                assert_ne!(kind, "Delete", "deletions in transactions are not simulated");
                key_written(write)
            };
            entries(&asked["TransactItems"]).iter().map(of_entry).collect()
        }
        _ => panic!("{name} is not simulated: add it to tests/support/commits/rows.rs"),
    }
}

/// Returns the rows that a transaction reads.
pub(crate) fn read_together(asked: &Value) -> Vec<Key> {
    let gets = asked["TransactItems"].as_array().unwrap();
    gets.iter().map(|get| key_of(&get["Get"]["Key"])).collect()
}

/// Returns the table of a transaction's first write.
pub(crate) fn table_of(transaction: &Value) -> &str {
    only(&transaction["TransactItems"][0]).1["TableName"].as_str().unwrap()
}

/// Returns the only member of an object, such as the kind of an entry and its write.
fn only(entry: &Value) -> (&str, &Value) {
    entry.as_object().unwrap().iter().next().map(|(name, value)| (name.as_str(), value)).unwrap()
}

fn key_written(write: &Value) -> Key {
    key_of(write.get("Key").unwrap_or(&write["Item"]))
}

pub(super) fn key_of(row: &Value) -> Key {
    let text = |name: &str| row[name]["S"].as_str().unwrap().to_owned();
    (text("pk"), text("sk"))
}

/// Returns the row of a PartiQL statement, whose `pk` and `sk` are parameters.
fn key_of_statement(statement: &Value) -> Key {
    let text = statement["Statement"].as_str().unwrap();
    // The text before a parameter ends with the attribute's name.
    let name =
        |before: &str| before.rsplit(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).map(str::to_owned);
    let names: Vec<_> = text.split('?').map(name).collect();
    let parameter = |wanted: &str| {
        let place = names.iter().position(|name| name.as_deref() == Some(wanted));
        let place = place.unwrap_or_else(|| panic!("{wanted} is no parameter: {text}"));
        statement["Parameters"][place]["S"].as_str().unwrap().to_owned()
    };
    (parameter("pk"), parameter("sk"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rows_of_every_write_are_known() {
        let row = |pk: &str| json!({ "pk": { "S": pk }, "sk": { "S": "CARD" } });
        let (a, b) = (row("a"), row("b"));
        let insert = r#"INSERT INTO "t" VALUE {'pk': ?, 'sk': ?, 'external_id': ?}"#;
        let update = r#"UPDATE "t" SET "state" = ? WHERE "pk" = ? AND "sk" = ? AND "state" = ?"#;
        let parameters = |texts: &[&str]| texts.iter().map(|text| json!({ "S": text })).collect::<Value>();
        let calls = [
            ("PutItem", json!({ "Item": a }), vec!["a"]),
            ("UpdateItem", json!({ "Key": b }), vec!["b"]),
            (
                "BatchWriteItem",
                json!({ "RequestItems": {
                    "t": [{ "PutRequest": { "Item": a } }, { "DeleteRequest": { "Key": b } }],
                } }),
                vec!["a", "b"],
            ),
            (
                "BatchExecuteStatement",
                json!({ "Statements": [
                    { "Statement": insert, "Parameters": parameters(&["a", "CARD", "pk"]) },
                    { "Statement": update, "Parameters": parameters(&["CANCELED", "b", "CARD", "PENDING"]) },
                ] }),
                vec!["a", "b"],
            ),
            (
                "TransactWriteItems",
                json!({ "TransactItems": [{ "Put": { "Item": a } }, { "ConditionCheck": { "Key": b } }] }),
                vec!["a", "b"],
            ),
        ];
        for (name, asked, expected) in calls {
            assert_eq!(
                written(name, &asked),
                expected.iter().map(|pk| ((*pk).to_owned(), "CARD".to_owned())).collect::<Vec<_>>(),
                "{name}"
            );
        }
    }
}
