//! Short runs of the simulation. `./tests/scripts/simulate.sh` makes longer ones.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tests::contract::event_types;
use tests::fault_schedule::Fault;
use tests::simulation::checker::violations;
use tests::simulation::{Ask, Evidence, Flow, Report, Simulation};

/// Returns the seed: `BINDERY_SEED`, or else 1.
fn seed() -> u64 {
    std::env::var("BINDERY_SEED").map_or(1, |seed| seed.parse().unwrap())
}

async fn run(flow: Flow, faults: &[Fault], instructions: usize) -> Report {
    let simulation =
        Simulation { seed: seed(), flow, faults: faults.to_vec(), instructions, outage: Duration::from_secs(4) };
    let report = simulation.run().await;
    println!("{report}");
    let violations = violations(&report.evidence);
    assert!(violations.is_empty(), "{simulation:?}\n{}", violations.join("\n"));
    report
}

/// All faults that can happen at any time happen in the same run.
#[rstest]
#[case::binds(Flow::Binds, 200)]
#[case::bulks(Flow::Bulks, 80)]
#[case::orders(Flow::Orders, 120)]
#[case::everything(Flow::Everything, 120)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_invented(#[case] flow: Flow, #[case] instructions: usize) {
    let report = run(flow, &Fault::ALL, instructions).await;
    assert!(report.crashes() > 0 && report.met.len() > 5, "{report}");
}

/// Copies of a message meet in the middle of a transaction, without other faults.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_transaction_is_not_mistaken_for_another_state() {
    run(Flow::Binds, &[Fault::SeenApart, Fault::Duplicates], 200).await;
}

/// A service is unreachable for a while. Clients quickly get a `Retry-After`, and all that was accepted is done
/// afterwards.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_delays_and_loses_nothing(
    #[values(Fault::DynamoDbDown, Fault::SqsDown, Fault::EventBridgeDown)] fault: Fault,
) {
    let report = run(Flow::Everything, &[fault], 0).await;
    assert!(report.met[&fault] > 0);
    let slowest = report.slowest_response();
    assert!(slowest < Duration::from_secs(3), "a client waited {slowest:?} for a response");
    let retry_later = report.retry_later_responses();
    assert!(retry_later > 0 || fault == Fault::EventBridgeDown, "no response had a Retry-After: {report}");
}

/// The checker finds each of these corruptions of a correct run.
#[tokio::test(flavor = "multi_thread")]
async fn the_checker_finds_every_violation() {
    let good = run(Flow::Everything, &[], 160).await.evidence;
    let corrupted = |what: &str, corrupt: &dyn Fn(&mut Evidence)| {
        let mut evidence = good.clone();
        corrupt(&mut evidence);
        assert!(!violations(&evidence).is_empty(), "the checker does not find {what}");
    };
    for event_type in event_types() {
        let of_type = |event: &Value| event["event_type"] == event_type;
        assert!(good.events.values().any(of_type), "the run published no {event_type}");
        corrupted(&format!("a lost {event_type}"), &|evidence| {
            let lost = evidence.events.iter().find(|(_, event)| of_type(event)).unwrap().0.clone();
            evidence.events.remove(&lost);
        });
        corrupted(&format!("another tenant's {event_type}"), &|evidence| {
            let event = evidence.events.values_mut().find(|event| of_type(event)).unwrap();
            event["org_id"] = json!("TN-00000000-0000-4000-8000-000000000000");
        });
    }
    corrupted("an invented event", &|evidence| {
        let event = evidence.events.values().next().unwrap().clone();
        evidence.events.insert("00000000-0000-5000-8000-000000000000".to_owned(), event);
    });
    let row = |evidence: &mut Evidence, is_it: &dyn Fn(&Value) -> bool, change: &dyn Fn(&mut Value)| {
        change(evidence.rows.values_mut().find(|row| is_it(row)).unwrap());
    };
    let is_bound = |row: &Value| row["sk"] == "CARD" && row["bound"].is_object() && row["replaced"].is_null();
    corrupted("a card that is blank again", &|evidence| {
        row(evidence, &is_bound, &|card| card["status"] = json!("UNBOUND"));
    });
    corrupted("a bound card that is also canceled", &|evidence| {
        row(evidence, &is_bound, &|card| card["canceled"] = card["bound"].clone());
    });
    corrupted("half a reissue", &|evidence| {
        row(evidence, &|row| row["replaced"].is_object(), &|card| card["replaced"] = Value::Null);
    });
    corrupted("a lost item", &|evidence| {
        let key = evidence.rows.iter().find(|(_, row)| row["state"] == "ISSUED").unwrap().0.clone();
        evidence.rows.remove(&key);
    });
    corrupted("an item whose card is gone", &|evidence| {
        let is_blank = |row: &Value| row["status"] == "UNBOUND" && row["bulk_id"].is_string();
        evidence.rows.retain(|_, row| !is_blank(row));
    });
    corrupted("a start that was not counted", &|evidence| {
        row(evidence, &|row| row["issued"].as_u64() > Some(0), &|bulk| bulk["issued"] = json!(0));
    });
    corrupted("a cancel that was not counted", &|evidence| {
        row(evidence, &|row| row["canceled"].as_u64() > Some(0), &|bulk| bulk["canceled"] = json!(0));
    });
    corrupted("card IDs that will be assigned again", &|evidence| {
        row(evidence, &|row| row["last"].is_u64(), &|counter| counter["last"] = json!(0));
    });
    corrupted("an operation that has not ended", &|evidence| {
        row(evidence, &|row| row["kind"] == "BIND_CARD", &|operation| operation["outcome"] = Value::Null);
    });
    corrupted("a cancellation that stays pending", &|evidence| {
        row(evidence, &|row| row["cancellations"].is_object(), &|order| order["pending"] = json!("an operation"));
    });
    corrupted("a client that got two different responses", &|evidence| {
        let accepted = |record: &&mut tests::simulation::Record| {
            matches!(record.ask, Ask::Bind { .. }) && record.accepted_response().is_some()
        };
        let record = evidence.records.iter_mut().find(accepted).unwrap();
        let mut other = record.accepted_response().unwrap().clone();
        other.operation = Some("00000000-0000-7000-8000-000000000000".to_owned());
        record.responses.push(other);
    });
}
