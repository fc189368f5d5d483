//! Input that means harm, for every endpoint and every worker: refused in the contract's own words, and nothing is
//! changed or queued. What parsers make of bytes that nobody thought of is for the fuzz targets (`tests/fuzz`).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod memory;
mod messages;
mod requests;
mod secrets;
mod shapes;
mod terminal;
mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::orders::{domestic, feed};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, http_event};
use tests::seed;
use tests::test_env::{Arena, drain};

/// An endpoint, and a request that it takes.
#[derive(Clone, Copy)]
struct Endpoint {
    function: &'static str,
    method: &'static str,
    /// With the place of its parameter.
    path: &'static str,
    parameter: Option<&'static str>,
    /// What the parameter is in a request that it takes.
    good: &'static str,
    body: Option<&'static str>,
    scope: &'static str,
}

const OPERATION: &str = "00000000-0000-7000-8000-000000000000";

/// All endpoints. Cards, bulks and operations that they name may not be there.
const ENDPOINTS: [Endpoint; 9] = [
    Endpoint {
        function: "bind-card",
        method: "PUT",
        path: "/wallet/v2/cards/{}/noname/bind",
        parameter: Some("cardId"),
        good: "1",
        body: Some(r#"{"reissued_card_id": 2}"#),
        scope: "cards:bind",
    },
    Endpoint {
        function: "create-bulk",
        method: "POST",
        path: "/cards/v1/bulks",
        parameter: None,
        good: "",
        body: Some(r#"{"program_id": 1, "external_ids": ["a"]}"#),
        scope: "cards:write",
    },
    Endpoint {
        function: "increment-bulk",
        method: "PUT",
        path: "/cards/v1/bulks/{}",
        parameter: Some("bulkID"),
        good: "b",
        body: Some(r#"{"external_ids": ["a"]}"#),
        scope: "cards:write",
    },
    Endpoint {
        function: "start-bulk",
        method: "POST",
        path: "/cards/v1/bulks/{}/start",
        parameter: Some("bulkID"),
        good: "b",
        body: None,
        scope: "cards:write",
    },
    Endpoint {
        function: "cancel-bulk",
        method: "POST",
        path: "/cards/v1/bulks/{}/cancel",
        parameter: Some("bulkID"),
        good: "b",
        body: Some(r#"{"cancel_type": "FULL"}"#),
        scope: "cards:write",
    },
    Endpoint {
        function: "cancel-orders",
        method: "POST",
        path: "/api/orders/cancellations",
        parameter: None,
        good: "",
        body: Some(r#"[{"OrderID": 1}]"#),
        scope: "orders:cancel",
    },
    Endpoint {
        function: "get-bulk",
        method: "GET",
        path: "/cards/v1/bulks/{}",
        parameter: Some("bulkID"),
        good: "b",
        body: None,
        scope: "cards:read",
    },
    Endpoint {
        function: "get-card",
        method: "GET",
        path: "/cards/v1/cards/{}",
        parameter: Some("cardId"),
        good: "1",
        body: None,
        scope: "cards:read",
    },
    Endpoint {
        function: "get-operation",
        method: "GET",
        path: "/operations/{}",
        parameter: Some("operationId"),
        good: OPERATION,
        body: None,
        scope: "operations:read",
    },
];

impl Endpoint {
    /// A request with this parameter in its path.
    fn event(&self, parameter: &str) -> Value {
        let path = self.path.replace("{}", parameter);
        let parameters = self.parameter.map_or(json!({}), |name| json!({ name: parameter }));
        let headers = json!({ "x-account-id": ACCOUNT.to_string(), "x-customer-id": CUSTOMER.to_string() });
        let mut event = http_event(self.method, &path, &parameters, &headers, None);
        event["body"] = json!(self.body);
        event["requestContext"]["authorizer"]["jwt"]["claims"]["scope"] = json!(self.scope);
        event
    }

    /// A request that it takes.
    fn good_event(&self) -> Value {
        self.event(self.good)
    }
}

/// A place where everything is that good requests name, but for the bulk and the operation.
struct Target {
    arena: Arena,
    functions: BTreeMap<&'static str, Function>,
    before: BTreeMap<(String, String), Value>,
}

impl Target {
    async fn new() -> Self {
        let arena = Arena::new().await;
        let bound = seed::bound(2, shared::domain::card::CardStatus::Normal, ACCOUNT, CUSTOMER);
        for card in [seed::unbound(1), bound] {
            seed::put(&arena.dynamodb, &arena.table, ORG, &card).await;
        }
        let mut functions = BTreeMap::new();
        for endpoint in ENDPOINTS {
            functions.insert(endpoint.function, Function::new(endpoint.function, arena.environment()).await);
        }
        let mut order = feed(&domestic(1), "ACTIVE", 1);
        order["org_id"] = json!(ORG);
        let feeder = Function::new("order-feed-worker", arena.environment()).await;
        feeder.invoke(batch(&[(order.to_string(), 1)])).await;
        let before = arena.rows().await;
        assert_eq!(before.len(), 3);
        Self { arena, functions, before }
    }

    /// What the endpoint answers: status, body, headers.
    async fn answer(&self, endpoint: &Endpoint, event: Value) -> (u64, String, Value) {
        match self.functions[endpoint.function].invoke(event.clone()).await {
            Invocation::Answered(answer) => {
                let body = answer["body"].as_str().unwrap_or_default().to_owned();
                (answer["statusCode"].as_u64().unwrap(), body, answer["headers"].clone())
            }
            other => panic!("{}: {other:?} to {event}", endpoint.function),
        }
    }

    /// Sends it, and expects one of these statuses, an error in the contract's form, and that the request is not quoted.
    async fn refused(&self, endpoint: &Endpoint, event: Value, statuses: &[u64]) {
        let (status, body, headers) = self.answer(endpoint, event.clone()).await;
        let what = || format!("{} answered {status} {body} to {event}", endpoint.function);
        assert!(statuses.contains(&status), "{}", what());
        let content_type = headers["content-type"].as_str().unwrap();
        if endpoint.function == "cancel-orders" {
            assert!(content_type.contains("json") || content_type.contains("xml"), "{}", what());
        } else {
            assert_eq!(content_type, "application/problem+json", "{}", what());
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["status"], status, "{}", what());
        }
    }

    /// Nothing was changed, queued or published by all that.
    async fn is_untouched(&self) {
        assert_eq!(self.arena.rows().await, self.before);
        assert_eq!(self.arena.take_messages().await, Vec::<String>::new());
        assert!(self.arena.events().await.is_empty());
        assert!(drain(&self.arena.sqs, &self.arena.dlq_url).await.is_empty());
    }
}
