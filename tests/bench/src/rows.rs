//! Rows and messages that exist before a measurement.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use shared::clock;
use shared::domain::bind::Bind;
use shared::domain::bulk::Bulk;
use shared::domain::card::{Card, CardStatus};
use shared::domain::ids::{AccountId, CardId, CorrelationId, CustomerId, OperationId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::message::{BindCard, Message};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG};
use tests::seed;
use uuid::Uuid;

/// The table of all benchmarks.
pub const TABLE: &str = "bench";

/// A row in `DynamoDB`'s form.
pub type Item = HashMap<String, AttributeValue>;

/// Returns unbound cards of a bulk, with these numbers, and with external IDs of 36 characters.
pub fn cards(bulk: &str, numbers: impl Iterator<Item = u64>) -> Vec<Card> {
    let card = |number: u64| {
        let mut card = seed::unbound(number);
        card.facts.bulk_id = Some(bulk.parse().unwrap());
        card.facts.external_id = Some(format!("{number:036}").parse().unwrap());
        card
    };
    numbers.map(card).collect()
}

/// Returns a card that is bound to the account and the customer of [`tests::payloads`].
pub fn bound(number: u64) -> Card {
    let card = seed::bound(number, CardStatus::Normal, ACCOUNT, CUSTOMER);
    Card { facts: cards("a-bulk", std::iter::once(number)).remove(0).facts, ..card }
}

/// Returns the cards' own rows.
pub fn of_cards(cards: &[Card]) -> Vec<Item> {
    cards.iter().map(|card| row(card, &format!("CARD#{}", card.card_id), "CARD")).collect()
}

/// Returns the rows of the bulk of these cards: its header and its items.
pub fn of_bulk(bulk: &str, cards: &[Card]) -> Vec<Item> {
    let partition = format!("BULK#{bulk}");
    let issued = json!({ "by": Uuid::now_v7(), "accepted_at": clock::now(), "at": clock::now() });
    let item = |card: &Card| {
        let id = card.facts.external_id.clone().unwrap();
        let item = json!({
            "external_id": id, "batch": 1, "state": "ISSUED", "card_id": card.card_id, "issued": issued,
        });
        row(&item, &partition, &format!("I#{id}"))
    };
    let settings = json!({ "program_id": 5, "pin_length": 4, "contactless_enabled": true });
    let count = u32::try_from(cards.len()).unwrap();
    let settings = serde_json::from_value(settings).unwrap();
    let header = Bulk { issued: count, ..Bulk::new(bulk.parse().unwrap(), settings, count) };
    let mut header = row(&header, &partition, "BULK");
    header.insert("batches".to_owned(), AttributeValue::Ns(vec!["1".to_owned()]));
    cards.iter().map(item).chain([header]).collect()
}

/// Returns accepted binds of these cards: the operations' rows, and the messages.
pub fn of_binds(cards: &[Card]) -> (Vec<Item>, Vec<String>) {
    cards.iter().map(bind).unzip()
}

fn bind(card: &Card) -> (Item, String) {
    let operation = operation(card.card_id);
    let bind = Bind {
        card_id: card.card_id,
        account_id: AccountId::new(ACCOUNT).unwrap(),
        customer_id: CustomerId::new(CUSTOMER).unwrap(),
        reissued_card_id: None,
    };
    let message = Message::of(&operation, BindCard { bind, card: card.facts.clone() });
    (of_operation(&operation), serde_json::to_string(&message).unwrap())
}

/// Returns a new operation that binds this card.
pub fn operation(card_id: CardId) -> Operation {
    Operation {
        org_id: ORG.parse().unwrap(),
        operation_id: OperationId::from_uuid(Uuid::now_v7()),
        account_id: AccountId::new(ACCOUNT),
        state: OperationState::Pending,
        fingerprint: "f".repeat(64),
        cid: CorrelationId::from_uuid(Uuid::now_v7()),
        created_at: clock::now(),
        ended_at: None,
        subject: Subject::BindCard { card_id, reissued_card_id: None, outcome: None },
    }
}

/// Returns the operation's row.
pub fn of_operation(operation: &Operation) -> Item {
    let mut row = row(operation, &format!("OP#{}", operation.operation_id), "OP");
    row.insert("expires_at".to_owned(), AttributeValue::N(operation.expires_at().to_string()));
    row
}

/// Returns active domestic orders with these numbers.
pub fn of_orders(numbers: impl Iterator<Item = i32>) -> Vec<Item> {
    let order = |number: i32| {
        let order = json!({
            "order": { "order_id": number }, "creator_id": tests::orders::CREATOR, "status": "ACTIVE", "version": 1,
            "updated_at": "2026-11-22T03:04:05.678Z", "cancellations": {},
        });
        row(&order, &format!("ORDER#{number}"), "ORDER")
    };
    numbers.map(order).collect()
}

/// Returns a row of the organization.
pub fn row(value: &impl serde::Serialize, partition: &str, sk: &str) -> Item {
    let mut item: Item = serde_dynamo::to_item(value).unwrap();
    item.extend(key(partition, sk));
    item
}

/// Returns the key of a row.
pub fn key(partition: &str, sk: &str) -> Item {
    let text = |text: String| AttributeValue::S(text);
    Item::from([("pk".to_owned(), text(format!("{ORG}#{partition}"))), ("sk".to_owned(), text(sk.to_owned()))])
}

/// Puts the rows into the table.
pub async fn put(dynamodb: &Client, rows: &[Item]) {
    let puts = rows.chunks(25).map(async |rows| {
        let put = |row: &Item| PutRequest::builder().set_item(Some(row.clone())).build().unwrap();
        let puts = rows.iter().map(|row| WriteRequest::builder().put_request(put(row)).build()).collect();
        dynamodb.batch_write_item().request_items(TABLE, puts).send().await.unwrap();
    });
    stream::iter(puts).buffer_unordered(4).collect::<Vec<()>>().await;
}

/// Returns the environment of functions and baselines that use these services.
pub fn environment(dynamodb: &str, others: &str) -> Vec<(String, String)> {
    let variables = [
        ("AWS_ENDPOINT_URL", others),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("AWS_REGION", "eu-central-1"),
        // Lambda sets this variable, and boto3 reads only this one.
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("TABLE_NAME", TABLE),
        ("EVENT_BUS_NAME", "bench"),
        ("PIN_PEPPER_SECRET", "pepper"),
        ("CARD_EXPIRY_MONTHS", "72"),
        ("TENANT_RATE", "0"),
        ("TENANT_BURST", "1"),
        ("MAX_RECEIVES", "5"),
        ("STACK_NAME", "bench"),
        // No issuer runs there: events have the gateway's claims.
        ("AUTH_ISSUER", "http://127.0.0.1:1"),
        ("AUTH_AUDIENCE", "bench"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let queues = ["BIND_CARD", "START_BULK", "CANCEL_BULK", "CANCEL_ORDERS"].into_iter().flat_map(|queue| {
        // Node's client sends to the URL itself.
        ["QUEUE", "DLQ"].map(|kind| (format!("{queue}_{kind}_URL"), format!("{others}/000000000000/{queue}-{kind}")))
    });
    variables.into_iter().chain(queues).collect()
}
