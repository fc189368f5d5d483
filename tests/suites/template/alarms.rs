//! Checks the alarms, their actions and the dashboard.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{FunctionResource, Template, list, named};

use crate::file;
use crate::queues::PARKED;

/// A metric: its namespace, its name and its dimensions.
pub type Metric = (String, String, BTreeMap<String, String>);

/// Metrics in the dashboard's order, from business metrics to costs.
const SHOWN: [&str; 30] = [
    "Accepted",
    "Applied",
    "Refused",
    "AcceptanceToEvent",
    "ApproximateAgeOfOldestMessage",
    "RetriedAge",
    "ApproximateNumberOfMessagesVisible",
    "Retried",
    "DeadLettered",
    "Count",
    "5xx",
    "${AWS::StackName}-FrontDoorRefused",
    "${AWS::StackName}-FrontDoorThrottled",
    "${AWS::StackName}-FrontDoorAdmitted",
    "CanarySucceeded",
    "CanaryTime",
    "Errors",
    "Duration",
    "Throttles",
    "CallRetries",
    "ReadThrottleEvents",
    "WriteThrottleEvents",
    "SystemErrors",
    "ConsumedReadCapacityUnits",
    "ConsumedWriteCapacityUnits",
    "Invocations",
    "NumberOfMessagesSent",
    "NumberOfEmptyReceives",
    "PutEventsEntriesCount",
    "IncomingBytes",
];

/// Metrics of each queue that the dashboard shows: its delay, its length and its costs.
const SHOWN_OF_QUEUES: [&str; 6] = [
    "ApproximateAgeOfOldestMessage",
    "ApproximateNumberOfMessagesVisible",
    "NumberOfMessagesSent",
    "NumberOfMessagesReceived",
    "NumberOfMessagesDeleted",
    "NumberOfEmptyReceives",
];

/// The advice in messages about a queue without alarms.
const QUEUE_LOOP: &str = "list the queue in the loop Queues or BulkQueues of infra/template.yaml";
/// The advice in messages about a function without alarms.
const FUNCTION_LOOP: &str = "list the function in the loop Endpoints or Workers of infra/template.yaml";

/// Returns an alarm's metric, or the metrics of its expression.
fn watched(alarm: &Value) -> Vec<Metric> {
    let metric = |metric: &Value| {
        let dimensions = list(&metric["Dimensions"]).into_iter();
        let dimensions = dimensions.map(|one| (named(&one["Name"]), named(&one["Value"]))).collect();
        (named(&metric["Namespace"]), named(&metric["MetricName"]), dimensions)
    };
    alarm.get("Metrics").map_or_else(
        || vec![metric(alarm)],
        |metrics| list(metrics).iter().filter_map(|one| Some(metric(one.get("MetricStat")?.get("Metric")?))).collect(),
    )
}

pub fn metric(namespace: &str, name: &str, dimensions: &[(&str, String)]) -> Metric {
    let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    (namespace.to_owned(), name.to_owned(), dimensions)
}

/// Returns the logical IDs of the alarms on the metric.
pub fn watching(alarms: &BTreeMap<String, Value>, metric: &Metric) -> BTreeSet<String> {
    let watches = alarms.iter().filter(|(_, alarm)| watched(&alarm["Properties"]).contains(metric));
    watches.map(|(id, _)| id.clone()).collect()
}

