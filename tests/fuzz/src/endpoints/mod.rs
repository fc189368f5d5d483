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

mod contract;
mod gateway;
mod promises;

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use bind_card::BindCard;
use cancel_bulk::CancelBulk;
use cancel_orders::CancelOrders;
use create_bulk::CreateBulk;
use get_bulk::GetBulk;
use get_card::GetCard;
use get_operation::GetOperation;
use increment_bulk::IncrementBulk;
use lambda_http::{Error, LambdaEvent, Service};
use serde::Serialize;
use serde_json::Value;
use shared::http::{self, Event, Scope, Verifier};
use shared::pin::PepperSecret;
use shared::queue::Queue;
use shared::store::Store;
use start_bulk::StartBulk;
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

type Function = Box<dyn FnMut(LambdaEvent<Event>, &Runtime) -> Result<Value, Error> + Send>;

static ENDPOINTS: LazyLock<Mutex<Endpoints>> = LazyLock::new(|| Mutex::new(Endpoints::new()));

/// Sends the request that the input says. In a word: its status; `None` if the input names no endpoint.
///
/// A request with an idempotency key that was accepted is sent again, and must be answered alike.
pub fn run(bytes: &[u8]) -> Option<Outcome> {
    let input = Input::read(bytes);
    let mut endpoints = ENDPOINTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Endpoints { aws, routes, functions } = &mut *endpoints;
    let route = routes.get(input.setting("endpoint")?)?;
    let function = functions.get_mut(route.name.as_str()).expect("a function of every route in the README");
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
        let payload: Event = serde_json::from_str(&event).expect("an event that can be read");
        function(LambdaEvent::new(payload, context()), &runtime).expect("an answer")
    });
    let calls = aws.take_calls();
    // What AWS's clients take is theirs.
    assert!(left >= 0 || !calls.is_empty(), "reading took {left} bytes too many");
    Exchange { answer, calls, logs: world::take_logs() }
}

fn function(
    mut service: impl Service<LambdaEvent<Event>, Response: Serialize, Error = Error> + Send + 'static,
) -> Function {
    Box::new(move |event, runtime| Ok(serde_json::to_value(runtime.block_on(service.call(event))?)?))
}

/// An endpoint behind all that is around it.
macro_rules! serve {
    ($scope:ident, $errors:expr, $endpoint:expr) => {{
        let endpoint = $endpoint;
        let verifier = Verifier::of_keys("https://issuer.test".to_owned(), "bindery".to_owned(), KEYS).unwrap();
        function(http::service(Scope::$scope, $errors, verifier, world::metrics(), move |call| {
            let endpoint = endpoint.clone();
            async move { endpoint.handle(&call).await }
        }))
    }};
}

impl Endpoints {
    fn new() -> Self {
        world::keep_logs();
        let aws = Aws::new();
        let store = || Store::new(aws.dynamodb.clone(), "table".to_owned());
        let queue = || Queue::new(aws.sqs.clone(), "https://sqs.test/queue".to_owned());
        let pepper = PepperSecret::new(aws.secrets.clone(), "pepper".to_owned());
        let orders = CancelOrders { store: store(), queue: queue(), pepper };
        let functions = BTreeMap::from([
            ("bind-card", serve!(CardsBind, None, BindCard { store: store(), queue: queue() })),
            ("cancel-bulk", serve!(CardsWrite, None, CancelBulk { store: store(), queue: queue() })),
            ("cancel-orders", serve!(OrdersCancel, Some(cancel_orders::error), orders)),
            ("create-bulk", serve!(CardsWrite, None, CreateBulk { store: store() })),
            ("get-bulk", serve!(CardsRead, None, GetBulk { store: store() })),
            ("get-card", serve!(CardsRead, None, GetCard { store: store() })),
            ("get-operation", serve!(OperationsRead, None, GetOperation { store: store() })),
            ("increment-bulk", serve!(CardsWrite, None, IncrementBulk { store: store() })),
            ("start-bulk", serve!(CardsWrite, None, StartBulk { store: store(), queue: queue(), expiry_months: 72 })),
        ]);
        Self { aws, routes: contract::routes(), functions }
    }
}
