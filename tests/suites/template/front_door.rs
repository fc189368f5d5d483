//! Checks the alarms on callers that the gateway turns away.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::template::{Template, named};

use crate::alarms::{metric, watching};

/// The alarms that mean that no client is served. Each pages by itself, too.
#[test]
fn bindery_is_down_if_no_client_is_served() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    let down = &template.resources("AWS::CloudWatch::CompositeAlarm")["DownAlarm"]["Properties"];
    let [rule, variables] = down["AlarmRule"]["Fn::Sub"].as_array().unwrap().as_slice() else { panic!("{down}") };
    let [condition, of_canary, without] = variables["OrCanary"]["Fn::If"].as_array().unwrap().as_slice() else {
        panic!("{variables}")
    };
    assert_eq!((condition, without), (&"HasCanary".into(), &"".into()));
    let rule = rule.as_str().unwrap().replace("${OrCanary}", &named(of_canary));
    let parts: BTreeSet<&str> = rule.split(" OR ").map(str::trim).collect();
    let ids = ["ApiTurnedAwayAlarm", "ApiMostlyLimitedAlarm", "ApiMostlyFailingAlarm", "CanaryAlarm"];
    let expected: Vec<String> = ids.iter().map(|id| format!("ALARM(\"${{{id}}}\")")).collect();
    assert_eq!(parts, expected.iter().map(String::as_str).collect());
    for id in ids {
        assert_eq!(alarms[id]["Properties"]["AlarmActions"]["Fn::If"][0], "HasPageTopic", "{id}");
    }
}

/// Metric filters count lines of the access log. Its fields must exist, and an alarm must watch each metric.
#[test]
fn every_metric_filter_reads_the_access_log() {
    let template = Template::read();
    let alarms = template.resources("AWS::CloudWatch::Alarm");
    let format =
        template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"]["AccessLogSettings"]["Format"].clone();
    let line: Value = serde_json::from_str(&named(&format)).unwrap();
    let filters = template.resources("AWS::Logs::MetricFilter");
    assert!(!filters.is_empty());
    for (id, filter) in filters {
        let filter = &filter["Properties"];
        assert_eq!(filter["LogGroupName"]["Ref"], "ApiLogs", "{id}");
        let pattern = filter["FilterPattern"].as_str().unwrap();
        let fields = pattern.split("$.").skip(1).map(|rest| rest.split(' ').next().unwrap());
        for field in fields {
            assert!(line.get(field).is_some(), "{id}: the access log has no {field}");
        }
        let [made] = filter["MetricTransformations"].as_array().unwrap().as_slice() else { panic!("{id}") };
        // The stack is in the name. Without the 0, the sums that alarms compare lack data.
        assert_eq!((&made["MetricValue"], &made["DefaultValue"]), (&"1".into(), &0.into()), "{id}");
        let name = named(&made["MetricName"]);
        assert!(name.starts_with("${AWS::StackName}-"), "{id}");
        assert!(!watching(&alarms, &metric("Bindery", &name, &[])).is_empty(), "no alarm watches {name}");
    }
}