#[test]
fn every_queue_is_watched() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    let queues = template.resources("AWS::SQS::Queue");
    for (id, queue) in &queues {
        let name = named(&queue["Properties"]["QueueName"]);
        let is_dead_letters = id.ends_with("DeadLetterQueue");
        let of_queue = |metric_name| watching(&alarms, &metric("AWS/SQS", metric_name, &[("QueueName", name.clone())]));
        // A queue of dead letters has an alarm on its length, and one on its growth. Parked messages have none: an
        // operator has put them there.
        let of_length = ["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"];
        let expected = if is_dead_letters { [2, 1] } else { [0, 0] };
        assert_eq!(of_length.map(|name| of_queue(name).len()), expected, "{id}: {QUEUE_LOOP}");
        let is_read = !is_dead_letters && id != PARKED;
        assert_eq!(of_queue("ApproximateAgeOfOldestMessage").len(), usize::from(is_read), "{id}: {QUEUE_LOOP}");
        // SQS's age leaves out messages that were received three times. Workers report the age of these.
        let has_worker = queue["Properties"].get("RedrivePolicy").is_some();
        let of_worker = [("Stack", "AWS::StackName".to_owned()), ("Function", format!("{name}-worker"))];
        let retries = watching(&alarms, &metric("Bindery", "RetriedAge", &of_worker));
        assert_eq!(retries.len(), usize::from(has_worker), "{id}: {QUEUE_LOOP}");
    }
    let parked = named(&queues[PARKED]["Properties"]["QueueName"]);
    let of_parked = |metric: &Metric| metric.2.get("QueueName") == Some(&parked);
    assert!(!alarms.values().any(|alarm| watched(&alarm["Properties"]).iter().any(of_parked)), "{PARKED} has an alarm");
    for (id, rule) in template.resources("AWS::Events::Rule") {
        // A rule without a target delivers nothing. Its alarm counts what it matches.
        if rule["Properties"].get("Targets").is_none() {
            let matched = metric("AWS/Events", "MatchedEvents", &[("RuleName", id.clone())]);
            assert_eq!(watching(&alarms, &matched).len(), 1, "give {id} an alarm on what it matches");
            continue;
        }
        let of_rule = [("EventBusName", "EventBus".to_owned()), ("RuleName", named(&rule["Properties"]["Name"]))];
        for lost in ["FailedInvocations", "InvocationsFailedToBeSentToDlq"] {
            assert_eq!(
                watching(&alarms, &metric("AWS/Events", lost, &of_rule)).len(),
                1,
                "give {id} one alarm on {lost}"
            );
        }
    }
}

/// The functions that have no alarms on errors, throttles and duration. The canary's own alarm covers them, and a
/// deployment reports the failures of its hook.
pub const TASKS: [&str; 2] = ["canary", "pre-traffic"];

/// No other alarm may fire without data: see `every_alarm_has_a_runbook_section_and_at_most_one_severity`.
const FIRES_WITHOUT_DATA: &str = "CanaryAlarm";

#[test]
fn three_minutes_of_five_without_a_success_of_the_canary_are_an_alarm() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    let of_us = [("Stack", "AWS::StackName".to_owned()), ("Function", "${AWS::StackName}-canary".to_owned())];
    let watching = watching(&alarms, &metric("Bindery", "CanarySucceeded", &of_us));
    assert_eq!(watching, [FIRES_WITHOUT_DATA.to_owned()].into());
    let alarm = &alarms[FIRES_WITHOUT_DATA]["Properties"];
    let window = ["Period", "EvaluationPeriods", "DatapointsToAlarm", "Threshold"].map(|name| alarm[name].as_u64());
    assert_eq!(window, [60, 5, 3, 1].map(Some));
    assert_eq!((&alarm["Statistic"], &alarm["ComparisonOperator"]), (&json!("Sum"), &json!("LessThanThreshold")));
    assert_eq!(alarms[FIRES_WITHOUT_DATA]["Condition"], "HasCanary");
}

#[test]
fn every_function_is_watched() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    for FunctionResource { name, logical_id, properties } in template.functions() {
        if TASKS.contains(&name.as_str()) {
            continue;
        }
        let full_name = format!("${{AWS::StackName}}-{name}");
        let of_lambda =
            |name: &str| watching(&alarms, &metric("AWS/Lambda", name, &[("FunctionName", full_name.clone())]));
        let errors = of_lambda("Errors");
        assert_eq!(
            (errors.len(), of_lambda("Duration").len(), of_lambda("Throttles").len()),
            (1, 1, 1),
            "{name}: {FUNCTION_LOOP}"
        );
        let is_worker = name.ends_with("-worker");
        assert_eq!(of_lambda("RecursiveInvocationsDropped").len(), usize::from(is_worker), "{name}: {FUNCTION_LOOP}");
        // Only workers with a plan can have stuck operations.
        let of_us = [("Stack", "AWS::StackName".to_owned()), ("Function", full_name.clone())];
        let stuck = watching(&alarms, &metric("Bindery", "StuckOperations", &of_us));
        let has_plan = properties.get("RecursiveLoop").is_some();
        assert_eq!(stuck.len(), usize::from(has_plan), "{name}: list the worker in the template's loop BulkQueues");
        // `Failed` counts 5xx responses and unfinished messages. The alarm that stops a deployment notifies no
        // operator. Workers have a second alarm that does, because no client would report their failures.
        let failed = watching(&alarms, &metric("Bindery", "Failed", &of_us));
        let (notifies, stops): (BTreeSet<_>, BTreeSet<_>) =
            failed.into_iter().partition(|id| alarms[id]["Properties"].get("AlarmActions").is_some());
        assert_eq!((notifies.len(), stops.len()), (usize::from(is_worker), 1), "{name}: {FUNCTION_LOOP}");
        let deployment = &properties["DeploymentPreference"]["Alarms"]["Fn::If"];
        assert_eq!((&deployment[0], named(&deployment[1][0])), (&"DeploysAnyway".into(), "AWS::NoValue".to_owned()));
        let stopped_by: BTreeSet<String> = list(&deployment[2]).iter().map(named).collect();
        // Only crashes of the new version behind the alias count. Otherwise crashes of the old version would stop a
        // deployment that fixes them.
        let new_version = [
            ("FunctionName", full_name.clone()),
            ("Resource", format!("{full_name}:live")),
            ("ExecutedVersion", logical_id.clone()),
        ];
        let crashes = watching(&alarms, &metric("AWS/Lambda", "Errors", &new_version));
        assert_eq!(watching(&alarms, &metric("AWS/Lambda", "Invocations", &new_version)), crashes, "{name}");
        assert_eq!((crashes.len(), stopped_by), (1, &crashes | &stops), "alarms that stop a deployment of {name}");
        let version =
            &alarms[crashes.first().unwrap()]["Properties"]["Metrics"][1]["MetricStat"]["Metric"]["Dimensions"][2];
        assert_eq!(version["Value"], json!({ "Fn::GetAtt": [logical_id, "Version.Version"] }), "{name}");
    }
}

