//! How long a FULL cancel takes from its request to its last event, beside the floor: bare writes of as many rows.
//!
//! The functions' binaries, `dynoxide` for DynamoDB, stand-ins for SQS and EventBridge; all on this machine, so
//! that only the ratios of one run mean something. Run it with `./tests/bench`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, PutRequest, WriteRequest};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use shared::domain::bulk::{Bulk, BulkState};
use shared::domain::card::Card;
use tests::function::{Function, Invocation};
use tests::payloads::{ORG, batch, http_event};
use tests::seed;
use tests::standin::{Ground, StandIn};

const TABLE: &str = "bench";
const SIZES: [usize; 2] = [1000, 10_000];
const WORKERS: [usize; 3] = [1, 2, 4];
/// Runs of each, of which the median counts.
const RUNS: usize = 3;
/// Calls that a worker has under way, and so the floor.
const CALLS_OF_A_WORKER: usize = 4;

type Item = HashMap<String, AttributeValue>;

struct Bench {
    dynamodb: Client,
    standin: StandIn,
    environment: Vec<(String, String)>,
    cards: u64,
}

#[tokio::main]
async fn main() {
    println!("| Cards | Workers | Cancel | Floor | Ratio | Cards a second |\n| --- | --- | --- | --- | --- | --- |");
    let mut times = HashMap::new();
    for (workers, size) in WORKERS.into_iter().flat_map(|workers| SIZES.map(|size| (workers, size))) {
        // A table of its own: what other sizes leave behind would slow it down.
        let mut bench = Bench::new().await;
        let functions = join_all((0..workers).map(|_| bench.function("cancel-bulk-worker"))).await;
        // Once without counting: a process that has not run yet is slower.
        bench.cancel(100, &functions).await;
        let (mut cancels, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            cancels.push(bench.cancel(size, &functions).await);
            floors.push(bench.floor(size, workers).await);
        }
        let (cancel, floor) = (median(cancels).as_secs_f64(), median(floors).as_secs_f64());
        times.insert((size, workers), (cancel, floor));
        #[allow(clippy::cast_precision_loss)]
        let rate = size as f64 / cancel;
        println!("| {size} | {workers} | {cancel:.2} s | {floor:.2} s | {:.2} | {rate:.0} |", cancel / floor);
    }
    for workers in WORKERS {
        let [(small, floor), (large, large_floor)] = SIZES.map(|size| times[&(size, workers)]);
        println!(
            "{workers} workers: ten times the cards took {:.1} times the time (the floor: {:.1})",
            large / small,
            large_floor / floor
        );
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

impl Bench {
    async fn new() -> Self {
        let more = [
            ("EVENT_BUS_NAME", "bench"),
            ("CANCEL_BULK_QUEUE_URL", "http://queue"),
            ("CANCEL_BULK_DLQ_URL", "http://dlq"),
            ("MAX_RECEIVES", "20"),
        ];
        let Ground { dynamodb, standin, environment } = Ground::start(TABLE, &more).await;
        Self { dynamodb, standin, environment, cards: 0 }
    }

    async fn function(&self, name: &str) -> Function {
        Function::new(name, self.environment.clone()).await
    }

    /// From the request of a FULL cancel of so many issued cards to its last event.
    async fn cancel(&mut self, size: usize, workers: &[Function]) -> Duration {
        let bulk = format!("bulk-{}", self.cards);
        let cards = self.issued(&bulk, size).await;
        self.put(Self::items(&bulk, &cards)).await;
        let endpoint = self.function("cancel-bulk").await;
        let path = format!("/cards/v1/bulks/{bulk}/cancel");
        let body = json!({ "cancel_type": "FULL" });
        let event = http_event("POST", &path, &json!({ "bulkID": bulk }), &json!({}), Some(&body));
        let _ = self.standin.take_events();

        let started = Instant::now();
        let Invocation::Answered(answer) = endpoint.invoke(event).await else { panic!() };
        assert_eq!(answer["statusCode"], 202, "{answer}");
        // A worker looks again as long as another may still send something.
        let busy = std::sync::atomic::AtomicUsize::new(0);
        let idle = || busy.load(std::sync::atomic::Ordering::SeqCst) == 0;
        join_all(workers.iter().map(async |worker| {
            loop {
                busy.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let message = self.standin.receive();
                let found = message.is_some();
                if let Some(message) = message {
                    let answer = worker.invoke(batch(&[(message, 1)])).await;
                    assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
                }
                busy.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                if !found && idle() {
                    return;
                }
                if !found {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }))
        .await;
        let (events, last) = self.standin.take_events();
        assert_eq!(events, size + 1);
        last.unwrap() - started
    }

    /// So many of the same conditional writes, with nothing around them.
    async fn floor(&mut self, size: usize, workers: usize) -> Duration {
        let cards = self.issued("floor", size).await;
        let statement = |card: &Card| {
            let text = |text: String| AttributeValue::S(text);
            let mark = json!({ "by": "00000000-0000-7000-8000-000000000000", "at": "2026-11-22T00:00:00.000Z" });
            BatchStatementRequest::builder()
                .statement(format!(
                    r#"UPDATE "{TABLE}" SET "status" = ? SET "canceled" = ? WHERE "pk" = ? AND "sk" = ? AND "status" = ?"#
                ))
                .parameters(text("CANCELED".to_owned()))
                .parameters(serde_dynamo::to_attribute_value::<Value, AttributeValue>(mark).unwrap())
                .parameters(text(format!("{ORG}#CARD#{}", card.card_id)))
                .parameters(text("CARD".to_owned()))
                .parameters(text("UNBOUND".to_owned()))
                .build()
                .unwrap()
        };
        let started = Instant::now();
        let calls = cards.chunks(25).map(async |cards| {
            let statements = cards.iter().map(statement).collect();
            let output = self.dynamodb.batch_execute_statement().set_statements(Some(statements)).send().await.unwrap();
            assert!(output.responses().iter().all(|response| response.error().is_none()));
        });
        stream::iter(calls).buffer_unordered(CALLS_OF_A_WORKER * workers).collect::<Vec<()>>().await;
        started.elapsed()
    }

    /// New unbound cards, with external IDs of 36 characters.
    async fn issued(&mut self, bulk: &str, count: usize) -> Vec<Card> {
        let cards: Vec<Card> = (0..count)
            .map(|number| {
                self.cards += 1;
                let mut card = seed::unbound(self.cards);
                card.facts.bulk_id = Some(bulk.parse().unwrap());
                card.facts.external_id = Some(format!("{number:036}").parse().unwrap());
                card
            })
            .collect();
        let row = |card: &Card| row(card, &format!("CARD#{}", card.card_id), "CARD");
        self.put(cards.iter().map(row).collect()).await;
        cards
    }

    /// The bulk's header and items.
    fn items(bulk: &str, cards: &[Card]) -> Vec<Item> {
        let partition = format!("BULK#{bulk}");
        let issued = json!({ "by": "00000000-0000-7000-8000-000000000000", "at": "2026-11-22T00:00:00.000Z" });
        let mut rows: Vec<Item> = cards
            .iter()
            .map(|card| {
                let id = card.facts.external_id.clone().unwrap();
                let item = json!({
                    "external_id": id, "batch": 1, "state": "ISSUED", "card_id": card.card_id, "issued": issued,
                });
                row(&item, &partition, &format!("I#{id}"))
            })
            .collect();
        let settings = json!({ "program_id": 5, "pin_length": 4, "contactless_enabled": true });
        let header = Bulk {
            bulk_id: bulk.parse().unwrap(),
            state: BulkState::Started,
            settings: serde_json::from_value(settings).unwrap(),
            batches: BTreeSet::from([1]),
            last_batch: 1,
            items: u32::try_from(cards.len()).unwrap(),
            issued: u32::try_from(cards.len()).unwrap(),
            canceled: 0,
            sealed_by: None,
        };
        let mut header = row(&header, &partition, "BULK");
        header.insert("batches".to_owned(), AttributeValue::Ns(vec!["1".to_owned()]));
        rows.push(header);
        rows
    }

    async fn put(&self, rows: Vec<Item>) {
        for rows in rows.chunks(25) {
            let put = |row: &Item| PutRequest::builder().set_item(Some(row.clone())).build().unwrap();
            let puts = rows.iter().map(|row| WriteRequest::builder().put_request(put(row)).build()).collect();
            self.dynamodb.batch_write_item().request_items(TABLE, puts).send().await.unwrap();
        }
    }
}

fn row(value: &impl serde::Serialize, partition: &str, sk: &str) -> Item {
    let mut item: Item = serde_dynamo::to_item(value).unwrap();
    item.insert("pk".to_owned(), AttributeValue::S(format!("{ORG}#{partition}")));
    item.insert("sk".to_owned(), AttributeValue::S(sk.to_owned()));
    item
}
