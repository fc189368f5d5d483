//! Least privilege: every function is put to all its work before a recorder, and what it called is compared with
//! what its role allows. Neither may be more than the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shared::aws::Aws;
use shared::domain::person::Person;
use shared::pin::Pepper;
use shared::secret;
use tests::arena::Arena;
use tests::function::{Function, Invocation};
use tests::orders::{CREATOR, domestic, feed, international};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, http_event};
use tests::proxy::{self, Call, Moment, Step};
use tests::template::{Template, named};
use tests::webhook::{self, Then, Webhook};
use tests::{token, variable};
use uuid::Uuid;

/// What Lambda does in a worker's name: it takes the messages of its queue.
const OF_THE_MAPPING: [&str; 4] =
    ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
/// And in every function's: it writes its logs,
const OF_LOGS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// and its traces.
const OF_TRACES: [&str; 2] = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

/// What a function did, or may do: actions by the resource that they are about, and rows of the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Access {
    actions: BTreeMap<String, BTreeSet<String>>,
    rows: BTreeSet<String>,
}

impl Access {
    fn add(&mut self, resource: &str, action: impl Into<String>) {
        self.actions.entry(resource.to_owned()).or_default().insert(action.into());
    }

    fn add_all(&mut self, resource: &str, actions: &[&str]) {
        for action in actions {
            self.add(resource, *action);
        }
    }

    /// What Lambda does for the function, which only AWS shows: every function needs it.
    fn add_lambdas_part(&mut self, properties: &Value) {
        self.add_all(&named(&properties["LoggingConfig"]["LogGroup"]), &OF_LOGS);
        self.add_all("*", &OF_TRACES);
        // With a key of one's own: the variables, and what is stored. A message that is sent takes a new data key.
        self.add("KmsKeyArn", "kms:Decrypt");
        if self.actions.values().flatten().any(|action| action == "sqs:SendMessage") {
            self.add("KmsKeyArn", "kms:GenerateDataKey");
        }
        if let Some(mapping) = properties["Events"].get("Queue") {
            self.add_all(&named(&mapping["Properties"]["Queue"]), &OF_THE_MAPPING);
        }
    }
}

type Recorded = Arc<Mutex<HashMap<String, Access>>>;

#[tokio::test]
async fn each_function_may_do_what_it_does_and_nothing_else() {
    let recorded = Recorded::default();
    let office = Office::new(Arc::clone(&recorded)).await;
    office.cards().await;
    office.orders().await;
    office.webhook().await;
    office.broken_messages().await;

    let template = Template::read();
    let mut recorded = std::mem::take(&mut *recorded.lock().unwrap());
    for function in template.functions() {
        let variables = template.environment(&function);
        // The arena has one queue and one dead-letter queue; which of the template's they stand for, the
        // function's environment says.
        let queue = |suffix| variables.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, queue)| queue.as_str());
        let mut did = recorded.remove(&function.name).unwrap_or_default();
        for (stand_in, suffix) in [("queue", "_QUEUE_URL"), ("dead letters", "_DLQ_URL")] {
            if let Some(actions) = did.actions.remove(stand_in) {
                did.actions.insert(queue(suffix).expect("a queue that it was told of").to_owned(), actions);
            }
        }
        did.add_lambdas_part(&function.properties);
        let may = allowed(&template, &named(&function.properties["Role"]));
        assert_eq!(did, may, "{}: what it did (left), and may do (right)", function.name);
    }
    assert!(recorded.is_empty(), "{recorded:?}");
}

fn allowed(template: &Template, role: &str) -> Access {
    let mut may = Access::default();
    for statement in template.statements(role) {
        for resource in &statement.resources {
            statement.actions.iter().for_each(|action| may.add(resource, action));
        }
        may.rows.extend(statement.rows);
    }
    may
}