#[test]
fn the_table_and_the_api_are_watched() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    for failed in ["5xx", "Count"] {
        let metric = metric("AWS/ApiGateway", failed, &[("ApiId", "Api".to_owned())]);
        assert_eq!(watching(&alarms, &metric), ["ApiErrorsAlarm", "ApiMostlyFailingAlarm"].map(str::to_owned).into());
    }
    let table = ("TableName", "Table".to_owned());
    for throttled in ["ReadThrottleEvents", "WriteThrottleEvents"] {
        let metric = metric("AWS/DynamoDB", throttled, std::slice::from_ref(&table));
        assert_eq!(watching(&alarms, &metric).len(), 1, "give the table one alarm on {throttled}");
    }
    // The API calls in the functions' code. IAM has other actions for these two.
    let mut calls: BTreeSet<String> = ["BatchExecuteStatement", "TransactWriteItems"].map(ToOwned::to_owned).into();
    for function in template.functions() {
        let statements = template.statements(&named(&function.properties["Role"]));
        let actions = statements.iter().flat_map(|statement| &statement.actions);
        let of_table = actions.filter_map(|action| action.strip_prefix("dynamodb:"));
        calls.extend(of_table.filter(|action| !action.starts_with("PartiQL")).map(ToOwned::to_owned));
    }
    for call in calls {
        let metric = metric("AWS/DynamoDB", "SystemErrors", &[table.clone(), ("Operation", call.clone())]);
        assert_eq!(watching(&alarms, &metric).len(), 1, "list {call} in the template's loop TableErrors");
    }
}

