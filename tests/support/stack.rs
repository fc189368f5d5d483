//! The deployed stack, seen by a client and by its operator.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use shared::domain::card::Card;
use uuid::Uuid;

use crate::clients::Clients;
use crate::contract::check_response;
use crate::requests::Request;
use crate::test_env::{distinct, drain, eventually, subscribe};
use crate::{seed, token, variable};

/// The longest wait for the effects of an accepted request. It is generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The customer that tests bind cards to.
pub const CUSTOMER: u64 = 7001;
/// The account that tests bind cards to.
pub const ACCOUNT: u64 = 4001;

/// The stack as a new organization sees it, with a queue that receives the organization's events.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The organization's ID.
    pub org: String,
    /// A client of the emulator's DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// A client of the emulator's SQS, without timeouts. On a busy machine a message of 1 MiB takes longer than a
    /// function's timeouts allow.
    pub sqs: aws_sdk_sqs::Client,
    http: reqwest::Client,
    events_url: String,
}

impl Tenant {
    /// Creates a new organization, and the queue of its events.
    pub async fn new() -> Self {
        let Clients { dynamodb, sqs, eventbridge } = Clients::of(&variable("AWS_ENDPOINT_URL"));
        let org = format!("TN-{}", Uuid::new_v4());
        let pattern = json!({ "source": ["bindery"], "detail": { "org_id": [org] } });
        let events_url = subscribe(&eventbridge, &sqs, &variable("EVENT_BUS_NAME"), &pattern).await;
        Self { org, dynamodb, sqs, http: reqwest::Client::new(), events_url }
    }

    /// Returns a token of this organization for this account.
    #[must_use]
    pub fn token(&self, account: u64) -> String {
        token::sign(&token::claims(&self.org, account))
    }

    /// Puts the card into the deployed table.
    pub async fn put(&self, card: &Card) {
        seed::put(&self.dynamodb, &variable("TABLE_NAME"), &self.org, card).await;
    }

    /// Puts a new unbound card into the deployed table. Returns its ID.
    pub async fn new_card(&self) -> u64 {
        let card = seed::unbound(seed::new_card_id());
        self.put(&card).await;
        card.card_id.get()
    }

    /// Deletes the card's row. Bindery itself never does so.
    pub async fn remove_card(&self, card: u64) {
        seed::remove(&self.dynamodb, &variable("TABLE_NAME"), &self.org, card).await;
    }

    /// Sets the item's issue time to long ago, so that a card without a row is missing and not just invisible yet.
    pub async fn issued_long_ago(&self, bulk: &str, item: &str) {
        let text = |text: String| AttributeValue::S(text);
        let update = self.dynamodb.update_item().table_name(variable("TABLE_NAME"));
        let update = update.key("pk", text(format!("{}#BULK#{bulk}", self.org))).key("sk", text(format!("I#{item}")));
        let update = update.update_expression("SET issued.#at = :at").expression_attribute_names("#at", "at");
        let long_ago = text("2026-01-01T00:00:00.000Z".to_owned());
        update.expression_attribute_values(":at", long_ago).send().await.unwrap();
    }

    /// Returns a request with this token.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.http.request(method, variable("BINDERY_URL") + path).bearer_auth(token)
    }

    /// Returns a request to bind the card to [`ACCOUNT`] and [`CUSTOMER`].
    pub fn bind(&self, card: impl std::fmt::Display) -> RequestBuilder {
        self.bind_for(card, ACCOUNT)
    }

    /// Returns a request to bind the card to this account and [`CUSTOMER`], with that account's token.
    pub fn bind_for(&self, card: impl std::fmt::Display, account: u64) -> RequestBuilder {
        self.request(Method::PUT, &bind_path(card), &self.token(account))
            .header("x-account-id", account)
            .header("x-customer-id", CUSTOMER)
    }

    /// Sends a GET with a token that may read everything of the organization. Returns the status and the body.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.get_by(&token::of_org(&self.org), path).await
    }

    /// Sends a GET with this token. Returns the status and the body.
    pub async fn get_by(&self, token: &str, path: &str) -> (StatusCode, Value) {
        let response = self.request(Method::GET, path, token).send().await.unwrap();
        let (status, _, body) = parts(response).await;
        (status, body)
    }

    /// Returns the card as the API shows it.
    pub async fn card(&self, card: u64) -> Value {
        let (status, body) = self.get(&Request::to("get-card").at(card).path()).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until the operation at this location has ended, and returns it.
    pub async fn ended(&self, location: &str) -> Value {
        eventually("the operation ends", PATIENCE, async || {
            let (status, body) = self.get(location).await;
            assert_eq!(status, 200, "{body}");
            matches!(body["status"].as_str(), Some("SUCCEEDED" | "FAILED")).then_some(body)
        })
        .await
    }

    /// Waits for `count` distinct events of this organization, and returns them. Panics if another one arrives shortly
    /// after.
    pub async fn events(&self, count: usize) -> BTreeMap<String, Value> {
        let mut events = BTreeMap::new();
        eventually("the events", PATIENCE, async || {
            events.append(&mut distinct(drain(&self.sqs, &self.events_url).await));
            (events.len() >= count).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        events.append(&mut distinct(drain(&self.sqs, &self.events_url).await));
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }
}

/// Returns the path of a card's bind.
#[must_use]
pub fn bind_path(card: impl std::fmt::Display) -> String {
    Request::to("bind-card").at(card).path()
}

/// Returns a response's status, `Location` and body. Panics unless the response is documented. The `Location` is
/// resolved to a path of the API.
pub async fn parts(response: Response) -> (StatusCode, String, Value) {
    let status = response.status();
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (location, content_type) = (header("location"), header("content-type"));
    // The gateway's own responses have neither header.
    assert_eq!(header("x-correlation-id").is_empty(), header("cache-control") != "no-store", "{response:?}");
    let path_of = |url: &str| url.strip_prefix(&variable("BINDERY_URL")).expect("a URL of the API").to_owned();
    let path = path_of(response.url().as_str());
    let location =
        if location.is_empty() { location } else { path_of(response.url().join(&location).unwrap().as_str()) };
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    check_response(path.split('?').next().unwrap_or_default(), status.as_u16(), &content_type, &body);
    (status, location, body)
}
