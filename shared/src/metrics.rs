//! Metrics: one line of `CloudWatch`'s embedded metric format for each set of dimensions, on standard output, once
//! per invocation.
//!
//! They count the outcomes of instructions. The dimensions are the stack, the function and, for refusals, the code.
//! There is no tenant, no ID, and nothing else that grows with use, because every combination is billed as a separate
//! metric. The logs show what each tenant did.
//!
//! They also have the times of all calls to AWS, each call as a metric of its own in the namespace `BinderyCalls`. So
//! one line suffices for all calls of an invocation: the call's name as a dimension would need a line for each call, as
//! a line has one value for each dimension. The number of metrics, which are billed, is the same. The times include
//! calls before the first invocation.
//!
//! Events are published at least once, and are counted as often: after a crash, some count twice. Only operations, in
//! the table, count exactly once.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::calls::{CallTimes, Calls};
use crate::clock;
use crate::domain::event::{Effect, Event};
use crate::domain::time::Timestamp;

/// The metrics' namespace in `CloudWatch`.
const NAMESPACE: &str = "Bindery";
/// The namespace of the times of calls.
const CALLS_NAMESPACE: &str = "BinderyCalls";
/// Maximum values of a metric in a line (limit of the format). Further durations of the same invocation are dropped,
/// except those of calls, which go into further lines.
const MAX_VALUES: usize = 100;

/// The counts of an invocation, which clones share.
#[derive(Debug, Clone)]
pub struct Metrics {
    stack: String,
    function: String,
    counts: Arc<Mutex<Counts>>,
    calls: CallTimes,
}

#[derive(Debug, Default)]
struct Counts {
    /// Counts by the metric's name.
    plain: BTreeMap<&'static str, u32>,
    /// Counts of refusals by code.
    refused: BTreeMap<String, u32>,
    /// Milliseconds until the last event of an instruction, by the instruction's time of acceptance.
    to_event: BTreeMap<Timestamp, u64>,
    /// The greatest age of a retried message, in seconds.
    retried_age: Option<u64>,
    /// The canary's result.
    canary: Option<CanaryResult>,
}

/// The result of a canary's request: the milliseconds until the response, or a failure.
type CanaryResult = Result<u64, ()>;

impl Metrics {
    /// Creates the metrics of this function of this stack.
    #[must_use]
    pub fn new(stack: String, function: String) -> Self {
        Self { stack, function, counts: Arc::default(), calls: CallTimes::default() }
    }

    /// Counts accepted instructions.
    pub fn accepted(&self, count: u32) {
        self.count("Accepted", count);
    }

    /// Counts instructions, or effects of them, that were refused for this reason.
    pub fn refused(&self, code: impl ToString, count: u32) {
        self.with(|counts| *counts.refused.entry(code.to_string()).or_default() += count);
    }

    /// Counts PIN attempts that were wrong or locked, regardless of their request's outcome. Several refused entries
    /// may share a PIN, and some have none.
    pub fn refused_pins(&self, count: u32) {
        self.count("RefusedPins", count);
    }

    /// Counts a request with a 5xx response, or a message that was not acknowledged. (Lambda counts both as success.)
    pub fn failed(&self) {
        self.count("Failed", 1);
    }

