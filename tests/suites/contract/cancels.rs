//! Cancels of bulks in the API.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tests::bulks::{BULKS, cancel, counts, create, ids, items, post, put, start};
use tests::stack::{ACCOUNT, Tenant, parts};

async fn canceled(tenant: &Tenant, bulk: &str, body: &Value) -> Value {
    let (status, location, body) = cancel(tenant, bulk, body).await;
    assert_eq!(status, 202, "{body}");
    tenant.ended(&location).await
}

fn full() -> Value {
    json!({ "cancel_type": "FULL" })
}

fn partial(ids: &[String]) -> Value {
    json!({ "cancel_type": "PARTIAL", "external_ids": ids })
}

/// Returns the code of each external ID in these events. Panics if an external ID comes twice.
fn codes<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    for event in events.into_iter().filter(|event| event["event_type"] == "noname_cancellation") {
        let data = &event["data"];
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        assert_eq!(codes.insert(text("external_id"), text("message_code")), None, "{data} came twice");
    }
    codes
}

/// Reads all results of the operation, page by page.
async fn results(tenant: &Tenant, operation: &Value, limit: usize) -> BTreeMap<String, String> {
    let path = format!("/operations/{}", operation["operation_id"].as_str().unwrap());
    let (mut results, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let (status, page) = tenant.get(&format!("{path}?limit={limit}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let of_page = page["results"].as_array().unwrap();
        assert!(of_page.len() <= limit);
        for result in of_page {
            let text = |name: &str| result[name].as_str().unwrap().to_owned();
            assert_eq!(results.insert(text("external_id"), text("message_code")), None, "{result} came twice");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return results,
        }
    }
}

#[tokio::test]
async fn a_partial_cancel_reports_the_result_of_each_name() {
    let tenant = Tenant::new().await;
    let unusual = format!("{}#/\"\\\u{301}\u{202e}\u{fffe}\u{ffff}", "😀".repeat(246));
    let bulk = create(&tenant, &["unbound".into(), "bound".into(), "gone".into(), unusual.clone()]).await;
    start(&tenant, &bulk).await;
    let issued = items(&tenant, &bulk, 1000).await;
    let (_, location, _) = parts(tenant.bind(issued["bound"].1.unwrap()).send().await.unwrap()).await;
    tenant.ended(&location).await;
    put(&tenant, &bulk).json(&json!({ "external_ids": ["pending"] })).send().await.unwrap();
    tenant.remove_card(issued["gone"].1.unwrap()).await;
    tenant.issued_long_ago(&bulk, "gone").await;
    tenant.events(5 + 1).await;

    let names = ["unbound", "bound", "gone", "pending", "unknown", &unusual, "unbound"].map(str::to_owned);
    let operation = canceled(&tenant, &bulk, &partial(&names)).await;
    assert_eq!((&operation["kind"], &operation["cancel_type"]), (&json!("CANCEL_BULK"), &json!("PARTIAL")));
    assert_eq!((&operation["status"], &operation["bulk_status"]), (&json!("SUCCEEDED"), &json!("COMPLETED")));
    assert_eq!(operation["cancellation"], json!({ "state": "PARTIAL" }));
    assert_eq!(operation["chunks"], json!({ "total": 1, "done": 1 }));
    assert_eq!(operation["counts"], json!({ "total": 6, "done": 6, "succeeded": 3, "failed": 3 }));

    let events = tenant.events(7).await;
    let expected: BTreeMap<String, String> = [
        ("unbound", "EXTERNAL_ID_AND_CARD_CANCELED"),
        (&unusual, "EXTERNAL_ID_AND_CARD_CANCELED"),
        ("pending", "EXTERNAL_ID_CANCELED"),
        ("unknown", "EXTERNAL_ID_NOT_FOUND"),
        ("gone", "CARD_NOT_FOUND_FOR_CANCELLATION"),
        ("bound", "INVALID_CARD_STATUS_FOR_CANCELLATION"),
    ]
    .map(|(id, code)| (id.to_owned(), code.to_owned()))
    .into();
    assert_eq!(codes(events.values()), expected);
    assert_eq!(results(&tenant, &operation, 4).await, expected);
    assert_eq!(results(&tenant, &operation, 1000).await, expected);
    let of = |id: &str| events.values().find(|event| event["data"]["external_id"] == id).unwrap()["data"].clone();
    assert_eq!(
        of("unbound"),
        json!({
            "bulk_id": bulk, "program_id": 5, "external_id": "unbound", "card_id": issued["unbound"].1.unwrap(),
            "status": "SUCCESS", "message_code": "EXTERNAL_ID_AND_CARD_CANCELED",
            "message": "The external ID and its card were canceled.",
        })
    );
    assert_eq!((&of("pending")["card_id"], &of("unknown")["status"]), (&Value::Null, &json!("FAILURE")));
    let end = events.values().find(|event| event["event_type"] == "noname_bulk_cancellation").unwrap();
    assert_eq!(
        end["data"],
        json!({
            "bulk_id": bulk, "program_id": 5, "operation_id": operation["operation_id"], "cancel_type": "PARTIAL",
            "bulk_status": "COMPLETED", "cancellation": { "state": "PARTIAL" }, "requested": 6, "canceled": 3,
            "failed": 3,
        })
    );

    let now = items(&tenant, &bulk, 1000).await;
    assert_eq!(
        ["unbound", &unusual, "pending", "bound"].map(|id| &*now[id].0),
        ["CANCELED", "CANCELED", "CANCELED", "CREATED"]
    );
    assert_eq!(counts(&tenant, &bulk).await, json!({ "items": 5, "issued": 4, "canceled": 3 }));
}

/// A partial cancel does not seal the bulk, which can grow and start as before. Canceled items get no card, and
/// canceling one again reports `ALREADY_CANCELED`.
#[tokio::test]
async fn a_partly_canceled_bulk_can_grow_and_start() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &["a".into(), "b".into()]).await;
    canceled(&tenant, &bulk, &partial(&["a".into()])).await;
    assert_eq!(put(&tenant, &bulk).json(&json!({ "external_ids": ["late"] })).send().await.unwrap().status(), 201);
    assert_eq!(start(&tenant, &bulk).await["counts"]["succeeded"], 2);
    let again = canceled(&tenant, &bulk, &partial(&["a".into(), "b".into()])).await;
    assert_eq!(again["counts"], json!({ "total": 2, "done": 2, "succeeded": 2, "failed": 0 }));
    let again = results(&tenant, &again, 100).await;
    assert_eq!(again.values().collect::<Vec<_>>(), ["ALREADY_CANCELED", "EXTERNAL_ID_AND_CARD_CANCELED"]);
    assert_eq!(counts(&tenant, &bulk).await, json!({ "items": 3, "issued": 2, "canceled": 2 }));
    let (_, header) = tenant.get(&format!("{BULKS}/{bulk}")).await;
    assert_eq!((&header["status"], &header["cancellation"]), (&json!("COMPLETED"), &json!({ "state": "PARTIAL" })));
}

