//! Checks rules for all environments, queues, functions and roles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{CHECKS_TOKENS, FunctionResource, Template, list, named};

use crate::calls::{APPLICATION, DEPLOYMENT_GROUPS, VERSIONS};
use crate::file;

/// Actions that a role allows on more than one of our resources, and the reason for each.
const ON_SEVERAL: [(&str, &str, &str); 8] = [
    ("cloudwatch:DescribeAlarms", "*", "CloudWatch supports no narrower resource for it"),
    ("lambda:GetAlias", ALL_FUNCTIONS, "CodeDeploy shifts the aliases of all functions"),
    ("lambda:GetProvisionedConcurrencyConfig", ALL_FUNCTIONS, "CodeDeploy calls it before it shifts an alias"),
    ("lambda:UpdateAlias", ALL_FUNCTIONS, "CodeDeploy shifts the aliases of all functions"),
    ("lambda:InvokeFunction", VERSIONS, "the hook invokes the new version of any function"),
    ("codedeploy:GetApplicationRevision", APPLICATION, "CloudFormation names SAM's application"),
    ("codedeploy:GetDeployment", DEPLOYMENT_GROUPS, "the hook serves the deployments of all functions"),
    ("codedeploy:PutLifecycleEventHookExecutionStatus", "*", "CodeDeploy supports no narrower resource for it"),
];
const ALL_FUNCTIONS: &str =
    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*";

/// Parameters that operators change temporarily. A deployment keeps the last value of each parameter that it does not
/// set, so each environment sets these.
const SWITCHED: [(&str, &str); 3] = [("DeployAnyway", "false"), ("Paused", "false"), ("RestoredTable", "")];

#[test]
fn every_environment_has_valid_parameters() {
    let template = Template::read();
    let parameters = template.section("Parameters").as_object().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let config: toml::Table = toml::from_str(&file("samconfig.toml")).unwrap();
    let environments: BTreeMap<&str, &toml::Value> = config
        .iter()
        .filter_map(|(name, environment)| Some((name.as_str(), environment.get("deploy")?.get("parameters")?)))
        .collect();
    assert_eq!(
        environments.keys().copied().collect::<Vec<_>>(),
        ["dev", "local", "prod"],
        "environments in samconfig.toml"
    );
    for (name, deployed) in environments {
        let strings =
            |key: &str| deployed[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>();
        let set: BTreeMap<&str, &str> = strings("parameter_overrides")
            .into_iter()
            .map(|value| value.split_once('=').map(|(name, value)| (name, value.trim_matches('"'))).unwrap())
            .collect();
        for (parameter, value) in &set {
            let known = parameters
                .get(*parameter)
                .unwrap_or_else(|| panic!("{name} sets {parameter}, which template.yaml does not have"));
            let allowed: Vec<String> = list(&known["AllowedValues"]).iter().map(text).collect();
            assert!(
                allowed.is_empty() || allowed.contains(&(*value).to_owned()),
                "{name}: template.yaml does not allow {parameter}={value}"
            );
        }
        for (parameter, off) in SWITCHED {
            assert_eq!(
                (set.get(parameter), text(&parameters[parameter]["Default"])),
                (Some(&off), off.to_owned()),
                "{name} must set {parameter} to its default"
            );
        }
        let number = |name: &str| set.get(name).map_or_else(|| text(&parameters[name]["Default"]), ToString::to_string);
        let number = |name: &str| number(name).parse::<u64>().unwrap();
        assert!(
            number("VisibilityTimeout") >= 6 * number("FunctionTimeout"),
            "{name}: the visibility timeout must be at least six times the functions' timeout"
        );
        assert!(number("MaxReceives") >= 5 && number("BulkMaxReceives") >= 5, "{name}: at least five receives");
        assert_eq!(set["Stage"], name);
        assert_eq!(strings("tags"), ["application=bindery".to_owned(), format!("stage={name}")]);
    }
}

/// Checks that the resource is retained when the stack is deleted, except after a failed creation.
fn assert_kept(id: &str, resource: &Value) {
    let policies = (&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]);
    assert_eq!(
        policies,
        (&"RetainExceptOnCreate".into(), &"Retain".into()),
        "set DeletionPolicy and UpdateReplacePolicy of {id}"
    );
}

