//! Checks least privilege: each role must allow exactly the calls that its function makes.
//!
//! The calls are recorded while every function does all of its work. An IAM simulator then evaluates the policies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tests::payloads::ORG;
use tests::proxy::Call;
use tests::template::{DENY_LIST, FunctionResource, Template, named};
use tests::variable;
use tokio::process::Command;

use crate::audit_env::AuditEnv;
use crate::output_of;

/// Actions that Lambda performs with a worker's role to receive the messages of its queue.
const OF_THE_MAPPING: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
/// Actions that Lambda performs with every function's role to write logs.
const OF_LOGS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// The versions and aliases of the stack's functions.
pub const VERSIONS: &str =
    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*:*";
/// The deployment groups of SAM's application, which `CloudFormation` names.
pub const DEPLOYMENT_GROUPS: &str = "arn:${AWS::Partition}:codedeploy:${AWS::Region}:${AWS::AccountId}:\
    deploymentgroup:${AWS::StackName}-ServerlessDeploymentApplication-*/*";
/// The `CodeDeploy` application that SAM creates for all functions.
pub const APPLICATION: &str = "arn:${AWS::Partition}:codedeploy:${AWS::Region}:${AWS::AccountId}:\
    application:${AWS::StackName}-ServerlessDeploymentApplication-*";

/// The test environment's two queues, each with the suffix of the variable that names the template's queue.
const TEST_QUEUES: [(&str, &str); 2] = [("queue", "_QUEUE_URL"), ("dead letters", "_DLQ_URL")];

/// A call, as IAM evaluates it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct IamCall {
    function: String,
    action: String,
    /// The logical ID of the resource, or the text that a statement has instead.
    resource: String,
    /// The partition keys of the call's rows.
    leading_keys: BTreeSet<String>,
    /// The service that uses the KMS key for the function.
    through: Option<String>,
}

/// An action, its resource, and at most one limit: the kind of rows, or the service that uses the KMS key.
type Access = BTreeSet<(String, String, String)>;

type Recorded = Arc<Mutex<BTreeSet<IamCall>>>;

impl IamCall {
    pub fn new(function: &str, action: &str, resource: &str) -> Self {
        let [function, action, resource] = [function, action, resource].map(ToOwned::to_owned);
        Self { function, action, resource, leading_keys: BTreeSet::new(), through: None }
    }

    /// Returns the call as one of this function, or policy.
    pub fn of(self, function: &str) -> Self {
        Self { function: function.to_owned(), ..self }
    }

    /// Returns the use of a KMS key through this service.
    pub fn through(self, service: String) -> Self {
        Self { through: Some(service), ..self }
    }

    /// Returns whether the call is this action.
    pub fn is(&self, action: &str) -> bool {
        self.action == action
    }

    /// Returns the call's service, such as `sqs`.
    pub fn service(&self) -> String {
        self.action.split(':').next().unwrap().to_owned()
    }

    /// Returns the access that the call needs.
    pub fn needs(&self) -> Access {
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

/// Returns the kind of a row in the form that statements use: `BULK#*`.
fn kind(key: &str) -> String {
    if key == DENY_LIST {
        return key.to_owned();
    }
    let of_org = key.strip_prefix(ORG).unwrap().strip_prefix('#').unwrap();
    of_org.split_once('#').map_or(of_org.to_owned(), |(kind, _)| format!("{kind}#*"))
}

#[tokio::test]
async fn each_role_allows_exactly_its_functions_calls() {
    let recorded = Recorded::default();
    let notes = Arc::clone(&recorded);
    AuditEnv::run_all(move |call| note(&notes, call)).await;

    let template = Template::read();
    let (mut recorded, mut calls) = (std::mem::take(&mut *recorded.lock().unwrap()), BTreeSet::new());
    for function in template.functions() {
        let (mine, others) = recorded.into_iter().partition(|done| done.function == function.name);
        recorded = others;
        let did = all_calls(&template, &function, mine);
        let needs: Access = did.iter().flat_map(IamCall::needs).collect();
        let may = allowed(&template, &named(&function.properties["Role"]));
        let (lacks, exceeds) = (&needs - &may, &may - &needs);
        assert!(
            lacks.is_empty() && exceeds.is_empty(),
            "the role of {} must also allow {lacks:?}, and must not allow {exceeds:?}",
            function.name
        );
        calls.extend(did);
    }
    assert!(recorded.is_empty(), "calls of functions that the template does not have: {recorded:?}");
    simulate("functions", &calls).await;
}

/// Returns the function's recorded calls, with the template's queues, and the calls that Lambda makes for it. The
/// emulator does not show the latter.
fn all_calls(template: &Template, function: &FunctionResource, recorded: BTreeSet<IamCall>) -> BTreeSet<IamCall> {
    let variables = template.environment(function);
    let queue = |suffix| variables.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, queue)| queue.clone());
    let on_its_queue = |done: IamCall| match TEST_QUEUES.iter().find(|(name, _)| *name == done.resource) {
        Some((_, suffix)) => IamCall {
            resource: queue(suffix).expect("a function that uses a queue must have a variable with its URL"),
            ..done
        },
        None => done,
    };
    let mut did: BTreeSet<IamCall> = recorded.into_iter().map(on_its_queue).collect();
    let mut add = |resource: &str, actions: &[&str]| {
        did.extend(actions.iter().map(|action| IamCall::new(&function.name, action, resource)));
    };
    add(&named(&function.properties["LoggingConfig"]["LogGroup"]), &OF_LOGS);
    if let Some(mapping) = function.properties["Events"].get("Queue") {
        add(&named(&mapping["Properties"]["Queue"]), &OF_THE_MAPPING);
    }
    let of_key = of_key(function, &did);
    did.extend(of_key);
    did
}

