//! A plan of many pages while SQS sometimes fails. A page that is retried must not double the pages after it, and so
//! quadruple those after them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::external_id;
use tests::proxy::{Call, Moment, Proxy, Step};
use tests::test_env::drain;

use super::cancels::CANCELER;
use super::rows::{fill, operation_of, row_at, take};
use super::workers::BulkFixture;
use super::{batch, failed};

/// The number of items. A page of a plan is what DynamoDB returns at once: 1 MB, which is about 490 of these items.
const ITEMS: usize = 24_300;
const PAGES: usize = 50;
const CHUNKS: usize = ITEMS.div_ceil(100);
/// The share of calls that fail in the delivery that makes them first, with all attempts of the SDK. At 0.2, one
/// message plans enough pages on a fast machine to use up its deliveries.
const FAILURES: f64 = 0.1;
/// The most reads of one page. The calls that send its chunks fail in the first delivery only, and the call that sends
/// the next page in the second at the latest.
const MOST_READS: usize = 3;
/// The template's value (`BulkMaxReceives`).
const MAX_RECEIVES: &str = "20";

/// Returns an external ID of the greatest length.
fn longest_id(number: usize) -> String {
    format!("{number:05}{}", "😀".repeat(250))
}

/// The state of a queue that sometimes fails, and of a table whose reads are counted.
#[derive(Default)]
struct Seen {
    /// The number of reads of each page, by its start.
    reads: BTreeMap<String, usize>,
    /// Accepted messages of further pages that have not been delivered.
    plans: VecDeque<String>,
    /// The number of accepted messages of each chunk, by the chunk's number.
    chunks: BTreeMap<usize, usize>,
    /// The number of the current delivery.
    delivery: usize,
    /// The accepted messages of each delivery.
    accepted: BTreeSet<(usize, String)>,
    /// The delivery that made each call first, by the first of the call's messages.
    first_deliveries: BTreeMap<String, usize>,
}

/// Returns the step of a message, without parsing all of it.
fn step_of(body: &str) -> String {
    let step = body.split_once(r#""step":{"#).unwrap().1;
    let end = step.find([',', '}']).unwrap();
    step[..end].to_owned()
}

impl Seen {
    fn step(&mut self, call: &Call<'_>, moment: Moment, queue: &str) -> Step {
        let name = call.target.rsplit('.').next().unwrap();
        if moment == Moment::After || !matches!(name, "Query" | "SendMessage" | "SendMessageBatch") {
            return Step::Pass;
        }
        let request: Value = serde_json::from_slice(call.body).unwrap();
        if name == "Query" {
            let start = request["ExclusiveStartKey"]["sk"]["S"].as_str().unwrap_or_default();
            *self.reads.entry(start.chars().take(7).collect()).or_default() += 1;
            return Step::Pass;
        }
        // The delayed message that checks for stuck operations is not a page of the plan.
        if request["QueueUrl"] != queue || request.get("DelaySeconds").is_some() {
            return Step::Pass;
        }
        let single = [request.clone()];
        let entries: &[Value] = request["Entries"].as_array().map_or(&single, Vec::as_slice);
        let bodies: Vec<&str> = entries.iter().map(|entry| entry["MessageBody"].as_str().unwrap()).collect();
        if self.fails(&step_of(bodies[0])) {
            return Step::Respond(500, "{}".to_owned());
        }
        for body in bodies {
            // The SDK repeats a call whose response is late, which happens on a busy machine only.
            if !self.accepted.insert((self.delivery, body.to_owned())) {
                continue;
            }
            match step_of(body).split_once(r#""chunk":{"number":"#) {
                Some((_, number)) => *self.chunks.entry(number.parse().unwrap()).or_default() += 1,
                None => self.plans.push_back(body.to_owned()),
            }
        }
        let taken = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" });
        let taken: Vec<Value> = entries.iter().map(taken).collect();
        let response = json!({ "Successful": taken, "Failed": [], "MessageId": "m", "MD5OfMessageBody": "0" });
        Step::Respond(200, response.to_string())
    }

    /// Returns true if this attempt fails. The message decides it, not the order or the number of attempts.
    fn fails(&mut self, first: &str) -> bool {
        let hash = digest(&SHA256, first.as_bytes());
        let mut rng = Rng::with_seed(u64::from_be_bytes(hash.as_ref()[..8].try_into().unwrap()));
        let first_delivery = *self.first_deliveries.entry(first.to_owned()).or_insert(self.delivery);
        first_delivery == self.delivery && rng.f64() < FAILURES
    }
}

/// Pages of a plan are retried. Each has the same chunks and one next page, however often it is delivered.
#[tokio::test]
async fn copies_of_a_page_do_not_multiply() {
    let bulks = BulkFixture::of_thousands().await;
    let env = &bulks.env;
    let bulk = bulks.create(1).await;
    take(env, &format!("BULK#{bulk}"), &format!("I#{}", external_id(0))).await;
    fill(env, &bulk, (0..ITEMS).map(longest_id)).await;
    let plan = bulks.cancel(&bulk, None).await;
    let operation = operation_of(&plan);

    let seen = Arc::new(Mutex::new(Seen::default()));
    let (hook, queue) = (Arc::clone(&seen), env.queue_url.clone());
    let hook = move |call: &Call<'_>, moment| hook.lock().unwrap().step(call, moment, &queue);
    let url = Proxy::before(&env.dynamodb_url).start(hook).await;
    let mut environment = env.environment_behind(&url);
    environment.push(("MAX_RECEIVES".to_owned(), MAX_RECEIVES.to_owned()));
    let worker = Function::new(CANCELER, environment).await;

    let (mut waiting, mut deliveries) = (VecDeque::from([(plan, 1)]), 0);
    while let Some((message, receive_count)) = waiting.pop_front() {
        deliveries += 1;
        seen.lock().unwrap().delivery = deliveries;
        let response = worker.invoke(batch(&[(message.clone(), receive_count)])).await;
        let response = response.payload();
        if failed(&response).contains(&0) {
            waiting.push_back((message, receive_count + 1));
        }
        let mut seen = seen.lock().unwrap();
        waiting.extend(seen.plans.drain(..).map(|plan| (plan, 1)));
        let reads: Vec<usize> = seen.reads.values().copied().collect();
        assert!(
            reads.iter().all(|reads| *reads <= MOST_READS),
            "a page is read too often; reads by page after {deliveries} deliveries: {reads:?}"
        );
    }
    {
        let seen = seen.lock().unwrap();
        println!("{deliveries} deliveries; {} chunk messages of {CHUNKS}", seen.chunks.values().sum::<usize>());
        // A retried page begins at the end of a chunk, which may differ from where it began before.
        assert!((PAGES..PAGES * 2).contains(&seen.reads.len()), "{} pages", seen.reads.len());
        assert!(seen.chunks.values().all(|copies| *copies <= MOST_READS), "messages by chunk: {:?}", seen.chunks);
        let expected: BTreeSet<usize> = (0..CHUNKS).collect();
        assert_eq!(seen.chunks.keys().copied().collect::<BTreeSet<_>>(), expected);
    }
    assert!(drain(&env.sqs, &env.dlq_url).await.is_empty());
    let operation = row_at(env, &operation, "OP").await.unwrap();
    assert_eq!((&operation["chunks"], &operation["items_total"]), (&json!(CHUNKS), &json!(ITEMS)));
}