    /// Counts a message that will be retried, and reports its age in seconds, if it is known. SQS's own metric of ages
    /// leaves out messages that were received three times
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html>).
    pub fn retried(&self, age: Option<u64>) {
        self.count("Retried", 1);
        self.with(|counts| counts.retried_age = counts.retried_age.max(age));
        self.failed();
    }

    /// Counts a message that was sent to the dead-letter queue.
    pub fn dead_lettered(&self) {
        self.count("DeadLettered", 1);
        self.failed();
    }

    /// Counts an operation that should have ended but has not.
    pub fn stuck(&self) {
        self.count("StuckOperations", 1);
    }

    /// Counts the canary's request: with its duration if it succeeded, and without if it failed. A failure counts as 0,
    /// so that it differs from silence.
    pub fn canary(&self, took: Option<Duration>) {
        let result = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)).ok_or(());
        self.with(|counts| counts.canary = Some(result));
    }

    /// Counts a published event.
    pub fn published(&self, event: &Event) {
        let now = clock::now();
        match event.data.effect() {
            Some(Effect::Applied) => self.count("Applied", 1),
            Some(Effect::Refused(code)) => self.refused(code, 1),
            None => {}
        }
        let waited = now.milliseconds_since(event.accepted_at);
        self.with(|counts| counts.to_event.insert(event.accepted_at, waited));
    }

    /// Returns the times of the function's calls, which are written with the counts.
    #[must_use]
    pub fn calls(&self) -> &CallTimes {
        &self.calls
    }

    /// Writes the counts and times since the last call, if there are any.
    pub fn flush(&self) {
        let lines = self.lines(clock::now());
        // An error while writing metrics must not fail an instruction.
        let _ = std::io::stdout().lock().write_all(lines.as_bytes());
    }

    fn count(&self, name: &'static str, count: u32) {
        self.with(|counts| *counts.plain.entry(name).or_default() += count);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lines(&self, now: Timestamp) -> String {
        let Counts { plain, refused, to_event, retried_age, canary } = self.with(std::mem::take);
        let Calls { times, retries } = self.calls.take();
        let mut values: Map<String, Value> = plain
            .into_iter()
            .chain([("CallRetries", retries)])
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        if !to_event.is_empty() {
            let waited: Vec<u64> = to_event.into_values().take(MAX_VALUES).collect();
            values.insert("AcceptanceToEvent".to_owned(), waited.into());
        }
        values.extend(retried_age.map(|age| ("RetriedAge".to_owned(), age.into())));
        if let Some(result) = canary {
            values.insert("CanarySucceeded".to_owned(), u8::from(result.is_ok()).into());
            values.extend(result.ok().map(|took| ("CanaryTime".to_owned(), took.into())));
        }
        let refused = refused.into_iter().filter(|(_, count)| *count > 0);
        let mut lines = Vec::new();
        let mut times = by_line(&times).into_iter();
        let first = times.next().unwrap_or_default();
        if !(values.is_empty() && first.is_empty()) {
            lines.push(self.line(now, None, values, first));
        }
        lines.extend(times.map(|times| self.line(now, None, Map::new(), times)));
        lines.extend(refused.map(|(code, count)| {
            self.line(now, Some(code), Map::from_iter([("Refused".to_owned(), count.into())]), Map::new())
        }));
        lines.concat()
    }

    fn line(
        &self,
        now: Timestamp,
        code: Option<String>,
        values: Map<String, Value>,
        times: Map<String, Value>,
    ) -> String {
        let unit = |name: &str| match name {
            "AcceptanceToEvent" | "CanaryTime" => "Milliseconds",
            "RetriedAge" => "Seconds",
            _ => "Count",
        };
        let metrics: Vec<Value> = values.keys().map(|name| json!({ "Name": name, "Unit": unit(name) })).collect();
        let calls: Vec<Value> = times.keys().map(|name| json!({ "Name": name, "Unit": "Milliseconds" })).collect();
        let mut dimensions = vec!["Stack", "Function"];
        let mut line = json!({ "Stack": self.stack, "Function": self.function });
        if let Some(code) = code {
            dimensions.push("Code");
            line["Code"] = code.into();
        }
        let directives: Vec<Value> = [(NAMESPACE, metrics), (CALLS_NAMESPACE, calls)]
            .into_iter()
            .filter(|(_, metrics)| !metrics.is_empty())
            .map(|(namespace, metrics)| {
                json!({ "Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics })
            })
            .collect();
        line["_aws"] = json!({ "Timestamp": now.epoch_milliseconds(), "CloudWatchMetrics": directives });
        if let Some(members) = line.as_object_mut() {
            members.extend(values);
            members.extend(times);
        }
        format!("{line}\n")
    }
}

/// Divides the times into lines. Each line has the next times of every call that has more.
fn by_line(times: &BTreeMap<String, Vec<u64>>) -> Vec<Map<String, Value>> {
    let lines = times.values().map(|times| times.len().div_ceil(MAX_VALUES)).max().unwrap_or_default();
    let mut all = vec![Map::new(); lines];
    for (name, times) in times {
        for (line, part) in all.iter_mut().zip(times.chunks(MAX_VALUES)) {
            line.insert(name.clone(), part.into());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn metrics() -> Metrics {
        Metrics::new("bindery-dev".to_owned(), "bindery-dev-bind-card".to_owned())
    }

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn the_form_is_the_embedded_metric_format() {
        let metrics = metrics();
        metrics.accepted(2);
        metrics.accepted(1);
        metrics.retried(Some(61));
        metrics.retried(Some(7));
        metrics.retried(None);
        metrics.refused("CARD_NOT_UNBOUND", 4);
        metrics.with(|counts| {
            counts.to_event.extend([(at("2026-11-22T03:04:05.000Z"), 7), (at("2026-11-22T03:04:06.000Z"), 9)]);
        });
        let calls = [("SQS.SendMessage", 12, 0), ("DynamoDB.GetItem", 3, 0), ("DynamoDB.GetItem", 108, 2)];
        for (name, time, retries) in calls {
            metrics.calls().add(name.to_owned(), Duration::from_millis(time), retries);
        }
        let lines = metrics.lines(at("2026-11-22T03:04:05.678Z"));
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines,
            [
                json!({
                    "_aws": { "Timestamp": 1_795_316_645_678_u64, "CloudWatchMetrics": [
                        {
                            "Namespace": "Bindery",
                            "Dimensions": [["Stack", "Function"]],
                            "Metrics": [
                                { "Name": "AcceptanceToEvent", "Unit": "Milliseconds" },
                                { "Name": "Accepted", "Unit": "Count" },
                                { "Name": "CallRetries", "Unit": "Count" },
                                { "Name": "Failed", "Unit": "Count" },
                                { "Name": "Retried", "Unit": "Count" },
                                { "Name": "RetriedAge", "Unit": "Seconds" },
                            ],
                        },
                        {
                            "Namespace": "BinderyCalls",
                            "Dimensions": [["Stack", "Function"]],
                            "Metrics": [
                                { "Name": "DynamoDB.GetItem", "Unit": "Milliseconds" },
                                { "Name": "SQS.SendMessage", "Unit": "Milliseconds" },
                            ],
                        },
                    ] },
                    "Stack": "bindery-dev", "Function": "bindery-dev-bind-card",
                    "Accepted": 3, "CallRetries": 2, "Failed": 3, "Retried": 3, "RetriedAge": 61,
                    "AcceptanceToEvent": [7, 9],
                    "DynamoDB.GetItem": [3, 108], "SQS.SendMessage": [12],
                }),
                json!({
                    "_aws": { "Timestamp": 1_795_316_645_678_u64, "CloudWatchMetrics": [{
                        "Namespace": "Bindery",
                        "Dimensions": [["Stack", "Function", "Code"]],
                        "Metrics": [{ "Name": "Refused", "Unit": "Count" }],
                    }] },
                    "Stack": "bindery-dev", "Function": "bindery-dev-bind-card", "Code": "CARD_NOT_UNBOUND",
                    "Refused": 4,
                }),
            ]
        );
    }

    #[test]
    fn counts_are_written_once() {
        let metrics = metrics();
        metrics.accepted(0);
        assert_eq!(metrics.lines(at("2026-11-22T03:04:05.678Z")), "");
        metrics.clone().accepted(1);
        assert_ne!(metrics.lines(at("2026-11-22T03:04:05.678Z")), "");
        assert_eq!(metrics.lines(at("2026-11-22T03:04:05.678Z")), "");
    }

    #[test]
    fn a_read_writes_only_the_times_of_its_calls() {
        let metrics = metrics();
        metrics.calls().add("DynamoDB.GetItem".to_owned(), Duration::from_micros(2_500), 0);
        let now = at("2026-11-22T03:04:05.678Z");
        let expected = concat!(
            r#"{"DynamoDB.GetItem":[3],"Function":"bindery-dev-bind-card","Stack":"bindery-dev","_aws":{"#,
            r#""CloudWatchMetrics":[{"Dimensions":[["Stack","Function"]],"Metrics":[{"Name":"DynamoDB.GetItem","#,
            r#""Unit":"Milliseconds"}],"Namespace":"BinderyCalls"}],"Timestamp":1795316645678}}"#,
            "\n"
        );
        assert_eq!(metrics.lines(now), expected);
        assert_eq!(metrics.lines(now), "", "times are written once");
    }

    #[test]
    fn the_times_of_many_calls_are_written_in_several_lines() {
        let metrics = metrics();
        metrics.accepted(1);
        for (name, count) in [("SQS.SendMessageBatch", 201), ("DynamoDB.PutItem", 1)] {
            for time in 0..count {
                metrics.calls().add(name.to_owned(), Duration::from_millis(time), 0);
            }
        }
        let lines = metrics.lines(at("2026-11-22T03:04:05.678Z"));
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named: Vec<usize> = lines
            .iter()
            .map(|line| list(&line["_aws"]["CloudWatchMetrics"]).iter().map(|one| list(&one["Metrics"]).len()).sum())
            .collect();
        assert_eq!(named, [3, 1, 1], "metrics of each line");
        let times: Vec<u64> = lines
            .iter()
            .flat_map(|line| list(&line["SQS.SendMessageBatch"]))
            .map(|time| time.as_u64().unwrap())
            .collect();
        assert_eq!(times, (0..201).collect::<Vec<_>>());
        assert!(lines.iter().all(|line| list(&line["SQS.SendMessageBatch"]).len() <= MAX_VALUES));
    }

    fn list(value: &Value) -> Vec<Value> {
        value.as_array().unwrap().clone()
    }

    #[test]
    fn a_failure_of_the_canary_is_a_zero_and_not_silence() {
        let metrics = metrics();
        let line = |took: Option<u64>| -> Value {
            metrics.canary(took.map(Duration::from_millis));
            serde_json::from_str(&metrics.lines(at("2026-11-22T03:04:05.678Z"))).unwrap()
        };
        let (succeeded, failed) = (line(Some(42)), line(None));
        assert_eq!((&succeeded["CanarySucceeded"], &succeeded["CanaryTime"]), (&json!(1), &json!(42)));
        let units = &succeeded["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(units[1], json!({ "Name": "CanaryTime", "Unit": "Milliseconds" }));
        assert_eq!((&failed["CanarySucceeded"], failed.get("CanaryTime")), (&json!(0), None));
        assert_eq!(metrics.lines(at("2026-11-22T03:04:05.678Z")), "");
    }

    #[test]
    fn a_line_holds_no_more_values_than_the_format_takes() {
        let metrics = metrics();
        let start = time::OffsetDateTime::from_unix_timestamp(1_795_316_645).unwrap();
        let later = |seconds| Timestamp::new(start + time::Duration::seconds(seconds));
        metrics.with(|counts| counts.to_event.extend((0..101).map(|second| (later(second), 1))));
        let line: Value = serde_json::from_str(&metrics.lines(later(200))).unwrap();
        assert_eq!(line["AcceptanceToEvent"].as_array().unwrap().len(), MAX_VALUES);
    }
}
