//! Checks the policies for operators: each must allow exactly the calls of the commands that it is for.
//!
//! Every command runs once against a faked deployment, whose table and queues are real. The calls are recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::{ORG, batch};
use tests::proxy::{self, Call, Moment, Step};
use tests::requests;
use tests::template::{list, named, named_kind};
use tests::test_env::TestEnv;
use tests::{operator, variable};

use crate::calls::{IamCall, parts_of, simulate};
use crate::deployed::Deployed;
use crate::file;
use crate::options::all_on;
use crate::queues::PARKED;

/// The commands of the operator's tool, each with its arguments and the policies that allow it. `OPERATION` is replaced
/// by an operation's ID.
const COMMANDS: [(&str, &[&str], Policies); 19] = [
    ("queues", &["queues"], LOOK),
    ("workers", &["workers"], LOOK),
    ("workers stop", &["workers", "stop"], REDRIVE),
    ("workers start", &["workers", "start"], REDRIVE),
    ("api", &["api"], LOOK),
    ("api close", &["api", "close"], REDRIVE),
    ("api open", &["api", "open"], REDRIVE),
    ("dead-letters", &["dead-letters", "bind-card"], LOOK),
    ("dead-letters park", &["dead-letters", "park", "bind-card", "--all", "--reason", "strange"], REDRIVE),
    ("dead-letters parked", &["dead-letters", "parked"], LOOK),
    ("dead-letters unpark", &["dead-letters", "unpark", "bind-card", "--all"], REDRIVE),
    ("redrive", &["redrive", "bind-card", "--all"], REDRIVE),
    ("replay", &["replay", "--from", "2026-11-22T03:00:00Z", "--to", "2026-11-22T04:00:00Z"], REDRIVE),
    ("operation", &["operation", "OPERATION", "--tenant", ORG], LOOK),
    ("resume", &["resume", "OPERATION", "--tenant", ORG], REDRIVE),
    ("tenants denied", &["tenants", "denied"], LOOK),
    ("tenants deny", &["tenants", "deny", ORG, "--reason", "stolen token"], REDRIVE),
    ("tenants allow", &["tenants", "allow", ORG], REDRIVE),
    ("pin", &["pin", "7", "--tenant", ORG], SET_PINS),
];
/// A command that reads every row of the table, and so is not for operators.
const FOR_WHO_RESTORES: &str = "check";

type Policies = &'static [&'static str];
const LOOK: Policies = &["LookPolicy"];
const REDRIVE: Policies = &["LookPolicy", "RedrivePolicy"];
const SET_PINS: Policies = &["SetPinsPolicy"];

/// Permissions for which no command is a reason.
const BY_HAND: [(&str, &str, &str); 8] = [
    ("LookPolicy", "cloudwatch:DescribeAlarms", "see the alarms"),
    ("LookPolicy", "cloudwatch:GetDashboard", "see the dashboard"),
    ("LookPolicy", "cloudwatch:GetMetricData", "see the dashboard's metrics"),
    ("LookPolicy", "cloudwatch:GetMetricStatistics", "see a metric with the AWS CLI"),
    ("LookPolicy", "cloudwatch:ListMetrics", "the dashboard's searches"),
    ("LookPolicy", "logs:FilterLogEvents", "`logged` of the runbook"),
    ("LookPolicy", "logs:GetQueryResults", "queries of the logs in the console"),
    ("LookPolicy", "logs:StartQuery", "the same"),
];
/// Services whose data a customer managed key encrypts, and that operators' calls read or write.
const WITH_KEY: [&str; 3] = ["dynamodb", "secretsmanager", "sqs"];

/// A call of a command, as IAM evaluates it: action, kind of resource, and kinds of rows.
type Recorded = Arc<Mutex<BTreeSet<IamCall>>>;

/// The state of the faked deployment's worker and endpoint.
#[derive(Debug, Clone, Copy)]
struct Switches {
    works: bool,
    is_open: bool,
}

const WORKER: &str = "arn:aws:lambda:eu-central-1:1:function:env-bind-card-worker:live";
const ENDPOINT: &str = "arn:aws:lambda:eu-central-1:1:function:env-bind-card:live";