/// The queue of parked messages, the only one without any alarm except the queue of events for a consumer.
pub const PARKED: &str = "ParkedQueue";

#[test]
fn no_queue_loses_or_exposes_messages() {
    let template = Template::read();
    let queues = template.resources("AWS::SQS::Queue");
    let rules = template.resources("AWS::Events::Rule");
    let targets: Vec<Value> = rules.values().flat_map(|rule| list(&rule["Properties"]["Targets"])).collect();
    // A queue is a worker's with a dead-letter queue, or is a dead-letter queue, or holds events for consumers, or
    // parked messages.
    let targeted: BTreeSet<String> = targets.iter().map(|target| named(&target["Arn"])).collect();
    assert_eq!(targeted, ["ApiDestination", "EventsQueue", "WebhookQueue"].map(ToOwned::to_owned).into());
    let without_worker: BTreeSet<String> = ["EventsQueue", PARKED].map(ToOwned::to_owned).into();
    let dead_letters: BTreeSet<String> = queues
        .values()
        .filter_map(|queue| queue["Properties"].get("RedrivePolicy"))
        .map(|redrive| named(&redrive["deadLetterTargetArn"]))
        .chain(targets.iter().map(|target| named(&target["DeadLetterConfig"]["Arn"])))
        .collect();
    let retention = |queue: &Value| queue["MessageRetentionPeriod"].as_u64().unwrap();
    for (id, queue) in &queues {
        assert_kept(id, queue);
        let queue = &queue["Properties"];
        assert_eq!(queue["SqsManagedSseEnabled"]["Fn::If"][2], true, "{id}");
        assert_eq!(named(&queue["KmsMasterKeyId"]["Fn::If"][1]), "KmsKeyArn", "{id}");
        let redrive = queue.get("RedrivePolicy");
        assert_eq!(
            redrive.is_none(),
            dead_letters.contains(id) || without_worker.contains(id),
            "give {id} a dead-letter queue"
        );
        let Some(redrive) = redrive else { continue };
        let dead_letters = &queues[&named(&redrive["deadLetterTargetArn"])]["Properties"];
        assert_eq!(retention(dead_letters), 14 * 24 * 3600, "the dead letters of {id} must be retained for 14 days");
        assert!(
            retention(dead_letters) > retention(queue),
            "{id} must retain messages for less time than its dead letters"
        );
        assert_eq!(dead_letters["RedriveAllowPolicy"]["redrivePermission"], "byQueue", "{id}");
        let source = named(&dead_letters["RedriveAllowPolicy"]["sourceQueueArns"][0]);
        let name = named(&queue["QueueName"]);
        assert!(source.ends_with(&format!(":{name}")), "{id}: {source} is not {name}");
        assert_eq!(named(&dead_letters["QueueName"]), format!("{name}-dead-letters"), "{id}");
    }
    // Parking a message must not shorten its life. No other queue may send its own dead letters there.
    let parked = &queues[PARKED]["Properties"];
    assert_eq!(retention(parked), 14 * 24 * 3600, "SQS's maximum, as of the dead letters");
    assert_eq!(parked["RedriveAllowPolicy"], json!({ "redrivePermission": "denyAll" }));
    let tls_only = queue_statements(&template).into_iter().filter(|(_, statement)| {
        statement["Effect"] == "Deny" && statement["Condition"]["Bool"]["aws:SecureTransport"] == "false"
    });
    let tls_only: BTreeSet<_> = tls_only.flat_map(|(queues, _)| queues).collect();
    assert_eq!(tls_only, queues.keys().cloned().collect(), "left: queues with TLS only; right: all queues");
}

/// Returns the statements of queue policies, with the queues that each policy applies to.
///
/// The statements have the resource `*`, because a policy applies only to its own queue anyway. SQS has refused a
/// statement that names several queues (<https://github.com/remind101/stacker_blueprints/issues/71>).
fn queue_statements(template: &Template) -> Vec<(BTreeSet<String>, Value)> {
    let mut statements = Vec::new();
    for (id, policy) in template.resources("AWS::SQS::QueuePolicy") {
        let queues: BTreeSet<String> = list(&policy["Properties"]["Queues"]).iter().map(named).collect();
        for statement in list(&policy["Properties"]["PolicyDocument"]["Statement"]) {
            assert_eq!(statement["Resource"], "*", "set the resource of each statement of {id} to *");
            statements.push((queues.clone(), statement));
        }
    }
    statements
}

