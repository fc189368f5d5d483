//! The instructions of clients and the messages of the order system, drawn at random, and the state that these share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::{Value, json};

use super::{CARDS, FIRST_CARD};
use crate::orders::{domestic, feed};
use crate::payloads::{CUSTOMER, ORG, external_id};
use crate::requests;

/// The organizations. Both use the same IDs for all their objects.
pub const ORGS: [&str; 2] = [ORG, "TN-0b9d4c1e-7a43-4f0c-8f52-3d1f5c7a9e10"];
/// The number of different external IDs.
const NAMES: usize = 320;
/// The number of orders of each organization.
const ORDERS: i32 = 30;

/// The kinds of instructions that a run consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flow {
    /// Binds and reissues of cards.
    Binds,
    /// Bulks are created, grown, started and canceled, and their cards are bound.
    Bulks,
    /// Cancellations of orders.
    Orders,
    /// All of the above.
    Everything,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().unwrap().get_name())
    }
}

impl Flow {
    /// The list of all flows.
    pub const ALL: [Self; 4] = [Self::Binds, Self::Bulks, Self::Orders, Self::Everything];

    /// Returns the workers that the flow needs.
    pub(super) fn workers(self) -> &'static [&'static str] {
        const ALL: [&str; 5] = [
            "cancel-orders-worker",
            "order-feed-worker",
            "bind-card-worker",
            "start-bulk-worker",
            "cancel-bulk-worker",
        ];
        match self {
            Self::Binds => &["bind-card-worker"],
            Self::Bulks => &["bind-card-worker", "start-bulk-worker", "cancel-bulk-worker"],
            Self::Orders => &["cancel-orders-worker", "order-feed-worker"],
            Self::Everything => &ALL,
        }
    }

    fn has_orders(self) -> bool {
        matches!(self, Self::Orders | Self::Everything)
    }
}

/// A client's instruction.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Bind the card, which may replace another.
    Bind { card: u64, customer: u64, reissued: Option<u64> },
    /// Create a bulk with these items.
    Create { items: Vec<String> },
    /// Add these items to the bulk.
    Increment { bulk: String, items: Vec<String> },
    /// Issue cards for all pending items.
    Start { bulk: String },
    /// Cancel these items of the bulk, or all.
    Cancel { bulk: String, items: Option<Vec<String>> },
    /// Cancel these orders.
    CancelOrders { orders: Vec<i32> },
}

impl Ask {
    /// Returns the function of the instruction's endpoint. Idempotency keys are separate for each endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind-card",
            Self::Create { .. } => "create-bulk",
            Self::Increment { .. } => "increment-bulk",
            Self::Start { .. } => "start-bulk",
            Self::Cancel { .. } => "cancel-bulk",
            Self::CancelOrders { .. } => "cancel-orders",
        }
    }

    /// Returns the event of the instruction's request.
    pub(super) fn event(&self, org: &str, key: Option<&str>) -> Value {
        let request = match self {
            Self::Bind { card, customer, reissued } => {
                requests::bind(*card, *reissued).header("x-customer-id", customer)
            }
            Self::Create { items } => requests::create_bulk(items),
            Self::Increment { bulk, items } => requests::increment_bulk(bulk, items),
            Self::Start { bulk } => requests::start_bulk(bulk),
            Self::Cancel { bulk, items } => requests::cancel_bulk(bulk, items.as_deref()),
            Self::CancelOrders { orders } => requests::cancel_domestic_orders(orders.iter().copied()),
        };
        let request = if let Some(key) = key { request.key(key) } else { request };
        request.claim("tenant_id", org).event()
    }
}