/// Responds for `CloudFormation`, Lambda and `EventBridge`, whose resources the environment does not have.
fn faked(call: &Call<'_>, env: &[(&'static str, String)], switches: &mut Switches) -> Option<Value> {
    let body = String::from_utf8_lossy(call.body);
    if body.starts_with("Action=DescribeStacks") {
        let outputs = env.iter().map(|(name, value)| {
            format!("<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>")
        });
        return Some(Value::String(format!(
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>env</StackName>\
            <CreationTime>2026-11-22T03:04:05Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
            <Outputs>{}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
            outputs.collect::<String>()
        )));
    }
    if body.starts_with("Action=ListStackResources") {
        let resource = |id: &str, kind: &str| {
            format!(
                "<member><LogicalResourceId>{kind}</LogicalResourceId><PhysicalResourceId>{id}</PhysicalResourceId>\
                <ResourceType>AWS::Lambda::{kind}</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus>\
                <LastUpdatedTimestamp>2026-11-22T03:04:05Z</LastUpdatedTimestamp></member>"
            )
        };
        let all = [resource("mapping", "EventSourceMapping"), resource(ENDPOINT, "Alias")].concat();
        return Some(Value::String(format!(
            "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>{all}\
            </StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"
        )));
    }
    let source = json!({ "AWS:SourceArn": "arn:aws:execute-api:eu-central-1:1:api/*/PUT/wallet/*" });
    let policy = json!({ "Statement": [{ "Condition": { "ArnLike": source } }] });
    Some(match action(call)? {
        "lambda:GetEventSourceMapping" => mapping(*switches),
        "lambda:UpdateEventSourceMapping" => {
            switches.works = serde_json::from_str::<Value>(&body).unwrap()["Enabled"] == true;
            mapping(*switches)
        }
        "lambda:GetPolicy" => json!({ "Policy": policy.to_string() }),
        "lambda:GetFunctionConcurrency" if switches.is_open => json!({}),
        "lambda:GetFunctionConcurrency" => json!({ "ReservedConcurrentExecutions": 0 }),
        "lambda:PutFunctionConcurrency" | "lambda:DeleteFunctionConcurrency" => {
            switches.is_open = call.method == "DELETE";
            json!({})
        }
        "events:DescribeArchive" => {
            json!({ "ArchiveArn": "arn:aws:events:r:1:archive/a", "EventSourceArn": "arn:aws:events:r:1:event-bus/b" })
        }
        "events:StartReplay" => json!({ "ReplayArn": "arn:aws:events:r:1:replay/r", "State": "STARTING" }),
        "events:DescribeReplay" => json!({ "State": "COMPLETED" }),
        _ => return None,
    })
}

fn mapping(switches: Switches) -> Value {
    let state = if switches.works { "Enabled" } else { "Disabled" };
    let queue = "arn:aws:sqs:eu-central-1:1:env-bind-card";
    json!({ "UUID": "mapping", "State": state, "FunctionArn": WORKER, "EventSourceArn": queue })
}

