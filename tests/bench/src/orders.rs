//! The endpoint's processor time for a request to cancel a thousand orders, without PINs.

use std::time::Instant;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::{Value, json};
use tests::function::Function;
use tests::orders::CREATOR;
use tests::payloads::ORG;
use tests::requests::Request;

use crate::fake_aws::FakeAws;
use crate::results::{ms, table};
use crate::rows::{Item, TABLE};

const ORDERS: i32 = 1000;
const RUNS: u32 = 20;

/// Measures the requests and prints the results.
pub async fn run() {
    let more = [("CANCEL_ORDERS_QUEUE_URL", "http://queue"), ("PIN_PEPPER_SECRET", "pepper"), ("STACK_NAME", "bench")];
    let FakeAws { dynamodb, fake, environment } = FakeAws::start(TABLE, &more).await;
    seed(&dynamodb).await;
    let endpoint = Function::new("cancel-orders", environment).await;
    let json = json!((1..=ORDERS).map(|order| json!({ "OrderID": order, "CreatorID": CREATOR })).collect::<Vec<_>>());
    let entry = |order| {
        format!(
            "<CancellationCreation><CreatorID>{CREATOR}</CreatorID><OrderID>{order}</OrderID></CancellationCreation>"
        )
    };
    let xml = format!(
        "<ArrayOfCancellationCreation xmlns=\"http://schemas.datacontract.org/2004/07/\">{}</ArrayOfCancellationCreation>",
        (1..=ORDERS).map(entry).collect::<Vec<_>>().concat()
    );
    let mut rows = Vec::new();
    for (format, content_type, body) in [("JSON", "application/json", json.to_string()), ("XML", "text/xml", xml)] {
        let mut event = Request::to("cancel-orders").header("content-type", content_type).event();
        event["body"] = json!(body);
        cancel(&endpoint, &event).await;
        let (cpu, started) = (endpoint.cpu_time().await, Instant::now());
        for _ in 0..RUNS {
            cancel(&endpoint, &event).await;
        }
        let (cpu, time) = (endpoint.cpu_time().await.checked_sub(cpu).unwrap(), started.elapsed());
        rows.push((format.to_owned(), vec![("CPU ms", ms(cpu / RUNS)), ("ms", ms(time / RUNS))]));
        while fake.receive().is_some() {}
    }
    table("orders", &format!("{ORDERS} orders in one request"), &rows);
}

async fn cancel(endpoint: &Function, event: &Value) {
    let response = endpoint.invoke(event.clone()).await.payload();
    assert_eq!(response["statusCode"], 200, "{response}");
    assert!(!response["body"].as_str().unwrap().contains("rrors\":["));
}

async fn seed(dynamodb: &Client) {
    let order = |order: i32| -> Item {
        let row = json!({
            "order": { "order_id": order }, "creator_id": CREATOR, "status": "ACTIVE", "version": 1,
            "updated_at": "2026-11-22T03:04:05.678Z", "cancellations": {},
        });
        let mut item: Item = serde_dynamo::to_item(row).unwrap();
        item.insert("pk".to_owned(), AttributeValue::S(format!("{ORG}#ORDER#{order}")));
        item.insert("sk".to_owned(), AttributeValue::S("ORDER".to_owned()));
        item
    };
    for orders in (1..=ORDERS).collect::<Vec<_>>().chunks(25) {
        let put = |id: &i32| PutRequest::builder().set_item(Some(order(*id))).build().unwrap();
        let puts = orders.iter().map(|id| WriteRequest::builder().put_request(put(id)).build()).collect();
        dynamodb.batch_write_item().request_items(TABLE, puts).send().await.unwrap();
    }
}
