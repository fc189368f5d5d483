//! Runs every function through all of its work, so that a test can record the calls.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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

/// A test environment whose functions call AWS through a recording proxy.
pub struct AuditEnv {
    env: TestEnv,
    proxy: String,
    webhook: Webhook,
    /// Makes every write in a batch conflict with another transaction, if true.
    is_held: Arc<AtomicBool>,
    /// The log of each process, with its function's name.
    logs: Mutex<Vec<(String, PathBuf)>>,
}

impl AuditEnv {
    /// Runs all work of all functions. `note` is called with each call to AWS, before it is made. Returns the logs of
    /// the functions, each with the function's name.
    pub async fn run_all(note: impl Fn(&Call<'_>) + Send + 'static) -> Vec<(String, String)> {
        let is_held = Arc::<AtomicBool>::default();
        let held = Arc::clone(&is_held);
        let proxy = proxy::start(move |call, moment| {
            if moment == Moment::After {
                return Step::Pass;
            }
            note(call);
            if let Some(step) = of_a_deployment(call) {
                return step;
            }
            let is_refused = held.load(Ordering::Relaxed) && call.target.ends_with("BatchExecuteStatement");
            if is_refused { refuse(call) } else { Step::Pass }
        });
        let (env, proxy, webhook) = (TestEnv::new().await, proxy.await, Webhook::new().await);
        let env = Self { env, proxy, webhook, is_held, logs: Mutex::default() };
        env.cards().await;
        env.orders().await;
        env.webhook().await;
        env.malformed_messages().await;
        env.tasks().await;
        let logs = env.logs.into_inner().unwrap().into_iter();
        logs.map(|(function, path)| (function, fs::read_to_string(path).unwrap())).collect()
    }

    async fn function(&self, name: &str) -> Function {
        let mut environment = self.env.environment_behind(&self.proxy);
        // The recorder identifies the function by its access key ID.
        environment.push(("AWS_ACCESS_KEY_ID".to_owned(), name.to_owned()));
        // With a limit of each tenant, which is too high to refuse a request.
        environment.push(("TENANT_RATE".to_owned(), "10000".to_owned()));
        environment.push(("TENANT_BURST".to_owned(), "100000".to_owned()));
        environment.extend(self.webhook.variables());
        let function = Function::new(name, environment).await;
        self.logs.lock().unwrap().push((name.to_owned(), function.log_path()));
        function
    }

    /// Sends the request, expects this status, and returns the response's body.
    async fn send(&self, request: Request, status: u16) -> Value {
        self.function(request.endpoint.function).await.invoke(request.event()).await.response(status)
    }

    /// Drains the queue with the worker, including messages that it sends. Then invokes it with each message again,
    /// because a redelivery takes another path in the code.
    async fn handle_all(&self, name: &str) {
        let worker = self.function(name).await;
        for message in self.env.drain(&worker, 1).await {
            worker.invoke(batch(&[(message, 1)])).await.acknowledged();
        }
        assert!(self.env.take_messages().await.is_empty(), "{name} sends a message again when one is redelivered");
    }

    async fn cards(&self) {
        let create = requests::create_bulk(&["a", "b", "c"]).key("c");
        let bulk = self.send(create.clone(), 201).await;
        self.send(create, 201).await;
        let bulk = bulk["id"].as_str().unwrap();
        self.send(requests::increment_bulk(bulk, &["c", "d"]).key("i"), 201).await;
        self.send(requests::start_bulk(bulk).key("s"), 202).await;
        self.handle_all("start-bulk-worker").await;
        // This item has no card, because the bulk is not started again.
        self.send(requests::increment_bulk(bulk, &["e"]), 201).await;
        let listed = self.send(Request::to("get-bulk").at(bulk), 200).await;
        let cards: Vec<u64> =
            listed["items"].as_array().unwrap().iter().filter_map(|item| item["card_id"].as_u64()).collect();

        self.send(requests::bind(cards[0], None).key("b"), 202).await;
        self.handle_all("bind-card-worker").await;
        let reissued = self.send(requests::bind(cards[1], Some(cards[0])), 202).await;
        self.handle_all("bind-card-worker").await;
        self.read("cardId", cards[1]).await;
        self.read("bulkID", bulk).await;
        self.operation(&reissued).await;

        let cancel = async |key: &str, items: Option<&[String]>| {
            self.send(requests::cancel_bulk(bulk, items).key(key), 202).await
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

    /// Locks a cancel's items in other transactions until its worker gives them up. Then lets the worker check them.
    async fn give_up(&self) {
        let worker = self.function("cancel-bulk-worker").await;
        let deliver = async |message: &str, receive_count: u32| {
            let response = worker.invoke(batch(&[(message.to_owned(), receive_count)])).await.payload();
            failed(&response).len()
        };
        let plan = self.env.take_messages().await.remove(0);
        assert_eq!(deliver(&plan, 1).await, 0);
        let chunk = self.env.take_messages().await.remove(0);
        self.is_held.store(true, Ordering::Relaxed);
        assert_eq!(deliver(&chunk, 4).await, 1);
        self.is_held.store(false, Ordering::Relaxed);
        // So long ago that every invocation that started earlier has ended.
        let rows = self.env.rows().await;
        let ((pk, sk), _) = rows
            .iter()
            .find(|(_, row)| row.get("held_since").is_some())
            .expect("the worker must store held_since when it gives items up");
        let pk = pk.strip_prefix(&format!("{ORG}#")).unwrap();
        self.env.set(pk, sk, "held_since", &json!("2026-11-25T00:00:00.000Z")).await;
        assert_eq!(deliver(&chunk, 5).await, 0);
    }

    /// Sends a request to every GET endpoint with this path parameter.
    async fn read(&self, parameter: &str, value: impl Display + Copy) {
        for endpoint in Endpoint::readers(parameter) {
            self.send(Request::of(endpoint).at(value), 200).await;
        }
    }

    async fn operation(&self, accepted: &Value) {
        let id = accepted["operation_id"].as_str().unwrap();
        self.read("operationId", id).await;
        let operation = self.send(Request::to("get-operation").at(id), 200).await;
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
                let results = self.send(requests::cancel_orders(&entries).key("o"), 200).await;
                assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
                self.handle_all("cancel-orders-worker").await;
            }
        }
        let operation = self.env.rows().await.into_keys().find(|(_, sk)| sk == "OP");
        let events = self.env.events().await;
        let requested = events.values().find(|event| event["event_type"] == "cancellation_requested").unwrap();
        assert!(operation.is_some());
        self.operation(&requested["data"]).await;
    }

    /// Delivers an event that the endpoint accepts, and one that it does not.
    async fn webhook(&self) {
        let worker = self.function("webhook-worker").await;
        for (status, failed) in [(204, 0), (500, 1)] {
            self.webhook.respond_with(WebhookResponse::Status(status));
            let response = worker.invoke(batch(&[(webhook::event(1), 1)])).await.payload();
            assert_eq!(response["batchItemFailures"].as_array().unwrap().len(), failed, "{status}");
        }
    }

    /// Runs the canary, whose only call to AWS reads its secret, and the hook of a deployment.
    async fn tasks(&self) {
        let secrets = Aws::from_env().unwrap().secretsmanager();
        let secret = secrets.create_secret().name(format!("canary-{}", Uuid::new_v4())).secret_string("{}");
        let secret = secret.send().await.unwrap().arn.unwrap();
        let mut environment = self.env.environment_behind(&self.proxy);
        let own = [("AWS_ACCESS_KEY_ID", "canary"), ("CANARY_SECRET", &secret), ("API_ENDPOINT", "http://127.0.0.1:1")];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let canary = Function::new("canary", environment).await;
        self.logs.lock().unwrap().push(("canary".to_owned(), canary.log_path()));
        assert_eq!(canary.invoke(json!({})).await.payload(), Value::Null);
        let event = json!({ "DeploymentId": "d", "LifecycleEventHookExecutionId": "e" });
        assert_eq!(self.function("pre-traffic").await.invoke(event).await.payload(), Value::Null);
    }

    async fn malformed_messages(&self) {
        for function in Template::read().functions().iter().filter(|function| function.name.ends_with("-worker")) {
            self.function(&function.name).await.invoke(batch(&[("malformed".to_owned(), 1)])).await.acknowledged();
        }
    }
}

/// Responds as `CodeDeploy` and Lambda do in the deployment of a worker. The emulator has no `CodeDeploy`.
fn of_a_deployment(call: &Call<'_>) -> Option<Step> {
    let content = json!({ "Resources": [{ "f": { "Properties": { "Name": "f-worker", "TargetVersion": "2" } } }] });
    let revision = json!({ "revisionType": "String", "string": { "content": content.to_string() } });
    let response = match call.target {
        "" => json!({ "batchItemFailures": [] }),
        "CodeDeploy_20141006.GetDeployment" => json!({ "deploymentInfo": { "applicationName": "a" } }),
        "CodeDeploy_20141006.GetApplicationRevision" => json!({ "revision": revision }),
        target if target.starts_with("CodeDeploy_20141006.") => json!({}),
        _ => return None,
    };
    Some(Step::Respond(200, response.to_string()))
}

/// Responds to each statement of the call with a conflict with another transaction.
fn refuse(call: &Call<'_>) -> Step {
    let request: Value = serde_json::from_slice(call.body).unwrap();
    let held = json!({ "Error": { "Code": "TransactionConflict", "Message": "m" } });
    let responses = vec![held; request["Statements"].as_array().unwrap().len()];
    Step::Respond(200, json!({ "Responses": responses }).to_string())
}