#[tokio::test]
async fn a_full_cancel_seals_the_bulk() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..230)).await;
    let operation = canceled(&tenant, &bulk, &full()).await;
    assert_eq!((&operation["cancel_type"], &operation["bulk_status"]), (&json!("FULL"), &json!("COMPLETED")));
    assert_eq!(operation["chunks"], json!({ "total": 3, "done": 3 }));
    let events = tenant.events(231).await;
    let codes = codes(events.values());
    assert_eq!(codes.keys().cloned().collect::<Vec<_>>(), ids(0..230));
    assert!(codes.values().all(|code| code == "EXTERNAL_ID_CANCELED"));
    assert_eq!(results(&tenant, &operation, 70).await, codes);
    let (_, header) = tenant.get(&format!("{BULKS}/{bulk}")).await;
    assert_eq!((&header["status"], &header["counts"]["canceled"]), (&json!("COMPLETED"), &json!(230)));
    assert_eq!(header["cancellation"], json!({ "state": "FULL" }));

    let more = json!({ "external_ids": ["more"] });
    assert_eq!(put(&tenant, &bulk).json(&more).send().await.unwrap().status(), 409);
    assert_eq!(post(&tenant, &format!("{BULKS}/{bulk}/start")).send().await.unwrap().status(), 409);
    // A bulk can be canceled in any state, also repeatedly.
    let again = canceled(&tenant, &bulk, &full()).await;
    assert_eq!((&again["cancellation"]["state"], &again["counts"]["succeeded"]), (&json!("FULL"), &json!(230)));
    assert!(results(&tenant, &again, 1000).await.values().all(|code| code == "ALREADY_CANCELED"));
    assert_eq!(counts(&tenant, &bulk).await["canceled"], 230);
}

