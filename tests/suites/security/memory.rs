//! Checks that each function of the template uses less than half of its memory.
//!
//! It gets bodies and messages of the largest size, in the shapes that take the most memory. The measured memory is the
//! whole process's, as Linux counts it: the event, its parsing by the runtime and by our code, and the response. The
//! build has debug assertions and all functions in one binary, so a deployed function uses less.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::payloads::batch;
use tests::requests::{Endpoint, Request};
use tests::template::{self, Template};
use tests::test_env::TestEnv;
use tests::webhook::Webhook;
use tokio::task::JoinSet;

use super::messages::well_formed;
use super::shapes::{json, xml};

/// Maximum size of a Lambda event, in bytes: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const EVENT: usize = 6 * 1024 * 1024;
/// Bytes of an event that are reserved for everything except its body.
const AROUND: usize = 16 * 1024;
/// Maximum size of an SQS message, in bytes, which is also the limit of the template's queues.
const MESSAGE: usize = 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// Returns the memory that the template assigns to a function, in bytes.
fn memory_size(template: &Template, function: &template::FunctionResource) -> u64 {
    let of_all = &template.section("Globals")["Function"]["MemorySize"];
    function.properties.get("MemorySize").unwrap_or(of_all).as_u64().unwrap() * MIB
}

/// Returns the type and the properties of the function's only event source: the API, a queue or a schedule. The
/// pre-traffic hook has none.
fn source(function: &template::FunctionResource) -> (&str, &Value) {
    let Some(events) = function.properties["Events"].as_object() else { return ("none", &Value::Null) };
    let events: Vec<_> = events.values().collect();
    let [event] = events[..] else { panic!("{} has {} events", function.name, events.len()) };
    (event["Type"].as_str().unwrap(), &event["Properties"])
}

/// Returns a request to this endpoint with this body.
fn request(endpoint: Endpoint, content_type: &str, body: &[u8]) -> Value {
    let mut event = Request::of(endpoint).header("content-type", content_type).event();
    // In Base64, any body of the maximum size fits into an event, and decoding it takes additional memory.
    (event["body"], event["isBase64Encoded"]) = (STANDARD.encode(body).into(), true.into());
    event
}

/// A function of the template, and the event for which it used the most memory.
struct Measured {
    function: Function,
    half: u64,
    worst: (u64, String),
}

impl Measured {
    /// Invokes the function with this event and returns its response. Panics if there is no response.
    async fn invoke(&mut self, name: &str, event: Value) -> Value {
        let started = Instant::now();
        self.function.forget_peak().await;
        let invocation = self.function.invoke(event).await;
        let Invocation::Responded(response) = invocation else { panic!("{name}: {invocation:?}") };
        let peak = self.function.memory().await.peak;
        let line = format!("{name}: {} MiB, {:?}, {}", peak / MIB, started.elapsed(), response["statusCode"]);
        println!("{line}");
        self.worst = std::mem::take(&mut self.worst).max((peak, line));
        response
    }

    /// Sends bodies in all shapes of the endpoint's content types, each of the endpoint's maximum size. Also sends the
    /// largest body that fits into an event.
    async fn requests(&mut self, endpoint: Endpoint) {
        let name = endpoint.function;
        let spaces = |size| request(endpoint, "application/json", &vec![b' '; size]);
        self.invoke(&format!("{name}, spaces"), spaces(EVENT / 4 * 3 - AROUND)).await;
        if !endpoint.takes_body() {
            return;
        }
        let largest = endpoint.max_body_bytes();
        let response = self.invoke(&format!("{name}, {largest} spaces"), spaces(largest)).await;
        assert_eq!(response["statusCode"], 400, "{name} must accept a body of {largest} bytes, and find it invalid");
        let content = &endpoint.operation.node["requestBody"]["content"];
        let mut shapes = if content["application/json"].is_null() { Vec::new() } else { json() };
        shapes.extend(if content["application/xml"].is_null() { Vec::new() } else { xml() });
        for shape in shapes {
            let body = shape.bytes(largest);
            let what = format!("{name}, {} bytes, {}", body.len(), shape.name);
            let response = self.invoke(&what, request(endpoint, shape.content_type, &body)).await;
            assert!(response["statusCode"].as_u64().unwrap() < 500, "{what}: {response}");
        }
    }

    /// Sends messages to the worker, each of SQS's maximum size, in the largest batch that fits into an event.
    async fn messages(&mut self, name: &str, queue: &Value) {
        for shape in json().iter().filter(|shape| shape.name.starts_with("body")) {
            let mut message = well_formed(name);
            message["x"] = Value::Null;
            let values = String::from_utf8(shape.bytes(MESSAGE - AROUND)).unwrap();
            let message = message.to_string().replace("\"x\":null", &format!("\"x\":{values}"));
            let most = EVENT / (json!(message).to_string().len() + AROUND);
            let messages = most.min(usize::try_from(queue["BatchSize"].as_u64().unwrap()).unwrap());
            let what = format!("{name}, {messages} messages of {} bytes, {}", message.len(), shape.name);
            self.invoke(&what, batch(&vec![(message, 1); messages])).await;
        }
    }
}

/// Run with `--no-capture` to see the memory of each function and event.
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux reports the peak memory of a process")]
#[tokio::test(flavor = "multi_thread")]
async fn no_body_and_no_message_takes_half_of_the_memory() {
    let (template, env, webhook) = (Template::read(), TestEnv::new().await, Webhook::new().await);
    let mut measuring = JoinSet::new();
    // No client chooses the events of a task.
    let has_input = |function: &template::FunctionResource| ["HttpApi", "SQS"].contains(&source(function).0);
    for of_template in template.functions().into_iter().filter(has_input) {
        let environment = env.environment().into_iter().chain(webhook.variables()).collect();
        let half = memory_size(&template, &of_template) / 2;
        measuring.spawn(async move {
            let name = of_template.name.as_str();
            let function = Function::new(name, environment).await.patient();
            function.start().await;
            let mut measured = Measured { function, half, worst: Default::default() };
            match source(&of_template) {
                ("HttpApi", _) => measured.requests(Endpoint::of(name)).await,
                ("SQS", queue) => measured.messages(name, queue).await,
                other => panic!("{name} has an event source that this test does not know: {other:?}"),
            }
            measured
        });
    }
    let beyond: Vec<_> = measuring.join_all().await.into_iter().filter(|of| of.worst.0 >= of.half).collect();
    let beyond: Vec<_> = beyond.iter().map(|of| &of.worst.1).collect();
    assert!(beyond.is_empty(), "these functions use half of their memory or more: {beyond:#?}");
}
