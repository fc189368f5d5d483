//! Checks the table, the events and the clients' responses for violations of the rules.
//!
//! The rows are the reference. Their marks, outcomes and results determine which events must exist, including the
//! events' IDs. The published events must be exactly these: none lost, none invented, none of a change that did not
//! happen. The rows must also be consistent with each other, every accepted operation must have ended, and every
//! response must be true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;
use shared::domain::card::Card;
use shared::domain::consistency::status_by_marks;
use uuid::Uuid;

use super::{Ask, ClientResponse, Evidence, ORGS, Record, pairs};

/// Returns a description of each violation.
#[must_use]
pub fn violations(evidence: &Evidence) -> Vec<String> {
    let mut checker = Checker { found: Vec::new(), expected: BTreeMap::new() };
    for org in ORGS {
        let tenant = TenantRows::of(org, evidence);
        checker.cards(&tenant);
        checker.bulks(&tenant);
        checker.orders(&tenant);
        checker.operations(&tenant);
    }
    checker.events(&evidence.events);
    checker.records(evidence);
    let dead =
        evidence.dead.iter().map(|body| format!("a message is dead-lettered however often it is redriven: {body}"));
    pairs::violations(&evidence.rows).into_iter().chain(checker.found).chain(dead).collect()
}

/// The rows of one organization, by kind.
struct TenantRows<'a> {
    org: &'static str,
    cards: BTreeMap<&'a str, &'a Value>,
    /// The header of each bulk.
    bulks: BTreeMap<&'a str, &'a Value>,
    /// The items by bulk and external ID.
    items: BTreeMap<(&'a str, &'a str), &'a Value>,
    orders: BTreeMap<&'a str, &'a Value>,
    operations: BTreeMap<&'a str, &'a Value>,
    /// The notes of operations about orders that have ended. Each note begins with the order's number.
    ended: BTreeMap<&'a str, Vec<&'a str>>,
    /// The codes of a cancel's chunks, by operation.
    results: BTreeMap<&'a str, Vec<&'a Value>>,
}

impl<'a> TenantRows<'a> {
    fn of(org: &'static str, evidence: &'a Evidence) -> Self {
        let mut tenant = Self {
            org,
            cards: BTreeMap::new(),
            bulks: BTreeMap::new(),
            items: BTreeMap::new(),
            orders: BTreeMap::new(),
            operations: BTreeMap::new(),
            ended: BTreeMap::new(),
            results: BTreeMap::new(),
        };
        for ((pk, sk), row) in &evidence.rows {
            let Some((kind, id)) = pk.strip_prefix(org).and_then(|rest| rest.strip_prefix('#')?.split_once('#')) else {
                continue;
            };
            match (kind, sk.as_str()) {
                ("CARD", _) => drop(tenant.cards.insert(id, row)),
                ("BULK", "BULK") => drop(tenant.bulks.insert(id, row)),
                ("BULK", sk) => drop(tenant.items.insert((id, &sk[2..]), row)),
                ("ORDER", _) => drop(tenant.orders.insert(id, row)),
                ("OP", "OP") => drop(tenant.operations.insert(id, row)),
                ("OP", sk) if sk.starts_with("RESULT#") => tenant.results.entry(id).or_default().push(row),
                ("OP", sk) if sk.starts_with("ORDERS#") => {
                    let ended = row["ended"].as_array().into_iter().flatten().filter_map(Value::as_str);
                    tenant.ended.entry(id).or_default().extend(ended);
                }
                _ => {}
            }
        }
        tenant
    }

    /// Returns the items of a bulk that belong to its committed batches. Others do not count.
    fn items_of(&self, bulk: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let batches: BTreeSet<u64> =
            self.bulks[bulk]["batches"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let of_bulk = self.items.iter().filter(move |((of, _), _)| *of == bulk);
        of_bulk
            .filter(move |(_, item)| item["batch"].as_u64().is_some_and(|batch| batches.contains(&batch)))
            .map(|((_, name), item)| (*name, *item))
    }
}

/// The values that an event's data must have, by member name.
type Facts = Vec<(&'static str, Value)>;

struct Checker {
    found: Vec<String>,
    expected: BTreeMap<String, (String, Facts)>,
}

impl Checker {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(what());
        }
    }