/// Returns the calls to KMS if a customer managed key is set. Lambda decrypts the variables, each service decrypts its
/// stored data, and sending a message generates a data key.
fn of_key(function: &FunctionResource, did: &BTreeSet<IamCall>) -> Vec<IamCall> {
    let with_key = ["dynamodb", "events", "secretsmanager", "sqs"];
    let mut services: BTreeSet<&str> = did.iter().map(|done| done.action.split(':').next().unwrap()).collect();
    services.retain(|service| with_key.contains(service));
    services.insert("lambda");
    let mut actions = vec!["kms:Decrypt"];
    actions.extend(did.iter().any(|done| done.action == "sqs:SendMessage").then_some("kms:GenerateDataKey"));
    let through = |service: &str, action: &&str| {
        let done = IamCall::new(&function.name, action, "KmsKeyArn");
        IamCall { through: Some(service.to_owned()), ..done }
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

/// Records a call in the form in which IAM evaluates it.
fn note(notes: &Recorded, call: &Call<'_>) {
    let body: Value = serde_json::from_slice(call.body).unwrap();
    let done = |action: &str, resource: &str| IamCall::new(call.caller, action, resource);
    let done: BTreeSet<IamCall> = match call.target.split_once('.').unwrap_or_default() {
        ("DynamoDB_20120810", name) => parts_of(name, &body, call.caller),
        ("AmazonSQS", "SendMessage" | "SendMessageBatch") => {
            let is_dead_letter = body["QueueUrl"].as_str().unwrap().ends_with("-dlq");
            [done("sqs:SendMessage", if is_dead_letter { "dead letters" } else { "queue" })].into()
        }
        ("AmazonSQS", "ChangeMessageVisibility") => [done("sqs:ChangeMessageVisibility", "queue")].into(),
        ("AWSEvents", "PutEvents") => [done("events:PutEvents", "EventBus")].into(),
        ("secretsmanager", "GetSecretValue") => {
            let secret = match call.caller {
                "canary" => "CanarySecret",
                _ if body["SecretId"] == variable("PIN_PEPPER_SECRET") => "PinPepper",
                _ => "WebhookSecret",
            };
            [done("secretsmanager:GetSecretValue", secret)].into()
        }
        ("CodeDeploy_20141006", name) => {
            let resource = match name {
                "GetApplicationRevision" => APPLICATION,
                "GetDeployment" => DEPLOYMENT_GROUPS,
                _ => "*",
            };
            [done(&format!("codedeploy:{name}"), resource)].into()
        }
        // Lambda's calls name no target.
        ("", "") => [done("lambda:InvokeFunction", VERSIONS)].into(),
        other => panic!("add the IAM action of {other:?} here"),
    };
    notes.lock().unwrap().extend(done);
}

/// Returns a caller's call on the table in the form in which IAM evaluates it.
pub fn parts_of(name: &str, body: &Value, caller: &str) -> BTreeSet<IamCall> {
    // It is not known for every call whether IAM evaluates its rows one by one. All rows together are stricter.
    let mut rows = BTreeMap::<String, BTreeSet<String>>::new();
    for (action, part) in parts(name, body) {
        rows.entry(action).or_default().extend(keys(&part));
    }
    let on_rows = |(action, leading_keys)| IamCall {
        leading_keys,
        ..IamCall::new(caller, &format!("dynamodb:{action}"), "Table")
    };
    rows.into_iter().map(on_rows).collect()
}

/// Returns the actions of a call on the table, each with its part of the request. A transaction and a batch of
/// statements need the actions of their parts.
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

/// Returns all partition keys in a request: the texts that begin with the organization, and the deny list's.
fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) if text == DENY_LIST || text.starts_with(&format!("{ORG}#")) => {
            BTreeSet::from([text.clone()])
        }
        Value::Array(all) => all.iter().flat_map(keys).collect(),
        Value::Object(members) => members.values().flat_map(keys).collect(),
        _ => BTreeSet::new(),
    }
}

/// Checks in an IAM simulator that these calls are allowed, and that many calls that no function makes are denied.
///
/// `whose` is `functions` or `operators`.
pub async fn simulate(whose: &str, calls: &BTreeSet<IamCall>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let stack = PathBuf::from(variable("BINDERY_LOCAL_DIR"));
    std::fs::write(stack.join(format!("{whose}-calls.json")), serde_json::to_string(calls).unwrap()).unwrap();
    let installed = output_of(Command::new(root.join("tests/npm/install")).arg("iam")).await;
    let script = Path::new(installed.trim()).join("simulate.mjs");
    output_of(Command::new("node").arg(script).arg(stack).arg(root.join("infra/README.md")).arg(whose)).await;
}
