//! Bulks in the API: creating, growing, starting and reading them.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use reqwest::RequestBuilder;
use rstest::rstest;
use serde_json::{Value, json};
use tests::bulks::{BULKS, counts, create, creation, ids, items, post, put, start};
use tests::stack::{Tenant, parts};
use tests::variable;

#[tokio::test]
async fn a_bulk_is_created_grown_started_and_read() {
    let tenant = Tenant::new().await;
    let body = json!({
        "program_id": 5, "external_ids": ["b", "a", "b", "ä#/\"😀\u{ffff}"], "template_id": "t", "pin_length": 6,
        "contactless_enabled": false, "abu_enabled": true, "embossing_custom_field": "e", "embossing_group": "g1",
        "mode_type": "COMBO", "validity_period_hours": 240, "metadata": { "z": 1, "a": [{}] }, "unknown": 1,
    });
    let (status, _, created) = parts(post(&tenant, BULKS).json(&body).send().await.unwrap()).await;
    assert_eq!(status, 201);
    let bulk = created["id"].as_str().unwrap();
    assert_eq!(
        created,
        json!({
            "id": bulk, "program_id": 5, "template_id": "t", "pin_length": 6, "contactless_enabled": false,
            "abu_enabled": true, "embossing_custom_field": "e", "embossing_group": "g1", "mode_type": "COMBO",
            "validity_period_hours": 240, "metadata": { "z": 1, "a": [{}] }, "size": 3, "status": "CREATED",
            "counts": { "items": 3, "issued": 0, "canceled": 0 },
        })
    );

    let (status, _, grown) =
        parts(put(&tenant, bulk).json(&json!({ "external_ids": ["c", "a"] })).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &grown["counts"]["items"]), (201, &json!(4)));
    let pending = ("PENDING".to_owned(), None);
    let all = ["a", "b", "c", "ä#/\"😀\u{ffff}"].map(str::to_owned);
    assert_eq!(items(&tenant, bulk, 3).await, all.clone().map(|id| (id, pending.clone())).into());

    let operation = start(&tenant, bulk).await;
    assert_eq!(operation["kind"], "START_BULK");
    assert_eq!(operation["chunks"], json!({ "total": 1, "done": 1 }));
    assert_eq!(operation["counts"], json!({ "total": 4, "done": 4, "succeeded": 4, "failed": 0 }));
    let events = tenant.events(4 + 1).await;
    let (ends, created): (Vec<_>, Vec<_>) =
        events.values().partition(|event| event["event_type"] == "noname_bulk_start");
    let end = |name: &str| ends[0]["data"][name].clone();
    assert_eq!((end("status"), end("requested"), end("issued")), (json!("SUCCESS"), json!(4), json!(4)));
    let issued: BTreeMap<String, Option<u64>> = created
        .into_iter()
        .map(|event| (event["data"]["external_id"].as_str().unwrap().to_owned(), event["data"]["card_id"].as_u64()))
        .collect();
    assert_eq!(issued.keys().cloned().collect::<BTreeSet<_>>(), all.into());
    let read = items(&tenant, bulk, 1000).await;
    assert_eq!(
        read.into_iter()
            .map(|(id, (state, card))| {
                assert_eq!(state, "UNBOUND");
                (id, card)
            })
            .collect::<BTreeMap<_, _>>(),
        issued
    );
    let (_, header) = tenant.get(&format!("{BULKS}/{bulk}")).await;
    assert_eq!((&header["status"], &header["counts"]["issued"]), (&json!("COMPLETED"), &json!(4)));

    let event = events.values().find(|event| event["data"]["external_id"] == "a").unwrap();
    let card = issued["a"].unwrap();
    let today = &event["timestamp"].as_str().unwrap()[..10];
    let expiry = event["data"]["expiration_date"].as_str().unwrap();
    assert_eq!(expiry[..4].parse::<i32>().unwrap(), today[..4].parse::<i32>().unwrap() + 6);
    assert_eq!(
        event["data"],
        json!({
            "card_id": card, "bulk_id": bulk, "external_id": "a", "program_id": 5, "card_status": "UNBOUND",
            "card_type": "PLASTIC", "contactless_enabled": false, "account_id": null, "card_hash": null,
            "card_last_four_numbers": null, "card_name": null, "card_printed_name": null, "embossed": null,
            "expiration_date": expiry, "issuing_date": format!("{today}T00:00:00Z"), "status": "SUCCESS",
        })
    );

    // A bound card's status is the item's state. A second start issues nothing, unless the bulk has grown.
    let (_, location, _) = parts(tenant.bind(card).send().await.unwrap()).await;
    tenant.ended(&location).await;
    assert_eq!(items(&tenant, bulk, 1000).await["a"], ("CREATED".to_owned(), Some(card)));
    assert_eq!(start(&tenant, bulk).await["counts"]["succeeded"], 0);
    put(&tenant, bulk).json(&json!({ "external_ids": ["d"] })).send().await.unwrap();
    assert_eq!(start(&tenant, bulk).await["counts"], json!({ "total": 5, "done": 5, "succeeded": 1, "failed": 0 }));
    assert_eq!(counts(&tenant, bulk).await, json!({ "items": 5, "issued": 5, "canceled": 0 }));
    assert_eq!(tenant.card(card).await["status"], "CREATED");
    // The second and the third start end, the bind ends, and the new item's card is created.
    assert_eq!(tenant.events(2 + 2).await.len(), 4);
}

