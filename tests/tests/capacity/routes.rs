//! What the worst request of each route takes of the table, times how often the gateway lets it through: no route may take
//! more than its share, so no caller can shut all others out by the costliest request there is.
//!
//! What workers do afterwards waits in queues, and is limited by their concurrency.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde_json::{Value, json};
use shared::domain::bulk::{MAX_BATCHES, MAX_ITEMS};
use shared::domain::card::CardStatus;
use shared::domain::ids::{MAX_CORRELATION_ID_BYTES, MAX_EXTERNAL_ID_CHARS, OrgId};
use shared::domain::order::{Cancellation, MAX_AUTHORIZED, MAX_CANCELLATIONS, Order, OrderRef, OrderStatus};
use shared::domain::person::Person;
use shared::domain::time::Timestamp;
use shared::http::MAX_LIMIT;
use tests::capacity::Cost;
use tests::function::Function;
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, http_event};
use tests::template::{Template, named};
use tests::{seed, token};
use uuid::Uuid;

use super::{Measured, answered};

/// What a new on-demand table takes at once, in units a second: AWS, "`DynamoDB` throughput capacity", on-demand mode
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>). Later it takes twice
/// what it has taken before, up to the quota of 40,000 each ("Quotas in Amazon `DynamoDB`"). Not tried on AWS.
const READS: f64 = 12_000.0;
const WRITES: f64 = 4_000.0;
/// The most that a route may take of that, second after second. Ours: whatever one of them is put to, as much is left to all
/// others together.
const SHARE: f64 = 0.5;

/// As many as a request may name.
const MANY: usize = 1000;

/// The worst that was seen of a route.
#[derive(Debug, Default)]
struct Worst {
    reads: f64,
    writes: f64,
}

impl Worst {
    fn or(&mut self, cost: &Cost) {
        self.reads = self.reads.max(cost.reads);
        self.writes = self.writes.max(cost.writes);
    }
}

/// All routes, at their worst.
struct Routes {
    measured: Measured,
    worst: BTreeMap<&'static str, Worst>,
}

#[tokio::test]
async fn no_route_takes_more_than_its_share_of_the_table() {
    let mut routes = Routes { measured: Measured::new().await, worst: BTreeMap::new() };
    routes.binds().await;
    routes.bulks().await;
    routes.orders().await;

    let template = Template::read();
    let api = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"];
    let settings = api["RouteSettings"].as_object().unwrap();
    let measured: BTreeSet<&str> = routes.worst.keys().copied().collect();
    assert_eq!(measured, routes_of(&template).iter().map(String::as_str).collect(), "each route has its worst request");
    let mut excessive = Vec::new();
    for (route, worst) in &routes.worst {
        let limit = |name: &str| settings[*route][name].as_f64().expect("a limit of its own");
        let (rate, burst) = (limit("ThrottlingRateLimit"), limit("ThrottlingBurstLimit"));
        let Worst { reads, writes } = worst;
        println!("{route}: {reads} read units, {writes} write units; {rate} a second, {burst} at once");
        let most = (READS * SHARE / reads).min(WRITES * SHARE / writes);
        // A burst is once: it may take what the table takes in a second.
        let most_at_once = (READS / reads).min(WRITES / writes).max(1.0);
        if rate > most || burst > most_at_once {
            excessive.push(format!("{route}: at most {most:.2} a second, and {most_at_once:.2} at once"));
        }
    }
    assert!(excessive.is_empty(), "{excessive:#?}");
}

/// Those that functions have: a new one is measured, or this fails.
fn routes_of(template: &Template) -> BTreeSet<String> {
    let functions = template.functions();
    let events = functions.iter().flat_map(|function| function.properties["Events"].as_object().unwrap().values());
    let of_api = events.filter(|event| event["Type"] == "HttpApi");
    let route = |event: &Value| ["Method", "Path"].map(|part| named(&event["Properties"][part])).join(" ");
    of_api.map(route).collect()
}

/// A name as long as a name may be.
fn longest(number: usize) -> String {
    format!("{}{number:04}", "😀".repeat(MAX_EXTERNAL_ID_CHARS - 4))
}

fn text(text: String) -> AttributeValue {
    AttributeValue::S(text)
}

impl Routes {
    /// A request as large as can be, whose cost is the route's; answers the body. `path` has its parameters' values.
    async fn ask(&mut self, route: &'static str, path: &str, key: &str, body: Option<&Value>, status: u16) -> Value {
        let function = self.function(route).await;
        let part = |position: usize| path.split(['/', '?']).nth(position).unwrap_or_default();
        let parameters = json!({ "bulkID": part(4), "cardId": part(4), "operationId": part(2) });
        let cid = "c".repeat(MAX_CORRELATION_ID_BYTES);
        let headers = json!({
            "x-account-id": ACCOUNT.to_string(), "x-customer-id": CUSTOMER.to_string(),
            "idempotency-key": key, "x-correlation-id": cid,
        });
        let method = route.split(' ').next().unwrap();
        let mut event = http_event(method, path, &parameters, &headers, body);
        event["queryStringParameters"] = json!({ "limit": MAX_LIMIT.to_string() });
        event["rawQueryString"] = json!(format!("limit={MAX_LIMIT}"));
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = token::SCOPES.into();
        self.measured.take();
        let answer = answered(function.invoke(event).await, status);
        let cost = self.measured.meter.take();
        self.worst.entry(route).or_default().or(&cost);
        answer
    }

