//! Checks rules for queues, their workers and their dead-letter queues.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{FunctionResource, Template, list, named};

use crate::alarms::TASKS;

/// Checks that the resource is retained when the stack is deleted, except after a failed creation.
pub fn assert_kept(id: &str, resource: &Value) {
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
pub fn queue_statements(template: &Template) -> Vec<(BTreeSet<String>, Value)> {
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
        // Tasks have no queue.
        let has_own = function.properties.get("Timeout").is_some() && !TASKS.contains(&function.name.as_str());
        assert!(!has_own, "remove the timeout of {}", function.name);
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
