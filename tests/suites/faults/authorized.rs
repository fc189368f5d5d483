//! Authorized persons: who may act on an order that another person created, and with whose PIN.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::{Function, Invocation, runner};
use tests::orders::{CREATOR, domestic, feed};
use tests::payloads::{ORG, batch};
use tests::requests::cancel_orders;
use tests::test_env::{TestEnv, drain};

/// An authorized person who also creates orders.
const JOINT: i32 = CREATOR + 1;
/// An authorized person without a row.
const ADVISER: i32 = CREATOR + 2;
const STRANGER: i32 = CREATOR + 3;
const CREATORS_PIN: Option<&str> = Some("1111");
const JOINTS_PIN: Option<&str> = Some("2222");

const INVALID: Option<&str> = Some("PIN is invalid.");
const LOCKED: Option<&str> = Some("PIN is locked.");
const UNKNOWN: Option<&str> = Some("Order was not found.");

/// Returns a feed message about an active order, with the persons who may act on it.
fn change(order: i32, version: u64, authorized: &Value) -> Value {
    let mut change = feed(&domestic(order), "ACTIVE", version);
    (change["org_id"], change["authorized_ids"]) = (json!(ORG), authorized.clone());
    change
}

/// The order feed's worker and the endpoint for cancellations, on one test environment.
struct OrderFixture {
    env: TestEnv,
    feeder: Function,
    endpoint: Function,
}

impl OrderFixture {
    /// Creates orders 1 to 9, on which other persons may act.
    async fn new() -> Self {
        let env = TestEnv::new().await;
        let feeder = Function::new("order-feed-worker", env.environment()).await;
        let endpoint = Function::new("cancel-orders", env.environment()).await.patient();
        let fixture = Self { env, feeder, endpoint };
        let orders = (1..10).map(|order| change(order, 1, &json!([JOINT, ADVISER, JOINT]))).collect::<Vec<_>>();
        fixture.feed(&orders).await;
        fixture
    }

    async fn feed(&self, changes: &[Value]) {
        self.feed_texts(changes.iter().map(Value::to_string)).await;
    }

    async fn feed_texts(&self, changes: impl Iterator<Item = String>) {
        let messages: Vec<_> = changes.map(|change| (change, 1)).collect();
        self.feeder.invoke(batch(&messages)).await.acknowledged();
    }

    /// Sets the person's PIN and requires it, as an operator does.
    async fn set_pin(&self, person: i32, pin: Option<&str>) {
        let mut command = tokio::process::Command::new(runner());
        command.args(["set-pin", ORG, &person.to_string(), pin.unwrap()]).envs(self.env.environment());
        assert!(command.status().await.unwrap().success());
    }

    async fn pins(&self) {
        self.set_pin(CREATOR, CREATORS_PIN).await;
        self.set_pin(JOINT, JOINTS_PIN).await;
    }

    /// Requests the cancellation of this order. Returns its error, or `None` if it was accepted.
    async fn cancel(&self, order: i32, person: Option<i32>, pin: Option<&str>, key: &str) -> Option<String> {
        let entry = json!({ "OrderID": order, "CreatorID": person, "PIN": pin });
        let results = self.ask(&json!([entry]), key).await.response(200);
        assert_eq!(results[0]["Success"], results[0]["Errors"].is_null(), "{results}");
        results[0]["Errors"][0].as_str().map(str::to_owned)
    }

    async fn ask(&self, entries: &Value, key: &str) -> Invocation {
        let request = cancel_orders(entries);
        let request = if key.is_empty() { request } else { request.key(key) };
        self.endpoint.invoke(request.event()).await
    }

    /// Returns the number of consecutive wrong PINs of the creator and of the other person.
    async fn tries(&self) -> [usize; 2] {
        let rows = self.env.rows().await;
        [CREATOR, JOINT].map(|person| {
            let row = &rows[&(format!("{ORG}#PERSON#{person}"), "PERSON".to_owned())];
            row["wrong"].as_array().map_or(0, Vec::len)
        })
    }
}

