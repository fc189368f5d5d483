//! Requests: any endpoint, any path, query, headers and body, with the gateway's claims or a bearer token.
//!
//! Settings of an input:
//!
//! | | |
//! | --- | --- |
//! | `:endpoint NAME` | the function |
//! | `:path TEXT`, `:query TEXT` | the parameter in the path, and the query, as the client writes them |
//! | `:tenant`, `:account`, `:scope TEXT` | the claims, if not those of a caller who may do everything; without text: none |
//! | `:no-gateway` | no claims: the function verifies the bearer token itself, and nothing decodes the path before |
//! | `:base64` | the body comes in Base64, even if it is text |
//! | `:put POINTER JSON` | any JSON in any place of the event; a text that is no JSON is one |
//! | `:dynamodb`, `:sqs LETTERS` | how calls are answered: [`crate::aws::Fate`] |
//! | `:card`, `:bulk`, … `JSON` | what rows hold |
//! | `:expect STATUS` | of a seed: how it is answered |

pub(crate) mod contract;
mod gateway;
mod promises;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use lambda_http::{Error, LambdaEvent, Service};
use local_runner::{Visitor, visit};
use serde::Serialize;
use serde_json::Value;
use shared::http::{self, ApiGatewayRequest, Endpoint, Verifier};
use shared::worker::Worker;
use tokio::runtime::Runtime;

use crate::aws::Aws;
use crate::input::Input;
use crate::world::{self, KEYS, context};
use crate::{Outcome, left_of_memory};
use contract::Route;
use promises::Exchange;

/// All endpoints, as their functions' `main` wires them.
struct Endpoints {
    aws: Aws,
    routes: BTreeMap<String, Route>,
    functions: BTreeMap<&'static str, Function>,
}

type Function = Box<dyn FnMut(LambdaEvent<ApiGatewayRequest>, &Runtime) -> Result<Value, Error> + Send>;

static ENDPOINTS: LazyLock<Mutex<Endpoints>> = LazyLock::new(|| Mutex::new(Endpoints::new()));

/// Sends the request that the input says. In a word: its status; `None` if the input names no endpoint.
///
/// A request with an idempotency key that was accepted is sent again, and must be answered alike.
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
        aws.calm_down();
        self::exchange(aws, function, &event).check_repeated(&exchange);
    }
    let came_far = !exchange.calls.is_empty() || exchange.status() == 401;
    Some(Outcome { word: exchange.status().to_string(), came_far })
}

fn exchange(aws: &Aws, function: &mut Function, event: &Value) -> Exchange {
    let _earlier = world::take_logs();
    let (event, runtime) = (event.to_string(), world::runtime());
    let (answer, left) = left_of_memory(event.len(), || {
        // The runtime reads an event from text.
        let payload: ApiGatewayRequest = serde_json::from_str(&event).expect("an event that can be read");
        function(LambdaEvent::new(payload, context()), &runtime).expect("an answer")
    });
    let calls = aws.take_calls();
    // What AWS's clients take is theirs.
    assert!(left >= 0 || !calls.is_empty(), "reading took {left} bytes too many");
    Exchange { answer, calls, logs: world::take_logs() }
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
        self.functions.insert(E::NAME, function(http::service(endpoint, verifier, environment.metrics.clone())));
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
