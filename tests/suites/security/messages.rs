//! Messages that nobody should have sent, to every worker: each ends as a dead letter with a reason that does not
//! quote it, and the others of its batch are none the worse.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::payloads::{ORG, batch, failed};

use super::{OPERATION, Target};

const CANARY: &str = "canary-4711";

fn message(kind: &str, instruction: &Value) -> Value {
    json!({
        "version": 1, "kind": kind, "org_id": ORG, "operation_id": OPERATION, "cid": CANARY,
        "accepted_at": "2026-11-22T03:04:05.678Z", "instruction": instruction,
    })
}

/// A message of the right form, about what is not there.
pub(super) fn well_formed(worker: &str) -> Value {
    let facts = json!({
        "program_id": 1, "contactless_enabled": true, "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z",
    });
    match worker {
        "bind-card-worker" => message(
            "bind-card",
            &json!({ "bind": { "card_id": 77, "account_id": 1, "customer_id": 1 }, "card": facts }),
        ),
        "start-bulk-worker" => {
            message("start-bulk", &json!({ "bulk_id": "b", "step": { "plan": { "chunks": 0, "items": 0 } } }))
        }
        "cancel-bulk-worker" => {
            let step = json!({ "plan_all": { "chunks": 0, "items": 0 } });
            message("cancel-bulk", &json!({ "bulk_id": "b", "program_id": 1, "step": step }))
        }
        "cancel-orders-worker" => message("cancel-orders", &json!({ "order": { "order_id": 9 } })),
        "order-feed-worker" => json!({
            "org_id": ORG, "order_id": 9, "creator_id": 9, "status": "ACTIVE", "version": 3, "updated_at": "2026-11-22T03:04:05Z",
        }),
        "webhook-worker" => serde_json::from_str(&tests::webhook::event(1)).unwrap(),
        other => panic!("what is a message to {other}?"),
    }
}

/// The message with this member changed in every way that a member can be wrong.
fn spoilt(worker: &str) -> Vec<String> {
    let good = well_formed(worker);
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
        json!(format!("{ORG}#CARD#1")),
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
    let twice = text.replacen('{', &format!("{{\"org_id\":\"{ORG}\","), 1);
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

#[rstest]
#[tokio::test]
async fn a_spoilt_message_ends_with_its_reason_and_quotes_nothing(
    #[values(
        "bind-card-worker",
        "start-bulk-worker",
        "cancel-bulk-worker",
        "cancel-orders-worker",
        "order-feed-worker"
    )]
    worker: &str,
) {
    let target = Target::new().await;
    let function = Function::new(worker, target.arena.environment()).await;
    let bodies = spoilt(worker);
    let (mut told, mut buried) = (BTreeSet::new(), 0);
    for bodies in bodies.chunks(10) {
        let records: Vec<_> = bodies.iter().map(|body| (body.clone(), 1)).collect();
        let invocation = function.invoke(batch(&records)).await;
        let Invocation::Answered(answer) = invocation else { panic!("{invocation:?} to {bodies:?}") };
        // None is to come back: what cannot be read now never can.
        assert_eq!(failed(&answer), BTreeSet::new(), "{bodies:?}");
        let letters = target.arena.sqs.receive_message().queue_url(&target.arena.dlq_url).max_number_of_messages(10);
        let letters = letters.message_attribute_names("All").visibility_timeout(600).send().await.unwrap();
        for letter in letters.messages.unwrap_or_default() {
            let reason = letter.message_attributes.unwrap()["reason"].string_value.clone().unwrap();
            assert!(!reason.contains(CANARY) && !reason.contains(ORG), "{reason}");
            assert!(bodies.contains(&letter.body.unwrap()));
            told.insert(reason.split(" at line").next().unwrap().to_owned());
            buried += 1;
        }
    }
    // Only what is of the right form all the same, such as another correlation ID or version of an order, is done.
    assert!(buried * 10 > bodies.len() * 8, "{buried} of {}: {told:?}", bodies.len());
    assert!(!function.log().contains("panicked"), "{}", function.log());
    let rows = target.arena.rows().await;
    let new: Vec<_> = rows.iter().filter(|(key, _)| !target.before.contains_key(*key)).collect();
    assert!(new.iter().all(|((pk, _), _)| pk.starts_with(&format!("{ORG}#ORDER#"))), "{new:?}");
    assert!(target.before.iter().all(|(key, row)| rows[key] == *row));
}