#[test]
fn every_worker_and_its_queue_agree() {
    let template = Template::read();
    let queues = template.resources("AWS::SQS::Queue");
    assert_eq!(named(&template.section("Globals")["Function"]["Timeout"]), "FunctionTimeout");
    let mut sources = BTreeSet::new();
    for function in template.functions() {
        // No function may override the timeout that every_environment_has_valid_parameters compares with the queues'.
        assert_eq!(function.properties.get("Timeout"), None, "remove the timeout of {}", function.name);
        let Some(mapping) = function.properties["Events"].get("Queue") else { continue };
        let source = named(&mapping["Properties"]["Queue"]);
        let queue =
            queues.get(&source).unwrap_or_else(|| panic!("{}: template.yaml has no queue {source}", function.name));
        let (queue, set) = (&queue["Properties"], template.environment(&function));
        let set = |suffix: &str| {
            let found = set.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, value)| value.clone());
            found.unwrap_or_else(|| panic!("give {} a variable that ends in {suffix}", function.name))
        };
        assert_eq!(named(&queue["VisibilityTimeout"]), "VisibilityTimeout", "{source}");
        assert_eq!(named(&queue["RedrivePolicy"]["maxReceiveCount"]), set("MAX_RECEIVES"), "{source}");
        assert_eq!(named(&queue["RedrivePolicy"]["deadLetterTargetArn"]), set("_DLQ_URL"), "{source}");
        let mapping = &mapping["Properties"];
        assert_eq!(mapping["FunctionResponseTypes"][0], "ReportBatchItemFailures", "{source}");
        assert_eq!(mapping["Enabled"]["Fn::If"], json!(["IsPaused", false, true]), "{source}: the kill switch");
        assert!(named(&mapping["ScalingConfig"]["MaximumConcurrency"]).ends_with("WorkerConcurrency"), "{source}");
        sources.insert(source);
    }
    let with_dead_letters = queues.iter().filter(|(_, queue)| queue["Properties"].get("RedrivePolicy").is_some());
    let with_dead_letters: BTreeSet<String> = with_dead_letters.map(|(id, _)| id.clone()).collect();
    assert_eq!(sources, with_dead_letters, "left: queues with a worker; right: queues with a dead-letter queue");
}

/// The tool `bindery`, the local stack and the tests find queues by the outputs with these names.
#[test]
fn every_queue_is_among_the_outputs() {
    let template = Template::read();
    let outputs = template.section("Outputs").as_object().unwrap();
    let with_urls: BTreeMap<String, Value> = outputs
        .iter()
        .filter(|(name, _)| name.ends_with("QueueUrl") || name.ends_with("DlqUrl"))
        .map(|(name, output)| (name.clone(), json!([output["Value"]["Ref"], output.get("Condition")])))
        .collect();
    let queues = template.resources("AWS::SQS::Queue");
    let wanted = queues.iter().map(|(id, queue)| {
        let name = id.strip_suffix("DeadLetterQueue").map(|name| format!("{name}DlqUrl"));
        (name.unwrap_or_else(|| format!("{id}Url")), json!([id, queue.get("Condition")]))
    });
    assert_eq!(with_urls, wanted.collect(), "left: outputs of queue URLs; right: the template's queues");
}

/// Lambda stops a chain of invocations of one function after 16, unless its `RecursiveLoop` allows more
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>).
#[test]
fn only_workers_that_send_to_their_own_queue_are_recursive() {
    let template = Template::read();
    let mut recursive = BTreeSet::new();
    for FunctionResource { name, properties, .. } in template.functions() {
        let source = properties["Events"].get("Queue").map(|mapping| named(&mapping["Properties"]["Queue"]));
        let sends_to = |queue: &str| {
            let mut statements = template.statements(&named(&properties["Role"])).into_iter();
            statements.any(|one| one.actions.contains("sqs:SendMessage") && one.resources.contains(queue))
        };
        let is_recursive = source.is_some_and(|queue| sends_to(&queue));
        assert_eq!(
            properties.get("RecursiveLoop"),
            is_recursive.then_some(&json!("Allow")),
            "set or remove RecursiveLoop of {name}"
        );
        recursive.extend(is_recursive.then_some(name));
    }
    assert_eq!(recursive, ["cancel-bulk-worker", "start-bulk-worker"].map(ToOwned::to_owned).into());
}

