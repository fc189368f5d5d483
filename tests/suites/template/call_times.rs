//! Checks that the functions' metrics have the times of exactly the calls that they make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tests::proxy::Call;
use tests::template::{Template, list};

use crate::alarms::TASKS;
use crate::audit_env::AuditEnv;
use crate::file;

/// The number of calls, by function and call.
type Counts = BTreeMap<(String, String), usize>;

/// A service in `X-Amz-Target`, and its name in the metrics.
const SERVICES: [(&str, &str); 4] = [
    ("AWSEvents", "EventBridge"),
    ("AmazonSQS", "SQS"),
    ("DynamoDB_20120810", "DynamoDB"),
    ("secretsmanager", "SecretsManager"),
];

/// The hook of deployments, whose calls have no times: it runs once for each new version.
const NOT_TIMED: &str = "pre-traffic";

/// The name of calls that only open a connection. The proxy responds to them without recording them.
const PING: &str = "Ping";

#[tokio::test]
async fn every_call_is_timed_and_nothing_else() {
    let recorded = Arc::<Mutex<Counts>>::default();
    let notes = Arc::clone(&recorded);
    let logs = AuditEnv::run_all(move |call| note(&notes, call)).await;
    let recorded = std::mem::take(&mut *recorded.lock().unwrap());
    let (mut timed, mut retries) = (Counts::new(), 0);
    for (function, log) in logs {
        for line in log.lines().filter(|line| line.contains("\"_aws\"")) {
            let line: Value = serde_json::from_str(line).unwrap();
            retries += line["CallRetries"].as_u64().unwrap_or_default();
            for call in times(&line) {
                assert_eq!(line["Function"], "test", "{line}");
                let count = timed.entry((function.clone(), call.clone())).or_default();
                *count += list(&line[&call]).iter().filter(|time| time.is_u64()).count();
            }
        }
    }
    let all = timed.len();
    timed.retain(|(_, call), _| call != PING);
    let pings = all - timed.len();
    let functions = Template::read().functions();
    let connecting = functions.iter().filter(|function| !TASKS.contains(&function.name.as_str()));
    assert_eq!(pings, connecting.count(), "functions that connect to AWS before the first event");
    // Only on a slow machine a call takes several attempts, each of which is recorded.
    if retries == 0 {
        assert_eq!(recorded, timed, "left: recorded calls; right: calls in the metrics");
    } else {
        assert!(recorded.keys().eq(timed.keys()), "left: {recorded:?}; right: {timed:?}");
        let attempts = timed.values().sum::<usize>() + usize::try_from(retries).unwrap();
        assert_eq!(recorded.values().sum::<usize>(), attempts);
    }
    let bill = format!("{all} metrics of calls");
    for page in ["README.md", "RUNBOOK.md"] {
        assert!(file(page).contains(&bill), "update the number of metrics in infra/{page}: {bill}");
    }
}

/// Returns the names of the calls of which the line has times.
fn times(line: &Value) -> Vec<String> {
    let directives = list(&line["_aws"]["CloudWatchMetrics"]).into_iter();
    let of_calls = directives.filter(|directive| directive["Namespace"] == "BinderyCalls");
    let metrics = of_calls.flat_map(|directive| list(&directive["Metrics"]));
    metrics
        .map(|metric| {
            assert_eq!(metric["Unit"], "Milliseconds", "{line}");
            metric["Name"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn note(notes: &Mutex<Counts>, call: &Call<'_>) {
    if call.caller == NOT_TIMED {
        return;
    }
    let (service, operation) = call.target.split_once('.').unwrap();
    let (_, service) = SERVICES.iter().find(|(target, _)| *target == service).unwrap();
    let name = format!("{service}.{operation}");
    *notes.lock().unwrap().entry((call.caller.to_owned(), name)).or_default() += 1;
}
