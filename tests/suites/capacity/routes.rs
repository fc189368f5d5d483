//! Checks that no route can exceed its share of the table's capacity.
//!
//! The share is measured with the route's costliest request, sent as often as API Gateway's limits admit. So no caller
//! can shut out all others. The workers' later work is not counted: it waits in queues, and the workers' concurrency
//! limits it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde_json::{Value, json};
use shared::clock;
use shared::domain::bulk::{MAX_BATCHES, MAX_ITEMS};
use shared::domain::card::CardStatus;
use shared::domain::ids::{AccountId, MAX_CORRELATION_ID_BYTES, MAX_EXTERNAL_ID_CHARS, OrgId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::order::progress::Stage;
use shared::domain::order::{
    CancellationCode, MAX_AUTHORIZED, MAX_CANCELLATIONS, Order, OrderCancellation, OrderRef, OrderStatus,
};
use shared::domain::person::Person;
use shared::domain::time::Timestamp;
use shared::http::MAX_LIMIT;
use shared::store::Opened;
use tests::capacity::Consumed;
use tests::payloads::{ACCOUNT, CUSTOMER, ORG};
use tests::requests::{self, Endpoint, Request};
use tests::seed;
use tests::template::Template;
use uuid::Uuid;

use super::Measured;

/// Read units a second that a new on-demand table provides: AWS, "`DynamoDB` throughput capacity", on-demand mode
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>). Later the table
/// provides twice its previous peak, up to the quota of 40,000 each ("Quotas in Amazon `DynamoDB`"). Not tried on AWS.
const READS: f64 = 12_000.0;
/// Write units a second that a new on-demand table provides (same source).
const WRITES: f64 = 4_000.0;
/// Largest share of the table's capacity that one route may take continuously (ours). One route leaves a quarter to the
/// others; several routes at once may take all of it.
const SHARE: f64 = 0.75;
/// Seconds of the table's capacity that one burst may take (ours). The burst limit refills at the route's rate, which
/// [`SHARE`] limits, so a client cannot repeat a burst at once. During a burst, `DynamoDB` throttles calls, and clients
/// get a 503 to retry. Without this allowance, two clients that send at the same time would exceed the limit.
const BURST_SECONDS: f64 = 10.0;

/// Distance between the IDs of an order's creator and of the first person who may act on the order.
const FIRST_AUTHORIZED: i32 = 10_000;

/// Most items that a request may name, and that a page may have.
const MANY: u16 = 1000;
/// Number of items in a measured request: a twentieth of the most, because the emulator is slow with large rows. A
/// bulk's header is scaled down likewise.
const PART: u16 = MANY / TIMES;
/// Factor by which a measured cost is multiplied.
const TIMES: u16 = 20;

/// The highest cost measured for a route. Each route is one function.
#[derive(Debug, Default)]
struct Worst {
    reads: f64,
    writes: f64,
}

impl Worst {
    fn raise_to(&mut self, cost: &Consumed, times: u16) {
        self.reads = self.reads.max(cost.reads * f64::from(times));
        self.writes = self.writes.max(cost.writes * f64::from(times));
    }
}