/// Notes a call as IAM sees it.
fn note(recorded: &Recorded, call: &Call<'_>) {
    let mut recorded = recorded.lock().unwrap();
    let access = recorded.entry(call.caller.to_owned()).or_default();
    let body: Value = serde_json::from_slice(call.body).unwrap();
    match call.target.split_once('.').unwrap() {
        ("DynamoDB_20120810", name) => {
            note_rows(&mut access.rows, &body);
            for action in table_actions(name, &body) {
                access.add("Table", format!("dynamodb:{action}"));
            }
        }
        ("AmazonSQS", "SendMessage" | "SendMessageBatch") => {
            let is_dead_letter = body["QueueUrl"].as_str().unwrap().ends_with("-dlq");
            access.add(if is_dead_letter { "dead letters" } else { "queue" }, "sqs:SendMessage");
        }
        ("AmazonSQS", "ChangeMessageVisibility") => access.add("queue", "sqs:ChangeMessageVisibility"),
        ("AWSEvents", "PutEvents") => access.add("EventBus", "events:PutEvents"),
        ("secretsmanager", "GetSecretValue") => {
            let is_pepper = body["SecretId"] == variable("PIN_PEPPER_SECRET");
            let secret = if is_pepper { "PinPepper" } else { "WebhookSecret" };
            access.add(secret, "secretsmanager:GetSecretValue");
        }
        other => panic!("{other:?} is called: which action is that?"),
    }
}