/// The creator of order 1 requires a PIN.
#[rstest]
#[case::creator(Some(CREATOR), CREATORS_PIN, None, [0, 0])]
#[case::no_person_named(None, CREATORS_PIN, None, [0, 0])]
#[case::joint(Some(JOINT), JOINTS_PIN, None, [0, 0])]
#[case::joint_with_the_creators(Some(JOINT), CREATORS_PIN, INVALID, [0, 1])]
#[case::joint_without(Some(JOINT), None, INVALID, [0, 0])]
#[case::no_person_named_with_the_joints(None, JOINTS_PIN, INVALID, [1, 0])]
#[case::no_person_named_without(None, None, INVALID, [0, 0])]
#[case::without_a_row(Some(ADVISER), CREATORS_PIN, INVALID, [0, 0])]
#[case::without_a_row_and_a_pin(Some(ADVISER), None, INVALID, [0, 0])]
#[case::stranger(Some(STRANGER), CREATORS_PIN, UNKNOWN, [0, 0])]
#[case::stranger_with_another(Some(STRANGER), Some("0000"), UNKNOWN, [0, 0])]
#[tokio::test]
async fn the_acting_persons_pin_is_checked(
    #[case] person: Option<i32>,
    #[case] pin: Option<&str>,
    #[case] expected: Option<&str>,
    #[case] tries: [usize; 2],
) {
    let fixture = OrderFixture::new().await;
    fixture.pins().await;
    assert_eq!(fixture.cancel(1, person, pin, "").await.as_deref(), expected);
    assert_eq!(fixture.tries().await, tries);
    assert_eq!(fixture.env.take_messages().await.len(), usize::from(expected.is_none()));
}

/// A person's own requirement applies to the orders that they created.
#[tokio::test]
async fn the_creator_decides_whether_a_pin_is_required() {
    let fixture = OrderFixture::new().await;
    fixture.set_pin(JOINT, JOINTS_PIN).await;
    assert_eq!(fixture.cancel(1, Some(JOINT), None, "").await, None);
    fixture.set_pin(CREATOR, CREATORS_PIN).await;
    fixture.env.set(&format!("PERSON#{CREATOR}"), "PERSON", "pin_required", &json!(false)).await;
    assert_eq!(fixture.cancel(2, Some(JOINT), None, "").await, None);
    fixture.set_pin(CREATOR, CREATORS_PIN).await;
    fixture.env.set(&format!("PERSON#{JOINT}"), "PERSON", "pin_required", &json!(false)).await;
    assert_eq!(fixture.cancel(3, Some(JOINT), None, "").await.as_deref(), INVALID);
    assert_eq!(fixture.cancel(3, Some(JOINT), JOINTS_PIN, "").await, None);
}

#[tokio::test]
async fn a_lock_applies_to_one_person_only() {
    let fixture = OrderFixture::new().await;
    fixture.pins().await;
    for _ in 0..5 {
        assert_eq!(fixture.cancel(1, Some(JOINT), Some("0000"), "").await.as_deref(), INVALID);
    }
    assert_eq!(fixture.cancel(1, Some(JOINT), JOINTS_PIN, "").await.as_deref(), LOCKED);
    assert_eq!(fixture.cancel(1, Some(STRANGER), None, "").await.as_deref(), UNKNOWN);
    assert_eq!(fixture.cancel(1, Some(CREATOR), CREATORS_PIN, "").await, None);
    assert_eq!(fixture.tries().await, [0, 5]);
}

