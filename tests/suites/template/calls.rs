//! Least privilege: every function is put to all its work before a recorder, and what it called is compared with
//! what its role allows. Neither may be more than the other. What IAM says to that, a simulator of it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tests::payloads::ORG;
use tests::proxy::Call;
use tests::template::{FunctionResource, Template, named};
use tests::variable;
use tokio::process::Command;

use crate::office::Office;
use crate::said;

/// What Lambda does in a worker's name: it takes the messages of its queue.
const OF_THE_MAPPING: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
/// And in every function's: it writes its logs,
const OF_LOGS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// and its traces.
const OF_TRACES: [&str; 2] = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

/// The env has one queue and one dead-letter queue. Which of the template's they stand for, the function's variables
/// say, by the ends of their names.
const STAND_INS: [(&str, &str); 2] = [("queue", "_QUEUE_URL"), ("dead letters", "_DLQ_URL")];

/// A call, as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Done {
    function: String,
    action: String,
    /// What it is about, by its logical ID or what a statement says instead.
    resource: String,
    /// The partition keys of the rows that it is about.
    leading_keys: BTreeSet<String>,
    /// The service that uses the key for the function.
    through: Option<String>,
}

/// An action, the resource that it is about, and the kind of rows, or the service that uses the key; one alone.
type Access = BTreeSet<(String, String, String)>;

type Recorded = Arc<Mutex<BTreeSet<Done>>>;

impl Done {
    fn new(function: &str, action: &str, resource: &str) -> Self {
        let [function, action, resource] = [function, action, resource].map(ToOwned::to_owned);
        Self { function, action, resource, leading_keys: BTreeSet::new(), through: None }
    }

    /// The access that it needs.
    fn needs(&self) -> Access {
        let kinds = self.leading_keys.iter().map(|key| kind(key));
        access(&self.action, &self.resource, kinds.chain(self.through.clone()).collect())
    }
}

fn access(action: &str, resource: &str, mut limits: BTreeSet<String>) -> Access {
    if limits.is_empty() {
        limits.insert(String::new());
    }
    limits.into_iter().map(|limit| (action.to_owned(), resource.to_owned(), limit)).collect()
}

/// The kind of a row, as a statement names it: `BULK#*`.
fn kind(key: &str) -> String {
    let of_org = key.strip_prefix(ORG).unwrap().strip_prefix('#').unwrap();
    of_org.split_once('#').map_or(of_org.to_owned(), |(kind, _)| format!("{kind}#*"))
}

#[tokio::test]
async fn each_function_may_do_what_it_does_and_nothing_else() {
    let recorded = Recorded::default();
    let notes = Arc::clone(&recorded);
    Office::work(move |call| note(&notes, call)).await;

    let template = Template::read();
    let (mut recorded, mut calls) = (std::mem::take(&mut *recorded.lock().unwrap()), BTreeSet::new());
    for function in template.functions() {
        let (mine, others) = recorded.into_iter().partition(|done| done.function == function.name);
        recorded = others;
        let did = all_done(&template, &function, mine);
        let needs: Access = did.iter().flat_map(Done::needs).collect();
        let may = allowed(&template, &named(&function.properties["Role"]));
        let (lacks, exceeds) = (&needs - &may, &may - &needs);
        assert!(lacks.is_empty() && exceeds.is_empty(), "{} lacks {lacks:?}; needs no {exceeds:?}", function.name);
        calls.extend(did);
    }
    assert!(recorded.is_empty(), "{recorded:?}");
    simulate(&calls).await;
}

/// What the function was recorded to do, on the template's queues; and what Lambda does for it, which only AWS shows.
fn all_done(template: &Template, function: &FunctionResource, recorded: BTreeSet<Done>) -> BTreeSet<Done> {
    let variables = template.environment(function);
    let queue = |suffix| variables.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, queue)| queue.clone());
    let on_its_queue = |done: Done| match STAND_INS.iter().find(|(name, _)| *name == done.resource) {
        Some((_, suffix)) => Done { resource: queue(suffix).expect("a queue that it was told of"), ..done },
        None => done,
    };
    let mut did: BTreeSet<Done> = recorded.into_iter().map(on_its_queue).collect();
    let mut add = |resource: &str, actions: &[&str]| {
        did.extend(actions.iter().map(|action| Done::new(&function.name, action, resource)));
    };
    add(&named(&function.properties["LoggingConfig"]["LogGroup"]), &OF_LOGS);
    add("*", &OF_TRACES);
    if let Some(mapping) = function.properties["Events"].get("Queue") {
        add(&named(&mapping["Properties"]["Queue"]), &OF_THE_MAPPING);
    }
    let of_key = of_key(function, &did);
    did.extend(of_key);
    did
}

