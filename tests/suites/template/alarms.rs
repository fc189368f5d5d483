//! What is watched, who is told, and what the dashboard shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{FunctionResource, Template, list, named};

use crate::file;

/// A metric: its namespace and name, and what it is of.
type Metric = (String, String, BTreeMap<String, String>);

/// Metrics that are shown, from the business to the bill, in the dashboard's order.
const SHOWN: [&str; 23] = [
    "Accepted",
    "Applied",
    "Refused",
    "AcceptanceToEvent",
    "ApproximateAgeOfOldestMessage",
    "ApproximateNumberOfMessagesVisible",
    "Retried",
    "DeadLettered",
    "Count",
    "5xx",
    "Errors",
    "Duration",
    "Throttles",
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

/// What it shows of each queue: how late and how full it is, and what it costs.
const SHOWN_OF_QUEUES: [&str; 6] = [
    "ApproximateAgeOfOldestMessage",
    "ApproximateNumberOfMessagesVisible",
    "NumberOfMessagesSent",
    "NumberOfMessagesReceived",
    "NumberOfMessagesDeleted",
    "NumberOfEmptyReceives",
];

/// An alarm's metric, or those that it is computed of.
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

fn metric(namespace: &str, name: &str, dimensions: &[(&str, String)]) -> Metric {
    let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    (namespace.to_owned(), name.to_owned(), dimensions)
}

/// The alarms that watch the metric, by their logical IDs.
fn watching(alarms: &BTreeMap<String, Value>, metric: &Metric) -> BTreeSet<String> {
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
        assert_eq!(of_queue("ApproximateNumberOfMessagesVisible").len(), usize::from(is_dead_letters), "{id}");
        // How long events wait is their consumer's affair.
        let has_worker = queue["Properties"].get("RedrivePolicy").is_some();
        assert_eq!(of_queue("ApproximateAgeOfOldestMessage").len(), usize::from(has_worker), "{id}");
    }
    for (id, rule) in template.resources("AWS::Events::Rule") {
        let of_rule = [("EventBusName", "EventBus".to_owned()), ("RuleName", named(&rule["Properties"]["Name"]))];
        for lost in ["FailedInvocations", "InvocationsFailedToBeSentToDlq"] {
            assert_eq!(watching(&alarms, &metric("AWS/Events", lost, &of_rule)).len(), 1, "{id}: {lost}");
        }
    }
}

