//! Inputs made from the examples of infra/api's documents. With them, a new function is fuzzed from its first day and
//! needs no seeds.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::aws::rows::ACCEPTED;
use crate::endpoints::contract::{DOCUMENT, operations};
use crate::world::{ACCOUNT, CUSTOMER, ORG};

/// The document of queues and messages, which is part of the binary like the other one.
static MESSAGES: LazyLock<Value> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../../../infra/api/asyncapi.yaml")).expect("a document in YAML")
});

/// An input, in the form of a seed's file.
#[derive(Debug)]
pub struct Example {
    /// The function that the input is for.
    pub function: String,
    /// The input's bytes.
    pub bytes: Vec<u8>,
}

/// Writes examples into the corpus of a target, for the fuzzer to start with.
pub fn write(target: &str, examples: &[Example]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz/corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    for (number, Example { function, bytes }) in examples.iter().enumerate() {
        fs::write(folder.join(format!("example-{function}-{number}")), bytes).expect("a file");
    }
}

/// Returns requests to every endpoint: one for each example of a body, or one without a body.
#[must_use]
pub fn requests() -> Vec<Example> {
    let requests = operations().flat_map(|(path, _, operation)| {
        let function = operation["x-function"].as_str().or(operation["operationId"].as_str()).expect("a function");
        let head = head(function, &DOCUMENT["paths"][path], operation);
        let examples = operation["requestBody"]["content"]["application/json"]["examples"].as_object();
        let values = examples.into_iter().flat_map(Map::values).map(|example| &resolved(&DOCUMENT, example)["value"]);
        let mut inputs: Vec<_> =
            values.map(|value| format!("{head}content-type: application/json\n\n{value}")).collect();
        if inputs.is_empty() {
            inputs.push(format!("{head}\n"));
        }
        inputs.into_iter().map(|input| Example { function: function.to_owned(), bytes: input.into_bytes() })
    });
    requests.collect()
}

/// Returns the lines of a request before its body: the endpoint, and the parameters that have an example. Account and
/// customer are the caller's.
fn head(function: &str, item: &Value, operation: &Value) -> String {
    let mut head = format!(":endpoint {function}\n");
    let parameters = [&item["parameters"], &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten();
    for parameter in parameters.map(|parameter| resolved(&DOCUMENT, parameter)) {
        let name = parameter["name"].as_str().expect("a name");
        let example = &parameter["example"];
        let value = match name {
            "x-account-id" => ACCOUNT.to_owned(),
            "x-customer-id" => CUSTOMER.to_owned(),
            _ => example.as_str().map_or_else(|| example.to_string(), ToOwned::to_owned),
        };
        match parameter["in"].as_str() {
            Some("path") => writeln!(head, ":path {value}"),
            Some("header") if !example.is_null() => writeln!(head, "{name}: {value}"),
            _ => Ok(()),
        }
        .expect("memory");
    }
    head
}

/// Returns the messages of every queue that has a channel, each in its own batch. The row of a message's operation
/// matches its instruction.
#[must_use]
pub fn messages() -> Vec<Example> {
    let channels = MESSAGES["channels"].as_object().expect("channels").iter();
    let queues = channels.filter(|(name, _)| *name != "events");
    let examples = queues.flat_map(|(name, channel)| {
        let messages = channel["messages"].as_object().expect("messages").values();
        let examples = messages.filter_map(|message| resolved(&MESSAGES, message)["examples"].as_array()).flatten();
        examples.map(move |example| (format!("{name}-worker"), example["payload"].clone()))
    });
    let example = |(function, mut message): (String, Value)| {
        let mut head = format!(":worker {function}\n");
        message["org_id"] = ORG.into();
        if let Some(kind) = message["kind"].as_str() {
            let mut row = Map::from_iter([("kind".to_owned(), json!(kind.to_uppercase().replace('-', "_")))]);
            add_members(&mut row, &message["instruction"]);
            writeln!(head, ":operation {}", Value::Object(row)).expect("memory");
            message["accepted_at"] = ACCEPTED.into();
        }
        Example { function, bytes: format!("{head}\n{message}").into_bytes() }
    };
    examples.map(example).collect()
}

/// Adds all members of an object, and of its inner objects, that are not objects themselves.
fn add_members(row: &mut Map<String, Value>, object: &Value) {
    for (name, value) in object.as_object().into_iter().flatten() {
        if value.is_object() {
            add_members(row, value);
        } else {
            row.insert(name.clone(), value.clone());
        }
    }
}

/// Returns the target of a reference, or the node itself if it is not a reference.
fn resolved<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    let Some(pointer) = node["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else { return node };
    let target = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
    resolved(document, target)
}
