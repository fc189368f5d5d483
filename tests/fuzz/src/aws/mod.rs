//! AWS in this process, for the real clients: no network, no waiting, and never the same mood for long.
//!
//! `DynamoDB` has a row for whatever it is asked for, so that instructions come far, and keeps no conditions. How each
//! call is answered is the input's to say, a letter each (see [`Fate`]); after the last letter all is well.

mod dynamodb;
mod events;
mod fate;
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

pub use fate::{Fate, Plan};
use rows::Rows;

use crate::input::Input;
use crate::world::PEPPER;

/// A service of AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The table.
    DynamoDb,
    /// The queues.
    Sqs,
    /// The bus.
    EventBridge,
}

impl Service {
    const ALL: [Self; 3] = [Self::DynamoDb, Self::Sqs, Self::EventBridge];

    /// The setting of an input that holds its plan.
    const fn setting(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::EventBridge => "events",
        }
    }
}

/// A call, and what came of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which service was called.
    pub service: Service,
    /// Its body.
    pub request: String,
    /// The partitions that it reads or writes.
    pub partitions: Vec<String>,
    /// What took effect of it: partitions written, messages sent, events published.
    pub effects: Vec<Value>,
}

/// The services.
#[derive(Debug)]
pub struct Aws {
    /// Makes their clients. Secrets Manager always answers.
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

    /// Begins anew: forgets what was written, and does from now on what this input says.
    pub fn begin(&self, input: &Input<'_>) {
        let plan = |service: Service| (service, Plan::read(input.setting(service.setting()).unwrap_or_default()));
        let plans = Service::ALL.into_iter().map(plan).collect();
        *self.services.lock().unwrap() = Services { plans, rows: Rows::of(input), calls: Vec::new() };
    }

    /// Lets all calls from now on end well.
    pub fn calm_down(&self) {
        self.services.lock().unwrap().plans.clear();
    }

    /// The calls since the last time.
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
}

/// What a service says to a call.
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
        Self { status: 400, ..Self::ok(json!({ "__type": format!("aws#{code}"), "message": "as the input has it" })) }
    }

    fn with(self, effects: Vec<Value>) -> Self {
        Self { effects, ..self }
    }
}

#[derive(Debug)]
struct Wire(Arc<Mutex<Services>>);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.0.lock().unwrap().answer(&request))
    }
}

impl Services {
    fn answer(&mut self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let (prefix, action) = request.headers().get("x-amz-target").unwrap().split_once('.').unwrap();
        if prefix == "secretsmanager" {
            let secret = SdkBody::from(json!({ "SecretString": PEPPER }).to_string());
            return Ok(HttpResponse::new(200.try_into().unwrap(), secret));
        }
        let service = match prefix {
            "DynamoDB_20120810" => Service::DynamoDb,
            "AmazonSQS" => Service::Sqs,
            "AWSEvents" => Service::EventBridge,
            other => panic!("no such service: {other}"),
        };
        let text = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        let body: Value = serde_json::from_str(text).unwrap();
        let partitions = if service == Service::DynamoDb { dynamodb::partitions(action, &body) } else { Vec::new() };
        let mut call = Call { service, request: text.to_owned(), partitions, effects: Vec::new() };
        let fate = self.plans.get_mut(&service).map_or(Fate::Well, Plan::take);
        let (status, body) = match fate {
            Fate::Unreachable => {
                self.calls.push(call);
                return Err(ConnectorError::io("as the input has it".into()));
            }
            Fate::Garbled => (200, "{".to_owned()),
            Fate::Failed => (500, "{}".to_owned()),
            fate => {
                let reply = match service {
                    Service::DynamoDb => dynamodb::answer(action, &body, fate, &mut self.rows),
                    Service::Sqs => queues::answer(action, &body, fate),
                    Service::EventBridge => events::answer(&body, fate),
                };
                call.effects = reply.effects;
                (reply.status, reply.body.to_string())
            }
        };
        self.calls.push(call);
        Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
    }
}

/// The array, or none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
