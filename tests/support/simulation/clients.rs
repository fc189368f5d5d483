//! Clients that send requests, and retry them with the same idempotency key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::instructions::{Ask, ORGS};
use super::{SimulationEnv, skew};
use crate::function::Invocation;
use crate::queue_simulator::KillableFunction;

/// Moments, before or after a call, in which an endpoint may crash during one request.
const MOMENTS: u32 = 8;
/// The largest number of requests for one instruction.
const MOST_ATTEMPTS: usize = 40;

/// An instruction with all its responses.
#[derive(Debug, Clone)]
pub struct Record {
    /// The client's organization.
    pub org: &'static str,
    /// The client's instruction.
    pub ask: Ask,
    /// The idempotency key, if there is one.
    pub key: Option<String>,
    /// The responses to the first request and to its retries.
    pub responses: Vec<ClientResponse>,
}

/// The response to a client's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientResponse {
    /// The status, or 0 if the endpoint crashed.
    pub status: u16,
    /// The response's body.
    pub body: Value,
    /// The operation that `Location` names.
    pub operation: Option<String>,
    /// The value of `Retry-After`.
    pub retry_after: Option<String>,
    /// The time from the request to the response.
    pub took: Duration,
}

impl ClientResponse {
    /// Returns whether the endpoint accepted or refused the request.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        (200..500).contains(&self.status)
    }

    /// Returns whether the endpoint accepted the request.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Record {
    /// Returns the first response that accepts the instruction.
    #[must_use]
    pub fn accepted_response(&self) -> Option<&ClientResponse> {
        self.responses.iter().find(|response| response.is_success())
    }

    fn is_open(&self) -> bool {
        self.key.is_some() && !self.responses.iter().any(ClientResponse::is_definite)
    }
}

/// A client with its own processes of the endpoints.
pub(super) struct Client<'a> {
    sim: &'a SimulationEnv,
    number: usize,
    rng: Rng,
    endpoints: HashMap<&'static str, KillableFunction>,
    records: Vec<Record>,
}

impl<'a> Client<'a> {
    pub(super) fn new(sim: &'a SimulationEnv, number: usize, rng: Rng) -> Self {
        Self { sim, number, rng, endpoints: HashMap::new(), records: Vec::new() }
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Sends at least `instructions` instructions, and continues until the outage is over.
    pub(super) async fn work(&mut self, instructions: usize, is_over: &AtomicBool) {
        while self.records.len() < instructions || !is_over.load(Ordering::Relaxed) {
            let org = *self.rng.choice(&ORGS).unwrap();
            let ask = self.sim.shared.lock().unwrap().ask(org, &mut self.rng);
            let key = self.key();
            let mut record = Record { org, ask, key, responses: Vec::new() };
            // Sometimes it repeats a request although it got a response.
            for _ in 0..self.rng.usize(1..=3) {
                self.send(&mut record).await;
                if self.rng.u8(0..10) > 2 {
                    break;
                }
                if record.key.is_none() {
                    break;
                }
            }
            self.records.push(record);
            let changes = self.sim.shared.lock().unwrap().market_changes(&mut self.rng);
            self.sim.queues.add(changes);
        }
    }

    /// Retries requests without a definite response until they get one. Requests without a key cannot be retried.
    pub(super) async fn retry_open(&mut self) {
        let mut records = std::mem::take(&mut self.records);
        for record in records.iter_mut().filter(|record| record.is_open()) {
            while record.is_open() && record.responses.len() < MOST_ATTEMPTS {
                self.send(record).await;
            }
        }
        self.records = records;
    }

    /// Draws an idempotency key: usually a new one, sometimes none or a used one. The other organization may use the
    /// same.
    fn key(&mut self) -> Option<String> {
        let last = self.records.len();
        match self.rng.u8(0..20) {
            0..4 => None,
            4 => Some(format!("{}-{}", self.number, self.rng.usize(0..=last))),
            _ => Some(format!("{}-{last}", self.number)),
        }
    }

    async fn send(&mut self, record: &mut Record) {
        let endpoint = record.ask.endpoint();
        if !self.endpoints.contains_key(endpoint) {
            let seconds = skew(&self.sim.schedule, &mut self.rng);
            self.endpoints.insert(endpoint, self.sim.killable(endpoint, seconds).await);
        }
        let kill_after = self.sim.queues.kill_after(MOMENTS);
        let event = record.ask.event(record.org, record.key.as_deref());
        let started = Instant::now();
        let response = read(self.endpoints[endpoint].invoke(event, kill_after).await, started.elapsed());
        if response.is_success() {
            let mut shared = self.sim.shared.lock().unwrap();
            shared.note(record.org, &record.ask, &response.body, response.operation.as_deref());
        }
        record.responses.push(response);
        self.sim.queues.add(self.sim.env.take_messages().await);
    }
}

fn read(invocation: Invocation, took: Duration) -> ClientResponse {
    let response = match invocation {
        Invocation::Responded(response) => response,
        Invocation::Crashed => Value::Null,
        Invocation::Stopped => panic!("Lambda never stops an endpoint as recursive"),
        Invocation::Failed(error) => panic!("{error}"),
    };
    let header = |name: &str| response["headers"][name].as_str().map(ToOwned::to_owned);
    ClientResponse {
        status: response["statusCode"].as_u64().map_or(0, |status| u16::try_from(status).unwrap()),
        body: response["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap()),
        operation: header("location").map(|location| location.rsplit('/').next().unwrap().to_owned()),
        retry_after: header("retry-after"),
        took,
    }
}
