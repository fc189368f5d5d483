//! All functions, at work: each is put to all that it does, and to nothing else.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use shared::aws::Aws;
use shared::domain::person::Person;
use shared::pin::Pepper;
use shared::secret;
use tests::function::Function;
use tests::orders::{CREATOR, domestic, feed, international};
use tests::payloads::{ORG, batch, failed};
use tests::proxy::{self, Call, Moment, Step};
use tests::requests::{self, Endpoint, Request};
use tests::template::Template;
use tests::test_env::TestEnv;
use tests::variable;
use tests::webhook::{self, Webhook, WebhookResponse};
use uuid::Uuid;

/// An env of theirs, behind a recorder.
pub struct Office {
    env: TestEnv,
    proxy: String,
    webhook: Webhook,
    /// Whether other transactions hold everything that is written in a batch.
    is_held: Arc<AtomicBool>,
}

impl Office {
    /// Has all of it done; `note` is told of each call, before it is made.
    pub async fn work(note: impl Fn(&Call<'_>) + Send + 'static) {
        let is_held = Arc::<AtomicBool>::default();
        let held = Arc::clone(&is_held);
        let proxy = proxy::start(move |call, moment| {
            if moment == Moment::After {
                return Step::Pass;
            }
            note(call);
            let is_refused = held.load(Ordering::Relaxed) && call.target.ends_with("BatchExecuteStatement");
            if is_refused { refuse(call) } else { Step::Pass }
        });
        let office = Self { env: TestEnv::new().await, proxy: proxy.await, webhook: Webhook::new().await, is_held };
        office.cards().await;
        office.orders().await;
        office.webhook().await;
        office.broken_messages().await;
    }

    async fn function(&self, name: &str) -> Function {
        let mut environment = self.env.environment_behind(&self.proxy);
        // By which the recorder knows it.
        environment.push(("AWS_ACCESS_KEY_ID".to_owned(), name.to_owned()));
        environment.extend(self.webhook.variables());
        Function::new(name, environment).await
    }

    /// Sends the request, which gets this status; returns the response's body.
    async fn ask(&self, request: Request, status: u16) -> Value {
        self.function(request.endpoint.function).await.invoke(request.event()).await.response(status)
    }

    /// Has the worker handle all messages of the queue, and those that come of them; then all of them once more, which
    /// takes it another way.
    async fn handle_all(&self, name: &str) {
        let worker = self.function(name).await;
        for message in self.env.drain(&worker, 1).await {
            worker.invoke(batch(&[(message, 1)])).await.acknowledged();
        }
        assert!(self.env.take_messages().await.is_empty(), "{name} sends what it has sent");
    }

    async fn cards(&self) {
        let create = requests::create_bulk(&["a", "b", "c"]).key("c");
        let bulk = self.ask(create.clone(), 201).await;
        self.ask(create, 201).await;
        let bulk = bulk["id"].as_str().unwrap();
        self.ask(requests::increment_bulk(bulk, &["c", "d"]).key("i"), 201).await;
        self.ask(requests::start_bulk(bulk).key("s"), 202).await;
        self.handle_all("start-bulk-worker").await;
        // One that has no card.
        self.ask(requests::increment_bulk(bulk, &["e"]), 201).await;
        let listed = self.ask(Request::to("get-bulk").at(bulk), 200).await;
        let cards: Vec<u64> =
            listed["items"].as_array().unwrap().iter().filter_map(|item| item["card_id"].as_u64()).collect();

        self.ask(requests::bind(cards[0], None).key("b"), 202).await;
        self.handle_all("bind-card-worker").await;
        let reissued = self.ask(requests::bind(cards[1], Some(cards[0])), 202).await;
        self.handle_all("bind-card-worker").await;
        self.read("cardId", cards[1]).await;
        self.read("bulkID", bulk).await;
        self.operation(&reissued).await;

        let cancel = async |key: &str, items: Option<&[String]>| {
            self.ask(requests::cancel_bulk(bulk, items).key(key), 202).await
        };
        let some = cancel("p", Some(&["c", "x"].map(ToOwned::to_owned))).await;
        self.handle_all("cancel-bulk-worker").await;
        let held = cancel("h", None).await;
        self.give_up().await;
        let all = cancel("f", None).await;
        self.handle_all("cancel-bulk-worker").await;
        for canceled in [some, held, all] {
            self.operation(&canceled).await;
        }
    }

    /// Has others hold a cancel's items to the last: the worker gives them up, and looks at them later.
    async fn give_up(&self) {
        let worker = self.function("cancel-bulk-worker").await;
        let deliver = async |message: &str, receives: u32| {
            let answer = worker.invoke(batch(&[(message.to_owned(), receives)])).await.payload();
            failed(&answer).len()
        };
        let plan = self.env.take_messages().await.remove(0);
        assert_eq!(deliver(&plan, 1).await, 0);
        let chunk = self.env.take_messages().await.remove(0);
        self.is_held.store(true, Ordering::Relaxed);
        assert_eq!(deliver(&chunk, 4).await, 1);
        self.is_held.store(false, Ordering::Relaxed);
        // So long ago that nobody is at it any more.
        let rows = self.env.rows().await;
        let ((pk, sk), _) = rows.iter().find(|(_, row)| row.get("held_since").is_some()).expect("it was given up");
        let pk = pk.strip_prefix(&format!("{ORG}#")).unwrap();
        self.env.set(pk, sk, "held_since", &json!("2026-11-25T00:00:00.000Z")).await;
        assert_eq!(deliver(&chunk, 5).await, 0);
    }

    /// Has all endpoints read what this path parameter names.
    async fn read(&self, parameter: &str, value: impl Display + Copy) {
        for endpoint in Endpoint::readers(parameter) {
            self.ask(Request::of(endpoint).at(value), 200).await;
        }
    }

    async fn operation(&self, answer: &Value) {
        let id = answer["operation_id"].as_str().unwrap();
        self.read("operationId", id).await;
        let operation = self.ask(Request::to("get-operation").at(id), 200).await;
        assert_eq!(operation["status"], "SUCCEEDED", "{operation}");
    }

    async fn orders(&self) {
        let pepper =
            secret::read(&Aws::from_env().unwrap().secretsmanager(), &variable("PIN_PEPPER_SECRET")).await.unwrap();
        let org = ORG.parse().unwrap();
        let pin_hash = Pepper::new(&pepper).hash(&org, CREATOR, "1234").unwrap();
        let person = Person::with_pin(CREATOR, true, pin_hash);
        self.env.store().put_person(&org, &person).await.unwrap();
        let uid = Uuid::new_v4();
        let orders = [domestic(7), international(uid)];
        for version in [1, 2] {
            let status = if version == 1 { "ACTIVE" } else { "CANCELED" };
            let feeder = self.function("order-feed-worker").await;
            for order in &orders {
                let mut change = feed(order, status, version);
                change["org_id"] = ORG.into();
                feeder.invoke(batch(&[(change.to_string(), 1)])).await.acknowledged();
            }
            if version == 1 {
                let entries = json!([
                    { "OrderID": 7, "PIN": "1234" },
                    { "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": CREATOR, "PIN": "1234" },
                ]);
                let results = self.ask(requests::cancel_orders(&entries).key("o"), 200).await;
                assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
                self.handle_all("cancel-orders-worker").await;
            }
        }
        let operation = self.env.rows().await.into_keys().find(|(_, sk)| sk == "OP");
        let events = self.env.events().await;
        let asked = events.values().find(|event| event["event_type"] == "cancellation_requested").unwrap();
        assert!(operation.is_some());
        self.operation(&asked["data"]).await;
    }

    /// An event that is taken, and one that is not.
    async fn webhook(&self) {
        let worker = self.function("webhook-worker").await;
        for (status, failed) in [(204, 0), (500, 1)] {
            self.webhook.respond_with(WebhookResponse::Status(status));
            let answer = worker.invoke(batch(&[(webhook::event(1), 1)])).await.payload();
            assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), failed, "{status}");
        }
    }

    async fn broken_messages(&self) {
        for function in Template::read().functions().iter().filter(|function| function.name.ends_with("-worker")) {
            self.function(&function.name).await.invoke(batch(&[("broken".to_owned(), 1)])).await.acknowledged();
        }
    }
}

/// Each statement of the call, as if another transaction held its row.
fn refuse(call: &Call<'_>) -> Step {
    let request: Value = serde_json::from_slice(call.body).unwrap();
    let held = json!({ "Error": { "Code": "TransactionConflict", "Message": "m" } });
    let responses = vec![held; request["Statements"].as_array().unwrap().len()];
    Step::Respond(200, json!({ "Responses": responses }).to_string())
}
