//! Requests to the endpoints, made from the `OpenAPI` document's examples. A new operation needs no change here.

use std::collections::BTreeMap;
use std::fmt::Display;

use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::contract::{DOCUMENT, Operation, operations, resolved};
use crate::payloads::{ACCOUNT, CUSTOMER, http_event};

/// An endpoint, as the document describes it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The function that serves it.
    pub function: &'static str,
    /// The endpoint's operation in the document.
    pub operation: Operation<'static>,
}

impl Endpoint {
    /// Returns every endpoint.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let all = operations(&DOCUMENT).into_iter();
        all.map(|operation| Self { function: operation.function(), operation }).collect()
    }

    /// Returns the endpoint that this function serves.
    #[must_use]
    pub fn of(function: &str) -> Self {
        let mut all = Self::all().into_iter();
        let found = all.find(|endpoint| endpoint.function == function);
        found.unwrap_or_else(|| panic!("no operation of infra/api/openapi.yaml is served by {function}"))
    }

    /// Returns the endpoints that read what this path parameter names.
    #[must_use]
    pub fn readers(parameter: &str) -> Vec<Self> {
        let is_reader = |endpoint: &Self| endpoint.operation.method == "GET" && endpoint.takes("path", parameter);
        Self::all().into_iter().filter(is_reader).collect()
    }

    /// Returns the endpoint's route, as API Gateway writes it.
    #[must_use]
    pub fn route(&self) -> String {
        format!("{} {}", self.operation.method, self.operation.path)
    }

    /// Returns the parameters in this place: `path`, `header` or `query`.
    #[must_use]
    pub fn parameters(&self, place: &str) -> Vec<&'static Value> {
        let lists = [&self.operation.node["parameters"], &self.operation.item["parameters"]];
        let all = lists.into_iter().filter_map(Value::as_array).flatten();
        all.map(|parameter| resolved(&DOCUMENT, parameter)).filter(|parameter| parameter["in"] == place).collect()
    }

    /// Returns the path's parameter, if it has one.
    #[must_use]
    pub fn parameter(&self) -> Option<&'static Value> {
        let parameters = self.parameters("path");
        assert!(parameters.len() < 2, "{}: tests support only one path parameter", self.operation.path);
        parameters.first().copied()
    }

    /// Returns whether it has a parameter of this name in this place.
    #[must_use]
    pub fn takes(&self, place: &str, name: &str) -> bool {
        self.parameters(place).iter().any(|parameter| parameter["name"] == name)
    }

    /// Returns whether it takes a body.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.operation.node["requestBody"].is_object()
    }

    /// Returns the size of the largest body that it takes, in bytes. Panics if the document does not state it.
    #[must_use]
    pub fn max_body_bytes(&self) -> usize {
        let description = self.operation.node["requestBody"]["description"].as_str().unwrap_or_default();
        let size = description.strip_prefix("At most ").and_then(|rest| rest.split_once('.'));
        let parsed = size.and_then(|(size, _)| match size.split_once(' ')? {
            (number, "KiB") => Some(number.parse::<usize>().ok()? << 10),
            (number, "MiB") => Some(number.parse::<usize>().ok()? << 20),
            _ => None,
        });
        parsed.unwrap_or_else(|| panic!("{}: {description:?} does not begin with a size", self.function))
    }

    /// Returns the document's JSON examples of its body. Panics if it takes a body and has no example.
    #[must_use]
    pub fn examples(&self) -> Vec<Value> {
        let content = &self.operation.node["requestBody"]["content"]["application/json"];
        let named = content["examples"].as_object().into_iter().flat_map(Map::values);
        let examples: Vec<_> = named.map(|example| resolved(&DOCUMENT, example)["value"].clone()).collect();
        assert_eq!(
            self.takes_body(),
            !examples.is_empty(),
            "{}: an endpoint has examples if and only if it takes a body",
            self.function
        );
        examples
    }
}

/// A request, which a test can change and send, or convert to an API Gateway event.
#[derive(Debug, Clone)]
pub struct Request {
    /// The endpoint that it goes to.
    pub endpoint: Endpoint,
    parameter: String,
    headers: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    claims: BTreeMap<String, Value>,
    body: Option<Value>,
}

impl Request {
    /// Returns a request to this function's endpoint, with the required parameters and headers.
    ///
    /// If a body is required, it is the document's last example, which is the most complete. Account and customer are
    /// the caller's.
    #[must_use]
    pub fn to(function: &str) -> Self {
        Self::of(Endpoint::of(function))
    }

    /// Returns a request to this endpoint, made as by [`Self::to`].
    #[must_use]
    pub fn of(endpoint: Endpoint) -> Self {
        let required = endpoint.parameters("header").into_iter().filter(|parameter| parameter["required"] == true);
        let is_body_required = endpoint.operation.node["requestBody"]["required"] == true;
        Self {
            endpoint,
            parameter: endpoint.parameter().map_or_else(String::new, example),
            headers: required.map(|header| (header["name"].as_str().unwrap().to_owned(), example(header))).collect(),
            query: Vec::new(),
            claims: BTreeMap::from([("scope".to_owned(), json!(endpoint.operation.scopes()[0]))]),
            body: endpoint.examples().pop().filter(|_| is_body_required),
        }
    }