#[test]
fn an_alarm_expression_uses_all_its_metrics() {
    for (id, alarm) in Template::read().resources("AWS::CloudWatch::Alarm") {
        let metrics = list(&alarm["Properties"]["Metrics"]);
        let (expressions, inputs): (Vec<_>, Vec<_>) = metrics.iter().partition(|one| one.get("Expression").is_some());
        assert!(inputs.iter().all(|input| input["ReturnData"] == false), "{id}: set ReturnData of its inputs to false");
        let Some(expression) = expressions.first() else { continue };
        let expression = named(&expression["Expression"]);
        let words: BTreeSet<&str> = expression.split(|one: char| !one.is_alphanumeric()).collect();
        let takes = |input: &&Value| words.contains(input["Id"].as_str().unwrap());
        assert!(
            expressions.len() == 1 && (expression.contains("METRICS()") || inputs.iter().all(takes)),
            "{id}: {expression}"
        );
        let ids: BTreeSet<&str> = metrics.iter().map(|one| one["Id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), metrics.len(), "two metrics of {id} have the same Id");
    }
}

/// Returns the number of metrics with alarms, in the runbook's words. Alarms are billed by metric. Alarms of optional
/// subscribers are not included.
fn bill(template: &Template) -> String {
    let is_always_there = |(_, resource): &(String, Value)| resource.get("Condition").is_none();
    let alarms = template.resources("AWS::CloudWatch::Alarm").into_iter().filter(is_always_there);
    let metrics: Vec<Metric> = alarms.flat_map(|(_, alarm)| watched(&alarm["Properties"])).collect();
    let on = |dimension: &str, value: &str| {
        metrics.iter().filter(|(_, _, of)| of.get(dimension).is_some_and(|one| one == value)).count()
    };
    let functions = template.resources("AWS::Serverless::Function").into_iter().filter(is_always_there);
    let names = functions.map(|(_, function)| named(&function["Properties"]["FunctionName"]));
    let (workers, endpoints): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with("-worker"));
    let of_function = |name: &String| on("FunctionName", name) + on("Function", name);
    let of_worker = |name: &String| {
        let queue = name.trim_end_matches("-worker");
        of_function(name) + on("QueueName", queue) + on("QueueName", &format!("{queue}-dead-letters"))
    };
    // Additional metrics of some functions count among the others.
    let endpoint = endpoints.iter().map(of_function).min().unwrap();
    let worker = workers.iter().map(of_worker).min().unwrap();
    let rest = metrics.len() - endpoint * endpoints.len() - worker * workers.len();
    format!("{endpoint} for an endpoint, {worker} for a worker with its queues, {rest} others")
}

#[test]
fn every_alarm_has_a_runbook_section_and_at_most_one_severity() {
    let template = Template::read();
    let runbook = file("RUNBOOK.md");
    let of_alarms = runbook.split("\n## ").find(|section| section.starts_with("Alarms\n")).unwrap();
    let headings = of_alarms.lines().filter_map(|line| line.strip_prefix("### "));
    let sections: BTreeSet<String> = headings.map(anchor).collect();
    let mut named_by_alarms = BTreeSet::new();
    let mut names = BTreeSet::new();
    let composite = template.resources("AWS::CloudWatch::CompositeAlarm");
    for (id, alarm) in template.resources("AWS::CloudWatch::Alarm").into_iter().chain(composite) {
        let alarm = &alarm["Properties"];
        let description = named(&alarm["AlarmDescription"]);
        let section = description.split_once(" See ${RunbookUrl}#").unwrap_or_else(|| panic!("{id}: {description}")).1;
        assert!(sections.contains(section), "add the section #{section}, which {id} names, to infra/RUNBOOK.md");
        named_by_alarms.insert(section.to_owned());
        // Alarms that only stop deployments have no action, so they notify no operator.
        let notifies = !id.ends_with("FailuresAlarm") && !id.ends_with("CrashesAlarm");
        let severity = ["Page", "Ticket"].iter().find(|severity| {
            let topic = format!("{severity}TopicArn");
            let condition = format!("Has{severity}Topic");
            alarm["AlarmActions"] == json!({ "Fn::If": [condition, [{ "Ref": topic }], { "Ref": "AWS::NoValue" }] })
        });
        assert_eq!((severity.is_some(), alarm.get("AlarmActions").is_some()), (notifies, notifies), "severity of {id}");
        assert_eq!(alarm.get("OKActions"), alarm.get("AlarmActions"), "{id} must notify the same topic when it ends");
        if alarm.get("AlarmRule").is_none() {
            let missing = if id == FIRES_WITHOUT_DATA { "breaching" } else { "notBreaching" };
            assert_eq!(alarm["TreatMissingData"], missing, "set TreatMissingData of {id}");
        }
        assert!(names.insert(named(&alarm["AlarmName"])), "another alarm has the name of {id}");
    }
    let bill = bill(&template);
    assert!(runbook.contains(&bill), "update the number of metrics in infra/RUNBOOK.md: {bill}");
    assert_eq!(
        named_by_alarms, sections,
        "left: sections that alarms name; right: sections of alarms in infra/RUNBOOK.md"
    );
}

/// Returns a heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

/// A search expression of the dashboard:
/// `SEARCH('{Namespace,Dimension} Dimension=part MetricName="whole" NOT word', …)`.
struct Search {
    schema: BTreeSet<String>,
    namespace: String,
    terms: Vec<String>,
}

impl Search {
    /// Returns the searches of a widget.
    fn all(widget: &Value) -> Vec<Self> {
        let expressions = list(&widget["properties"]["metrics"]).into_iter().filter_map(|row| {
            let expression = list(&row).first()?.get("expression")?.as_str()?.to_owned();
            Some(expression)
        });
        let searches = expressions.map(|expression| {
            let search = expression.split("SEARCH('{").nth(1).and_then(|rest| rest.split("',").next()).unwrap();
            let (schema, terms) = search.split_once('}').unwrap();
            let mut schema = schema.split(',').map(ToOwned::to_owned);
            let namespace = schema.next().unwrap();
            Self {
                namespace,
                schema: schema.collect(),
                terms: terms.split_whitespace().map(ToOwned::to_owned).collect(),
            }
        });
        searches.collect()
    }

    /// Returns whether the search finds the metric. A quoted term matches a whole name, an unquoted one a part of it.
    fn finds(&self, (namespace, name, dimensions): &Metric) -> bool {
        let matches = |term: &str| match term.split_once('=') {
            Some((of, wanted)) => {
                let value = if of == "MetricName" { Some(name) } else { dimensions.get(of) };
                let whole = wanted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                value.is_some_and(|value| whole.map_or_else(|| value.contains(wanted), |whole| value == whole))
            }
            None => name.contains(term) || dimensions.values().any(|value| value.contains(term)),
        };
        let mut terms = self.terms.iter();
        let mut holds = true;
        while let Some(term) = terms.next() {
            holds &= if term == "NOT" { !matches(terms.next().unwrap()) } else { matches(term) };
        }
        holds && *namespace == self.namespace && dimensions.keys().cloned().collect::<BTreeSet<_>>() == self.schema
    }
}

#[test]
fn the_dashboard_shows_business_metrics_first_and_all_others() {
    let template = Template::read();
    let body = &template.resources("AWS::CloudWatch::Dashboard")["Dashboard"]["Properties"]["DashboardBody"];
    let body: Value = serde_json::from_str(&named(body)).unwrap();
    let widgets = list(&body["widgets"]);
    let texts: Vec<String> = widgets.iter().map(|one| one["properties"]["metrics"].to_string()).collect();
    let first_with = |metric: &str| {
        let (searched, by_name) = (format!("MetricName=\\\"{metric}\\\""), format!("\"{metric}\""));
        texts.iter().position(|widget| widget.contains(&searched) || widget.contains(&by_name))
    };
    let positions: Vec<usize> = SHOWN
        .iter()
        .map(|metric| first_with(metric).unwrap_or_else(|| panic!("add {metric} to the dashboard")))
        .collect();
    assert_eq!(positions[..4], [0, 1, 2, 3], "the business metrics must be the first widgets");
    assert!(positions.is_sorted(), "the widgets are not in the order of SHOWN: {positions:?}");
    let mut covered = BTreeMap::new();
    for widget in &widgets {
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| widget[name].as_u64().unwrap());
        for place in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            let title = &widget["properties"]["title"];
            assert_eq!(covered.insert(place, title), None, "{title} is on another widget, at {place:?}");
        }
    }
    let searches: Vec<Search> = widgets.iter().flat_map(Search::all).collect();
    let shown = |namespace: &str, name: &str, dimensions: &[(&str, String)]| {
        let metric = metric(namespace, name, dimensions);
        searches.iter().filter(|search| search.finds(&metric)).count()
    };
    for function in template.functions() {
        let name = named(&function.properties["FunctionName"]);
        let of_lambda = |metric: &str| shown("AWS/Lambda", metric, &[("FunctionName", name.clone())]);
        let counts = ["Errors", "Duration", "Throttles", "Invocations"].map(of_lambda);
        // Two widgets show the duration: the time itself, and its cost.
        assert_eq!(counts, [1, 2, 1, 1], "widgets of the dashboard that show {name}");
        let of_us = [("Stack", "${AWS::StackName}".to_owned()), ("Function", name.clone())];
        // Two widgets show accepted and applied instructions: the sum, and the number of each function.
        assert_eq!(["Accepted", "Applied", "Retried"].map(|kind| shown("Bindery", kind, &of_us)), [2, 2, 1], "{name}");
        // The median and the 99th percentile.
        assert_eq!(shown("BinderyCalls", "DynamoDB.GetItem", &of_us), 2, "times of {name}'s calls on the dashboard");
    }
    for (id, group) in template.resources("AWS::Logs::LogGroup") {
        let name = named(&group["Properties"]["LogGroupName"]);
        assert_eq!(shown("AWS/Logs", "IncomingBytes", &[("LogGroupName", name)]), 1, "{id}");
    }
    for (id, queue) in template.resources("AWS::SQS::Queue") {
        let name = named(&queue["Properties"]["QueueName"]);
        let of_queue = |metric: &str| shown("AWS/SQS", metric, &[("QueueName", name.clone())]);
        // Dead-letter queues have their own widget for their length. They and parked messages have none for delay.
        let late = usize::from(!id.ends_with("DeadLetterQueue") && id != PARKED);
        assert_eq!(SHOWN_OF_QUEUES.map(of_queue), [late, 1, 1, 1, 1, 1], "{id}");
    }
    let call = [("TableName", "${Table}".to_owned()), ("Operation", "GetItem".to_owned())];
    assert_eq!(shown("AWS/DynamoDB", "SystemErrors", &call), 1);
}
