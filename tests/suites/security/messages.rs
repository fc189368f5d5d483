//! Malformed messages to every worker. Each is dead-lettered with a reason that does not quote it, and does not affect
//! the others of its batch.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::contract::{example, queues};
use tests::function::{Function, Invocation};
use tests::payloads::{batch, failed};
use tokio::task::JoinSet;

use super::Fixture;

const CANARY: &str = "canary-4711";

/// Returns the example message to this worker from the API's document. Its organization has no rows.
pub(super) fn well_formed(worker: &str) -> Value {
    if worker == "webhook-worker" {
        // The webhook worker receives the bus's events.
        return serde_json::from_str(&tests::webhook::event(1)).unwrap();
    }
    let mut message = example(worker.strip_suffix("-worker").unwrap());
    if let Some(cid) = message.get_mut("cid") {
        *cid = json!(CANARY);
    }
    message
}

/// Returns the organization of a message.
fn org(message: &Value) -> &str {
    message["org_id"].as_str().unwrap()
}

/// Returns variants of the message: with each member missing or of a wrong value, and with malformed JSON.
fn malformed(good: &Value) -> Vec<String> {
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!(CANARY),
        json!([]),
        json!({}),
        json!("\u{0}"),
        json!("9".repeat(5000)),
        json!(format!("{}#CARD#1", org(good))),
    ];
    let mut bodies = Vec::new();
    for name in good.as_object().unwrap().keys() {
        let mut less = good.clone();
        less.as_object_mut().unwrap().remove(name);
        bodies.push(less.to_string());
        for value in &wrong {
            let mut changed = good.clone();
            changed[name] = value.clone();
            bodies.push(changed.to_string());
        }
    }
    // Some of these variants are valid, such as another correlation ID. They are about nothing that exists.
    let text = good.to_string();
    let twice = text.replacen('{', &format!("{{\"org_id\":\"{}\",", org(good)), 1);
    let cut = text[..text.len() - 1].to_owned();
    bodies.extend([
        twice,
        cut,
        format!("{text}{text}"),
        format!("[{text}]"),
        "[".repeat(100_000),
        "\u{feff}".to_owned() + &text,
    ]);
    // SQS accepts no empty messages, so there is no empty variant.
    bodies.extend([" ", "null", "{}", CANARY].map(ToOwned::to_owned));
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_is_dead_lettered_without_quoting_it() {
    let mut workers: JoinSet<_> = queues().into_iter().map(|queue| is_refused(format!("{queue}-worker"))).collect();
    assert!(!workers.is_empty());
    while let Some(one) = workers.join_next().await {
        one.unwrap();
    }
}

async fn is_refused(worker: String) {
    let fixture = Fixture::new().await;
    let function = Function::new(&worker, fixture.env.environment()).await;
    let good = well_formed(&worker);
    let bodies = malformed(&good);
    let (mut reasons, mut dead_lettered) = (BTreeSet::new(), 0);
    for bodies in bodies.chunks(10) {
        let records: Vec<_> = bodies.iter().map(|body| (body.clone(), 1)).collect();
        let invocation = function.invoke(batch(&records)).await;
        let Invocation::Responded(response) = invocation else { panic!("{invocation:?} to {bodies:?}") };
        // No message may be retried, because a later delivery could not parse it either.
        assert_eq!(failed(&response), BTreeSet::new(), "{bodies:?}");
        let letters = fixture.env.sqs.receive_message().queue_url(&fixture.env.dlq_url).max_number_of_messages(10);
        let letters = letters.message_attribute_names("All").visibility_timeout(600).send().await.unwrap();
        for letter in letters.messages.unwrap_or_default() {
            let reason = letter.message_attributes.unwrap()["reason"].string_value.clone().unwrap();
            assert!(!reason.contains(CANARY) && !reason.contains(org(&good)), "{reason}");
            assert!(bodies.contains(&letter.body.unwrap()));
            reasons.insert(reason.split(" at line").next().unwrap().to_owned());
            dead_lettered += 1;
        }
    }
    // The few variants that are valid, such as another correlation ID or version of an order, are processed.
    assert!(
        dead_lettered * 10 > bodies.len() * 8,
        "{worker} dead-lettered only {dead_lettered} of {}: {reasons:?}",
        bodies.len()
    );
    assert!(!function.log().contains("panicked"), "{}", function.log());
    let rows = fixture.env.rows().await;
    let new: Vec<_> = rows.iter().filter(|(key, _)| !fixture.before.contains_key(*key)).collect();
    assert!(new.iter().all(|((pk, _), _)| pk.starts_with(&format!("{}#ORDER#", org(&good)))), "{new:?}");
    assert!(fixture.before.iter().all(|(key, row)| rows[key] == *row));
}
