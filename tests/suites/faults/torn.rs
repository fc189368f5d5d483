//! Tables with inconsistent rows, as a restore can leave them, and what `bindery check` finds in them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::capacity::CapacityMeter;
use tests::function::Function;
use tests::operator;
use tests::payloads::{ORG, external_id};
use tests::test_env::TestEnv;

use super::workers::BulkFixture;
use super::{ACCOUNT, CUSTOMER, bind_event};

type TableRows = BTreeMap<(String, String), Value>;

/// The result of `bindery check`: its findings, its last line, and whether it found nothing.
struct Checked {
    findings: Vec<Value>,
    end: Value,
    is_content: bool,
}

impl Checked {
    async fn of(env: &TestEnv) -> Self {
        let variables = [("AWS_ENDPOINT_URL_DYNAMODB", env.dynamodb_url.as_str())];
        let output = operator::output(&["--json", "check", "--table", &env.table], "", &variables).await;
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(![ACCOUNT, CUSTOMER].iter().any(|secret| printed.contains(&secret.to_string())), "{printed}");
        let mut findings: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let end = findings.pop().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Self { findings, end, is_content: output.status.success() }
    }

    /// Returns each finding with the kind of its row.
    fn names(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let name = |finding: &Value| {
            assert!(text(&finding["pk"]).starts_with(ORG) && finding["do"].is_string(), "{finding}");
            format!("{} of {}", text(&finding["finding"]), text(&finding["sk"]).split('#').next().unwrap())
        };
        let mut names: Vec<String> = self.findings.iter().map(name).collect();
        names.sort();
        names
    }
}

async fn put(env: &TestEnv, row: &Value) {
    let item = serde_dynamo::to_item(row).unwrap();
    env.dynamodb.put_item().table_name(&env.table).set_item(Some(item)).send().await.unwrap();
}

async fn delete(env: &TestEnv, row: &Value) {
    let key = json!({ "pk": row["pk"], "sk": row["sk"] });
    let key = serde_dynamo::to_item(key).unwrap();
    env.dynamodb.delete_item().table_name(&env.table).set_key(Some(key)).send().await.unwrap();
}

/// A table with rows of everything that Bindery does to cards.
struct Table {
    env: TestEnv,
    rows: TableRows,
    /// The cards of the first items, by number.
    cards: Vec<u64>,
}

impl Table {
    /// Creates two bulks. The first has seven items, five of them with cards. The first card is bound and replaced by
    /// the second, the third is canceled, and two binds compete for the fifth. The sixth item is canceled without a
    /// card, and the last is pending. The second bulk is canceled as a whole.
    async fn new() -> Self {
        let bulks = BulkFixture::new().await;
        let bulk = bulks.create(5).await;
        let start = bulks.start(&bulk).await;
        bulks.work(&["start-bulk-worker"], vec![start]).await;
        bulks.grow(&bulk, 5..7).await;
        let rows = bulks.env.rows().await;
        let cards: Vec<u64> = (0..5).map(|number| BulkFixture::card_of(&rows, number)).collect();
        let endpoint = Function::new("bind-card", bulks.env.environment()).await;
        let bind = async |binds: &[(u64, Option<u64>, &str)]| {
            for (card, reissued, key) in binds {
                endpoint.invoke(bind_event(*card, *reissued, key)).await.response(202);
            }
            bulks.work(&["bind-card-worker"], bulks.env.take_messages().await).await;
        };
        bind(&[(cards[0], None, "first"), (cards[4], None, "one"), (cards[4], None, "another")]).await;
        bind(&[(cards[1], Some(cards[0]), "reissue")]).await;
        let cancels = [
            bulks.cancel(&bulk, Some(vec![external_id(2)])).await,
            bulks.cancel(&bulk, Some(vec![external_id(5)])).await,
        ];
        let second = bulks.create(2).await;
        let full = bulks.cancel(&second, None).await;
        bulks.work(&["cancel-bulk-worker"], [&cancels[..], &[full]].concat()).await;
        let BulkFixture { env, .. } = bulks;
        Self { rows: env.rows().await, env, cards }
    }

    fn row(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        self.rows.values().find(|row| is_it(row)).unwrap().clone()
    }

    fn card(&self, number: usize) -> Value {
        self.row(|row| row["sk"] == "CARD" && row["card_id"] == self.cards[number])
    }

    fn item(&self, number: usize) -> Value {
        self.row(|row| row["batch"].is_u64() && row["external_id"] == external_id(number))
    }