    /// Sets the card, bulk or operation in the path.
    #[must_use]
    pub fn at(mut self, parameter: impl Display) -> Self {
        assert!(self.endpoint.parameter().is_some(), "{} has no parameter", self.endpoint.operation.path);
        self.parameter = parameter.to_string();
        self
    }

    /// Sets a header of the request.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers.insert(name.to_owned(), value.to_string());
        self
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn key(self, key: impl Display) -> Self {
        self.header("idempotency-key", key)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets a claim of the token.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the request's body.
    #[must_use]
    pub fn body(mut self, body: impl Serialize) -> Self {
        self.body = Some(serde_json::to_value(body).unwrap());
        self
    }

    /// Returns the HTTP method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.endpoint.operation.method.parse().unwrap()
    }

    /// Returns the path, without the query.
    #[must_use]
    pub fn path(&self) -> String {
        let template = self.endpoint.operation.path;
        let name = self.endpoint.parameter().map(|parameter| parameter["name"].as_str().unwrap());
        name.map_or_else(|| template.to_owned(), |name| template.replace(&format!("{{{name}}}"), &self.parameter))
    }

    /// Returns the request's body.
    #[must_use]
    pub fn content(&self) -> Option<&Value> {
        self.body.as_ref()
    }

    /// Returns the request's headers.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// Returns the event that API Gateway makes of the request of an authenticated caller.
    #[must_use]
    pub fn event(&self) -> Value {
        let parameter = self.endpoint.parameter().map(|parameter| parameter["name"].as_str().unwrap());
        let parameters = parameter.map_or(json!({}), |name| json!({ name: self.parameter }));
        let method = self.endpoint.operation.method;
        let mut event = http_event(method, &self.path(), &parameters, &json!(self.headers), self.body.as_ref());
        if !self.query.is_empty() {
            let pairs: Vec<_> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            event["rawQueryString"] = json!(pairs.join("&"));
            event["queryStringParameters"] =
                self.query.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        let claims = event["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut().unwrap();
        claims.extend(self.claims.clone());
        event
    }
}

/// Returns the document's example of a parameter. Account and customer are the caller's, since they must match its
/// token.
fn example(parameter: &Value) -> String {
    match parameter["name"].as_str().unwrap() {
        "x-account-id" => return ACCOUNT.to_string(),
        "x-customer-id" => return CUSTOMER.to_string(),
        _ => {}
    }
    let example = &parameter["example"];
    assert!(!example.is_null(), "no example of {} in infra/api/openapi.yaml", parameter["name"]);
    example.as_str().map_or_else(|| example.to_string(), ToOwned::to_owned)
}

/// Returns a request to bind the card, which replaces `reissued` if there is one.
#[must_use]
pub fn bind(card: u64, reissued: Option<u64>) -> Request {
    let request = Request::to("bind-card").at(card);
    if let Some(card) = reissued { request.body(json!({ "reissued_card_id": card })) } else { request }
}

/// Returns the event of a bind with this key.
#[must_use]
pub fn bind_event(card: u64, reissued: Option<u64>, key: &str) -> Value {
    bind(card, reissued).key(key).header("x-correlation-id", key).event()
}

/// Returns a request to create a bulk of these items.
#[must_use]
pub fn create_bulk(external_ids: &[impl Serialize]) -> Request {
    Request::to("create-bulk").body(json!({ "program_id": 5, "external_ids": external_ids }))
}

/// Returns a request to add these items to the bulk.
#[must_use]
pub fn increment_bulk(bulk: &str, external_ids: &[impl Serialize]) -> Request {
    Request::to("increment-bulk").at(bulk).body(json!({ "external_ids": external_ids }))
}

/// Returns a request to start the bulk.
#[must_use]
pub fn start_bulk(bulk: &str) -> Request {
    Request::to("start-bulk").at(bulk)
}

/// Returns a request to cancel these items of the bulk, or the whole bulk.
#[must_use]
pub fn cancel_bulk(bulk: &str, external_ids: Option<&[String]>) -> Request {
    let body = match external_ids {
        None => json!({ "cancel_type": "FULL" }),
        Some(ids) => json!({ "cancel_type": "PARTIAL", "external_ids": ids }),
    };
    Request::to("cancel-bulk").at(bulk).body(body)
}

/// Returns a request to cancel orders.
#[must_use]
pub fn cancel_orders(entries: &Value) -> Request {
    Request::to("cancel-orders").body(entries)
}

/// Returns a request to cancel these domestic orders, without PINs.
#[must_use]
pub fn cancel_domestic_orders(orders: impl IntoIterator<Item = i32>) -> Request {
    cancel_orders(&orders.into_iter().map(|order| json!({ "OrderID": order })).collect())
}