/// The highest costs of all routes.
struct Routes {
    measured: Measured,
    worst: BTreeMap<&'static str, Worst>,
    /// The factor by which the next requests' costs are multiplied.
    times: u16,
    /// The additional cost of a bulk with the longest possible header.
    headers: BTreeMap<&'static str, Worst>,
    has_long_header: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_exceeds_its_share_of_the_table() {
    let mut routes = Routes {
        measured: Measured::new().await,
        worst: BTreeMap::new(),
        times: 1,
        headers: BTreeMap::new(),
        has_long_header: false,
    };
    routes.binds().await;
    routes.poll().await;
    routes.times = TIMES;
    routes.bulks().await;
    routes.orders().await;
    // A write whose condition fails consumes units too (AWS, "Condition expressions"), but the emulator counts none.
    // The write of each item that is taken over from a dead request fails once before it succeeds.
    routes.worst.get_mut("increment-bulk").unwrap().writes *= 2.0;
    for (route, header) in &routes.headers {
        let worst = routes.worst.get_mut(route);
        let worst = worst.unwrap_or_else(|| panic!("{route}: measure its costliest request in bulks() too"));
        (worst.reads, worst.writes) = (worst.reads + header.reads, worst.writes + header.writes);
    }

    let template = Template::read();
    let api = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"];
    let settings = api["RouteSettings"].as_object().unwrap();
    let endpoints: BTreeSet<&str> = Endpoint::all().iter().map(|endpoint| endpoint.function).collect();
    let measured: BTreeSet<&str> = routes.worst.keys().copied().collect();
    assert_eq!(measured, endpoints, "measure the costliest request of each endpoint");
    let mut excessive = Vec::new();
    for (function, worst) in &routes.worst {
        let route = Endpoint::of(function).route();
        let limit = |name: &str| settings[&route][name].as_f64().expect("give the route a limit in RouteSettings");
        let (rate, burst) = (limit("ThrottlingRateLimit"), limit("ThrottlingBurstLimit"));
        let Worst { reads, writes } = worst;
        println!("{route}: {reads} read units, {writes} write units; {rate} a second, {burst} at once");
        let most = (READS * SHARE / reads).min(WRITES * SHARE / writes);
        let most_at_once = BURST_SECONDS * (READS / reads).min(WRITES / writes);
        if rate > most || burst > most_at_once {
            excessive.push(format!("{route}: lower its limits to {most:.2} a second and {most_at_once:.2} at once"));
        }
    }
    assert!(excessive.is_empty(), "{excessive:#?}");
}

/// Returns an external ID of the greatest length, in characters and in bytes.
fn longest(number: u16) -> String {
    format!("{}{number:04}", "😀".repeat(MAX_EXTERNAL_ID_CHARS - 4))
}

fn text(text: String) -> AttributeValue {
    AttributeValue::S(text)
}

impl Routes {
    /// Sends a request with headers of the greatest length, records its cost for the route, and returns the body.
    async fn send(&mut self, request: Request, key: &str, status: u16) -> Value {
        let name = request.endpoint.function;
        let function = self.measured.function(name).await;
        let request = request.header("x-correlation-id", "c".repeat(MAX_CORRELATION_ID_BYTES));
        let request = request.query("limit", MAX_LIMIT / usize::from(self.times));
        let request = if key.is_empty() { request } else { request.key(key) };
        self.measured.meter.take();
        let body = function.invoke(request.event()).await.response(status);
        let cost = self.measured.meter.take();
        println!("{name} {key}: {cost:?}");
        let of = if self.has_long_header { &mut self.headers } else { &mut self.worst };
        of.entry(name).or_default().raise_to(&cost, self.times);
        body
    }

    /// Puts a row directly into the table, in a state that requests would take many steps to reach.
    async fn put(&self, pk: String, sk: &str, row: &impl Serialize) {
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
        item.extend([("pk".to_owned(), text(format!("{ORG}#{pk}"))), ("sk".to_owned(), text(sk.to_owned()))]);
        let env = &self.measured.env;
        env.dynamodb.put_item().table_name(&env.table).set_item(Some(item)).send().await.unwrap();
    }

    async fn binds(&mut self) {
        let env = &self.measured.env;
        for card in [1, 2] {
            seed::put(&env.dynamodb, &env.table, ORG, &seed::unbound(card)).await;
        }
        let card = seed::bound(3, CardStatus::Normal, ACCOUNT, CUSTOMER);
        seed::put(&env.dynamodb, &env.table, ORG, &card).await;
        let accepted = self.send(requests::bind(1, Some(3)), "b", 202).await;
        self.send(requests::bind(1, Some(3)), "b", 202).await;
        self.measured.env.drain(&self.measured.function("bind-card-worker").await, 1).await;
        // A refused bind reads the cards twice.
        self.send(requests::bind(2, Some(3)), "another", 409).await;
        self.read("cardId", "1").await;
        self.operation(&accepted).await;
    }

    /// Sends a request to every GET endpoint with this path parameter.
    async fn read(&mut self, parameter: &str, value: &str) {
        for endpoint in Endpoint::readers(parameter) {
            self.send(Request::of(endpoint).at(value), "", 200).await;
        }
    }

