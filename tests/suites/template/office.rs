//! All functions, at work: each is put to all that it does, and to nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use shared::aws::Aws;
use shared::domain::person::Person;
use shared::pin::Pepper;
use shared::secret;
use tests::function::Function;
use tests::orders::{CREATOR, domestic, feed, international};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, failed, http_event};
use tests::proxy::{self, Call, Moment, Step};
use tests::template::Template;
use tests::test_env::Arena;
use tests::webhook::{self, Then, Webhook};
use tests::{token, variable};
use uuid::Uuid;

/// An arena of theirs, behind a recorder.
pub struct Office {
    arena: Arena,
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
        let office = Self { arena: Arena::new().await, proxy: proxy.await, webhook: Webhook::new().await, is_held };
        office.cards().await;
        office.orders().await;
        office.webhook().await;
        office.broken_messages().await;
    }

    async fn function(&self, name: &str) -> Function {
        let mut environment = self.arena.environment_behind(&self.proxy);
        // By which the recorder knows it.
        environment.push(("AWS_ACCESS_KEY_ID".to_owned(), name.to_owned()));
        environment.extend(self.webhook.variables());
        Function::new(name, environment).await
    }

    /// A request, which is answered with this status; answers the body.
    async fn ask(
        &self,
        name: &str,
        (method, path): (&str, &str),
        key: Option<&str>,
        body: Option<Value>,
        status: u16,
    ) -> Value {
        let last = |position: usize| path.split('/').nth(position).unwrap_or_default();
        let parameters = json!({ "bulkID": last(4), "cardId": last(4), "operationId": last(2) });
        let mut headers = json!({ "x-account-id": ACCOUNT.to_string(), "x-customer-id": CUSTOMER.to_string() });
        if let Some(key) = key {
            headers["idempotency-key"] = key.into();
        }
        let mut event = http_event(method, path, &parameters, &headers, body.as_ref());
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = token::SCOPES.as_str().into();
        self.function(name).await.invoke(event).await.response(status)
    }

    /// Has the worker handle all messages of the queue, and those that come of them; then all of them once more, which
    /// takes it another way.
    async fn handle_all(&self, name: &str) {
        let worker = self.function(name).await;
        for message in self.arena.drain(&worker, 1).await {
            worker.invoke(batch(&[(message, 1)])).await.acknowledged();
        }
        assert!(self.arena.take_messages().await.is_empty(), "{name} sends what it has sent");
    }

    async fn cards(&self) {
        let items = |ids: &[&str]| Some(json!({ "program_id": 5, "external_ids": ids }));
        let bulk = self.ask("create-bulk", ("POST", "/cards/v1/bulks"), Some("c"), items(&["a", "b", "c"]), 201).await;
        self.ask("create-bulk", ("POST", "/cards/v1/bulks"), Some("c"), items(&["a", "b", "c"]), 201).await;
        let bulk = format!("/cards/v1/bulks/{}", bulk["id"].as_str().unwrap());
        let more = Some(json!({ "external_ids": ["c", "d"] }));
        self.ask("increment-bulk", ("PUT", &bulk), Some("i"), more, 201).await;
        self.ask("start-bulk", ("POST", &format!("{bulk}/start")), Some("s"), None, 202).await;
        self.handle_all("start-bulk-worker").await;
        // One that has no card.
        let more = Some(json!({ "external_ids": ["e"] }));
        self.ask("increment-bulk", ("PUT", &bulk), None, more, 201).await;
        let listed = self.ask("get-bulk", ("GET", &bulk), None, None, 200).await;
        let cards: Vec<u64> =
            listed["items"].as_array().unwrap().iter().filter_map(|item| item["card_id"].as_u64()).collect();

        let bind = |card: u64| format!("/wallet/v2/cards/{card}/noname/bind");
        self.ask("bind-card", ("PUT", &bind(cards[0])), Some("b"), None, 202).await;
        self.handle_all("bind-card-worker").await;
        let reissue = Some(json!({ "reissued_card_id": cards[0] }));
        let reissued = self.ask("bind-card", ("PUT", &bind(cards[1])), None, reissue, 202).await;
        self.handle_all("bind-card-worker").await;
        self.ask("get-card", ("GET", &format!("/cards/v1/cards/{}", cards[1])), None, None, 200).await;
        self.operation(&reissued).await;

        let cancel = async |key: &str, body: Value| {
            self.ask("cancel-bulk", ("POST", &format!("{bulk}/cancel")), Some(key), Some(body), 202).await
        };
        let some = cancel("p", json!({ "cancel_type": "PARTIAL", "external_ids": ["c", "x"] })).await;
        self.handle_all("cancel-bulk-worker").await;
        let held = cancel("h", json!({ "cancel_type": "FULL" })).await;
        self.give_up().await;
        let all = cancel("f", json!({ "cancel_type": "FULL" })).await;
        self.handle_all("cancel-bulk-worker").await;
        for canceled in [some, held, all] {
            self.operation(&canceled).await;
        }
    }

    /// Has others hold a cancel's items to the last: the worker gives them up, and looks at them later.
    async fn give_up(&self) {
        let worker = self.function("cancel-bulk-worker").await;
        let deliver = async |message: &str, receives: u32| {
            let answer = worker.invoke(batch(&[(message.to_owned(), receives)])).await.answer();
            failed(&answer).len()
        };
        let plan = self.arena.take_messages().await.remove(0);
        assert_eq!(deliver(&plan, 1).await, 0);
        let chunk = self.arena.take_messages().await.remove(0);
        self.is_held.store(true, Ordering::Relaxed);
        assert_eq!(deliver(&chunk, 4).await, 1);
        self.is_held.store(false, Ordering::Relaxed);
        // So long ago that nobody is at it any more.
        let rows = self.arena.rows().await;
        let ((pk, sk), _) = rows.iter().find(|(_, row)| row.get("held_since").is_some()).expect("it was given up");
        let pk = pk.strip_prefix(&format!("{ORG}#")).unwrap();
        self.arena.set(pk, sk, "held_since", &json!("2026-11-25T00:00:00.000Z")).await;
        assert_eq!(deliver(&chunk, 5).await, 0);
    }

    async fn operation(&self, answer: &Value) {
        let path = format!("/operations/{}", answer["operation_id"].as_str().unwrap());
        let operation = self.ask("get-operation", ("GET", &path), None, None, 200).await;
        assert_eq!(operation["status"], "SUCCEEDED", "{operation}");
    }

    async fn orders(&self) {
        let pepper =
            secret::read(&Aws::from_env().unwrap().secretsmanager(), &variable("PIN_PEPPER_SECRET")).await.unwrap();
        let org = ORG.parse().unwrap();
        let pin_hash = Pepper::new(&pepper).hash(&org, CREATOR, "1234").unwrap();
        let person = Person::with_pin(CREATOR, true, pin_hash);
        self.arena.store().put_person(&org, &person).await.unwrap();
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
                let path = ("POST", "/api/orders/cancellations");
                let results = self.ask("cancel-orders", path, Some("o"), Some(entries), 200).await;
                assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
                self.handle_all("cancel-orders-worker").await;
            }
        }
        let operation = self.arena.rows().await.into_keys().find(|(_, sk)| sk == "OP");
        let events = self.arena.events().await;
        let asked = events.values().find(|event| event["event_type"] == "cancellation_requested").unwrap();
        assert!(operation.is_some());
        self.operation(&asked["data"]).await;
    }

    /// An event that is taken, and one that is not.
    async fn webhook(&self) {
        let worker = self.function("webhook-worker").await;
        for (status, failed) in [(204, 0), (500, 1)] {
            self.webhook.answers(Then::Status(status));
            let answer = worker.invoke(batch(&[(webhook::event(1), 1)])).await.answer();
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
    Step::Answer(200, json!({ "Responses": responses }).to_string())
}