#[test]
fn every_function_is_watched() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    for FunctionResource { name, logical_id, properties } in template.functions() {
        let full_name = format!("${{AWS::StackName}}-{name}");
        let of_lambda =
            |name: &str| watching(&alarms, &metric("AWS/Lambda", name, &[("FunctionName", full_name.clone())]));
        let errors = of_lambda("Errors");
        assert_eq!((errors.len(), of_lambda("Duration").len(), of_lambda("Throttles").len()), (1, 1, 1), "{name}");
        let is_worker = name.ends_with("-worker");
        assert_eq!(of_lambda("RecursiveInvocationsDropped").len(), usize::from(is_worker), "{name}");
        // What has a plan can be stuck.
        let of_us = [("Stack", "AWS::StackName".to_owned()), ("Function", full_name.clone())];
        let stuck = watching(&alarms, &metric("Bindery", "StuckOperations", &of_us));
        assert_eq!(stuck.len(), usize::from(properties.get("RecursiveLoop").is_some()), "{name}");
        // A 5xx, or a message that was not finished. The alarm that stops a deployment wakes nobody; of workers, which
        // no client complains about, another one does.
        let failed = watching(&alarms, &metric("Bindery", "Failed", &of_us));
        let (wakes, stops): (BTreeSet<_>, BTreeSet<_>) =
            failed.into_iter().partition(|id| alarms[id]["Properties"].get("AlarmActions").is_some());
        assert_eq!((wakes.len(), stops.len()), (usize::from(is_worker), 1), "{name}");
        let deployment = &properties["DeploymentPreference"]["Alarms"]["Fn::If"];
        assert_eq!((&deployment[0], named(&deployment[1][0])), (&"DeploysAnyway".into(), "AWS::NoValue".to_owned()));
        let stopped_by: BTreeSet<String> = list(&deployment[2]).iter().map(named).collect();
        // Of crashes, those of the new version alone, behind the alias: else the old one's would stop the cure.
        let new_version = [
            ("FunctionName", full_name.clone()),
            ("Resource", format!("{full_name}:live")),
            ("ExecutedVersion", logical_id.clone()),
        ];
        let crashes = watching(&alarms, &metric("AWS/Lambda", "Errors", &new_version));
        assert_eq!(watching(&alarms, &metric("AWS/Lambda", "Invocations", &new_version)), crashes, "{name}");
        assert_eq!((crashes.len(), stopped_by), (1, &crashes | &stops), "{name}");
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
        assert_eq!(watching(&alarms, &metric), ["ApiErrorsAlarm".to_owned()].into());
    }
    let table = ("TableName", "Table".to_owned());
    for throttled in ["ReadThrottleEvents", "WriteThrottleEvents"] {
        let metric = metric("AWS/DynamoDB", throttled, std::slice::from_ref(&table));
        assert_eq!(watching(&alarms, &metric).len(), 1, "{throttled}");
    }
    // The calls of the functions' code: some are other actions' in a policy.
    let mut calls: BTreeSet<String> = ["BatchExecuteStatement", "TransactWriteItems"].map(ToOwned::to_owned).into();
    for function in template.functions() {
        let statements = template.statements(&named(&function.properties["Role"]));
        let actions = statements.iter().flat_map(|statement| &statement.actions);
        let of_table = actions.filter_map(|action| action.strip_prefix("dynamodb:"));
        calls.extend(of_table.filter(|action| !action.starts_with("PartiQL")).map(ToOwned::to_owned));
    }
    for call in calls {
        let metric = metric("AWS/DynamoDB", "SystemErrors", &[table.clone(), ("Operation", call.clone())]);
        assert_eq!(watching(&alarms, &metric).len(), 1, "{call}");
    }
}