#[test]
fn every_function_has_its_own_role_and_log_group() {
    let template = Template::read();
    let functions = template.functions();
    let distinct =
        |property: fn(&FunctionResource) -> String| functions.iter().map(property).collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(|function| named(&function.properties["Role"])), functions.len(), "functions share a role");
    assert_eq!(
        distinct(|function| named(&function.properties["LoggingConfig"]["LogGroup"])),
        functions.len(),
        "functions share a log group"
    );
    let groups = template.resources("AWS::Logs::LogGroup");
    for FunctionResource { name, logical_id, properties } in &functions {
        assert_eq!(named(&properties["FunctionName"]), format!("${{AWS::StackName}}-{name}"));
        let group = groups.get(&named(&properties["LoggingConfig"]["LogGroup"]));
        let group =
            &group.unwrap_or_else(|| panic!("give {name} a log group: list it in template.yaml's loop"))["Properties"];
        assert_eq!(named(&group["LogGroupName"]), format!("/aws/lambda/${{AWS::StackName}}-{name}"));
        assert_eq!(named(&group["RetentionInDays"]), "LogRetentionDays");
        // SAM's or AWS's policies would allow more than the function needs.
        assert_eq!(properties.get("Policies"), None, "{logical_id}");
    }
    let all = &template.section("Globals")["Function"];
    let kind = &all["DeploymentPreference"]["Type"]["Fn::If"];
    assert_eq!((&kind[0], &kind[1]), (&"IsProduction".into(), &"Canary10Percent5Minutes".into()));
}

#[test]
fn roles_have_only_the_listed_wildcards() {
    let template = Template::read();
    let mut several = BTreeSet::new();
    for (id, role) in template.resources("AWS::IAM::Role") {
        assert_eq!(role["Properties"].get("ManagedPolicyArns"), None, "{id}");
        // options.rs checks this one.
        if id == "BackupRole" {
            continue;
        }
        for statement in template.statements(&id) {
            assert!(!statement.actions.iter().any(|action| action.contains('*')), "{id}: {statement:?}");
            for resource in statement.resources.iter().filter(|resource| resource.contains(['*', '?'])) {
                several.extend(statement.actions.iter().map(|action| (action.clone(), resource.clone())));
            }
        }
    }
    let known = ON_SEVERAL.iter().map(|(action, resource, _)| ((*action).to_owned(), (*resource).to_owned()));
    assert_eq!(several, known.collect(), "left: wildcards in roles; right: ON_SEVERAL, which has the reason for each");
    let mut fed = BTreeMap::new();
    for (queues, statement) in queue_statements(&template) {
        if statement["Effect"] == "Deny" {
            continue;
        }
        assert_eq!(statement["Principal"], json!({ "Service": "events.amazonaws.com" }));
        assert_eq!(statement["Action"], "sqs:SendMessage");
        let rule = named(&statement["Condition"]["ArnEquals"]["aws:SourceArn"]);
        assert!(fed.insert(rule, queues).is_none(), "{statement}");
    }
    // Each rule may send events only to its own queues.
    let of_rule = |(id, rule): (String, Value)| {
        let target = &rule["Properties"]["Targets"][0];
        let arns = [named(&target["Arn"]), named(&target["DeadLetterConfig"]["Arn"])];
        (id, arns.into_iter().filter(|arn| arn.ends_with("Queue")).collect())
    };
    assert_eq!(fed, template.resources("AWS::Events::Rule").into_iter().map(of_rule).collect());
}