    async fn operation(&mut self, accepted: &Value) -> Value {
        let operation = accepted["operation_id"].as_str().unwrap();
        self.read("operationId", operation).await;
        let body = self.send(Request::to("get-operation").at(operation), "", 200).await;
        assert_eq!(body["status"], "SUCCEEDED", "{body}");
        body
    }

    async fn bulks(&mut self) {
        let names = (0..PART).map(longest).collect::<Vec<_>>();
        let created = self.send(requests::create_bulk(&names), "c", 201).await;
        let bulk = created["id"].as_str().unwrap();
        self.grow(bulk, &names).await;
        self.send(requests::start_bulk(bulk), "s", 202).await;
        self.measured.env.drain(&self.measured.function("start-bulk-worker").await, 1).await;
        self.read("bulkID", bulk).await;
        let canceled = self.send(requests::cancel_bulk(bulk, Some(&names)), "p", 202).await;
        self.send(requests::cancel_bulk(bulk, Some(&names)), "p", 202).await;
        self.measured.env.drain(&self.measured.function("cancel-bulk-worker").await, 1).await;
        let operation = self.operation(&canceled).await;
        assert_eq!(operation["results"].as_array().unwrap().len(), usize::from(PART));

        let metadata = json!({ "m": "x".repeat(create_bulk::settings::MAX_METADATA_BYTES - 10) });
        let body = json!({ "program_id": 5, "external_ids": ["a"], "metadata": metadata });
        self.has_long_header = true;
        let created = self.send(Request::to("create-bulk").body(&body), "d", 201).await;
        let bulk = created["id"].as_str().unwrap();
        self.age(bulk).await;
        self.read("bulkID", bulk).await;
        self.send(requests::increment_bulk(bulk, &["b"]), "k", 201).await;
        self.send(requests::start_bulk(bulk), "t", 202).await;
        self.send(requests::cancel_bulk(bulk, None), "q", 202).await;
        self.measured.env.take_messages().await;
        self.has_long_header = false;
    }

    /// Measures two increments of a bulk: a full bulk that has all the names already, and one with free room whose new
    /// names are in the batch of a request that died.
    async fn grow(&mut self, id: &str, names: &[String]) {
        let header = format!("BULK#{id}");
        self.measured.env.set(&header, "BULK", "items", &json!(MAX_ITEMS)).await;
        self.send(requests::increment_bulk(id, names), "i", 201).await;
        self.measured.env.set(&header, "BULK", "items", &json!(PART)).await;

        let (org, bulk): (OrgId, _) = (ORG.parse().unwrap(), id.parse().unwrap());
        let store = self.measured.env.store();
        let Opened::Yes { bulk: opened, .. } = store.open_batch(&org, &bulk).await.unwrap() else {
            panic!("the bulk accepts no further batch")
        };
        let others = (PART..2 * PART).map(longest).collect::<Vec<_>>();
        let dead: Vec<_> = others.iter().map(|name| name.parse().unwrap()).collect();
        store.add_items(&org, &bulk, opened.last_batch, &dead).await.unwrap();
        self.send(requests::increment_bulk(id, &others), "j", 201).await;
    }

    /// Makes a bulk's header a twentieth of its greatest length, as if nearly all its batches were aborted.
    async fn age(&self, bulk: &str) {
        let (env, batches) = (&self.measured.env, MAX_BATCHES / u32::from(TIMES));
        let aborted = (2..batches).map(|batch| batch.to_string()).collect();
        let update = env.dynamodb.update_item().table_name(&env.table);
        let update = update.key("pk", text(format!("{ORG}#BULK#{bulk}"))).key("sk", text("BULK".to_owned()));
        let update = update.update_expression("SET aborted = :aborted, last_batch = :last");
        let update = update.expression_attribute_values(":aborted", AttributeValue::Ns(aborted));
        let last = AttributeValue::N(batches.to_string());
        update.expression_attribute_values(":last", last).send().await.unwrap();
    }

