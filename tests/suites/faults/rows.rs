//! Direct access to the rows of a test environment: deletes them, restores them, and records DynamoDB's responses.

use std::sync::LazyLock;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde_json::{Value, json};
use shared::store::Item;
use tests::payloads::ORG;
use tests::proxy::Call;
use tests::test_env::TestEnv;

/// Returns the tail of the partition key of the operation that the message belongs to.
pub fn operation_of(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap();
    format!("OP#{}", message["operation_id"].as_str().unwrap())
}

/// Deletes the row, and returns it.
pub async fn take(env: &TestEnv, pk: &str, sk: &str) -> Item {
    let text = |text: String| AttributeValue::S(text);
    let delete = env.dynamodb.delete_item().table_name(&env.table).return_values(ReturnValue::AllOld);
    let delete = delete.key("pk", text(format!("{ORG}#{pk}"))).key("sk", text(sk.to_owned()));
    delete.send().await.unwrap().attributes.expect("there is no such row")
}

/// Puts back a row that [`take`] deleted.
pub async fn put_back(env: &TestEnv, row: Item) {
    env.dynamodb.put_item().table_name(&env.table).set_item(Some(row)).send().await.unwrap();
}

/// Returns the row, or `None` if it does not exist.
pub async fn row_at(env: &TestEnv, pk: &str, sk: &str) -> Option<Value> {
    let text = |text: String| AttributeValue::S(text);
    let get = env.dynamodb.get_item().table_name(&env.table).consistent_read(true);
    let get = get.key("pk", text(format!("{ORG}#{pk}"))).key("sk", text(sk.to_owned()));
    get.send().await.unwrap().item.map(|item| serde_dynamo::from_item(item).unwrap())
}

/// Returns DynamoDB's current response to a read of the row.
pub async fn current_response(env: &TestEnv, pk: &str, sk: &str) -> String {
    let key = json!({ "pk": { "S": format!("{ORG}#{pk}") }, "sk": { "S": sk } });
    let request = json!({ "TableName": env.table, "Key": key, "ConsistentRead": true });
    let response = call(env, "GetItem", &request).await;
    assert!(response.contains(pk), "{response}");
    response
}

/// Puts pending items into the bulk's first batch, as the endpoints would.
pub async fn fill(env: &TestEnv, bulk: &str, ids: impl Iterator<Item = String>) {
    let put = |id: &String| {
        json!({ "PutRequest": { "Item": {
            "pk": { "S": format!("{ORG}#BULK#{bulk}") }, "sk": { "S": format!("I#{id}") },
            "external_id": { "S": id }, "batch": { "N": "1" }, "state": { "S": "PENDING" },
        } } })
    };
    let ids: Vec<String> = ids.collect();
    for ids in ids.chunks(25) {
        let puts: Vec<Value> = ids.iter().map(put).collect();
        let mut request = json!({ "RequestItems": {} });
        request["RequestItems"][&env.table] = puts.into();
        let response: Value = serde_json::from_str(&call(env, "BatchWriteItem", &request).await).unwrap();
        assert_eq!(response["UnprocessedItems"], json!({}), "{response}");
    }
    env.set(&format!("BULK#{bulk}"), "BULK", "items", &json!(ids.len())).await;
}

/// Calls the environment's DynamoDB without an SDK, and returns the body of its response.
pub async fn call(env: &TestEnv, name: &str, request: &Value) -> String {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    let scope = format!("test/20261122/{}/dynamodb/aws4_request", tests::variable("AWS_REGION"));
    let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let call = CLIENT.post(&env.dynamodb_url).header("x-amz-target", format!("DynamoDB_20120810.{name}"));
    let call = call.header("content-type", "application/x-amz-json-1.0").header("authorization", signed);
    let call = call.header("x-amz-date", "20261122T030405Z");
    let response = call.body(request.to_string()).send().await.unwrap();
    let (status, response) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{response}");
    response
}

/// Returns whether the call reads or changes a single row whose partition key ends with `pk`.
pub fn is_about(call: &Call<'_>, name: &str, pk: &str) -> bool {
    call.target.ends_with(&format!(".{name}")) && String::from_utf8_lossy(call.body).contains(&format!("#{pk}\""))
}

/// Receives and deletes all dead letters. Returns the attribute `reason` of each.
pub async fn reasons_of_dead_letters(env: &TestEnv) -> Vec<String> {
    let mut reasons = Vec::new();
    loop {
        let receive = env.sqs.receive_message().queue_url(&env.dlq_url).message_attribute_names("All");
        let Some(messages) = receive.send().await.unwrap().messages.filter(|messages| !messages.is_empty()) else {
            return reasons;
        };
        for message in messages {
            let attributes = message.message_attributes.unwrap_or_default();
            reasons.push(attributes["reason"].string_value.clone().unwrap());
            let delete = env.sqs.delete_message().queue_url(&env.dlq_url);
            delete.receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
        }
    }
}