#[rstest]
#[case::no_body(None, 400, "")]
#[case::no_program(Some(json!({ "external_ids": ["a"] })), 400, "/program_id")]
#[case::program_of_another_type(Some(json!({ "external_ids": ["a"], "program_id": "5" })), 400, "/program_id")]
#[case::no_items(Some(json!({ "program_id": 5 })), 400, "/external_ids")]
#[case::null_items(Some(json!({ "program_id": 5, "external_ids": null })), 400, "/external_ids")]
#[case::bad_item(Some(json!({ "program_id": 5, "external_ids": ["a", ""] })), 400, "/external_ids/1")]
#[case::long_item(Some(json!({ "program_id": 5, "external_ids": ["x".repeat(256)] })), 400, "/external_ids/0")]
#[case::pin(Some(json!({ "program_id": 5, "external_ids": ["a"], "pin_length": 5 })), 400, "/pin_length")]
#[case::contactless(
    Some(json!({ "program_id": 5, "external_ids": ["a"], "contactless_enabled": 1 })),
    400,
    "/contactless_enabled"
)]
#[case::metadata(Some(json!({ "program_id": 5, "external_ids": ["a"], "metadata": [] })), 400, "/metadata")]
#[case::zero_items(Some(json!({ "program_id": 5, "external_ids": [] })), 400, "/external_ids")]
#[case::too_many(Some(creation(&ids(0..1001))), 400, "/external_ids")]
#[tokio::test]
async fn a_malformed_creation_names_the_invalid_member(
    #[case] body: Option<Value>,
    #[case] status: u16,
    #[case] place: &str,
) {
    let tenant = Tenant::new().await;
    let mut request = post(&tenant, BULKS);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let (got, _, problem) = parts(request.send().await.unwrap()).await;
    assert_eq!(got, status, "{problem}");
    if !place.is_empty() {
        let places = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]);
        assert_eq!(places.collect::<Vec<_>>(), [place]);
    }
}

#[tokio::test]
async fn unknown_foreign_and_out_of_range_bulks_are_refused() {
    let (tenant, other) = (Tenant::new().await, Tenant::new().await);
    let bulk = create(&tenant, &ids(0..1)).await;
    let long = "x".repeat(256);
    for unknown in ["x", "a%23b", "00000000-0000-7000-8000-000000000000", &long] {
        assert_eq!(tenant.get(&format!("{BULKS}/{unknown}")).await.0, 404);
        assert_eq!(put(&tenant, unknown).json(&json!({ "external_ids": ["a"] })).send().await.unwrap().status(), 404);
        assert_eq!(post(&tenant, &format!("{BULKS}/{unknown}/start")).send().await.unwrap().status(), 404);
    }
    assert_eq!(other.get(&format!("{BULKS}/{bulk}")).await.0, 404);
    assert_eq!(put(&other, &bulk).json(&json!({ "external_ids": ["a"] })).send().await.unwrap().status(), 404);
    assert_eq!(post(&other, &format!("{BULKS}/{bulk}/start")).send().await.unwrap().status(), 404);
    for query in ["limit=0", "cursor=_w"] {
        assert_eq!(tenant.get(&format!("{BULKS}/{bulk}?{query}")).await.0, 400, "{query}");
    }
    for (items, status) in [(vec![], 400), (ids(0..1001), 400), (vec![String::new()], 400)] {
        assert_eq!(put(&tenant, &bulk).json(&json!({ "external_ids": items })).send().await.unwrap().status(), status);
    }
    let huge = put(&tenant, &bulk).header("content-type", "application/json").body(" ".repeat(4 * 1024 * 1024 + 1));
    assert_eq!(huge.send().await.unwrap().status(), 413);
    assert_eq!(counts(&tenant, &bulk).await["items"], 1);
}

