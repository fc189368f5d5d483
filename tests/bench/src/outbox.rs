//! The outbox baseline, on the same emulator. Each instruction is one transaction of the change, a record that its
//! message was handled, and a row of an outbox. A relay reads the outbox, publishes its events, and deletes them.
//!
//! All other reads and writes are as in our design. The relay's functions, and its reads of an empty outbox, are not
//! counted.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, Put, TransactWriteItem, Update, WriteRequest};
use serde_json::json;
use shared::aws::Aws;
use shared::domain::card::Card;
use shared::domain::ids::CardId;
use tests::capacity::{CapacityMeter, dynoxide};
use tests::payloads::ORG;
use tests::proxy::{Proxy, Step};
use tests::test_env::create_table;
use uuid::Uuid;

use crate::prices::Usage;
use crate::rows::{self, Item, TABLE};

/// Instructions, or items, that are measured.
const COUNT: u32 = 100;
const BULK: &str = "outbox";
/// Bytes of an event: like that of a bind. The outbox's row stays below 1 KB.
const EVENT_BYTES: usize = 750;

/// The table's units that one instruction uses.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    /// The write units.
    pub writes: f64,
    /// The read units.
    pub reads: f64,
}

impl Units {
    /// Returns this usage with these units of the table instead.
    pub fn instead_of(self, usage: Usage) -> Usage {
        Usage { writes: self.writes, reads: self.reads, ..usage }
    }
}

/// The outbox design, with a table.
pub struct OutboxBaseline {
    dynamodb: Client,
    meter: CapacityMeter,
}

impl OutboxBaseline {
    /// Fills a table with cards, a bulk of them, and orders.
    pub async fn new() -> Self {
        let (meter, dynoxide) = (CapacityMeter::default(), dynoxide().await);
        let url = Proxy::between(&dynoxide, &dynoxide).meter(&meter).start(|_, _| Step::Pass).await;
        let config = Aws::from_env().unwrap().dynamodb().config().to_builder().endpoint_url(url).build();
        let dynamodb = Client::from_conf(config);
        create_table(&dynamodb, TABLE).await;
        let cards = cards();
        let orders = (1..=COUNT).map(|number| i32::try_from(number).unwrap());
        for rows in [rows::of_cards(&cards), rows::of_bulk(BULK, &cards), rows::of_orders(orders)] {
            rows::put(&dynamodb, &rows).await;
        }
        Self { dynamodb, meter }
    }

    /// Measures a bind.
    pub async fn bind(&self, keyed: bool) -> Units {
        self.measure(async || {
            for card in cards() {
                self.one(keyed, &[&card], vec![Self::mark(&card, "bound")]).await;
            }
        })
        .await
    }

    /// Measures a reissue: a change of two cards.
    pub async fn reissue(&self) -> Units {
        let (cards, replaced) = (cards(), rows::cards(BULK, 1001..=1000 + u64::from(COUNT)));
        rows::put(&self.dynamodb, &rows::of_cards(&replaced)).await;
        self.measure(async || {
            for (card, replaced) in cards.iter().zip(&replaced) {
                let changes = vec![Self::mark(card, "bound"), Self::mark(replaced, "replaced")];
                self.one(true, &[card, replaced], changes).await;
            }
        })
        .await
    }

    /// Measures the issue of a bulk's card.
    pub async fn start(&self) -> Units {
        self.of_bulk(|card| {
            let put = |row| Put::builder().table_name(TABLE).set_item(Some(row)).build().unwrap();
            let new = rows::of_cards(std::slice::from_ref(card)).remove(0);
            vec![TransactWriteItem::builder().put(put(new)).build(), Self::mark_item(card)]
        })
        .await
    }

    /// Measures the cancel of a bulk's card.
    pub async fn cancel(&self) -> Units {
        self.of_bulk(|card| vec![Self::mark(card, "canceled")]).await
    }

    /// Measures the cancellation of an order, one of many in a request.
    pub async fn order(&self) -> Units {
        self.measure(async || {
            let operation = self.accept(true).await;
            for number in 1..=COUNT {
                let key = rows::key(&format!("ORDER#{number}"), "ORDER");
                self.read(key.clone()).await;
                self.apply(vec![Self::update(key, "pending")]).await;
            }
            self.end(operation).await;
        })
        .await
    }

    /// Carries out one instruction that changes cards.
    async fn one(&self, keyed: bool, cards: &[&Card], changes: Vec<TransactWriteItem>) {
        for card in cards {
            self.read(rows::key(&format!("CARD#{}", card.card_id), "CARD")).await;
        }
        let operation = self.accept(keyed).await;
        self.apply(changes).await;
        self.end(operation).await;
    }