/// Returns the IAM action of a call to `CloudFormation`, Lambda or `EventBridge`.
fn action(call: &Call<'_>) -> Option<&'static str> {
    let body = String::from_utf8_lossy(call.body);
    let (_, version_and_path) = call.path.split_once('/')?;
    let path = version_and_path.split_once('/').map_or("", |(_, path)| path);
    Some(match (call.method, call.target) {
        (_, "AWSEvents.DescribeArchive") => "events:DescribeArchive",
        (_, "AWSEvents.StartReplay") => "events:StartReplay",
        (_, "AWSEvents.DescribeReplay") => "events:DescribeReplay",
        (_, "") if body.starts_with("Action=DescribeStacks") => "cloudformation:DescribeStacks",
        (_, "") if body.starts_with("Action=ListStackResources") => "cloudformation:ListStackResources",
        ("GET", "") if path.starts_with("event-source-mappings/") => "lambda:GetEventSourceMapping",
        ("PUT", "") if path.starts_with("event-source-mappings/") => "lambda:UpdateEventSourceMapping",
        ("GET", "") if path.ends_with("/policy") => "lambda:GetPolicy",
        ("GET", "") if path.ends_with("/concurrency") => "lambda:GetFunctionConcurrency",
        ("PUT", "") if path.ends_with("/concurrency") => "lambda:PutFunctionConcurrency",
        ("DELETE", "") if path.ends_with("/concurrency") => "lambda:DeleteFunctionConcurrency",
        _ => return None,
    })
}

/// Returns the call's actions with the logical IDs of all resources of the kind. An operator may name any queue.
fn iam_calls(call: &Call<'_>, deployed: &Deployed, queue_url: &str) -> BTreeSet<IamCall> {
    let on = |action: &str, resources: &[&str]| -> BTreeSet<IamCall> {
        resources.iter().map(|resource| IamCall::new("", action, resource)).collect()
    };
    if let Some(action) = action(call) {
        return match action {
            "events:StartReplay" => on(action, &["EventArchive", "EventBus", REPLAYS]),
            "events:DescribeArchive" => on(action, &["EventArchive"]),
            "events:DescribeReplay" => on(action, &[REPLAYS]),
            _ if action.starts_with("cloudformation:") => on(action, &[STACK]),
            _ if action.ends_with("Mapping") => on(action, &[MAPPINGS]),
            _ => on(action, &[FUNCTIONS]),
        };
    }
    let body: Value = serde_json::from_slice(call.body).unwrap();
    match call.target.split_once('.').unwrap() {
        ("DynamoDB_20120810", name) => parts_of(name, &body, ""),
        ("AmazonSQS", name) => {
            // Parked messages are dead letters, too.
            let is_dead_letters = body["QueueUrl"] != queue_url;
            let queues = deployed.of_type("AWS::SQS::Queue").into_keys();
            let of_kind = queues.filter(|id| (id.ends_with("DeadLetterQueue") || *id == PARKED) == is_dead_letters);
            let action = format!("sqs:{}", name.trim_end_matches("Batch"));
            of_kind.map(|id| IamCall::new("", &action, id)).collect()
        }
        ("secretsmanager", name) => on(&format!("secretsmanager:{name}"), &["PinPepper"]),
        other => panic!("add the IAM action of {other:?} here"),
    }
}

const STACK: &str = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/${AWS::StackName}/*";
const FUNCTIONS: &str = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*";
const MAPPINGS: &str = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:event-source-mapping:*";
const REPLAYS: &str = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:replay/*";

/// Starts a cancel of named items whose worker has planned it, with a dead letter. Returns the operation.
async fn prepare(env: &TestEnv) -> String {
    let function = async |name: &str| Function::new(name, env.environment()).await;
    let create = requests::create_bulk(&["a", "b"]);
    let created = function("create-bulk").await.invoke(create.event()).await.response(201);
    let bulk = created["id"].as_str().unwrap();
    let cancel = requests::cancel_bulk(bulk, Some(&["a".to_owned()]));
    let accepted = function("cancel-bulk").await.invoke(cancel.event()).await.response(202);
    let plan = env.take_messages().await.remove(0);
    function("cancel-bulk-worker").await.invoke(batch(&[(plan, 1)])).await.acknowledged();
    env.take_messages().await;
    env.sqs.send_message().queue_url(&env.dlq_url).message_body("a dead letter").send().await.unwrap();
    accepted["operation_id"].as_str().unwrap().to_owned()
}

/// Runs every command, and returns its calls by command.
async fn recorded(deployed: Arc<Deployed>) -> BTreeMap<&'static str, BTreeSet<IamCall>> {
    let env = TestEnv::new().await;
    let operation = prepare(&env).await;
    let parked = env.sqs.create_queue().queue_name(format!("{}-parked", env.table)).send().await.unwrap();
    let outputs = vec![
        ("TableName", env.table.clone()),
        ("BindCardQueueUrl", env.queue_url.clone()),
        ("BindCardDlqUrl", env.dlq_url.clone()),
        ("ParkedQueueUrl", parked.queue_url().unwrap().to_owned()),
        ("CancelBulkQueueUrl", env.queue_url.clone()),
        ("CancelBulkDlqUrl", env.dlq_url.clone()),
        ("EventArchiveName", "archive".to_owned()),
        ("PinPepperSecret", variable("PIN_PEPPER_SECRET")),
    ];
    let (notes, queue_url) = (Recorded::default(), env.queue_url.clone());
    let mut switches = Switches { works: true, is_open: true };
    let recorder = Arc::clone(&notes);
    let address = proxy::start(move |call, moment| {
        if moment == Moment::After {
            return Step::Pass;
        }
        recorder.lock().unwrap().extend(iam_calls(call, &deployed, &queue_url));
        faked(call, &outputs, &mut switches).map_or(Step::Pass, |response| {
            let text = response.as_str().map_or_else(|| response.to_string(), ToOwned::to_owned);
            Step::Respond(200, text)
        })
    })
    .await;
    let mut calls = BTreeMap::new();
    for (command, arguments, _) in COMMANDS {
        let mut all = vec!["--yes", "--stack", "env"];
        all.extend(arguments.iter().map(|word| if *word == "OPERATION" { operation.as_str() } else { word }));
        let output = operator::output(&all, "7391\n", &[("AWS_ENDPOINT_URL", &address)]).await;
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        calls.insert(command, std::mem::take(&mut *notes.lock().unwrap()));
    }
    calls
}

/// Returns what the policy allows: action, resource, and kind of row or service.
fn allowed(deployed: &Deployed, policy: &str) -> BTreeSet<(String, String, String)> {
    let mut may = BTreeSet::new();
    for statement in list(&deployed.properties(policy)["PolicyDocument"]["Statement"]) {
        assert_eq!(statement["Effect"], "Allow", "{policy}");
        let (actions, condition) = (list(&statement["Action"]), &statement["Condition"]);
        let is_of = |service: &str| actions.iter().any(|action| named(action).starts_with(service));
        let rows = list(&condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
        let services = list(&condition["StringEquals"]["kms:ViaService"]);
        let mut limits: Vec<String> = rows.iter().map(named_kind).collect();
        limits.extend(services.iter().map(|service| named(service).split('.').next().unwrap().to_owned()));
        assert_eq!(is_of("dynamodb:"), !rows.is_empty(), "{policy}: limit calls on the table to kinds of rows");
        assert!(rows.is_empty() || condition["Null"]["dynamodb:LeadingKeys"] == "false", "{policy}: {statement}");
        assert_eq!(is_of("kms:"), !services.is_empty(), "{policy}: limit uses of the key to services");
        let of_functions = json!({ "ArnLike": { "lambda:FunctionArn": { "Fn::Sub": FUNCTIONS } } });
        let is_of_mappings = actions.iter().any(|action| named(action).ends_with("EventSourceMapping"));
        assert!(!is_of_mappings || *condition == of_functions, "{policy}: {statement}");
        if limits.is_empty() {
            limits.push(String::new());
        }
        for (action, resource) in pairs(&actions, &list(&statement["Resource"])) {
            let with = |limit: &String| (action.clone(), resource.clone(), limit.clone());
            assert!(limits.iter().map(with).all(|one| may.insert(one)), "{policy} allows {action} twice");
        }
    }
    may
}

fn pairs(actions: &[Value], resources: &[Value]) -> Vec<(String, String)> {
    actions.iter().flat_map(|action| resources.iter().map(move |on| (named(action), named(on)))).collect()
}

/// Returns these calls as the policy's, with the uses of a customer managed key that they cause.
fn calls_of(policy: &str, calls: &BTreeSet<IamCall>) -> BTreeSet<IamCall> {
    let mut services: BTreeSet<String> = calls.iter().map(IamCall::service).collect();
    services.retain(|service| WITH_KEY.contains(&service.as_str()));
    let sends = calls.iter().any(|call| call.is("sqs:SendMessage"));
    let mut actions = vec!["kms:Decrypt"];
    actions.extend(sends.then_some("kms:GenerateDataKey"));
    let uses = services.iter().flat_map(|service| {
        actions.iter().map(|action| IamCall::new("", action, "KmsKeyArn").through(service.clone()))
    });
    calls.iter().cloned().chain(uses).map(|call| call.of(policy)).collect()
}

#[tokio::test]
async fn each_policy_allows_exactly_the_calls_of_its_commands() {
    let deployed = Arc::new(all_on());
    let calls = recorded(Arc::clone(&deployed)).await;
    let (mut simulated, mut earlier) = (BTreeSet::new(), BTreeSet::new());
    for policy in ["LookPolicy", "RedrivePolicy", "SetPinsPolicy"] {
        let commands = COMMANDS.iter().filter(|(_, _, policies)| policies.last() == Some(&policy));
        let all = calls_of(policy, &commands.flat_map(|(command, ..)| calls[command].clone()).collect());
        let needs: BTreeSet<_> = all.iter().flat_map(IamCall::needs).collect();
        let mut may = allowed(&deployed, policy);
        for (_, action, _) in BY_HAND.iter().filter(|(of, ..)| *of == policy) {
            let before = may.len();
            may.retain(|(allowed, ..)| allowed != action);
            assert!(may.len() < before, "{policy} does not allow {action}");
        }
        // RedrivePolicy is for operators who also have LookPolicy.
        let others = if policy == "RedrivePolicy" { std::mem::take(&mut earlier) } else { BTreeSet::new() };
        let (lacks, exceeds) = (&(&needs - &may) - &others, &may - &needs);
        assert!(
            lacks.is_empty() && exceeds.is_empty(),
            "{policy} must also allow {lacks:?}, and must not allow {exceeds:?}"
        );
        simulated.extend(all.into_iter().filter(|call| call.needs().is_subset(&may)));
        earlier = may;
    }
    simulate("operators", &simulated).await;
}

#[tokio::test]
async fn the_readme_lists_the_policies_of_every_command() {
    let readme = file("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: BTreeMap<&str, &str> = rows.collect();
    for (command, _, policies) in COMMANDS {
        let row = rows.get(command).unwrap_or_else(|| panic!("infra/README.md has no row for {command}"));
        let listed = row.split(" | ").next().unwrap().replace('`', "");
        assert_eq!(listed.split(", ").collect::<Vec<_>>(), policies, "{command} in infra/README.md");
    }
    let help = operator::output(&["--help"], "", &[]).await;
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let words =
        listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()));
    let known: BTreeSet<&str> = COMMANDS.iter().map(|(command, ..)| command.split(' ').next().unwrap()).collect();
    let named: BTreeSet<&str> = words.filter(|word| ![FOR_WHO_RESTORES, "help"].contains(word)).collect();
    assert_eq!(named, known, "left: commands of the tool; right: COMMANDS");
}
