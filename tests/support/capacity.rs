//! What a flow costs: the capacity units and calls that DynamoDB counts for it.
//!
//! The table is dynoxide's, in this process: of the emulators looked at, the one whose ConsumedCapacity
//! was right. Every call is made to ask for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// Starts a DynamoDB in this process, with nothing in it; answers its URL. Far faster than the local stack's,
/// whose calls take the longer the more rows there are.
pub async fn dynoxide() -> String {
    let database = dynoxide::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    url
}

/// The sums so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// Read units.
    pub reads: f64,
    /// Write units.
    pub writes: f64,
    /// Calls, by their names.
    pub calls: BTreeMap<String, usize>,
}

/// A DynamoDB that keeps account.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Where it is.
    pub url: String,
    cost: Arc<Mutex<Cost>>,
}

#[derive(Clone)]
struct Gauge {
    upstream: String,
    client: reqwest::Client,
    cost: Arc<Mutex<Cost>>,
}

impl Meter {
    /// An empty one.
    pub async fn new() -> Self {
        let upstream = dynoxide().await;
        let cost = Arc::new(Mutex::new(Cost::default()));
        let gauge = Gauge { upstream, client: reqwest::Client::new(), cost: Arc::clone(&cost) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = crate::answering_pings().fallback(forward).with_state(gauge);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, cost }
    }

    /// What was spent since this was asked last.
    #[allow(clippy::must_use_candidate)]
    pub fn take(&self) -> Cost {
        std::mem::take(&mut self.cost.lock().unwrap())
    }
}

async fn forward(State(gauge): State<Gauge>, mut headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    let name = target.rsplit('.').next().unwrap();
    let mut request: Value = serde_json::from_slice(&body).unwrap();
    let counted = !matches!(name, "CreateTable" | "Scan" | "DescribeTable");
    if counted {
        request["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    headers.remove("host");
    headers.remove("content-length");
    let call = gauge.client.post(&gauge.upstream).headers(headers).body(request.to_string());
    let answer = call.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    if counted {
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let consumed = &answer["ConsumedCapacity"];
        let consumed = consumed.as_array().cloned().unwrap_or_else(|| vec![consumed.clone()]);
        let units: f64 = consumed.iter().filter_map(|consumed| consumed["CapacityUnits"].as_f64()).sum();
        let mut cost = gauge.cost.lock().unwrap();
        *cost.calls.entry(name.to_owned()).or_default() += 1;
        *(if matches!(name, "GetItem" | "BatchGetItem" | "Query") { &mut cost.reads } else { &mut cost.writes }) +=
            units;
    }
    let status = StatusCode::from_u16(status.as_u16()).unwrap();
    (status, headers, bytes)
}