    /// Measures a cancellation in which each order has its own creator, and another person asks for it.
    async fn orders(&mut self) {
        let org: OrgId = ORG.parse().unwrap();
        let store = self.measured.env.store();
        let mut entries = Vec::new();
        for creator_id in (0..PART).map(|number| i32::MAX - i32::from(number)) {
            let uid = Uuid::new_v4();
            self.put(format!("INTL#{uid}"), "ORDER", &well_used(OrderRef::International(uid), creator_id)).await;
            let (pin_hash, wrong) = (None, BTreeSet::new());
            let person =
                Person { creator_id, pin_required: false, pin_hash, wrong, locked_until: 0, lock_seconds: None };
            store.put_person(&org, &person).await.unwrap();
            let actor = creator_id - FIRST_AUTHORIZED;
            entries.push(json!({ "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": actor }));
        }
        for _ in 0..2 {
            let results = self.send(requests::cancel_orders(&json!(entries)), "o", 200).await;
            assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
        }
    }

    /// Measures reading an operation with the most orders: without notes, with all cancellations requested, and with
    /// all of them ended. The orders have no rows, so an endpoint that read them would report them as pending.
    async fn poll(&mut self) {
        let org: OrgId = ORG.parse().unwrap();
        let orders: Vec<OrderRef> = (0..MANY).map(|_| OrderRef::International(Uuid::new_v4())).collect();
        let accepted = Operation {
            org_id: org.clone(),
            account_id: AccountId::new(ACCOUNT),
            operation_id: Uuid::new_v4().to_string().parse().unwrap(),
            state: OperationState::Running,
            fingerprint: "f".repeat(64),
            cid: "c".repeat(MAX_CORRELATION_ID_BYTES).parse().unwrap(),
            created_at: clock::now(),
            ended_at: None,
            subject: Subject::CancelOrders {
                orders: orders.clone(),
                statuses: "A".repeat(usize::from(MANY)),
                repeated: false,
            },
        };
        let (operation, store) = (accepted.acceptance(), self.measured.env.store());
        store.record_operation(&accepted, clock::now()).await.unwrap();
        let poll = Request::to("get-operation").at(accepted.operation_id);
        let counts = |done: u16| json!({ "total": MANY, "done": done, "succeeded": done, "failed": 0 });
        let end = Stage::Ended { code: CancellationCode::Canceled, at: clock::now() };
        for (stage, status, done) in
            [(None, "RUNNING", 0), (Some(Stage::Requested), "RUNNING", 0), (Some(end), "SUCCEEDED", MANY)]
        {
            for order in stage.iter().flat_map(|_| &orders) {
                store.note_stage(&org, operation, *order, stage.unwrap()).await.unwrap();
            }
            if stage.is_some() {
                let cost = self.measured.meter.take();
                println!("a note: {} write units", cost.writes / f64::from(MANY));
                assert!(cost.writes <= 2.0 * f64::from(MANY), "{cost:?}");
            }
            let body = self.send(poll.clone(), status, 200).await;
            assert_eq!((&body["status"], &body["counts"]), (&json!(status), &counts(done)));
            assert_eq!(body["results"].as_array().unwrap().len(), usize::from(MANY));
        }
        // One unit for every 4 KB of the operation and of its notes, and not one for each order.
        assert!(self.worst["get-operation"].reads <= 35.0, "{:?}", self.worst);
    }
}

/// Returns an order with one note fewer than the maximum, each of the greatest length.
fn well_used(order: OrderRef, creator_id: i32) -> Order {
    let at: Timestamp = serde_json::from_value(json!("2026-11-22T03:04:05.678Z")).unwrap();
    let outcome = json!({ "code": "ALREADY_PENDING_CANCEL", "at": at, "version": shared::domain::order::MAX_VERSION });
    let note = OrderCancellation {
        cid: "c".repeat(MAX_CORRELATION_ID_BYTES).parse().unwrap(),
        accepted_at: at,
        requested_at: Some(at),
        outcome: Some(serde_json::from_value(outcome).unwrap()),
    };
    let notes = (1..MAX_CANCELLATIONS).map(|_| (Uuid::new_v4().to_string().parse().unwrap(), note.clone())).collect();
    let authorized_ids =
        (0..i32::try_from(MAX_AUTHORIZED).unwrap()).map(|number| creator_id - FIRST_AUTHORIZED - number).collect();
    Order {
        order,
        creator_id,
        authorized_ids,
        status: OrderStatus::Active,
        version: 1,
        updated_at: at,
        pending: None,
        cancellations: notes,
    }
}