    /// Adds an event that must exist.
    fn expect(&mut self, tenant: &TenantRows<'_>, operation: &str, event_type: &str, item: &str, facts: Facts) {
        let accepted_at = tenant.operations.get(operation).and_then(|operation| operation["created_at"].as_str());
        let Some((id, accepted_at)) = operation.parse::<Uuid>().ok().zip(accepted_at) else {
            self.found.push(format!("there is no operation {operation}, but a row names it"));
            return;
        };
        let id = Uuid::new_v5(&id, format!("{accepted_at}\n{event_type}\n{item}").as_bytes()).to_string();
        self.expected.insert(id, (format!("{} {event_type}", tenant.org), facts));
    }

    /// Checks rules 4 and 5: a card's status follows from its marks, since no other system changes it here.
    fn cards(&mut self, tenant: &TenantRows<'_>) {
        for (id, row) in &tenant.cards {
            let Ok(card) = Card::deserialize(*row) else { continue };
            // Cards that were bound before the run may be in other states.
            let is_before = row["replaced"].is_null()
                && row["bound"]["by"].as_str().is_some_and(|by| !tenant.operations.contains_key(by));
            let fits = is_before || status_by_marks(&card) == Some(card.status);
            self.check(fits, || format!("the status does not follow from the marks: card {} {id}: {row}", tenant.org));
            if let Some(by) = row["replaced"]["by"].as_str() {
                let facts =
                    vec![("card_id", row["card_id"].clone()), ("new_card_id", row["replaced"]["new_card_id"].clone())];
                self.expect(tenant, by, "update", id, facts);
            }
        }
    }

    /// Adds the event of every issued item.
    fn bulks(&mut self, tenant: &TenantRows<'_>) {
        for bulk in tenant.bulks.keys() {
            for (name, item) in tenant.items_of(bulk) {
                if let Some(by) = item["issued"]["by"].as_str() {
                    let facts = vec![("card_id", item["card_id"].clone()), ("external_id", name.into())];
                    self.expect(tenant, by, "create", name, facts);
                }
            }
        }
    }

    /// Checks that all cancellations of an order have ended, at most one of them with success.
    fn orders(&mut self, tenant: &TenantRows<'_>) {
        for (id, order) in &tenant.orders {
            self.check(order["pending"].is_null(), || format!("a cancellation is still pending: {order}"));
            let mut canceled = 0;
            for (operation, note) in order["cancellations"].as_object().into_iter().flatten() {
                let code = &note["outcome"]["code"];
                canceled += usize::from(code == "CANCELED");
                self.check(code.is_string(), || format!("a cancellation has no outcome: {order}"));
                let facts = || {
                    vec![("order_id", id.parse::<i64>().unwrap().into()), ("operation_id", operation.clone().into())]
                };
                if note["requested_at"].is_string() {
                    self.expect(tenant, operation, "cancellation_requested", id, facts());
                }
                let outcome = [facts(), vec![("message_code", code.clone())]].concat();
                self.expect(tenant, operation, "cancellation", id, outcome);
                let noted = tenant.ended.get(operation.as_str()).into_iter().flatten();
                let noted = noted.filter(|note| note.split(' ').next() == Some(*id)).count();
                self.check(noted == 1, || {
                    format!("its operation counts this cancellation {noted} times instead of once: {order}")
                });
                self.check(tenant.operations.contains_key(operation.as_str()), || {
                    format!("the canceling operation {operation} has no row of this organization: {order}")
                });
            }
            self.check(canceled <= 1, || format!("canceled twice: {order}"));
        }
    }

    /// Checks that every operation's row states what it did.
    fn operations(&mut self, tenant: &TenantRows<'_>) {
        for (id, operation) in &tenant.operations {
            match operation["kind"].as_str() {
                Some("BIND_CARD") => self.bind(tenant, id, operation),
                Some("START_BULK") => self.start(tenant, id, operation),
                Some("CANCEL_BULK") => self.cancel(tenant, id, operation),
                _ => {}
            }
        }
    }