#[test]
fn data_is_retained_and_every_rule_has_a_dead_letter_queue() {
    let template = Template::read();
    let kinds = [
        "AWS::Backup::BackupVault",
        "AWS::DynamoDB::Table",
        "AWS::Events::Archive",
        "AWS::Events::EventBus",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    ];
    for kind in kinds {
        template.resources(kind).iter().for_each(|(id, resource)| assert_kept(id, resource));
    }
    let table = &template.resources("AWS::DynamoDB::Table")["Table"]["Properties"];
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(named(&table["DeletionProtectionEnabled"]), "DeletionProtection");
    let rules = template.resources("AWS::Events::Rule");
    assert!(!rules.is_empty());
    for target in rules.values().flat_map(|rule| list(&rule["Properties"]["Targets"])) {
        assert!(named(&target["DeadLetterConfig"]["Arn"]).ends_with("DeadLetterQueue"), "{target}");
        assert!(target["RetryPolicy"]["MaximumRetryAttempts"].as_u64() > Some(0), "{target}");
    }
}

/// Types of resources that store data, and the property that names the KMS key of each.
const KEPT: [(&str, &str); 8] = [
    ("AWS::Backup::BackupVault", "/EncryptionKeyArn"),
    ("AWS::CloudTrail::Trail", "/KMSKeyId"),
    ("AWS::DynamoDB::Table", "/SSESpecification/KMSMasterKeyId"),
    ("AWS::Events::Archive", "/KmsKeyIdentifier"),
    ("AWS::Events::EventBus", "/KmsKeyIdentifier"),
    ("AWS::Logs::LogGroup", "/KmsKeyId"),
    ("AWS::SQS::Queue", "/KmsMasterKeyId"),
    ("AWS::SecretsManager::Secret", "/KmsKeyId"),
];

#[test]
fn a_customer_managed_key_encrypts_all_stored_data() {
    let template = Template::read();
    let own = json!({ "Fn::If": ["HasKey", { "Ref": "KmsKeyArn" }, { "Ref": "AWS::NoValue" }] });
    for (kind, place) in KEPT {
        let resources = template.resources(kind);
        assert!(!resources.is_empty(), "{kind}");
        for (id, resource) in resources {
            assert_eq!(resource["Properties"].pointer(place), Some(&own), "{id}");
        }
    }
    assert_eq!(template.section("Globals")["Function"]["KmsKeyArn"], own);
}

#[test]
fn code_signing_applies_to_every_function() {
    let template = Template::read();
    let parameter = &template.section("Parameters")["CodeSigningConfigArn"];
    let signed = json!({ "Fn::If": ["IsSigned", { "Ref": "CodeSigningConfigArn" }, { "Ref": "AWS::NoValue" }] });
    let is_named = json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": "CodeSigningConfigArn" }, ""] }] });
    assert_eq!(parameter["Default"], "");
    assert_eq!(template.section("Conditions")["IsSigned"], is_named);
    assert_eq!(template.section("Globals")["Function"]["CodeSigningConfigArn"], signed);
    // A function's own setting would override that of `Globals`.
    for (id, function) in template.resources("AWS::Serverless::Function") {
        assert_eq!(function["Properties"].get("CodeSigningConfigArn"), None, "{id}");
    }
    assert_eq!(template.resources("AWS::Lambda::Function"), BTreeMap::new());
}

/// Optional parts of a deployment: the prefix of their resources' names, and their condition.
const OPTIONAL: [(&str, &str); 5] = [
    ("ApiDestination", "HasApiDestination"),
    ("Event", "HasEventsQueue"),
    ("Webhook", "HasWebhook"),
    ("Canary", "HasCanary"),
    ("PreTraffic", "IsProduction"),
];

