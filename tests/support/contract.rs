//! Checks every event, message and response that tests see against the API documents (infra/api) and the schemas
//! (infra/schemas).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// The base URI of infra's files in references between schemas.
const BASE: &str = "file:///infra/";
/// The path of the `OpenAPI` document, from infra.
const OPENAPI: &str = "api/openapi.yaml";

/// Schemas by the names of their files.
type Schemas = BTreeMap<String, Validator>;

static EVENTS: LazyLock<Schemas> = LazyLock::new(|| validators("schemas/events"));
static MESSAGES: LazyLock<Schemas> = LazyLock::new(|| validators("schemas"));

/// Panics unless the event has a known type and is valid by its schema.
pub fn check_event(event: &Value) {
    let kind = event["event_type"].as_str().unwrap_or_default();
    let schema = EVENTS.get(kind).unwrap_or_else(|| panic!("an event of an unknown type: {event}"));
    check(schema, event, kind);
}

/// Returns all event types.
pub fn event_types() -> impl Iterator<Item = &'static str> {
    EVENTS.keys().map(String::as_str)
}

/// Panics unless the message has a known kind and is valid by its schema.
pub fn check_message(body: &str) {
    let message = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"));
    let kind = queue_of(body);
    check(&MESSAGES[&kind], &message, &kind);
}

/// Returns the name of the queue that a message is for, since a test environment has one queue for all.
///
/// Bindery's messages name their kind. A message of another system belongs to the first schema by which it is valid. If
/// only one queue receives messages of other systems, malformed messages belong to it, too.
#[must_use]
pub fn queue_of(body: &str) -> String {
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(kind) = message["kind"].as_str() {
        return kind.to_owned();
    }
    let mut others = FOREIGN_SCHEMAS.iter().map(|name| (name, MESSAGES[name].is_valid(&message)));
    let fitting = if others.len() == 1 { others.next() } else { others.find(|(_, is_valid)| *is_valid) };
    fitting.unwrap_or_else(|| panic!("no schema describes the message: {body}")).0.clone()
}

/// The names of the schemas of messages that other systems send, which have no `kind`.
static FOREIGN_SCHEMAS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = |name: &str| read(&infra().join(format!("schemas/{name}.schema.json")));
    MESSAGES.keys().filter(|name| schema(name)["properties"]["kind"].is_null()).cloned().collect()
});

/// The `OpenAPI` document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(OPENAPI));
/// The `AsyncAPI` document.
pub static MESSAGES_AND_EVENTS: LazyLock<Value> = LazyLock::new(|| document("api/asyncapi.yaml"));

/// Reads a document in YAML, by its path from infra.
fn document(file: &str) -> Value {
    let text = std::fs::read_to_string(infra().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the queues that have a channel in the `AsyncAPI` document. A queue's message has the same name.
#[must_use]
pub fn queues() -> Vec<&'static str> {
    let channels = MESSAGES_AND_EVENTS["channels"].as_object().unwrap();
    channels.keys().map(String::as_str).filter(|name| *name != "events").collect()
}

/// Returns the first example of a message or an event, by its name in the `AsyncAPI` document.
#[must_use]
pub fn example(message: &str) -> Value {
    let messages = &MESSAGES_AND_EVENTS["components"]["messages"];
    let payload = messages[message].pointer("/examples/0/payload");
    payload.unwrap_or_else(|| panic!("{message} has no example in infra/api/asyncapi.yaml")).clone()
}

/// An operation of the `OpenAPI` document.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// The path, with parameters.
    pub path: &'a str,
    /// The HTTP method, in upper case.
    pub method: &'a str,
    /// The operation's object in the document.
    pub node: &'a Value,
    /// The path's object, which has what all its operations share.
    pub item: &'a Value,
}

impl<'a> Operation<'a> {
    /// Returns the function that serves it: `x-function`, or else the operation's ID.
    #[must_use]
    pub fn function(self) -> &'a str {
        self.node["x-function"].as_str().or(self.node["operationId"].as_str()).unwrap()
    }

    /// Returns the scopes, one of which the token must have.
    #[must_use]
    pub fn scopes(self) -> Vec<&'a str> {
        let ways = self.node["security"].as_array().unwrap();
        assert!(ways.iter().all(|way| way["BearerAuth"].as_array().unwrap().len() == 1), "{}", self.path);
        ways.iter().map(|way| way["BearerAuth"][0].as_str().unwrap()).collect()
    }
}