    /// Returns the header of the bulk with this extent of cancellation.
    fn bulk(&self, extent: &str) -> Value {
        self.row(|row| row["sk"] == "BULK" && row["extent"] == extent)
    }

    fn full_cancel(&self) -> Value {
        self.row(|row| row["cancel_type"] == "FULL")
    }

    /// Returns the bind operation of this card in this state.
    fn bind(&self, number: usize, state: &str) -> Value {
        self.row(|row| row["kind"] == "BIND_CARD" && row["card_id"] == self.cards[number] && row["state"] == state)
    }

    /// Changes these rows, or removes those without members. Asserts what `bindery check` finds, and restores the rows.
    async fn torn(&self, (what, torn, expected): Tear) {
        for row in &torn {
            if row.as_object().unwrap().len() > 2 {
                put(&self.env, row).await;
            } else {
                delete(&self.env, row).await;
            }
        }
        let checked = Checked::of(&self.env).await;
        assert_eq!(checked.names(), expected, "{what}");
        assert_eq!((&checked.end["findings"], checked.is_content), (&json!(expected.len()), false));
        for row in torn {
            put(&self.env, &self.row(|other| (&other["pk"], &other["sk"]) == (&row["pk"], &row["sk"]))).await;
        }
    }
}

/// Returns the row with these members changed. Members that are null are removed.
fn with(mut row: Value, members: Value) -> Value {
    let of_row = row.as_object_mut().unwrap();
    of_row.extend(members.as_object().unwrap().clone());
    of_row.retain(|_, value| !value.is_null());
    row
}

/// Returns the key alone, which stands for a missing row.
fn no(row: &Value) -> Value {
    json!({ "pk": row["pk"], "sk": row["sk"] })
}

