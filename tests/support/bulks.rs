//! Bulks of the deployed stack, created and read through the API.

use std::collections::BTreeMap;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::stack::{ACCOUNT, Tenant, parts};

/// The path of bulks.
pub const BULKS: &str = "/cards/v1/bulks";

/// Returns an external ID for each number of the range.
#[must_use]
pub fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("card-{number:05}")).collect()
}

/// Returns a POST request to this path.
pub fn post(tenant: &Tenant, path: &str) -> RequestBuilder {
    tenant.request(Method::POST, path, &tenant.token(ACCOUNT))
}

/// Returns a PUT request to the bulk.
pub fn put(tenant: &Tenant, bulk: &str) -> RequestBuilder {
    tenant.request(Method::PUT, &format!("{BULKS}/{bulk}"), &tenant.token(ACCOUNT))
}

/// Returns the body of a request to create a bulk.
#[must_use]
pub fn creation(external_ids: &[String]) -> Value {
    json!({ "program_id": 5, "external_ids": external_ids })
}

/// Creates a bulk, and returns its ID.
pub async fn create(tenant: &Tenant, external_ids: &[String]) -> String {
    let (status, _, body) = parts(post(tenant, BULKS).json(&creation(external_ids)).send().await.unwrap()).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

/// Starts the bulk, waits until the operation has ended, and returns it.
pub async fn start(tenant: &Tenant, bulk: &str) -> Value {
    let response = post(tenant, &format!("{BULKS}/{bulk}/start")).send().await.unwrap();
    let (status, location, body) = parts(response).await;
    assert_eq!(status, 202, "{body}");
    tenant.ended(&location).await
}

/// Reads all items of the bulk in pages of `limit`. Returns state and card by external ID.
pub async fn items(tenant: &Tenant, bulk: &str, limit: usize) -> BTreeMap<String, (String, Option<u64>)> {
    let mut items = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = tenant.get(&format!("{BULKS}/{bulk}?limit={limit}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let of_page = page["items"].as_array().unwrap();
        assert!(of_page.len() <= limit);
        for item in of_page {
            let id = item["external_id"].as_str().unwrap().to_owned();
            let seen = items.insert(id, (item["state"].as_str().unwrap().to_owned(), item["card_id"].as_u64()));
            assert_eq!(seen, None, "{item} is listed twice");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Returns the counts of the bulk.
pub async fn counts(tenant: &Tenant, bulk: &str) -> Value {
    tenant.get(&format!("{BULKS}/{bulk}")).await.1["counts"].clone()
}

/// Sends a cancel of the bulk. Returns the response's status, location and body.
pub async fn cancel(tenant: &Tenant, bulk: &str, body: &Value) -> (u16, String, Value) {
    let response = post(tenant, &format!("{BULKS}/{bulk}/cancel")).json(body).send().await.unwrap();
    let (status, location, body) = parts(response).await;
    (status.as_u16(), location, body)
}