#[test]
fn optional_parts_are_created_only_on_request() {
    let template = Template::read();
    let unconditional = ["EventBus", "EventArchive"];
    for section in ["Resources", "Outputs"] {
        for (id, one) in template.section(section).as_object().unwrap() {
            let part = OPTIONAL.iter().find(|(name, _)| id.starts_with(name));
            let condition = part.filter(|_| !unconditional.iter().any(|name| id.starts_with(name)));
            // options.rs checks the other conditions.
            let of_parts = |given: &&Value| OPTIONAL.iter().any(|(_, condition)| *given == condition);
            let given = one.get("Condition").filter(of_parts);
            assert_eq!(given, condition.map(|(_, condition)| json!(condition)).as_ref(), "{id}");
        }
    }
    let off = [
        ("ApiDestinationUrl", ""),
        ("WithEventsQueue", "false"),
        ("WithWebhook", "false"),
        ("WithCanary", "false"),
        ("Stage", "dev"),
    ];
    for ((parameter, off), (_, condition)) in off.into_iter().zip(OPTIONAL) {
        assert_eq!(template.section("Parameters")[parameter]["Default"], off);
        assert!(template.section("Conditions")[condition].to_string().contains(&format!(r#"{{"Ref":"{parameter}"}}"#)));
    }
    assert_eq!(template.section("Parameters")["ApiDestinationUrl"]["AllowedPattern"], "(https://[!-~]+)?");
    // SAM applies a function's condition to the resources that it generates, but to the CodeDeploy deployment group
    // only with this setting.
    let preference = &template.resources("AWS::Serverless::Function")["WebhookWorkerFunction"]["Properties"];
    assert_eq!(preference["DeploymentPreference"]["PassthroughCondition"], true);
}

#[test]
fn the_api_destination_gets_the_event_and_its_key_from_a_secret() {
    let template = Template::read();
    let target = &template.resources("AWS::Events::Rule")["ApiDestinationRule"]["Properties"]["Targets"][0];
    assert_eq!(target["InputPath"], "$.detail");
    assert_eq!(named(&target["RoleArn"]), "ApiDestinationRole");
    let statements = template.statements("ApiDestinationRole");
    let [only] = statements.as_slice() else { panic!("{statements:?}") };
    assert_eq!(only.actions, ["events:InvokeApiDestination".to_owned()].into());
    assert_eq!(only.resources, ["ApiDestination".to_owned()].into());
    let connection = &template.resources("AWS::Events::Connection")["ApiDestinationConnection"]["Properties"];
    let key = &connection["AuthParameters"]["ApiKeyAuthParameters"]["ApiKeyValue"];
    assert_eq!(named(key), "{{resolve:secretsmanager:${ApiDestinationSecret}}}");
    let destination = &template.resources("AWS::Events::ApiDestination")["ApiDestination"]["Properties"];
    assert_eq!(named(&destination["ConnectionArn"]), "ApiDestinationConnection");
}

/// API Gateway checks tokens before every function except one, which checks them itself with the same settings.
///
/// Each route names the authorizer. With a default authorizer, SAM would give the other route the security scheme
/// `NONE`, which the API's document does not define. It is not known whether API Gateway imports that without a
/// warning. With a warning, it would not import the document (`FailOnWarnings`).
#[test]
fn every_route_but_one_has_the_authorizer() {
    let template = Template::read();
    let auth = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"]["Auth"];
    assert_eq!((&auth["DefaultAuthorizer"], auth["Authorizers"].as_object().unwrap().len()), (&Value::Null, 1));
    let jwt = &auth["Authorizers"]["Jwt"]["JwtConfiguration"];
    assert_eq!((named(&jwt["issuer"]), named(&jwt["audience"][0])), ("JwtIssuer".to_owned(), "JwtAudience".to_owned()));
    for function in template.functions() {
        let events = function.properties["Events"].as_object().into_iter().flat_map(|events| events.values());
        for event in events.filter(|event| event["Type"] == "HttpApi") {
            let own = event["Properties"].get("Auth");
            let checks = function.name == CHECKS_TOKENS;
            assert_eq!(own, (!checks).then_some(&json!({ "Authorizer": "Jwt" })), "{}", function.name);
            if checks {
                let set = template.environment(&function);
                assert_eq!((&*set["AUTH_ISSUER"], &*set["AUTH_AUDIENCE"]), ("JwtIssuer", "JwtAudience"));
            }
        }
    }
}

#[test]
fn every_route_has_limits_and_no_token_is_logged() {
    let template = Template::read();
    let api = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"];
    let functions = template.functions();
    let events = functions.iter().filter_map(|function| function.properties["Events"].as_object());
    let events = events.flat_map(|events| events.values());
    let routes: BTreeSet<String> = events
        .filter(|event| event["Type"] == "HttpApi")
        .map(|event| format!("{} {}", named(&event["Properties"]["Method"]), named(&event["Properties"]["Path"])))
        .collect();
    let settings = api["RouteSettings"].as_object().unwrap();
    let limited: BTreeSet<String> = settings.keys().cloned().collect();
    assert_eq!(limited, routes, "left: routes in RouteSettings; right: all routes");
    for (route, settings) in settings {
        // A rate may be below one a second, but a burst is an integer (CloudFormation, `RouteSettings`).
        let (rate, burst) = (&settings["ThrottlingRateLimit"], &settings["ThrottlingBurstLimit"]);
        assert!(rate.as_f64() > Some(0.0) && burst.as_u64() > Some(0), "give {route} valid limits");
        assert_eq!(settings["DetailedMetricsEnabled"], true, "{route}");
    }
    let logs = &template.resources("AWS::Logs::LogGroup")["ApiLogs"]["Properties"]["LogGroupName"];
    assert!(
        named(logs).starts_with("/aws/vendedlogs/"),
        "{logs} must have this prefix: the account's resource policy for other log groups may be full"
    );
    let format: BTreeMap<String, String> =
        serde_json::from_str(api["AccessLogSettings"]["Format"].as_str().unwrap()).unwrap();
    for (name, value) in format {
        assert!(value.starts_with("$context."), "{name}");
        assert!(!["path", "header"].iter().any(|word| value.contains(word)), "{name}: {value}");
        // From the authorizer, only the tenant and the error may be logged. The subject may be an account or an
        // address.
        let of_token = value.strip_prefix("$context.authorizer.");
        assert!(of_token.is_none_or(|what| ["claims.tenant_id", "error"].contains(&what)), "{name}: {value}");
    }
}

/// The functions whose new versions get all of the traffic at once, and the reason.
const NOT_SHIFTED: [(&str, &str); 2] =
    [("canary", "with one invocation a minute, a tenth is nothing"), ("pre-traffic", "it has no traffic")];

/// `CodeDeploy` invokes the hook with `DeploymentRole`, by its name. `DeployAnyway` is the way past a hook that fails.
#[test]
fn each_shifted_version_is_invoked_before_it_gets_traffic() {
    let template = Template::read();
    let hooks = &template.section("Globals")["Function"]["DeploymentPreference"]["Hooks"];
    let none = json!({ "Ref": "AWS::NoValue" });
    let unless_anyway = json!({ "Fn::If": ["DeploysAnyway", none, { "Ref": "PreTrafficFunction" }] });
    assert_eq!(hooks, &json!({ "PreTraffic": { "Fn::If": ["IsProduction", unless_anyway, none] } }));
    let mut off = BTreeSet::new();
    for FunctionResource { name, properties, .. } in template.functions() {
        let own = &properties["DeploymentPreference"];
        assert_eq!(own.get("Hooks"), None, "{name} must have the hook of Globals");
        off.extend((own["Enabled"] == false).then_some(name));
    }
    assert_eq!(off, NOT_SHIFTED.map(|(name, _)| name.to_owned()).into());
    let hook = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-pre-traffic";
    let statements = template.statements("DeploymentRole");
    let invoking: Vec<_> = statements.iter().filter(|one| one.actions.contains("lambda:InvokeFunction")).collect();
    let [only] = invoking.as_slice() else { panic!("{invoking:?}") };
    assert_eq!((only.actions.len(), &only.resources), (1, &[hook.to_owned()].into()));
}

#[test]
fn the_canary_is_invoked_each_minute_and_never_again() {
    let template = Template::read();
    let canary = &template.resources("AWS::Serverless::Function")["CanaryFunction"]["Properties"];
    let once = json!({ "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60 });
    let events = canary["Events"].as_object().unwrap();
    let [schedule] = events.values().collect::<Vec<_>>()[..] else { panic!("{events:?}") };
    assert_eq!(
        (&schedule["Type"], &schedule["Properties"]["Schedule"]),
        (&json!("Schedule"), &json!("rate(1 minute)"))
    );
    assert_eq!((&schedule["Properties"]["RetryPolicy"], &canary["EventInvokeConfig"]), (&once, &once));
    assert_eq!(template.section("Outputs")["ApiUrl"]["Value"], canary["Environment"]["Variables"]["API_ENDPOINT"]);
}