#[test]
fn a_computed_alarm_computes_of_what_it_names() {
    for (id, alarm) in Template::read().resources("AWS::CloudWatch::Alarm") {
        let metrics = list(&alarm["Properties"]["Metrics"]);
        let (expressions, inputs): (Vec<_>, Vec<_>) = metrics.iter().partition(|one| one.get("Expression").is_some());
        assert!(inputs.iter().all(|input| input["ReturnData"] == false), "{id}");
        let Some(expression) = expressions.first() else { continue };
        let expression = named(&expression["Expression"]);
        let words: BTreeSet<&str> = expression.split(|one: char| !one.is_alphanumeric()).collect();
        let takes = |input: &&Value| words.contains(input["Id"].as_str().unwrap());
        assert!(expressions.len() == 1 && (expression.contains("METRICS()") || inputs.iter().all(takes)), "{id}");
        let ids: BTreeSet<&str> = metrics.iter().map(|one| one["Id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), metrics.len(), "{id}");
    }
}

/// How many metrics alarms are on, which is what they cost, without subscribers.
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
    // Some have more, which counts among the rest.
    let endpoint = endpoints.iter().map(of_function).min().unwrap();
    let worker = workers.iter().map(of_worker).min().unwrap();
    let rest = metrics.len() - endpoint * endpoints.len() - worker * workers.len();
    format!("{endpoint} for an endpoint, {worker} for a worker with its queues, {rest} others")
}

#[test]
fn every_alarm_has_its_section_in_the_runbook_and_somewhere_to_go() {
    let template = Template::read();
    let runbook = file("RUNBOOK.md");
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut named_by_alarms = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (id, alarm) in template.resources("AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        let description = alarm["AlarmDescription"].as_str().unwrap();
        let section = description.split("infra/RUNBOOK.md, \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(sections.contains(section), "{id} names {section}");
        named_by_alarms.insert(section.to_owned());
        // Those for deployments alone stop one; nobody is woken.
        let wakes = !id.ends_with("FailuresAlarm") && !id.ends_with("CrashesAlarm");
        assert_eq!((alarm.get("AlarmActions").is_some(), alarm.get("OKActions").is_some()), (wakes, wakes), "{id}");
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{id}");
        assert!(names.insert(named(&alarm["AlarmName"])), "{id} has another's name");
    }
    let bill = bill(&template);
    assert!(runbook.contains(&bill), "{bill}");
    let of_alarms: BTreeSet<String> = sections.into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(named_by_alarms, of_alarms, "sections of the third level are those of alarms");
}

/// A search of the dashboard: `SEARCH('{Namespace,Dimension} Dimension=part MetricName="whole" NOT word', …)`.
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

    /// Whether it finds the metric. Quoted, a term is all of a name; else a part.
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
fn the_dashboard_shows_the_business_first_and_everything_else() {
    let template = Template::read();
    let body = &template.resources("AWS::CloudWatch::Dashboard")["Dashboard"]["Properties"]["DashboardBody"];
    let body: Value = serde_json::from_str(&named(body)).unwrap();
    let widgets = list(&body["widgets"]);
    let texts: Vec<String> = widgets.iter().map(|one| one["properties"]["metrics"].to_string()).collect();
    let first_with = |metric: &str| {
        let (searched, by_name) = (format!("MetricName=\\\"{metric}\\\""), format!("\"{metric}\""));
        texts.iter().position(|widget| widget.contains(&searched) || widget.contains(&by_name))
    };
    let positions: Vec<usize> =
        SHOWN.iter().map(|metric| first_with(metric).unwrap_or_else(|| panic!("{metric} is not shown"))).collect();
    assert_eq!(positions[..4], [0, 1, 2, 3], "the business");
    assert!(positions.is_sorted(), "{positions:?}");
    let searches: Vec<Search> = widgets.iter().flat_map(Search::all).collect();
    let shown = |namespace: &str, name: &str, dimensions: &[(&str, String)]| {
        let metric = metric(namespace, name, dimensions);
        searches.iter().filter(|search| search.finds(&metric)).count()
    };
    for function in template.functions() {
        let name = named(&function.properties["FunctionName"]);
        let of_lambda = |metric: &str| shown("AWS/Lambda", metric, &[("FunctionName", name.clone())]);
        let counts = ["Errors", "Duration", "Throttles", "Invocations"].map(of_lambda);
        // How long it takes, and what that costs.
        assert_eq!(counts, [1, 2, 1, 1], "{name}");
        let of_us = [("Stack", "${AWS::StackName}".to_owned()), ("Function", name.clone())];
        // All of a kind together, and each.
        assert_eq!(["Accepted", "Applied", "Retried"].map(|kind| shown("Bindery", kind, &of_us)), [2, 2, 1], "{name}");
    }
    for (id, group) in template.resources("AWS::Logs::LogGroup") {
        let name = named(&group["Properties"]["LogGroupName"]);
        assert_eq!(shown("AWS/Logs", "IncomingBytes", &[("LogGroupName", name)]), 1, "{id}");
    }
    for (id, queue) in template.resources("AWS::SQS::Queue") {
        let name = named(&queue["Properties"]["QueueName"]);
        let of_queue = |metric: &str| shown("AWS/SQS", metric, &[("QueueName", name.clone())]);
        // Of dead-letter queues, how full they are is a widget of its own, and how late they are is nothing.
        let late = usize::from(!id.ends_with("DeadLetterQueue"));
        assert_eq!(SHOWN_OF_QUEUES.map(of_queue), [late, 1, 1, 1, 1, 1], "{id}");
    }
    let call = [("TableName", "${Table}".to_owned()), ("Operation", "GetItem".to_owned())];
    assert_eq!(shown("AWS/DynamoDB", "SystemErrors", &call), 1);
}