    async fn function(&self, route: &str) -> Function {
        let functions = Template::read().functions();
        let is_of = |event: &Value| {
            event["Type"] == "HttpApi"
                && ["Method", "Path"].map(|part| named(&event["Properties"][part])).join(" ") == route
        };
        let has = |properties: &Value| properties["Events"].as_object().unwrap().values().any(is_of);
        let function = functions.iter().find(|function| has(&function.properties)).expect("a route of the template");
        self.measured.function(&function.name).await
    }

    /// Puts a row that nobody makes so at once.
    async fn put(&self, pk: String, sk: &str, row: &impl Serialize) {
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(row).unwrap();
        item.extend([("pk".to_owned(), text(format!("{ORG}#{pk}"))), ("sk".to_owned(), text(sk.to_owned()))]);
        let arena = &self.measured.arena;
        arena.dynamodb.put_item().table_name(&arena.table).set_item(Some(item)).send().await.unwrap();
    }

    async fn binds(&mut self) {
        const BIND: &str = "PUT /wallet/v2/cards/{cardId}/noname/bind";
        const CARD: &str = "GET /cards/v1/cards/{cardId}";
        let arena = &self.measured.arena;
        for card in [1, 2] {
            seed::put(&arena.dynamodb, &arena.table, ORG, &seed::unbound(card)).await;
        }
        let card = seed::bound(3, CardStatus::Normal, ACCOUNT, CUSTOMER);
        seed::put(&arena.dynamodb, &arena.table, ORG, &card).await;
        let path = |card: u64| format!("/wallet/v2/cards/{card}/noname/bind");
        let body = json!({ "reissued_card_id": 3 });
        let accepted = self.ask(BIND, &path(1), "b", Some(&body), 202).await;
        self.ask(BIND, &path(1), "b", Some(&body), 202).await;
        self.measured.work(&self.measured.function("bind-card-worker").await).await;
        // One that is refused looks twice.
        self.ask(BIND, &path(2), "another", Some(&body), 409).await;
        self.ask(CARD, "/cards/v1/cards/1", "", None, 200).await;
        self.operation(&accepted).await;
    }

    async fn operation(&mut self, accepted: &Value) -> Value {
        let path = format!("/operations/{}", accepted["operation_id"].as_str().unwrap());
        let told = self.ask("GET /operations/{operationId}", &path, "", None, 200).await;
        assert_eq!(told["status"], "SUCCEEDED", "{told}");
        told
    }

    async fn bulks(&mut self) {
        const BULK: &str = "PUT /cards/v1/bulks/{bulkID}";
        const START: &str = "POST /cards/v1/bulks/{bulkID}/start";
        const CANCEL: &str = "POST /cards/v1/bulks/{bulkID}/cancel";
        const READ: &str = "GET /cards/v1/bulks/{bulkID}";
        let names = |from: usize| (from..from + MANY).map(longest).collect::<Vec<_>>();
        let metadata = json!({ "m": "x".repeat(create_bulk::settings::MAX_METADATA_BYTES - 10) });
        let body = json!({ "program_id": 5, "external_ids": names(0), "metadata": metadata });
        let created = self.ask("POST /cards/v1/bulks", "/cards/v1/bulks", "c", Some(&body), 201).await;
        let id = created["id"].as_str().unwrap().to_owned();
        let bulk = format!("/cards/v1/bulks/{id}");
        self.age(&id).await;

        // All of them lie in a batch whose request died.
        let (org, of): (OrgId, _) = (ORG.parse().unwrap(), id.parse().unwrap());
        let store = self.measured.arena.store();
        let shared::store::Opened::Yes { bulk: opened, .. } = store.open_batch(&org, &of).await.unwrap() else {
            panic!("it takes no batch")
        };
        let dead: Vec<_> = names(MANY).into_iter().map(|name| name.parse().unwrap()).collect();
        store.add_items(&org, &of, opened.last_batch, &dead).await.unwrap();
        self.ask(BULK, &bulk, "i", Some(&json!({ "external_ids": names(MANY) })), 201).await;
        // All of them are there, and the bulk is full.
        let items = json!(MAX_ITEMS);
        self.measured.arena.set(&format!("BULK#{id}"), "BULK", "items", &items).await;
        self.ask(BULK, &bulk, "j", Some(&json!({ "external_ids": names(0) })), 201).await;
        self.measured.arena.set(&format!("BULK#{id}"), "BULK", "items", &json!(2 * MANY)).await;

        self.ask(START, &format!("{bulk}/start"), "s", None, 202).await;
        self.measured.work(&self.measured.function("start-bulk-worker").await).await;
        self.ask(READ, &bulk, "", None, 200).await;
        let body = json!({ "cancel_type": "PARTIAL", "external_ids": names(0) });
        let canceled = self.ask(CANCEL, &format!("{bulk}/cancel"), "p", Some(&body), 202).await;
        self.ask(CANCEL, &format!("{bulk}/cancel"), "p", Some(&body), 202).await;
        self.measured.work(&self.measured.function("cancel-bulk-worker").await).await;
        let told = self.operation(&canceled).await;
        assert_eq!(told["results"].as_array().unwrap().len(), MANY);
    }