#[tokio::test]
async fn a_key_makes_one_bulk_one_growth_and_one_start() {
    let tenant = Tenant::new().await;
    let keyed = |request: RequestBuilder| request.header("idempotency-key", "k");
    let create =
        || async { parts(keyed(post(&tenant, BULKS).json(&creation(&ids(0..60)))).send().await.unwrap()).await };
    let responses = join_all((0..4).map(|_| create())).await;
    for (status, _, body) in &responses {
        assert_eq!((status.as_u16(), &body["id"]), (201, &responses[0].2["id"]), "{body}");
    }
    let bulk = responses[0].2["id"].as_str().unwrap().to_owned();
    let other = keyed(post(&tenant, BULKS).json(&creation(&ids(0..1))));
    assert_eq!(other.send().await.unwrap().status(), 422);

    let more = json!({ "external_ids": ids(30..90) });
    let grow = || async { parts(keyed(put(&tenant, &bulk).json(&more)).send().await.unwrap()).await };
    for (status, _, body) in join_all((0..4).map(|_| grow())).await {
        assert_eq!((status.as_u16(), &body["id"]), (201, &json!(bulk)), "{body}");
    }
    assert_eq!(counts(&tenant, &bulk).await["items"], 90);
    assert_eq!(items(&tenant, &bulk, 1000).await.len(), 90);

    let path = format!("{BULKS}/{bulk}/start");
    let started =
        join_all((0..4).map(|_| async { parts(keyed(post(&tenant, &path)).send().await.unwrap()).await })).await;
    for (status, location, body) in &started {
        assert_eq!((status.as_u16(), location), (202, &started[0].1));
        assert_eq!((&body["id"], location.ends_with(body["operation_id"].as_str().unwrap())), (&json!(bulk), true));
    }
    tenant.ended(&started[0].1).await;
    tenant.events(90 + 1).await;
    // A replayed creation returns the bulk's current state.
    assert_eq!(create().await.2["counts"], json!({ "items": 90, "issued": 90, "canceled": 0 }));
}

/// Requests that grow one bulk at once have IDs in common. Each ID is added once and counted once.
#[tokio::test]
async fn racing_growth_invents_and_loses_nothing() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..10)).await;
    let responses = join_all((0..8).map(|number| {
        let request = put(&tenant, &bulk).json(&json!({ "external_ids": ids(number * 20..number * 20 + 60) }));
        async move { parts(request.send().await.unwrap()).await }
    }))
    .await;
    // A request that the others aborted too often gets a 503, and its client repeats it.
    for (number, (status, _, body)) in responses.into_iter().enumerate() {
        if status != 201 {
            assert_eq!(status, 503, "{body}");
            let again = put(&tenant, &bulk).json(&json!({ "external_ids": ids(number * 20..number * 20 + 60) }));
            assert_eq!(again.send().await.unwrap().status(), 201);
        }
    }
    let expected: BTreeSet<String> = ids(0..200).into_iter().collect();
    assert_eq!(items(&tenant, &bulk, 1000).await.into_keys().collect::<BTreeSet<_>>(), expected);
    assert_eq!(counts(&tenant, &bulk).await["items"], 200);
}

/// Several starts at once issue one card for each item, and each card is issued by one of them.
#[tokio::test]
async fn racing_starts_issue_each_card_once() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..150)).await;
    let operations = join_all((0..3).map(|_| start(&tenant, &bulk))).await;
    let issued: u64 = operations.iter().map(|operation| operation["counts"]["succeeded"].as_u64().unwrap()).sum();
    assert_eq!(issued, 150);
    let events = tenant.events(150 + 3).await;
    let cards: BTreeSet<u64> = events.values().filter_map(|event| event["data"]["card_id"].as_u64()).collect();
    let reported: u64 = events.values().filter_map(|event| event["data"]["issued"].as_u64()).sum();
    assert_eq!(reported, 150);
    let of_items: BTreeSet<u64> =
        items(&tenant, &bulk, 1000).await.into_values().filter_map(|(_, card)| card).collect();
    assert_eq!((cards.len(), &cards), (150, &of_items));
    assert_eq!(counts(&tenant, &bulk).await, json!({ "items": 150, "issued": 150, "canceled": 0 }));
}

/// A full bulk accepts no more items. Items that it refused do not use up its room.
#[tokio::test]
async fn a_full_bulk_takes_no_more() {
    let tenant = Tenant::new().await;
    let bulk = create(&tenant, &ids(0..1)).await;
    let partition = AttributeValue::S(format!("{}#BULK#{bulk}", tenant.org));
    tenant
        .dynamodb
        .update_item()
        .table_name(variable("TABLE_NAME"))
        .key("pk", partition.clone())
        .key("sk", AttributeValue::S("BULK".to_owned()))
        .update_expression("SET #items = :items")
        .expression_attribute_names("#items", "items")
        .expression_attribute_values(":items", AttributeValue::N("99999".to_owned()))
        .send()
        .await
        .unwrap();
    let grow = |range| put(&tenant, &bulk).header("idempotency-key", "k").json(&json!({ "external_ids": ids(range) }));
    assert_eq!(grow(1..3).send().await.unwrap().status(), 409);
    let query = tenant.dynamodb.query().table_name(variable("TABLE_NAME")).key_condition_expression("pk = :pk");
    let rows = query.expression_attribute_values(":pk", partition).send().await.unwrap().count;
    assert_eq!(rows, 2, "the refused request left rows behind");
    // A 4xx is not recorded, so the client may use the key again for a request that fits: with one new item.
    let (status, _, body) = parts(grow(0..2).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["counts"]["items"]), (201, &json!(100_000)));
}
