//! A fake AWS in this process, for the real clients. It has no network and no delays.
//!
//! `DynamoDB` has a row for every key it is asked for, so that instructions get far, and evaluates no conditions. The
//! input determines the outcome of each call with one letter (see [`CallOutcome`]). Calls after the last letter
//! succeed.

mod call_outcome;
mod dynamodb;
mod events;
mod queues;
pub(crate) mod rows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

pub use call_outcome::{CallOutcome, Plan};
use rows::Rows;

use crate::input::Input;
use crate::world::{DENIED_ORG, PEPPER};

/// The partition of the deny list.
const DENY_LIST: &str = "STACK#DENIED";

/// A fake AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// DynamoDB, with the table.
    DynamoDb,
    /// SQS, with the queues.
    Sqs,
    /// EventBridge, with the bus.
    EventBridge,
}

impl Service {
    const ALL: [Self; 3] = [Self::DynamoDb, Self::Sqs, Self::EventBridge];

    /// Returns the name of the input's setting that holds the service's plan.
    const fn setting(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::EventBridge => "events",
        }
    }
}

/// A call and its effects.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service that was called.
    pub service: Service,
    /// The request's body.
    pub request: String,
    /// The partitions that it reads or writes.
    pub partitions: Vec<String>,
    /// The effects of the call: partitions written, messages sent, events published.
    pub effects: Vec<Value>,
}

/// The fake services.
#[derive(Debug)]
pub struct Aws {
    /// Makes the clients of the services. Secrets Manager always succeeds.
    pub clients: shared::aws::Aws,
    services: Arc<Mutex<Services>>,
}

impl Aws {
    /// Makes the services.
    #[must_use]
    pub fn new() -> Self {
        let services = Arc::new(Mutex::new(Services::default()));
        let connector = SharedHttpConnector::new(Wire(Arc::clone(&services)));
        let http: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
        Self { clients: shared::aws::Aws::behind(http), services }
    }

    /// Starts anew: forgets what was written, and follows this input.
    pub fn begin(&self, input: &Input<'_>) {
        let plan = |service: Service| (service, Plan::read(input.setting(service.setting()).unwrap_or_default()));
        let plans = Service::ALL.into_iter().map(plan).collect();
        let (rows, calls, has_read_deny_list) = (Rows::of(input), Vec::new(), false);
        *self.services.lock().unwrap() = Services { plans, rows, calls, has_read_deny_list };
    }

    /// Lets all later calls succeed.
    pub fn clear_faults(&self) {
        self.services.lock().unwrap().plans.clear();
    }

    /// Returns whether the deny list was read since the input began, which is no call of its own.
    #[must_use]
    pub fn has_read_deny_list(&self) -> bool {
        self.services.lock().unwrap().has_read_deny_list
    }

    /// Returns the calls since the last time, and forgets them.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.services.lock().unwrap().calls)
    }
}

impl Default for Aws {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct Services {
    plans: BTreeMap<Service, Plan>,
    rows: Rows,
    calls: Vec<Call>,
    has_read_deny_list: bool,
}

/// A service's response to a call.
struct Reply {
    status: u16,
    body: Value,
    effects: Vec<Value>,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: 200, body, effects: Vec::new() }
    }

    fn error(code: &str) -> Self {
        Self {
            status: 400,
            ..Self::ok(json!({ "__type": format!("aws#{code}"), "message": "as the input specifies" }))
        }
    }

    fn with(self, effects: Vec<Value>) -> Self {
        Self { effects, ..self }
    }
}

#[derive(Debug)]
struct Wire(Arc<Mutex<Services>>);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.0.lock().unwrap().respond(&request))
    }
}

impl Services {
    fn respond(&mut self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let (prefix, action) = request.headers().get("x-amz-target").unwrap().split_once('.').unwrap();
        if prefix == "secretsmanager" {
            let secret = SdkBody::from(json!({ "SecretString": PEPPER }).to_string());
            return Ok(HttpResponse::new(200.try_into().unwrap(), secret));
        }
        let text = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        let body: Value = serde_json::from_str(text).unwrap();
        // Every endpoint reads the deny list before anything else. It is not a row of the caller.
        if body["Key"]["pk"]["S"] == DENY_LIST {
            self.has_read_deny_list = true;
            return Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(deny_list().to_string())));
        }
        let service = match prefix {
            "DynamoDB_20120810" => Service::DynamoDb,
            "AmazonSQS" => Service::Sqs,
            "AWSEvents" => Service::EventBridge,
            other => panic!("no such service: {other}"),
        };
        let partitions = if service == Service::DynamoDb { dynamodb::partitions(action, &body) } else { Vec::new() };
        let mut call = Call { service, request: text.to_owned(), partitions, effects: Vec::new() };
        let outcome = self.plans.get_mut(&service).map_or(CallOutcome::Success, Plan::take);
        let (status, body) = match outcome {
            CallOutcome::Unreachable => {
                self.calls.push(call);
                return Err(ConnectorError::io("as the input specifies".into()));
            }
            CallOutcome::Garbled => (200, "{".to_owned()),
            CallOutcome::Failed => (500, "{}".to_owned()),
            outcome => {
                let reply = match service {
                    Service::DynamoDb => dynamodb::respond(action, &body, outcome, &mut self.rows),
                    Service::Sqs => queues::respond(action, &body, outcome),
                    Service::EventBridge => events::respond(&body, outcome),
                };
                call.effects = reply.effects;
                (reply.status, reply.body.to_string())
            }
        };
        self.calls.push(call);
        Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
    }
}

/// Returns the response to a read of the deny list, with one organization.
fn deny_list() -> Value {
    let denial = json!({ "M": { "reason": { "S": "r" }, "at": { "S": rows::ACCEPTED } } });
    json!({ "Item": { "version": { "N": "1" }, "denied": { "M": { DENIED_ORG: denial } } } })
}

/// Returns the array, or an empty one.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
