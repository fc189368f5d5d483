//! Cards that exist before the test begins. No endpoint can create a card in a given state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use shared::domain::card::{Bound, Card, CardFacts, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId, OperationId, ProgramId};
use shared::domain::person::Person;
use shared::domain::time::{Date, Timestamp};
use time::OffsetDateTime;
use time::macros::date;
use uuid::Uuid;

/// Returns a card ID that is unique in this process.
#[must_use]
pub fn new_card_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1001);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns an unbound card.
#[must_use]
pub fn unbound(card_id: u64) -> Card {
    Card {
        card_id: CardId::new(card_id).unwrap(),
        status: CardStatus::Unbound,
        facts: CardFacts {
            program_id: ProgramId::new(5).unwrap(),
            bulk_id: Some("a bulk".parse().unwrap()),
            external_id: Some(format!("ä#/\"😀\u{ffff}-{card_id}").parse().unwrap()),
            contactless_enabled: true,
            issuing_date: Date::new(date!(2026 - 01 - 31)),
            expiration_date: Date::new(date!(2032 - 01 - 31)),
        },
        bound: None,
        replaced: None,
        canceled: None,
    }
}

/// Returns a card that was bound to an account and a customer long ago.
#[must_use]
pub fn bound(card_id: u64, status: CardStatus, account: u64, customer: u64) -> Card {
    let long_ago = Timestamp::new(OffsetDateTime::from_unix_timestamp(1_760_000_000).unwrap());
    let bound = Bound {
        by: OperationId::from_uuid(Uuid::new_v4()),
        accepted_at: long_ago,
        at: long_ago,
        account_id: AccountId::new(account).unwrap(),
        customer_id: CustomerId::new(customer).unwrap(),
        reissued_card_id: None,
    };
    Card { status, bound: Some(bound), ..unbound(card_id) }
}

/// Puts the card into the table.
pub async fn put(client: &Client, table: &str, org: &str, card: &Card) {
    let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(card).unwrap();
    item.extend(key(org, card.card_id.get()));
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

/// Puts a person who requires a PIN into the table. No PIN is right, because no hash is stored.
pub async fn person(client: &Client, table: &str, org: &str, person: i32) {
    let row = Person { pin_hash: None, ..Person::with_pin(person, true, String::new()) };
    let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
    item.insert("pk".to_owned(), AttributeValue::S(format!("{org}#PERSON#{person}")));
    item.insert("sk".to_owned(), AttributeValue::S("PERSON".to_owned()));
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

/// Removes the card's row. Bindery itself never does so.
pub async fn remove(client: &Client, table: &str, org: &str, card: u64) {
    client.delete_item().table_name(table).set_key(Some(key(org, card))).send().await.unwrap();
}

fn key(org: &str, card: u64) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("pk".to_owned(), text(&format!("{org}#CARD#{card}"))), ("sk".to_owned(), text("CARD"))])
}