/// With a key of one's own: Lambda decrypts the variables, and each service what it has stored. A message that is sent
/// takes a new data key.
fn of_key(function: &FunctionResource, did: &BTreeSet<Done>) -> Vec<Done> {
    let with_key = ["dynamodb", "events", "secretsmanager", "sqs"];
    let mut services: BTreeSet<&str> = did.iter().map(|done| done.action.split(':').next().unwrap()).collect();
    services.retain(|service| with_key.contains(service));
    services.insert("lambda");
    let mut actions = vec!["kms:Decrypt"];
    actions.extend(did.iter().any(|done| done.action == "sqs:SendMessage").then_some("kms:GenerateDataKey"));
    let through = |service: &str, action: &&str| {
        let done = Done::new(&function.name, action, "KmsKeyArn");
        Done { through: Some(service.to_owned()), ..done }
    };
    services.iter().flat_map(|service| actions.iter().map(|action| through(service, action))).collect()
}

fn allowed(template: &Template, role: &str) -> Access {
    let mut may = Access::new();
    for statement in template.statements(role) {
        for resource in &statement.resources {
            may.extend(statement.actions.iter().flat_map(|action| access(action, resource, statement.limits.clone())));
        }
    }
    may
}

/// Notes a call as IAM sees it.
fn note(notes: &Recorded, call: &Call<'_>) {
    let body: Value = serde_json::from_slice(call.body).unwrap();
    let done = |action: &str, resource: &str| Done::new(call.caller, action, resource);
    let done = match call.target.split_once('.').unwrap() {
        ("DynamoDB_20120810", name) => {
            // Whether IAM looks at a call's rows one by one is not known of every call: together they ask for more.
            let mut rows = BTreeMap::<String, BTreeSet<String>>::new();
            for (action, part) in parts(name, &body) {
                rows.entry(action).or_default().extend(keys(&part));
            }
            let on_rows =
                |(action, leading_keys)| Done { leading_keys, ..done(&format!("dynamodb:{action}"), "Table") };
            rows.into_iter().map(on_rows).collect()
        }
        ("AmazonSQS", "SendMessage" | "SendMessageBatch") => {
            let is_dead_letter = body["QueueUrl"].as_str().unwrap().ends_with("-dlq");
            vec![done("sqs:SendMessage", if is_dead_letter { "dead letters" } else { "queue" })]
        }
        ("AmazonSQS", "ChangeMessageVisibility") => vec![done("sqs:ChangeMessageVisibility", "queue")],
        ("AWSEvents", "PutEvents") => vec![done("events:PutEvents", "EventBus")],
        ("secretsmanager", "GetSecretValue") => {
            let is_pepper = body["SecretId"] == variable("PIN_PEPPER_SECRET");
            vec![done("secretsmanager:GetSecretValue", if is_pepper { "PinPepper" } else { "WebhookSecret" })]
        }
        other => panic!("{other:?} is called: which action is that?"),
    };
    notes.lock().unwrap().extend(done);
}

/// The actions of a call on the table, each with what it is about. A transaction needs those of its parts, and so does
/// a batch of statements.
fn parts(call: &str, body: &Value) -> Vec<(String, Value)> {
    let each = |list: &str| body[list].as_array().unwrap().clone().into_iter();
    match call {
        "TransactWriteItems" => each("TransactItems")
            .flat_map(|part| part.as_object().unwrap().clone())
            .map(|(part, what)| match part.as_str() {
                "ConditionCheck" => ("ConditionCheckItem".to_owned(), what),
                _ => (format!("{part}Item"), what),
            })
            .collect(),
        "BatchExecuteStatement" => each("Statements")
            .map(|statement| {
                let verb = statement["Statement"].as_str().unwrap().split(' ').next().unwrap().to_lowercase();
                (format!("PartiQL{}{}", verb[..1].to_uppercase(), &verb[1..]), statement)
            })
            .collect(),
        "TransactGetItems" => each("TransactItems").map(|part| ("GetItem".to_owned(), part)).collect(),
        other => vec![(other.to_owned(), body.clone())],
    }
}

/// The partition keys: each begins with the organisation, and nothing else does.
fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) if text.starts_with(&format!("{ORG}#")) => BTreeSet::from([text.clone()]),
        Value::Array(all) => all.iter().flat_map(keys).collect(),
        Value::Object(members) => members.values().flat_map(keys).collect(),
        _ => BTreeSet::new(),
    }
}

/// Asks a simulator of IAM about these calls, which must be allowed, and about many that nobody makes.
async fn simulate(calls: &BTreeSet<Done>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let stack = PathBuf::from(variable("BINDERY_LOCAL_DIR"));
    std::fs::write(stack.join("calls.json"), serde_json::to_string(calls).unwrap()).unwrap();
    let installed = said(Command::new(root.join("tests/npm/install")).arg("iam")).await;
    let script = Path::new(installed.trim()).join("simulate.mjs");
    said(Command::new("node").arg(script).arg(stack).arg(root.join("infra/README.md"))).await;
}