/// A retry gets the first response even after the feed has changed. The event names the order's creator.
#[tokio::test]
async fn the_latest_feed_message_decides_who_may_act() {
    let fixture = OrderFixture::new().await;
    assert_eq!(fixture.cancel(1, Some(JOINT), None, "k").await, None);
    let steps = [
        (2, json!(null), [true, true]),
        (3, json!([]), [false, false]),
        (3, json!([JOINT]), [false, false]),
        (2, json!([JOINT]), [false, false]),
        (4, json!(null), [false, false]),
        (5, json!([ADVISER]), [false, true]),
    ];
    for (order, (version, authorized, may)) in (2..).zip(steps) {
        fixture.feed(&(1..10).map(|order| change(order, version, &authorized)).collect::<Vec<_>>()).await;
        let mut found = Vec::new();
        for person in [JOINT, ADVISER] {
            // An invalid PIN shows that the person may act on the order.
            fixture.set_pin(CREATOR, CREATORS_PIN).await;
            found.push(fixture.cancel(order, Some(person), None, "").await.as_deref() == INVALID);
        }
        assert_eq!(found, may, "{authorized} under version {version}");
    }
    assert_eq!(fixture.cancel(1, Some(JOINT), None, "k").await, None);
    let message = fixture.env.take_messages().await.remove(0);
    let worker = Function::new("cancel-orders-worker", fixture.env.environment()).await;
    worker.invoke(batch(&[(message, 1)])).await;
    let events = fixture.env.events().await;
    let creators: Vec<_> = events.values().map(|event| &event["data"]["creator_id"]).collect();
    assert_eq!(creators, [CREATOR]);
}

/// The same PIN of two persons counts as two.
#[rstest]
#[case::as_many_as_may_be(25, 200)]
#[case::too_many(26, 413)]
#[tokio::test]
async fn pins_are_counted_by_acting_person(#[case] pins: i32, #[case] status: u16) {
    let fixture = OrderFixture::new().await;
    let entries: Vec<Value> = (0..pins)
        .flat_map(|pin| {
            [JOINT, CREATOR].map(|person| {
                let order = 2 * pin + i32::from(person == JOINT);
                json!({ "OrderID": order, "CreatorID": person, "PIN": pin.to_string() })
            })
        })
        .collect();
    let orders: Vec<Value> = (0..2 * pins).map(|order| change(order, 2, &json!([JOINT]))).collect();
    fixture.feed(&orders).await;
    fixture.ask(&json!(entries), "").await.response(status);
}

/// A malformed message is dead-lettered, and has no other effect.
#[rstest]
#[case("authorized_ids", &json!((0..51).collect::<Vec<_>>()))]
#[case("authorized_ids", &json!(["7"]))]
#[case("authorized_ids", &json!([7.5]))]
#[case("authorized_ids", &json!(7))]
#[case("version", &json!(9_007_199_254_740_992_u64))]
#[case("version", &json!(18_446_744_073_709_551_615_u64))]
#[case("version", &json!(2.5))]
#[case("creator_id", &json!("7"))]
#[tokio::test]
async fn a_malformed_change_is_dead_lettered(#[case] member: &str, #[case] value: &Value) {
    let fixture = OrderFixture::new().await;
    let before = fixture.env.rows().await;
    let mut broken = change(1, 2, &json!(null));
    broken[member] = value.clone();
    fixture.feed(&[broken.clone()]).await;
    let dead: BTreeSet<String> = drain(&fixture.env.sqs, &fixture.env.dlq_url).await.into_iter().collect();
    assert_eq!(dead, BTreeSet::from([broken.to_string()]));
    assert_eq!(fixture.env.rows().await, before);
    // A later message is applied, although its integers are written as floats and a byte order mark precedes it.
    let mut next = change(1, 2, &json!([8.0]));
    (next["order_id"], next["creator_id"], next["version"]) = (json!(1.0), json!(f64::from(CREATOR)), json!(2.0));
    fixture.feed_texts(std::iter::once(format!("\u{feff}{next}"))).await;
    let row = &fixture.env.rows().await[&(format!("{ORG}#ORDER#1"), "ORDER".to_owned())];
    assert_eq!((&row["version"], &row["authorized_ids"]), (&json!(2), &json!([8])));
}