/// Partial cancels that together name every item of a bulk seal it.
#[tokio::test]
async fn canceling_every_item_by_name_seals_the_bulk() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..120)).await;
    for (ids, status, state) in [(ids(0..60), "CREATED", "PARTIAL"), (ids(60..120), "COMPLETED", "FULL")] {
        let operation = canceled(&tenant, &bulk, &partial(&ids)).await;
        assert_eq!((&operation["bulk_status"], &operation["cancellation"]["state"]), (&json!(status), &json!(state)));
    }
    let more = json!({ "external_ids": ["more"] });
    assert_eq!(put(&tenant, &bulk).json(&more).send().await.unwrap().status(), 409);
    assert_eq!(post(&tenant, &format!("{BULKS}/{bulk}/start")).send().await.unwrap().status(), 409);
}

#[rstest]
#[case::no_body(None, 400, "")]
#[case::no_type(Some(json!({ "external_ids": ["a"] })), 400, "/cancel_type")]
#[case::null_type(Some(json!({ "cancel_type": null })), 400, "/cancel_type")]
#[case::other_type(Some(json!({ "cancel_type": "full" })), 400, "/cancel_type")]
#[case::type_of_another_type(Some(json!({ "cancel_type": 1 })), 400, "/cancel_type")]
#[case::full_with_names(Some(json!({ "cancel_type": "FULL", "external_ids": ["a"] })), 400, "/external_ids")]
#[case::full_with_no_names(Some(json!({ "cancel_type": "FULL", "external_ids": [] })), 400, "/external_ids")]
#[case::partial_without_names(Some(json!({ "cancel_type": "PARTIAL" })), 400, "/external_ids")]
#[case::partial_with_null(Some(json!({ "cancel_type": "PARTIAL", "external_ids": null })), 400, "/external_ids")]
#[case::partial_with_text(Some(json!({ "cancel_type": "PARTIAL", "external_ids": "a" })), 400, "/external_ids")]
#[case::empty_name(Some(json!({ "cancel_type": "PARTIAL", "external_ids": ["a", ""] })), 400, "/external_ids/1")]
#[case::long_name(Some(partial(&["😀".repeat(256)])), 400, "/external_ids/0")]
#[case::number(Some(json!({ "cancel_type": "PARTIAL", "external_ids": [1] })), 400, "/external_ids/0")]
#[case::zero_names(Some(partial(&[])), 406, "")]
#[case::too_many(Some(partial(&ids(0..1001))), 406, "")]
#[case::too_many_of_one(Some(partial(&vec!["a".to_owned(); 1001])), 406, "")]
#[case::too_many_and_bad(Some(partial(&vec![String::new(); 1001])), 400, "/external_ids/0")]
#[tokio::test]
async fn a_malformed_cancel_names_the_invalid_member(
    #[case] body: Option<Value>,
    #[case] status: u16,
    #[case] place: &str,
) {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..1)).await;
    let mut request = post(&tenant, &format!("{BULKS}/{bulk}/cancel"));
    if let Some(body) = &body {
        request = request.json(body);
    }
    let (got, _, problem) = parts(request.send().await.unwrap()).await;
    assert_eq!(got, status, "{problem}");
    if !place.is_empty() {
        assert_eq!(problem["errors"][0]["pointer"], place, "{problem}");
    }
    // An invalid request gets its own error, even if the bulk does not exist.
    let unknown = body.unwrap_or_default();
    assert_eq!(cancel(&tenant, "unknown", &unknown).await.0, if unknown.is_null() { 400 } else { status });
    assert_eq!(tenant.get(&format!("{BULKS}/{bulk}")).await.1["status"], "CREATED");
}

#[tokio::test]
async fn unknown_and_foreign_bulks_get_the_same_response() {
    let (tenant, other) = (Tenant::new().await, Tenant::new().await);
    let bulk = create(&tenant, &ids(0..1)).await;
    let foreign = cancel(&other, &bulk, &full()).await;
    let unknown = cancel(&other, "unknown", &full()).await;
    let alike = |mut problem: Value| {
        problem["instance"] = Value::Null;
        problem
    };
    assert_eq!((foreign.0, alike(foreign.2)), (404, alike(unknown.2)));
    assert_eq!(cancel(&tenant, &"x".repeat(256), &full()).await.0, 404);
    assert_eq!(tenant.get(&format!("{BULKS}/{bulk}")).await.1["status"], "CREATED");

    let path = format!("{BULKS}/{bulk}/cancel");
    let mut claims = tests::token::claims(&tenant.org, ACCOUNT);
    claims["scope"] = json!("cards:read operations:read");
    let reader = tests::token::sign(&claims);
    assert_eq!(tenant.request(Method::POST, &path, &reader).json(&full()).send().await.unwrap().status(), 403);
    assert_eq!(tenant.request(Method::POST, &path, "x").json(&full()).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_key_makes_one_cancel() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..150)).await;
    let send = |body: Value| {
        let request = post(&tenant, &format!("{BULKS}/{bulk}/cancel")).header("idempotency-key", "k").json(&body);
        async move { parts(request.send().await.unwrap()).await }
    };
    let mut reversed = ids(0..150);
    reversed.reverse();
    // The order of the names does not matter.
    let responses =
        join_all((0..6).map(|n| send(partial(&if n % 2 == 0 { ids(0..150) } else { reversed.clone() })))).await;
    assert!(responses.iter().all(|response| *response == responses[0] && response.0 == 202), "{responses:?}");
    tenant.ended(&responses[0].1).await;
    assert_eq!(codes(tenant.events(151).await.values()).len(), 150);
    assert_eq!(send(partial(&ids(0..150))).await, responses[0]);
    assert_eq!(send(partial(&ids(0..149))).await.0, 422);
    assert_eq!(send(full()).await.0, 422);
    assert_eq!(counts(&tenant, &bulk).await["canceled"], 150);
}

