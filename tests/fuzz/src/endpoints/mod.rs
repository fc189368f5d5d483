//! Requests to any endpoint, with any path, query, headers and body, and with the gateway's claims or a bearer token.
//!
//! Settings of an input:
//!
//! | | |
//! | --- | --- |
//! | `:endpoint NAME` | the function |
//! | `:path TEXT`, `:query TEXT` | the parameter in the path, and the query, as the client writes them |
//! | `:tenant`, `:account`, `:scope TEXT` | the claims, if not those of a caller with all rights; no text: no claim |
//! | `:no-gateway` | no claims: the function verifies the bearer token itself, and the path is not decoded |
//! | `:base64` | the body is in Base64, even if it is text |
//! | `:put POINTER JSON` | any JSON at any place of the event; text that is not JSON becomes a string |
//! | `:dynamodb`, `:sqs LETTERS` | the outcomes of calls: [`crate::aws::CallOutcome`] |
//! | `:card`, `:bulk`, … `JSON` | members of rows |
//! | `:expect STATUS` | in a seed: the status of the response |

pub(crate) mod contract;
mod gateway;
mod promises;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use lambda_http::{Error, LambdaEvent, Service};
use local_runner::{Visitor, visit};
use serde::Serialize;
use serde_json::Value;
use shared::http::{self, Admission, ApiGatewayRequest, Endpoint, Verifier};
use shared::worker::Worker;
use tokio::runtime::Runtime;

use crate::aws::Aws;
use crate::input::Input;
use crate::world::{self, KEYS, context};
use crate::{Outcome, left_of_memory};
use contract::Route;
use promises::Exchange;

/// All endpoints, set up as in their functions' `main`.
struct Endpoints {
    aws: Aws,
    routes: BTreeMap<String, Route>,
    functions: BTreeMap<&'static str, Function>,
}

type Function = Box<dyn FnMut(LambdaEvent<ApiGatewayRequest>, &Runtime) -> Result<Value, Error> + Send>;

static ENDPOINTS: LazyLock<Mutex<Endpoints>> = LazyLock::new(|| Mutex::new(Endpoints::new()));

/// Sends the input's request. The outcome's word is its status. Returns `None` if the input names no endpoint.
///
/// If a request with an idempotency key is accepted, sends it again, and checks that the response is the same.
pub fn run(bytes: &[u8]) -> Option<Outcome> {
    let input = Input::read(bytes);
    let mut endpoints = ENDPOINTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Endpoints { aws, routes, functions } = &mut *endpoints;
    let route = routes.get(input.setting("endpoint")?)?;
    let function =
        functions.get_mut(route.name.as_str()).expect("a function of every operation in infra/api/openapi.yaml");
    let event = gateway::event(route, &input);
    aws.begin(&input);
    let exchange = exchange(aws, function, &event);
    exchange.check(route, &input, bytes);
    if exchange.is_recorded(route, &input) {
        aws.clear_faults();
        self::exchange(aws, function, &event).check_repeated(&exchange);
    }
    let came_far = !exchange.calls.is_empty() || exchange.status() == 401;
    Some(Outcome { word: exchange.status().to_string(), came_far })
}

fn exchange(aws: &Aws, function: &mut Function, event: &Value) -> Exchange {
    let _earlier = world::take_logs();
    let (event, runtime) = (event.to_string(), world::runtime());
    let (response, left) = left_of_memory(event.len(), || {
        // The runtime reads an event from text.
        let payload: ApiGatewayRequest = serde_json::from_str(&event).expect("an event that can be read");
        function(LambdaEvent::new(payload, context()), &runtime).expect("a response")
    });
    let calls = aws.take_calls();
    // The memory that AWS's clients take is not limited here.
    assert!(left >= 0 || !calls.is_empty() || aws.has_read_deny_list(), "reading took {left} bytes too many");
    Exchange { response, calls, logs: world::take_logs() }
}

fn function(
    mut service: impl Service<LambdaEvent<ApiGatewayRequest>, Response: Serialize, Error = Error> + Send + 'static,
) -> Function {
    Box::new(move |event, runtime| Ok(serde_json::to_value(runtime.block_on(service.call(event))?)?))
}

impl Visitor for Endpoints {
    fn endpoint<E: Endpoint>(&mut self) {
        let environment = world::environment(&self.aws.clients, E::NAME);
        let endpoint = environment.make(E::from_env).unwrap();
        let verifier = Verifier::of_keys("https://issuer.test".to_owned(), "bindery".to_owned(), KEYS).unwrap();
        let admission = Admission::from_env::<E>(&environment);
        let service = http::service(endpoint, verifier, admission, environment.metrics.clone());
        self.functions.insert(E::NAME, function(service));
    }

    fn worker<W: Worker>(&mut self) {}
}

impl Endpoints {
    fn new() -> Self {
        world::keep_logs();
        let mut endpoints = Self { aws: Aws::new(), routes: contract::routes(), functions: BTreeMap::new() };
        visit(&mut endpoints);
        endpoints
    }
}
