//! Messages that nobody should have sent, to every worker: each ends as a dead letter with a reason that does not
//! quote it, and the others of its batch are none the worse.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::contract::{example, queues};
use tests::function::{Function, Invocation};
use tests::payloads::{batch, failed};
use tokio::task::JoinSet;

use super::Target;

const CANARY: &str = "canary-4711";

/// The message to this worker that the API's document shows: of an organisation that has nothing.
pub(super) fn well_formed(worker: &str) -> Value {
    if worker == "webhook-worker" {
        // It is handed the bus's events.
        return serde_json::from_str(&tests::webhook::event(1)).unwrap();
    }
    let mut message = example(worker.strip_suffix("-worker").unwrap());
    if let Some(cid) = message.get_mut("cid") {
        *cid = json!(CANARY);
    }
    message
}

/// The organisation of a message.
fn org(message: &Value) -> &str {
    message["org_id"].as_str().unwrap()
}

/// The message with this member changed in every way that a member can be wrong.
fn spoilt(good: &Value) -> Vec<String> {
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
    // Correlation IDs and versions of some of these are right; what is about nothing is no harm either.
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
    // SQS has no empty messages.
    bodies.extend([" ", "null", "{}", CANARY].map(ToOwned::to_owned));
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_message_ends_with_its_reason_and_quotes_nothing() {
    let mut ended: JoinSet<_> = queues().into_iter().map(|queue| is_refused(format!("{queue}-worker"))).collect();
    assert!(!ended.is_empty());
    while let Some(one) = ended.join_next().await {
        one.unwrap();
    }
}

async fn is_refused(worker: String) {
    let target = Target::new().await;
    let function = Function::new(&worker, target.env.environment()).await;
    let good = well_formed(&worker);
    let bodies = spoilt(&good);
    let (mut told, mut buried) = (BTreeSet::new(), 0);
    for bodies in bodies.chunks(10) {
        let records: Vec<_> = bodies.iter().map(|body| (body.clone(), 1)).collect();
        let invocation = function.invoke(batch(&records)).await;
        let Invocation::Responded(answer) = invocation else { panic!("{invocation:?} to {bodies:?}") };
        // None is to come back: what cannot be read now never can.
        assert_eq!(failed(&answer), BTreeSet::new(), "{bodies:?}");
        let letters = target.env.sqs.receive_message().queue_url(&target.env.dlq_url).max_number_of_messages(10);
        let letters = letters.message_attribute_names("All").visibility_timeout(600).send().await.unwrap();
        for letter in letters.messages.unwrap_or_default() {
            let reason = letter.message_attributes.unwrap()["reason"].string_value.clone().unwrap();
            assert!(!reason.contains(CANARY) && !reason.contains(org(&good)), "{reason}");
            assert!(bodies.contains(&letter.body.unwrap()));
            told.insert(reason.split(" at line").next().unwrap().to_owned());
            buried += 1;
        }
    }
    // Only what is of the right form all the same, such as another correlation ID or version of an order, is done.
    assert!(buried * 10 > bodies.len() * 8, "{worker}: {buried} of {}: {told:?}", bodies.len());
    assert!(!function.log().contains("panicked"), "{}", function.log());
    let rows = target.env.rows().await;
    let new: Vec<_> = rows.iter().filter(|(key, _)| !target.before.contains_key(*key)).collect();
    assert!(new.iter().all(|((pk, _), _)| pk.starts_with(&format!("{}#ORDER#", org(&good)))), "{new:?}");
    assert!(target.before.iter().all(|(key, row)| rows[key] == *row));
}