    /// Carries out one instruction for a bulk: reads its items, and changes each separately.
    async fn of_bulk(&self, changes: impl Fn(&Card) -> Vec<TransactWriteItem>) -> Units {
        self.measure(async || {
            let operation = self.accept(false).await;
            let items =
                self.dynamodb.query().table_name(TABLE).key_condition_expression("pk = :pk").consistent_read(true);
            let bulk = AttributeValue::S(format!("{ORG}#BULK#{BULK}"));
            items.expression_attribute_values(":pk", bulk).send().await.unwrap();
            for card in cards() {
                self.apply(changes(&card)).await;
            }
            self.end(operation).await;
        })
        .await
    }

    /// Returns the units of one of [`COUNT`] instructions, including the relay's.
    async fn measure(&self, run: impl AsyncFnOnce()) -> Units {
        self.meter.take();
        run().await;
        self.relay().await;
        let cost = self.meter.take();
        Units { writes: cost.writes / f64::from(COUNT), reads: cost.reads / f64::from(COUNT) }
    }

    /// Records the operation. With a key, looks for an earlier one first.
    async fn accept(&self, keyed: bool) -> Item {
        let row = rows::of_operation(&rows::operation(CardId::new(1).unwrap()));
        let key = Item::from(["pk", "sk"].map(|name| (name.to_owned(), row[name].clone())));
        if keyed {
            self.read(key.clone()).await;
        }
        let put = self.dynamodb.put_item().table_name(TABLE).set_item(Some(row));
        put.condition_expression("attribute_not_exists(pk)").send().await.unwrap();
        key
    }

    /// Makes the change once, together with its event.
    async fn apply(&self, changes: Vec<TransactWriteItem>) {
        let id = Uuid::now_v7();
        let handled = rows::row(&json!({ "expires_at": 1_800_000_000 }), &format!("HANDLED#{id}"), "HANDLED");
        let outbox = rows::row(&json!({ "detail": "x".repeat(EVENT_BYTES) }), "OUTBOX", &id.to_string());
        let put = |row: Item| {
            let put = Put::builder().table_name(TABLE).set_item(Some(row));
            let put = put.condition_expression("attribute_not_exists(pk)").build().unwrap();
            TransactWriteItem::builder().put(put).build()
        };
        let writes = changes.into_iter().chain([put(handled), put(outbox)]).collect();
        self.dynamodb.transact_write_items().set_transact_items(Some(writes)).send().await.unwrap();
    }

    /// Stores the outcome on the operation.
    async fn end(&self, key: Item) {
        let update = self.dynamodb.update_item().table_name(TABLE).set_key(Some(key));
        let update = update.update_expression("SET outcome = :outcome").condition_expression("attribute_exists(pk)");
        update.expression_attribute_values(":outcome", AttributeValue::S("SUCCESS".to_owned())).send().await.unwrap();
    }

    /// Reads the outbox, and deletes what it contains.
    async fn relay(&self) {
        loop {
            let rows = self.dynamodb.query().table_name(TABLE).key_condition_expression("pk = :pk").limit(25);
            let outbox = AttributeValue::S(format!("{ORG}#OUTBOX"));
            let rows = rows.consistent_read(true).expression_attribute_values(":pk", outbox).send().await.unwrap();
            let delete = |row: &Item| {
                let key = Item::from(["pk", "sk"].map(|name| (name.to_owned(), row[name].clone())));
                let delete = DeleteRequest::builder().set_key(Some(key)).build().unwrap();
                WriteRequest::builder().delete_request(delete).build()
            };
            let deletes: Vec<_> = rows.items().iter().map(delete).collect();
            if deletes.is_empty() {
                return;
            }
            self.dynamodb.batch_write_item().request_items(TABLE, deletes).send().await.unwrap();
        }
    }

    async fn read(&self, key: Item) {
        self.dynamodb.get_item().table_name(TABLE).set_key(Some(key)).consistent_read(true).send().await.unwrap();
    }

    fn mark(card: &Card, mark: &'static str) -> TransactWriteItem {
        Self::update(rows::key(&format!("CARD#{}", card.card_id), "CARD"), mark)
    }

    fn mark_item(card: &Card) -> TransactWriteItem {
        let item = card.facts.external_id.as_ref().unwrap();
        Self::update(rows::key(&format!("BULK#{BULK}"), &format!("I#{item}")), "issued")
    }

    /// Returns an update that leaves a mark like ours: by which operation, and when.
    fn update(key: Item, mark: &'static str) -> TransactWriteItem {
        const AT: &str = "2026-11-25T00:00:00.000Z";
        let by = json!({ "by": Uuid::now_v7(), "accepted_at": AT, "at": AT });
        let update = Update::builder().table_name(TABLE).set_key(Some(key)).update_expression("SET #mark = :by");
        let update = update.condition_expression("attribute_exists(pk)").expression_attribute_names("#mark", mark);
        let update = update.expression_attribute_values(":by", serde_dynamo::to_attribute_value(by).unwrap());
        TransactWriteItem::builder().update(update.build().unwrap()).build()
    }
}

fn cards() -> Vec<Card> {
    rows::cards(BULK, 1..=u64::from(COUNT))
}