    fn bind(&mut self, tenant: &TenantRows<'_>, id: &str, operation: &Value) {
        let card = operation["card_id"].to_string();
        let is_mine = tenant.cards.get(card.as_str()).is_some_and(|card| card["bound"]["by"] == id);
        let has_ended = operation["outcome"].is_object();
        self.check(!is_mine || has_ended, || format!("bind {id} has bound its card, but has no outcome: {operation}"));
        if has_ended {
            let status = &operation["outcome"]["status"];
            let facts = vec![("card_id", operation["card_id"].clone()), ("status", status.clone())];
            self.expect(tenant, id, "bind_card", &card, facts);
        }
    }

    fn start(&mut self, tenant: &TenantRows<'_>, id: &str, operation: &Value) {
        let bulk = operation["bulk_id"].as_str().unwrap();
        let (status, requested, issued) = match operation["state"].as_str() {
            Some("SUCCEEDED") => ("SUCCESS", operation["items_done"].clone(), operation["items_changed"].clone()),
            Some("FAILED") => ("FAILURE", operation["items_total"].clone(), 0.into()),
            _ => return,
        };
        let facts = vec![("status", status.into()), ("requested", requested), ("issued", issued)];
        self.expect(tenant, id, "noname_bulk_start", bulk, facts);
        if status == "FAILURE" {
            return;
        }
        let batches = operation["batches"].as_array().cloned().unwrap_or_default();
        for (name, item) in tenant.items_of(bulk).filter(|(_, item)| batches.contains(&item["batch"])) {
            self.check(item["state"] != "PENDING", || format!("start {id} left {name:?} of {bulk} without a card"));
        }
    }

    fn cancel(&mut self, tenant: &TenantRows<'_>, id: &str, operation: &Value) {
        let bulk = operation["bulk_id"].as_str().unwrap();
        let mut codes = BTreeMap::new();
        let results = tenant.results.get(id).into_iter().flatten();
        for (code, item) in results.flat_map(|row| of_result(row)) {
            let name = item["id"].as_str().unwrap_or_default().to_owned();
            let facts = vec![("external_id", name.clone().into()), ("message_code", code.into())];
            self.expect(tenant, id, "noname_cancellation", &name, facts);
            let row = tenant.items.get(&(bulk, name.as_str())).copied().unwrap_or(&Value::Null);
            let card = tenant.cards.get(row["card_id"].to_string().as_str()).copied().unwrap_or(&Value::Null);
            let fits = match code {
                "EXTERNAL_ID_CANCELED" => row["canceled"]["by"] == id,
                "EXTERNAL_ID_AND_CARD_CANCELED" => card["canceled"]["by"] == id,
                "INVALID_CARD_STATUS_FOR_CANCELLATION" => card["bound"].is_object(),
                _ => card["canceled"]["by"] != id && row["canceled"]["by"] != id,
            };
            self.check(fits, || format!("cancel {id} reports {code}, which these rows contradict: {row} {card}"));
            self.check(codes.insert(name.clone(), code).is_none(), || format!("cancel {id} reports {name:?} twice"));
        }
        if operation["state"] == "SUCCEEDED" {
            let facts = vec![
                ("requested", codes.len().into()),
                ("bulk_status", operation["bulk_status"].clone()),
                ("cancellation", operation["cancellation"].clone()),
            ];
            self.expect(tenant, id, "noname_bulk_cancellation", bulk, facts);
            if operation["cancel_type"] == "FULL" {
                let left = tenant.items_of(bulk).find(|(name, _)| !codes.contains_key(*name));
                self.check(left.is_none(), || format!("FULL cancel {id} does not report {left:?}"));
            }
        }
        // The operation must report every item that has its mark as canceled.
        let marked = tenant.items.iter().filter(|((of, _), item)| *of == bulk && item["canceled"]["by"] == id);
        for ((_, name), _) in marked {
            let code = codes.get(*name).copied();
            self.check(code == Some("EXTERNAL_ID_CANCELED"), || {
                format!("cancel {id} canceled {name:?}, but reports {code:?}")
            });
        }
    }

    /// Checks rules 2 and 3: exactly the events that the rows determine were published.
    fn events(&mut self, seen: &BTreeMap<String, Value>) {
        let expected = std::mem::take(&mut self.expected);
        for (id, (what, facts)) in &expected {
            let Some(event) = seen.get(id) else {
                self.found.push(format!("lost event {id}: {what} {facts:?}"));
                continue;
            };
            let named = format!("{} {}", event["org_id"].as_str().unwrap(), event["event_type"].as_str().unwrap());
            self.check(named == *what, || format!("event {id} is {named}, but should be {what}"));
            for (name, value) in facts {
                self.check(event["data"][name] == *value, || format!("event {event} should have {name} = {value}"));
            }
        }
        for (id, event) in seen.iter().filter(|(id, _)| !expected.contains_key(*id)) {
            self.found.push(format!("invented event {id}: {event}"));
        }
    }