/// The state that clients and the order system share: bulks, accepted cancellations, and the versions of orders.
#[derive(Debug)]
pub(super) struct SharedState {
    flow: Flow,
    bulks: BTreeMap<&'static str, Vec<String>>,
    accepted: Vec<(&'static str, i32, String)>,
    versions: BTreeMap<(&'static str, i32), u64>,
    /// Orders that have ended. The order system sends no more messages about them.
    ended: BTreeSet<(&'static str, i32)>,
}

impl SharedState {
    pub(super) fn new(flow: Flow) -> Self {
        Self { flow, bulks: BTreeMap::new(), accepted: Vec::new(), versions: BTreeMap::new(), ended: BTreeSet::new() }
    }

    /// Records the bulk or the cancellations that an instruction created.
    pub(super) fn note(&mut self, org: &'static str, ask: &Ask, body: &Value, operation: Option<&str>) {
        match (ask, operation) {
            (Ask::Create { .. }, _) => {
                let bulks = self.bulks.entry(org).or_default();
                let bulk = body["id"].as_str().unwrap().to_owned();
                if !bulks.contains(&bulk) {
                    bulks.push(bulk);
                }
            }
            (Ask::CancelOrders { orders }, Some(operation)) => {
                self.accepted.extend(orders.iter().map(|order| (org, *order, operation.to_owned())));
            }
            _ => {}
        }
    }

    /// Draws a client's next instruction.
    pub(super) fn ask(&self, org: &str, rng: &mut Rng) -> Ask {
        let flow = match self.flow {
            Flow::Everything => *rng.choice(&[Flow::Binds, Flow::Bulks, Flow::Orders]).unwrap(),
            flow => flow,
        };
        match flow {
            Flow::Binds | Flow::Everything => bind(FIRST_CARD..FIRST_CARD + 2 * CARDS, rng),
            Flow::Orders => Ask::CancelOrders { orders: (0..rng.usize(1..12)).map(|_| rng.i32(1..=ORDERS)).collect() },
            Flow::Bulks => self.about_a_bulk(org, rng),
        }
    }

    fn about_a_bulk(&self, org: &str, rng: &mut Rng) -> Ask {
        /// The number of bulks of an organization.
        const BULKS: usize = 6;
        let known = self.bulks.get(org).map_or(&[][..], Vec::as_slice);
        let Some(bulk) = rng.choice(known).cloned() else { return Ask::Create { items: names(rng, 150) } };
        match rng.u8(..) {
            0..40 if known.len() < BULKS => Ask::Create { items: names(rng, 250) },
            0..60 => Ask::Increment { bulk, items: names(rng, 60) },
            60..110 => Ask::Start { bulk },
            110..120 => Ask::Cancel { bulk, items: None },
            120..160 => Ask::Cancel { bulk, items: Some(names(rng, 40)) },
            // Binds of the bulks' cards.
            160.. => bind(1..400, rng),
        }
    }

    /// Returns the order system's first message about every order.
    pub(super) fn market_opens(&mut self) -> Vec<String> {
        self.tell_all("ACTIVE")
    }

    /// Draws a message of the order system, which sometimes rejects a cancellation.
    pub(super) fn market_changes(&mut self, rng: &mut Rng) -> Vec<String> {
        if !self.flow.has_orders() {
            return Vec::new();
        }
        let (org, order, rejected) = match rng.choice(&self.accepted) {
            Some((org, order, operation)) if rng.bool() => (*org, *order, Some(operation.clone())),
            _ => (*rng.choice(&ORGS).unwrap(), rng.i32(1..=ORDERS), None),
        };
        let status = match rng.u8(0..20) {
            0 if rejected.is_none() => "FILLED",
            1 if rejected.is_none() => "CANCELED",
            2 => "PENDING_CANCEL",
            3..10 => "PARTIALLY_FILLED",
            _ => "ACTIVE",
        };
        let Some(mut change) = self.change(org, order, status) else { return Vec::new() };
        if let Some(operation) = rejected {
            change["cancel_rejected"] = json!({ "operation_id": operation, "code": "OTHER" });
        }
        vec![change.to_string()]
    }

    /// Returns the order system's last message about every order.
    pub(super) fn market_closes(&mut self) -> Vec<String> {
        self.tell_all("CANCELED")
    }

    fn tell_all(&mut self, status: &str) -> Vec<String> {
        if !self.flow.has_orders() {
            return Vec::new();
        }
        let all = ORGS.into_iter().flat_map(|org| (1..=ORDERS).map(move |order| (org, order)));
        all.filter_map(|(org, order)| self.change(org, order, status)).map(|change| change.to_string()).collect()
    }

    fn change(&mut self, org: &'static str, order: i32, status: &str) -> Option<Value> {
        if self.ended.contains(&(org, order)) {
            return None;
        }
        if matches!(status, "FILLED" | "CANCELED") {
            self.ended.insert((org, order));
        }
        let version = self.versions.entry((org, order)).or_default();
        *version += 1;
        let mut change = feed(&domestic(order), status, *version);
        change["org_id"] = json!(org);
        Some(change)
    }
}

fn bind(cards: std::ops::Range<u64>, rng: &mut Rng) -> Ask {
    let card = rng.u64(cards.clone());
    // One bind in ten is for another customer, whose bind must not replace the first customer's cards.
    let customer = if rng.u8(0..10) == 0 { CUSTOMER + 1 } else { CUSTOMER };
    let reissued = rng.bool().then(|| rng.u64(cards)).filter(|reissued| *reissued != card);
    Ask::Bind { card, customer, reissued }
}

/// Draws between one and `most` external IDs.
fn names(rng: &mut Rng, most: usize) -> Vec<String> {
    (0..rng.usize(1..=most)).map(|_| external_id(rng.usize(0..NAMES))).collect()
}