    /// Makes a bulk's header as long as it can get: nearly all its batches were aborted.
    async fn age(&self, bulk: &str) {
        let arena = &self.measured.arena;
        let aborted = (2..MAX_BATCHES - 10).map(|batch| batch.to_string()).collect();
        let update = arena.dynamodb.update_item().table_name(&arena.table);
        let update = update.key("pk", text(format!("{ORG}#BULK#{bulk}"))).key("sk", text("BULK".to_owned()));
        let update = update.update_expression("SET aborted = :aborted, last_batch = :last");
        let update = update.expression_attribute_values(":aborted", AttributeValue::Ns(aborted));
        let last = AttributeValue::N((MAX_BATCHES - 10).to_string());
        update.expression_attribute_values(":last", last).send().await.unwrap();
    }

    async fn orders(&mut self) {
        const CANCEL: &str = "POST /api/orders/cancellations";
        let org: OrgId = ORG.parse().unwrap();
        let store = self.measured.arena.store();
        let mut entries = Vec::new();
        for creator_id in (i32::MAX - 999)..=i32::MAX {
            let (uid, hash) = (Uuid::new_v4(), None);
            self.put(format!("INTL#{uid}"), "ORDER", &well_used(OrderRef::International(uid), creator_id)).await;
            let person =
                Person { creator_id, pin_required: false, pin_hash: hash, wrong: BTreeSet::new(), locked_until: 0 };
            store.put_person(&org, &person).await.unwrap();
            entries.push(
                json!({ "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": creator_id - MANY as i32 }),
            );
        }
        let entries = json!(entries);
        for _ in 0..2 {
            let results = self.ask(CANCEL, "/api/orders/cancellations", "o", Some(&entries), 200).await;
            assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
        }
        let messages = self.measured.arena.take_messages().await;
        let operation: Value = serde_json::from_str(&messages[0]).unwrap();
        let path = format!("/operations/{}", operation["operation_id"].as_str().unwrap());
        let running = self.ask("GET /operations/{operationId}", &path, "", None, 200).await;
        assert_eq!(running["counts"], json!({ "total": MANY, "done": 0, "succeeded": 0, "failed": 0 }));
        let worker = self.measured.function("cancel-orders-worker").await;
        let feeder = self.measured.function("order-feed-worker").await;
        for messages in messages.chunks(10) {
            let messages: Vec<_> = messages.iter().map(|message| (message.clone(), 1)).collect();
            worker.invoke(batch(&messages)).await;
        }
        let requested = self.ask("GET /operations/{operationId}", &path, "", None, 200).await;
        assert_eq!(requested["results"][MANY - 1]["status"], "REQUESTED", "{requested}");
        for entries in entries.as_array().unwrap().chunks(10) {
            let change = |entry: &Value| {
                let change = json!({
                    "org_id": ORG, "international_order_uid": entry["InternationalOrderUID"],
                    "creator_id": entry["CreatorID"].as_i64().unwrap() + MANY as i64,
                    "status": "CANCELED", "version": 2, "updated_at": "2026-11-22T03:04:05.678Z",
                });
                (change.to_string(), 1)
            };
            feeder.invoke(batch(&entries.iter().map(change).collect::<Vec<_>>())).await;
        }
        let told = self.operation(&operation).await;
        assert_eq!(told["counts"], json!({ "total": MANY, "done": MANY, "succeeded": MANY, "failed": 0 }));
    }
}

/// An order with as many notes as leave room for one more, each as long as can be.
fn well_used(order: OrderRef, creator_id: i32) -> Order {
    let at: Timestamp = serde_json::from_value(json!("2026-11-22T03:04:05.678Z")).unwrap();
    let outcome = json!({ "code": "ALREADY_PENDING_CANCEL", "at": at, "version": shared::domain::order::MAX_VERSION });
    let note = Cancellation {
        cid: "c".repeat(MAX_CORRELATION_ID_BYTES).parse().unwrap(),
        accepted_at: at,
        requested_at: Some(at),
        outcome: Some(serde_json::from_value(outcome).unwrap()),
    };
    let notes = (1..MAX_CANCELLATIONS).map(|_| (Uuid::new_v4().to_string().parse().unwrap(), note.clone())).collect();
    let authorized_ids = (1..=MAX_AUTHORIZED as i32).map(|number| creator_id - 1000 * number).collect();
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
