//! Bodies and messages of the largest size that take the most memory, to every function of the template: what it holds
//! stays below half of what it has.
//!
//! Measured is all of the process, as Linux counts it: the event that came, its reading by the runtime, ours, the answer.
//! It is the build with debug assertions, and all functions in one binary, so a function alone holds less.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::arena::Arena;
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, CUSTOMER, batch, http_event};
use tests::template::{self, Template};
use tests::webhook::Webhook;

use super::messages::well_formed;
use super::shapes::{Shape, json, xml};

/// The largest event of Lambda's, in bytes: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const EVENT: usize = 6 * 1024 * 1024;
/// What of it an event has beside its body.
const AROUND: usize = 16 * 1024;
/// The largest message of SQS's, in bytes, as the template's queues have it.
const MESSAGE: usize = 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// The memory that the template gives a function, in bytes.
fn memory_size(template: &Template, function: &template::Function) -> u64 {
    let of_all = &template.section("Globals")["Function"]["MemorySize"];
    function.properties.get("MemorySize").unwrap_or(of_all).as_u64().unwrap() * MIB
}

/// The function's only event: of the API, or of a queue.
fn source(function: &template::Function) -> (&str, &Value) {
    let events: Vec<_> = function.properties["Events"].as_object().unwrap().values().collect();
    let [event] = events[..] else { panic!("{} has {} events", function.name, events.len()) };
    (event["Type"].as_str().unwrap(), &event["Properties"])
}

/// A request to this route, from a caller who may do everything.
fn request(route: &Value, content_type: &str, body: &[u8]) -> Value {
    let (path, method) = (route["Path"].as_str().unwrap(), route["Method"].as_str().unwrap().to_uppercase());
    let name = path.split(['{', '}']).nth(1);
    let parameters = name.map_or(json!({}), |name| json!({ name: "7" }));
    let (account, customer) = (ACCOUNT.to_string(), CUSTOMER.to_string());
    let headers = json!({ "content-type": content_type, "x-account-id": account, "x-customer-id": customer });
    let mut event = http_event(&method, path, &parameters, &headers, None);
    event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] =
        json!("cards:write cards:read orders:cancel operations:read");
    // In Base64 any body of a request's size fits into an event, and has to be decoded besides.
    (event["body"], event["isBase64Encoded"]) = (STANDARD.encode(body).into(), true.into());
    event
}

/// The worst that was seen of a function.
#[derive(Default)]
struct Worst {
    bytes: usize,
    name: String,
    peak: u64,
    milliseconds: u128,
}

/// A function of the template, and what it has held.
struct Measured {
    function: Function,
    worst: Worst,
    slowest: u128,
}

impl Measured {
    /// Hands it this event, and notes its peak; answers what it said.
    async fn invoke(&mut self, name: &str, bytes: usize, event: Value) -> Value {
        self.function.forget_peak().await;
        let started = std::time::Instant::now();
        let invocation = self.function.invoke(event).await;
        let milliseconds = started.elapsed().as_millis();
        let Invocation::Answered(answer) = invocation else { panic!("{name}, {bytes} bytes: {invocation:?}") };
        let peak = self.function.memory().await.peak;
        self.slowest = self.slowest.max(milliseconds);
        if std::env::var("BINDERY_MEMORY").is_ok() {
            println!("    {} KiB {milliseconds} ms {name} {bytes} {}", peak / 1024, answer["statusCode"]);
        }
        if peak > 70 * MIB {
            self.function.killer()();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            self.function.start().await;
        }
        if peak > self.worst.peak {
            self.worst = Worst { bytes, name: name.to_owned(), peak, milliseconds };
        }
        answer
    }
}

/// Sends bodies of all shapes, each of the largest size that the endpoint takes, and larger ones.
async fn requests(endpoint: &mut Measured, route: &Value) {
    // What an endpoint does not take it refuses, whatever its limit is: the largest that it takes is looked for.
    let mut limit = EVENT / 4 * 3 - AROUND;
    let spaces = vec![b' '; limit];
    let mut largest = 0;
    for size in [limit, 4 << 20, 1 << 20, 64 << 10] {
        let answer = endpoint.invoke("spaces", size, request(route, "application/json", &spaces[..size])).await;
        if answer["statusCode"] != 413 {
            largest = size;
            break;
        }
    }
    assert!(largest > 0);
    limit = limit.min(largest);
    let is_read = endpoint.invoke("no JSON", 1, request(route, "application/json", b"-")).await["statusCode"] == 400;
    if !is_read {
        return;
    }
    for shape in json().into_iter().chain(xml()) {
        let bytes = shape.bytes(limit);
        let answer = endpoint.invoke(&shape.name, bytes.len(), request(route, shape.content_type, &bytes)).await;
        let status = answer["statusCode"].as_u64().unwrap();
        assert!(status < 500, "{}: {answer}", shape.name);
    }
}

/// Sends messages of all shapes, each of SQS's largest size, as many as make a batch or an event.
async fn messages(worker: &mut Measured, name: &str, queue: &Value) {
    let good = well_formed(name);
    let most = queue["BatchSize"].as_u64().unwrap() as usize;
    for shape in json() {
        let body = String::from_utf8(shape.bytes(MESSAGE - 2000)).unwrap();
        let mut members = good.as_object().unwrap().clone();
        members.insert("x".to_owned(), Value::Null);
        let within = Value::Object(members).to_string().replace("null", &body);
        for body in [body, within] {
            let size = json!(body).to_string().len() + 300;
            let event = batch(&vec![(body.clone(), 1); most.min(EVENT / size)]);
            worker.invoke(&shape.name, most.min(EVENT / size) * body.len(), event).await;
        }
    }
}

#[tokio::test]
async fn no_body_and_no_message_takes_half_of_the_memory() {
    let (template, arena, webhook) = (Template::read(), Arena::new().await, Webhook::new().await);
    let only = std::env::var("ONLY").ok();
    let mut beyond = Vec::new();
    for of_template in template.functions() {
        if only.as_ref().is_some_and(|only| !of_template.name.starts_with(only)) {
            continue;
        }
        let environment = arena.environment().into_iter().chain(webhook.variables()).collect();
        let function = Function::new(&of_template.name, environment).await.patient();
        function.start().await;
        let idle = function.memory().await.peak;
        let mut measured = Measured { function, worst: Worst::default(), slowest: 0 };
        match source(&of_template) {
            ("HttpApi", route) => requests(&mut measured, route).await,
            ("SQS", queue) => messages(&mut measured, &of_template.name, queue).await,
            other => panic!("{}: what is {other:?}?", of_template.name),
        }
        let (Worst { bytes, name, peak, milliseconds }, half) =
            (&measured.worst, memory_size(&template, &of_template) / 2);
        let line = format!(
            "{} | {name} | {bytes} | {milliseconds} ms (slowest {}) | {} MiB (idle {}) of {}",
            of_template.name,
            measured.slowest,
            peak / MIB,
            idle / MIB,
            2 * half / MIB
        );
        println!("{line}");
        if *peak >= half {
            beyond.push(line);
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}