/// A transaction needs the actions of its parts, and so does a batch of statements.
fn table_actions(call: &str, body: &Value) -> Vec<String> {
    let each = |list: &str| body[list].as_array().unwrap().clone();
    match call {
        "TransactWriteItems" => each("TransactItems")
            .iter()
            .flat_map(|part| part.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
            .map(|part| if part == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{part}Item") })
            .collect(),
        "BatchExecuteStatement" => each("Statements")
            .iter()
            .map(|statement| statement["Statement"].as_str().unwrap().split(' ').next().unwrap().to_lowercase())
            .map(|verb| format!("PartiQL{}{}", verb[..1].to_uppercase(), &verb[1..]))
            .collect(),
        "TransactGetItems" => vec!["GetItem".to_owned()],
        other => vec![other.to_owned()],
    }
}

/// Every key begins with the organisation, and nothing else does.
fn note_rows(rows: &mut BTreeSet<String>, value: &Value) {
    match value {
        Value::String(text) => {
            if let Some(tail) = text.strip_prefix(&format!("{ORG}#")) {
                rows.insert(tail.split_once('#').map_or(tail.to_owned(), |(kind, _)| format!("{kind}#*")));
            }
        }
        Value::Array(all) => all.iter().for_each(|one| note_rows(rows, one)),
        Value::Object(members) => members.values().for_each(|one| note_rows(rows, one)),
        _ => {}
    }
}

/// All functions, at work on one arena behind the recorder.
struct Office {
    arena: Arena,
    proxy: String,
    webhook: Webhook,
}

impl Office {
    async fn new(recorded: Recorded) -> Self {
        let proxy = proxy::start(move |call, moment| {
            if moment == Moment::Before {
                note(&recorded, call);
            }
            Step::Pass
        });
        Self { arena: Arena::new().await, proxy: proxy.await, webhook: Webhook::new().await }
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
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = token::SCOPES.into();
        let Invocation::Answered(answer) = self.function(name).await.invoke(event).await else {
            panic!("{name} failed")
        };
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    /// Has the worker handle all messages of the queue, and those that come of them; then all of them once more, which
    /// takes it another way.
    async fn work(&self, name: &str) {
        let worker = self.function(name).await;
        let handle = async |message: &String| {
            let answer = worker.invoke(batch(&[(message.clone(), 1)])).await;
            assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })), "{name}");
        };
        let mut handled = Vec::new();
        loop {
            let messages = self.arena.take_messages().await;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                handle(&message).await;
                handled.push(message);
            }
        }
        for message in &handled {
            handle(message).await;
        }
        assert!(self.arena.take_messages().await.is_empty(), "{name} sends what it has sent");
    }

    async fn cards(&self) {
        let items = |ids: &[&str]| Some(json!({ "program_id": 5, "external_ids": ids }));
        let bulk = self.ask("create-bulk", ("POST", "/cards/v1/bulks"), Some("c"), items(&["a", "b", "c"]), 201).await;
        self.ask("create-bulk", ("POST", "/cards/v1/bulks"), Some("c"), items(&["a", "b", "c"]), 201).await;
        let bulk = format!("/cards/v1/bulks/{}", bulk["id"].as_str().unwrap());
        let more = Some(json!({ "external_ids": ["c", "d"] }));
        self.ask("increment-bulk", ("PUT", &bulk), Some("i"), more, 200).await;
        self.ask("start-bulk", ("POST", &format!("{bulk}/start")), Some("s"), None, 202).await;
        self.work("start-bulk-worker").await;
        let listed = self.ask("get-bulk", ("GET", &bulk), None, None, 200).await;
        let cards: Vec<u64> =
            listed["items"].as_array().unwrap().iter().map(|item| item["card_id"].as_u64().unwrap()).collect();

        let bind = |card: u64| format!("/wallet/v2/cards/{card}/noname/bind");
        self.ask("bind-card", ("PUT", &bind(cards[0])), Some("b"), None, 202).await;
        self.work("bind-card-worker").await;
        let reissue = Some(json!({ "reissued_card_id": cards[0] }));
        let reissued = self.ask("bind-card", ("PUT", &bind(cards[1])), None, reissue, 202).await;
        self.work("bind-card-worker").await;
        self.ask("get-card", ("GET", &format!("/cards/v1/cards/{}", cards[1])), None, None, 200).await;
        self.operation(&reissued).await;

        for body in [json!({ "cancel_type": "PARTIAL", "external_ids": ["c", "x"] }), json!({ "cancel_type": "FULL" })]
        {
            let canceled = self.ask("cancel-bulk", ("POST", &format!("{bulk}/cancel")), None, Some(body), 202).await;
            self.work("cancel-bulk-worker").await;
            self.operation(&canceled).await;
        }
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
        let pin_hash = Some(Pepper::new(&pepper).hash(&org, CREATOR, "1234").unwrap());
        let person =
            Person { creator_id: CREATOR, pin_required: true, pin_hash, wrong: BTreeSet::new(), locked_until: 0 };
        self.arena.store().put_person(&org, &person).await.unwrap();
        let uid = Uuid::new_v4();
        let orders = [domestic(7), international(uid)];
        for version in [1, 2] {
            let status = if version == 1 { "ACTIVE" } else { "CANCELED" };
            let feeder = self.function("order-feed-worker").await;
            for order in &orders {
                let mut change = feed(order, status, version);
                change["org_id"] = ORG.into();
                let answer = feeder.invoke(batch(&[(change.to_string(), 1)])).await;
                assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
            }
            if version == 1 {
                let entries = json!([
                    { "OrderID": 7, "PIN": "1234" },
                    { "IsInternationalOrder": true, "InternationalOrderUID": uid, "CreatorID": CREATOR, "PIN": "1234" },
                ]);
                let path = ("POST", "/api/orders/cancellations");
                let results = self.ask("cancel-orders", path, Some("o"), Some(entries), 200).await;
                assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
                self.work("cancel-orders-worker").await;
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
            let Invocation::Answered(answer) = worker.invoke(batch(&[(webhook::event(1), 1)])).await else {
                panic!("webhook-worker failed")
            };
            assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), failed, "{status}");
        }
    }

    async fn broken_messages(&self) {
        for function in Template::read().functions().iter().filter(|function| function.name.ends_with("-worker")) {
            let answer = self.function(&function.name).await.invoke(batch(&[("broken".to_owned(), 1)])).await;
            assert_eq!(answer, Invocation::Answered(json!({ "batchItemFailures": [] })));
        }
    }
}
