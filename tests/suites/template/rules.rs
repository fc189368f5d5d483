//! Checks rules for all environments, queues, functions and roles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{FunctionResource, Template, list, named};

use crate::calls::{APPLICATION, DEPLOYMENT_GROUPS, VERSIONS};
use crate::file;
use crate::queues::{assert_kept, queue_statements};

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
    // Each rule may send events only to its own queues. A rule without a target sends none.
    let of_rule = |(id, rule): (String, Value)| {
        let target = &rule["Properties"]["Targets"][0];
        let arns = [named(&target["Arn"]), named(&target["DeadLetterConfig"]["Arn"])];
        (id, arns.into_iter().filter(|arn| arn.ends_with("Queue")).collect())
    };
    let rules = template.resources("AWS::Events::Rule").into_iter();
    let sending = rules.filter(|(_, rule)| rule["Properties"].get("Targets").is_some());
    assert_eq!(fed, sending.map(of_rule).collect());
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
    let targets = rules.values().flat_map(|rule| list(&rule["Properties"]["Targets"]));
    assert!(targets.clone().count() > 0);
    for target in targets {
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