/// Returns the document's operations.
#[must_use]
pub fn operations(document: &Value) -> Vec<Operation<'_>> {
    const METHODS: [(&str, &str); 5] =
        [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("delete", "DELETE"), ("patch", "PATCH")];
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let of_path = METHODS.iter().filter_map(|(name, method)| Some((method, item.get(name)?)));
        operations.extend(of_path.map(|(method, node)| Operation { path, method, node, item }));
    }
    operations
}

/// Returns the node, or the one that it refers to.
#[must_use]
pub fn resolved<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    let Some(reference) = node["$ref"].as_str() else { return node };
    let pointer = reference.strip_prefix('#').unwrap();
    resolved(
        document,
        document.pointer(pointer).unwrap_or_else(|| panic!("{reference} does not exist in the document")),
    )
}

/// Panics unless an operation of this path documents the response. Responses of the gateway itself, such as to an
/// unknown method, are not checked.
pub fn check_response(path: &str, status: u16, content_type: &str, body: &Value) {
    let kind = content_type.split(';').next().unwrap_or_default();
    let all = operations(&DOCUMENT).into_iter().filter(|operation| is_at(operation.path, path)).collect::<Vec<_>>();
    let is_no_route = status == 404 && body.get("message").is_some();
    if all.is_empty() || is_no_route || !kind.ends_with("json") {
        return;
    }
    let errors: Vec<_> = all.iter().filter_map(|operation| mismatch(*operation, status, kind, body)).collect();
    assert!(errors.len() < all.len(), "{path}: {status} {kind}: {errors:#?} in {body:#}");
}

/// Returns whether a path matches the template.
fn is_at(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let alike = |(name, part): (&&str, &&str)| name == part || name.starts_with('{');
    template.len() == path.len() && template.iter().zip(&path).all(alike)
}

/// Returns how the response differs from the operation's documentation, if it does.
fn mismatch(operation: Operation<'_>, status: u16, kind: &str, body: &Value) -> Option<String> {
    static SCHEMAS: LazyLock<Mutex<BTreeMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
    let Operation { method, path, node, .. } = operation;
    let of_operation = format!("/paths/{}/{}/responses/{status}", escaped(path), method.to_lowercase());
    let Some(response) = node["responses"].get(status.to_string()) else {
        return Some(format!("{method}: not documented"));
    };
    let place =
        response["$ref"].as_str().map_or(of_operation, |reference| reference.trim_start_matches('#').to_owned());
    if resolved(&DOCUMENT, response)["content"].get(kind).is_none() {
        return Some(format!("{method}: another content type"));
    }
    let pointer = format!("{place}/content/{}/schema", escaped(kind));
    let new = || Arc::new(validator(&format!("{OPENAPI}#{}", pointer.replace('{', "%7B").replace('}', "%7D"))));
    let schema = Arc::clone(SCHEMAS.lock().unwrap().entry(pointer.clone()).or_insert_with(new));
    schema.validate(body).err().map(|error| format!("{method}: {}: {error}", error.instance_path()))
}

/// Returns validators of the schemas in a folder of infra.
fn validators(folder: &str) -> Schemas {
    let stem = |file: &String| file.rsplit('/').next().unwrap().strip_suffix(".schema.json").unwrap().to_owned();
    let files = files(folder).into_iter().filter(|file| !file.ends_with("common.schema.json"));
    files.map(|file| (stem(&file), validator(&file))).collect()
}

/// All schemas and the `OpenAPI` document. References to anything else fail, and nothing is fetched.
static REGISTRY: LazyLock<Registry<'static>> = LazyLock::new(|| {
    let schemas = ["schemas", "schemas/events"].into_iter().flat_map(files);
    let schemas = schemas.map(|file| (format!("{BASE}{file}"), read(&infra().join(file))));
    let document = std::iter::once((format!("{BASE}{OPENAPI}"), DOCUMENT.clone()));
    Registry::new().extend(schemas.chain(document)).unwrap().prepare().unwrap()
});

fn validator(reference: &str) -> Validator {
    let options = jsonschema::options().with_registry(&REGISTRY).should_validate_formats(true);
    options
        .build(&json!({ "$ref": format!("{BASE}{reference}") }))
        .unwrap_or_else(|error| panic!("{reference}: {error}"))
}

fn check(schema: &Validator, value: &Value, what: &str) {
    let errors: Vec<_> = schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?} in {value:#}");
}

/// Returns the paths, from infra, of the schemas in a folder.
fn files(folder: &str) -> Vec<String> {
    let names = std::fs::read_dir(infra().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".schema.json"));
    names.map(|name| format!("{folder}/{name}")).collect()
}

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra")
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap()
}