    /// Checks that responses are true, and that an idempotency key stands for one instruction.
    fn records(&mut self, evidence: &Evidence) {
        let mut of_key: HashMap<(&str, &str, &str), (&Ask, &ClientResponse)> = HashMap::new();
        for record in &evidence.records {
            self.responses(record);
            let Some(accepted) = record.accepted_response().filter(|accepted| accepted.operation.is_some()) else {
                continue;
            };
            self.outcome(evidence, record, accepted.operation.as_deref());
            if let Some(key) = &record.key {
                let first = of_key.entry((record.org, record.ask.endpoint(), key)).or_insert((&record.ask, accepted));
                self.check(first.0 == &record.ask, || {
                    format!("one key was accepted for two instructions: {record:?} {first:?}")
                });
                let same = first.1.operation == accepted.operation;
                self.check(same, || format!("one key was accepted as two operations: {record:?} {first:?}"));
            }
        }
    }

    fn responses(&mut self, record: &Record) {
        for response in &record.responses {
            let is_known = match response.status {
                0 | 200..300 | 403 | 404 | 409 | 422 => true,
                503 => response.retry_after.is_some(),
                // The contract's response if SQS did not respond, so that the outcome is unknown.
                500 => matches!(record.ask, Ask::CancelOrders { .. }),
                _ => false,
            };
            self.check(is_known, || format!("a response has an unexpected status: {record:?}"));
        }
        // A request to cancel orders is not recorded if none of them can be canceled. A retry may get another response.
        let is_unrecorded =
            |response: &ClientResponse| matches!(record.ask, Ask::CancelOrders { .. }) && response.operation.is_none();
        let mut accepted = record.responses.iter().filter(|response| response.is_success() && !is_unrecorded(response));
        if let Some(first) = accepted.next() {
            let is_same = |other: &ClientResponse| other.operation == first.operation && other.status == first.status;
            self.check(accepted.all(is_same), || format!("a retry got another response: {record:?}"));
        }
        let is_final = record.key.is_none() || record.responses.iter().any(ClientResponse::is_definite);
        self.check(is_final, || format!("no request got a definite response: {record:?}"));
    }

    /// Checks rule 6: an operation that was accepted has ended.
    fn outcome(&mut self, evidence: &Evidence, record: &Record, operation: Option<&str>) {
        let Some(operation) = operation else { return };
        let row = |pk: String, sk: &str| evidence.rows.get(&(pk, sk.to_owned())).unwrap_or(&Value::Null);
        let stored = row(format!("{}#OP#{operation}", record.org), "OP");
        let what = || format!("{record:?}: {stored}");
        match &record.ask {
            Ask::CancelOrders { .. } => {
                for order in stored["orders"].as_array().into_iter().flatten() {
                    let order = row(format!("{}#ORDER#{}", record.org, order["order_id"]), "ORDER");
                    let code = &order["cancellations"][operation]["outcome"]["code"];
                    self.check(code.is_string(), || format!("an accepted cancellation has no outcome: {}", what()));
                }
                self.check(stored["orders"].is_array(), || format!("an accepted operation has no row: {}", what()));
            }
            Ask::Create { .. } | Ask::Increment { .. } => {}
            Ask::Bind { .. } | Ask::Start { .. } | Ask::Cancel { .. } => {
                let has_ended = matches!(stored["state"].as_str(), Some("SUCCEEDED" | "FAILED"));
                self.check(has_ended, || format!("an accepted operation has not ended: {}", what()));
            }
        }
    }
}

/// Returns the codes and items of a chunk's result.
fn of_result(row: &Value) -> Vec<(&str, &Value)> {
    let by_code = row["items"].as_object().into_iter().flatten();
    by_code
        .flat_map(|(code, items)| items.as_array().into_iter().flatten().map(move |item| (code.as_str(), item)))
        .collect()
}
