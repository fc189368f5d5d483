//! Plays the broker's order system: feeds orders to the deployed stack, and sets persons' PINs.

use std::sync::atomic::{AtomicI32, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::contract::check_message;
use crate::stack::{PATIENCE, Tenant};
use crate::test_env::eventually;
use crate::variable;

/// The person who creates orders.
pub const CREATOR: i32 = 98765;

/// Returns a domestic order of [`CREATOR`].
#[must_use]
pub fn domestic(order: i32) -> Value {
    json!({ "order_id": order, "creator_id": CREATOR })
}

/// Returns an international order of [`CREATOR`].
#[must_use]
pub fn international(uid: Uuid) -> Value {
    json!({ "international_order_uid": uid, "creator_id": CREATOR })
}

/// Returns an order feed message about the order, without its organization.
#[must_use]
pub fn feed(order: &Value, status: &str, version: u64) -> Value {
    let mut change = order.clone();
    change["status"] = json!(status);
    change["version"] = json!(version);
    change["updated_at"] = json!("2026-11-22T03:04:05.678Z");
    change
}

/// Orders that Bindery knows.
#[derive(Debug)]
pub struct Orders {
    /// The orders' numbers.
    pub ids: Vec<i32>,
}

impl Orders {
    /// Feeds `count` active orders of [`CREATOR`].
    pub async fn of_one_creator(tenant: &Tenant, count: usize) -> Self {
        static NEXT: AtomicI32 = AtomicI32::new(1_000_000);
        let ids: Vec<i32> = (0..count).map(|_| NEXT.fetch_add(1, Ordering::Relaxed)).collect();
        join_all(ids.iter().map(async |id| tenant.feed(&feed(&domestic(*id), "ACTIVE", 1)).await)).await;
        Self { ids }
    }
}

impl Tenant {
    /// Sends a change of one of this organization's orders, and waits until Bindery has applied it.
    pub async fn feed(&self, change: &Value) {
        let mut change = change.clone();
        change["org_id"] = json!(self.org);
        let queue = variable("ORDER_FEED_QUEUE_URL");
        check_message(&change.to_string());
        self.sqs.send_message().queue_url(queue).message_body(change.to_string()).send().await.unwrap();
        let name = match change["order_id"].as_i64() {
            Some(id) => format!("ORDER#{id}"),
            None => format!("INTL#{}", change["international_order_uid"].as_str().unwrap()),
        };
        eventually("the order's change is applied", PATIENCE, async || {
            let row = self.row(&name, "ORDER").await?;
            (row["version"].as_u64() >= change["version"].as_u64()).then_some(())
        })
        .await;
    }

    /// Sets a person's PIN, as an operator does.
    pub async fn set_pin(&self, person: i32, pin: &str) {
        let arguments = ["--yes", "pin", &person.to_string(), "--tenant", &self.org];
        crate::operator::run(&arguments, &format!("{pin}\n")).await.unwrap();
    }

    /// Returns the number of consecutive wrong PINs of the person.
    pub async fn tries(&self, person: i32) -> u64 {
        let row = self.row(&format!("PERSON#{person}"), "PERSON").await.unwrap();
        row["wrong"].as_array().map_or(0, |wrong| wrong.len() as u64)
    }

    /// Ends the lock of the person's PIN, as if its time had passed.
    pub async fn end_lock(&self, person: i32) {
        let update = self.dynamodb.update_item().table_name(variable("TABLE_NAME"));
        let update = update.key("pk", AttributeValue::S(format!("{}#PERSON#{person}", self.org)));
        let update = update.key("sk", AttributeValue::S("PERSON".to_owned()));
        let update = update.update_expression("SET locked_until = :past");
        update.expression_attribute_values(":past", AttributeValue::N("1".to_owned())).send().await.unwrap();
    }

    async fn row(&self, name: &str, sk: &str) -> Option<Value> {
        let get = self.dynamodb.get_item().table_name(variable("TABLE_NAME")).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(format!("{}#{name}", self.org)));
        let row = get.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap().item?;
        Some(serde_dynamo::from_item(row).unwrap())
    }
}

/// Returns an order number that is unique in this process.
#[must_use]
pub fn new_order_id() -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