/// A cancel races with binds of the same cards. Each card is bound or canceled, and the result of its bind says which.
#[tokio::test]
async fn a_cancel_and_a_bind_have_one_winner_per_card() {
    const CARDS: usize = 200;
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..CARDS)).await;
    start(&tenant, &bulk).await;
    tenant.events(CARDS + 1).await;
    let cards: BTreeMap<String, u64> =
        items(&tenant, &bulk, 1000).await.into_iter().map(|(id, (_, card))| (id, card.unwrap())).collect();
    // The number sent at a time is limited, so that the emulator responds in time. A bind that gets 503 is repeated.
    let bind = async |card: u64| loop {
        let response = tenant.bind(card).header("idempotency-key", card).send().await.unwrap();
        if response.status() != 503 {
            return parts(response).await;
        }
    };
    let binds = stream::iter(cards.values()).map(|card| bind(*card)).buffered(24).collect::<Vec<_>>();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        canceled(&tenant, &bulk, &full()).await
    };
    let (binds, operation) = join(binds, cancel).await;
    let codes = results(&tenant, &operation, 1000).await;
    let (mut bound, mut late, mut refused) = (0, 0, 0);
    for ((id, card), (status, location, body)) in cards.iter().zip(binds) {
        let won = match status.as_u16() {
            202 => {
                let outcome = tenant.ended(&location).await["status"].clone();
                late += usize::from(outcome == "FAILED");
                outcome == "SUCCEEDED"
            }
            409 => {
                refused += 1;
                false
            }
            _ => panic!("{body}"),
        };
        bound += usize::from(won);
        let (status, code) = if won {
            ("CREATED", "INVALID_CARD_STATUS_FOR_CANCELLATION")
        } else {
            ("CANCELED", "EXTERNAL_ID_AND_CARD_CANCELED")
        };
        assert_eq!((&tenant.card(*card).await["status"], &codes[id]), (&json!(status), &code.to_owned()));
    }
    println!("{bound} bound, {late} accepted and lost, {refused} refused at once");
    assert!(
        bound > 0 && bound < CARDS,
        "{bound} of {CARDS} cards were bound: start the cancel earlier or later, so that both race"
    );
    // Each accepted bind and each item has an event.
    let events = tenant.events(bound + late + CARDS + 1).await;
    assert_eq!(self::codes(events.values()), codes);
    let lost = events.values().filter(|event| event["data"]["message_code"] == "CARD_NOT_UNBOUND").count();
    assert_eq!(lost, late);
    assert_eq!(counts(&tenant, &bulk).await["canceled"], CARDS - bound);
}

#[tokio::test]
async fn a_cancel_leaves_other_bulks_and_organizations_alone() {
    let (tenant, other) = (Tenant::new().await, Tenant::new().await);
    let mine = create(&tenant, &ids(0..3)).await;
    let (second, theirs) = (create(&tenant, &ids(0..3)).await, create(&other, &ids(0..3)).await);
    for (tenant, bulk) in [(&tenant, &mine), (&tenant, &second), (&other, &theirs)] {
        start(tenant, bulk).await;
    }
    canceled(&tenant, &mine, &partial(&ids(0..3))).await;
    for (tenant, bulk) in [(&tenant, &second), (&other, &theirs)] {
        assert!(items(tenant, bulk, 100).await.values().all(|(state, _)| state == "UNBOUND"));
        assert_eq!(tenant.get(&format!("{BULKS}/{bulk}")).await.1["status"], "COMPLETED");
    }
}