/// An inconsistency: its description, the changed rows, and the expected findings.
type Tear = (&'static str, Vec<Value>, &'static [&'static str]);

/// Returns each half of a transaction's writes without the other half.
fn halves(table: &Table) -> Vec<Tear> {
    let blank = json!({ "status": "UNBOUND", "bound": null });
    let pending = json!({ "state": "PENDING", "card_id": null, "issued": null });
    let not_replaced = json!({ "status": "CREATED", "replaced": null });
    let not_ended = with(table.row(|row| row["kind"] == "START_BULK"), json!({ "state": "RUNNING" }));
    let bulk = |members| with(table.bulk("PARTIAL"), members);
    let canceling = with(table.bulk("FULL"), json!({ "canceling": [table.full_cancel()["operation_id"]] }));
    vec![
        ("a link without card", vec![no(&table.card(3))], &["CARD_MISSING of I"]),
        (
            "a card without link",
            vec![with(table.item(3), pending)],
            &["ISSUED_COUNT of BULK", "ITEM_NOT_ISSUED of CARD"],
        ),
        (
            "an old card without its new one",
            vec![with(table.card(1), blank)],
            &["NEW_CARD_NOT_BOUND of CARD", "SUCCEEDED_WITHOUT_BIND of OP"],
        ),
        ("a new card without its old one", vec![with(table.card(0), not_replaced)], &["OLD_CARD_NOT_REPLACED of OP"]),
        ("a start that was not counted", vec![bulk(json!({ "issued": 0 }))], &["ISSUED_COUNT of BULK"]),
        ("a count whose start has not ended", vec![not_ended], &["ISSUED_COUNT of BULK", "UNDER_WAY_NOT_NOTED of OP"]),
        (
            "a cancel that was not counted",
            vec![bulk(json!({ "canceled": 0, "canceled_blank": 0, "extent": null }))],
            &["BLANK_COUNT of BULK", "CANCELED_COUNT of BULK"],
        ),
        ("a cancel in progress that has ended", vec![canceling], &["UNDER_WAY_ENDED of BULK"]),
    ]
}

/// Returns all other kinds of inconsistencies.
fn others(table: &Table) -> Vec<Tear> {
    let (winner, loser) = (table.bind(4, "SUCCEEDED"), table.bind(4, "FAILED"));
    let by_loser = with(
        table.card(4)["bound"].clone(),
        json!({ "by": loser["operation_id"], "accepted_at": loser["created_at"] }),
    );
    let canceling = with(table.bulk("FULL"), json!({ "canceling": [table.full_cancel()["operation_id"]] }));
    let grown = with(table.bulk("PARTIAL"), json!({ "items": 5 }));
    let counter = with(table.row(|row| row["last"].is_u64()), json!({ "last": 1 }));
    let card = |number, members| vec![with(table.card(number), members)];
    let item = |number, members| vec![with(table.item(number), members)];
    vec![
        (
            "a card without item",
            vec![no(&table.item(3))],
            &["ISSUED_COUNT of BULK", "ITEM_COUNT of BULK", "ITEM_NOT_ISSUED of CARD"],
        ),
        (
            "an outcome without its bind",
            card(4, json!({ "status": "UNBOUND", "bound": null })),
            &["SUCCEEDED_WITHOUT_BIND of OP"],
        ),
        (
            "a bind against both outcomes",
            card(4, json!({ "bound": by_loser })),
            &["FAILED_WITH_BIND of OP", "SUCCEEDED_WITHOUT_BIND of OP"],
        ),
        ("a bind without its operation", vec![no(&winner)], &["OPERATION_GONE of CARD"]),
        ("a growth that was not counted", vec![grown], &["ITEM_COUNT of BULK"]),
        (
            "a cancel that is gone",
            vec![canceling, no(&table.full_cancel())],
            &["OPERATION_GONE of I", "UNDER_WAY_GONE of BULK"],
        ),
        ("a counter that is behind", vec![counter], &["COUNTER_BEHIND of CARD"]),
        (
            "two items of one card",
            item(3, json!({ "card_id": table.cards[4] })),
            &["CARD_OF_ANOTHER_ITEM of I", "ITEM_HAS_ANOTHER_CARD of CARD"],
        ),
        (
            "an issued item of no batch",
            item(3, json!({ "batch": 77 })),
            &["ISSUED_COUNT of BULK", "ITEM_COUNT of BULK", "ITEM_OF_NO_BATCH of I"],
        ),
        ("a card's marks", card(3, json!({ "status": "CREATED" })), &["CARD_MARKS of CARD"]),
        ("an item's marks", item(6, json!({ "state": "CANCELED" })), &["ITEM_MARKS of I"]),
        ("an unreadable row", card(3, json!({ "status": "SHINY" })), &["UNREADABLE_ROW of CARD"]),
    ]
}

/// `bindery check` finds exactly the inconsistencies, changes no row, and finds nothing in a consistent table.
#[tokio::test]
async fn the_check_finds_what_a_restore_leaves_inconsistent() {
    let table = Table::new().await;
    let content = Checked::of(&table.env).await;
    assert_eq!((content.names(), content.is_content), (Vec::new(), true));
    assert_eq!(content.end, json!({ "rows": table.rows.len(), "findings": 0 }));
    assert_eq!(table.env.rows().await, table.rows);
    for tear in halves(&table).into_iter().chain(others(&table)) {
        table.torn(tear).await;
    }
}

/// Every row of a table of several pages is read, and an inconsistency on the last page is found.
#[tokio::test]
async fn a_table_of_many_pages_is_read_to_its_end() {
    const CARDS: u16 = 1200;
    let (meter, url) = CapacityMeter::start().await;
    let bulks = BulkFixture::on(TestEnv::with_table_at(&url).await).await;
    let bulk = bulks.create(CARDS.into()).await;
    let start = bulks.start(&bulk).await;
    bulks.work(&["start-bulk-worker", "start-bulk-worker"], vec![start]).await;
    let rows = bulks.env.rows().await;
    meter.take();
    let content = Checked::of(&bulks.env).await;
    // The number in the command's help, without the scan.
    let reads = meter.take().reads / f64::from(CARDS);
    assert!((2.0..2.1).contains(&reads), "{reads} read units a card");
    assert_eq!((content.names(), content.end), (Vec::new(), json!({ "rows": rows.len(), "findings": 0 })));
    assert!(rows.len() > 2 * usize::from(CARDS));

    let last = rows.values().rfind(|row| row["card_id"].is_u64() && row["state"] == "ISSUED").unwrap();
    delete(&bulks.env, rows.values().find(|row| row["sk"] == "CARD" && row["card_id"] == last["card_id"]).unwrap())
        .await;
    let torn = Checked::of(&bulks.env).await;
    assert_eq!(torn.names(), ["CARD_MISSING of I"]);
    assert_eq!((&torn.findings[0]["card_id"], &torn.findings[0]["sk"]), (&last["card_id"], &last["sk"]));

    let variables = [("AWS_ENDPOINT_URL_DYNAMODB", bulks.env.dynamodb_url.as_str())];
    let shown = operator::output(&["check", "--table", &bulks.env.table], "", &variables).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("\n  Do: Put the card's row") && shown.ends_with("1 finding(s).\n"), "{shown}");
}
