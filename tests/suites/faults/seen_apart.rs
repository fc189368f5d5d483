//! Transactions whose rows become visible one after the other, as in DynamoDB.

use std::collections::HashMap;
use std::time::Duration;

use super::{ACCOUNT, CUSTOMER, Delivery, ORG, accept, deliver_with_crashes, env_with};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, PutRequest, TransactWriteItem, Update,
    WriteRequest,
};
use fastrand::Rng;
use serde_json::json;
use shared::domain::card::CardStatus;
use tests::proxy::{Proxy, Step};
use tests::seed;
use tests::test_env::TestEnv;

/// The longest time for which a row stays invisible.
const APART: Duration = Duration::from_millis(60);
/// The number of consecutive reissues. Whether two copies meet between two commits is chance.
const ROUNDS: u64 = 20;

/// A message is delivered twice at once. One copy can see the new card bound and the old card not yet replaced.
#[tokio::test]
async fn a_reissue_delivered_twice_is_one_reissue_whichever_card_is_seen_first() {
    let old = |card: u64| card + 100;
    let cards = (1..=ROUNDS)
        .flat_map(|card| [seed::unbound(card), seed::bound(old(card), CardStatus::Normal, ACCOUNT, CUSTOMER)]);
    let env = env_with(&cards.collect::<Vec<_>>()).await;
    let messages = accept(&env, &(1..=ROUNDS).map(|card| (card, Some(old(card)))).collect::<Vec<_>>()).await;
    env.commits.show_apart(APART, 1);
    for (number, message) in (1..).zip(messages) {
        let twice = vec![message.clone(), message];
        deliver_with_crashes(&env, &["bind-card-worker"], twice, Delivery::default(), Rng::with_seed(number)).await;
    }
    println!("{} reads returned the old row of a committed transaction", env.commits.shown());
    assert!(env.commits.shown() > 0, "no copy read a row between the commits of another");
    let events = env.events().await;
    let failures: Vec<_> = events.values().filter(|event| event["data"]["status"] == "FAILURE").collect();
    assert!(failures.is_empty(), "{} of {ROUNDS}: {failures:#?}", failures.len());
    for card in 1..=ROUNDS {
        let of = |event_type: &str, card: u64| {
            let is_it = |event: &&serde_json::Value| {
                event["event_type"] == event_type && event["data"]["card_id"] == json!(card)
            };
            events.values().filter(is_it).count()
        };
        assert_eq!((of("bind_card", card), of("update", old(card))), (1, 1), "card {card}");
    }
    assert_eq!(events.len() as u64, 2 * ROUNDS);
}

fn key(card: u64) -> HashMap<String, AttributeValue> {
    let text = |name: &str, text: String| (name.to_owned(), AttributeValue::S(text));
    HashMap::from([text("pk", format!("{ORG}#CARD#{card}")), text("sk", "CARD".to_owned())])
}

fn status(status: &str) -> AttributeValue {
    AttributeValue::S(status.to_owned())
}

/// Returns a card's status, if it has a row.
async fn status_of(client: &Client, env: &TestEnv, card: u64) -> Option<AttributeValue> {
    let read = client.get_item().table_name(&env.table).set_key(Some(key(card))).consistent_read(true);
    read.send().await.unwrap().item?.remove("status")
}

fn update_of(env: &TestEnv, card: u64) -> TransactWriteItem {
    let update = Update::builder().table_name(&env.table).set_key(Some(key(card)));
    let update = update.update_expression("SET #status = :new").expression_attribute_names("#status", "status");
    let update = update.expression_attribute_values(":new", status("NEW")).build().unwrap();
    TransactWriteItem::builder().update(update).build()
}

/// The proxy applies the registry to calls. Cards 1 and 2 are in a transaction for an hour, card 3 is free.
#[tokio::test]
async fn a_row_that_is_not_seen_yet_is_read_as_it_was_and_not_written() {
    let env = env_with(&[seed::unbound(1), seed::unbound(3)]).await;
    env.commits.show_apart(Duration::from_secs(3600), 1);
    let url = Proxy::before(&env.dynamodb_url).commits(&env.commits).start(|_, _| Step::Pass).await;
    let client = Client::from_conf(env.dynamodb.config().to_builder().endpoint_url(url).build());
    let both = vec![update_of(&env, 1), update_of(&env, 2)];
    tokio::spawn(client.transact_write_items().set_transact_items(Some(both)).send());
    while status_of(&env.dynamodb, &env, 2).await.is_none() {}
    assert_eq!(status_of(&client, &env, 1).await, Some(status("UNBOUND")));
    assert_eq!(status_of(&client, &env, 2).await, None);
    let all = client.scan().table_name(&env.table).send().await.unwrap();
    assert_eq!((all.count, all.items().len()), (2, 2));

    let put = client.put_item().table_name(&env.table).set_item(Some(key(1))).send().await.unwrap_err();
    assert_eq!(put.code(), Some("TransactionConflictException"));
    let transaction = client.transact_write_items().transact_items(update_of(&env, 3));
    let canceled = transaction.transact_items(update_of(&env, 1)).send().await.unwrap_err();
    let canceled = canceled.into_service_error();
    assert!(canceled.is_transaction_canceled_exception() && canceled.to_string().contains("ongoing"), "{canceled:?}");
    assert_eq!(status_of(&client, &env, 3).await, Some(status("UNBOUND")));

    let statement = |card: u64| {
        let text = format!(r#"UPDATE "{}" SET "status" = ? WHERE "pk" = ? AND "sk" = ?"#, env.table);
        let parameters = vec![status("NEW"), key(card)["pk"].clone(), key(card)["sk"].clone()];
        BatchStatementRequest::builder().statement(text).set_parameters(Some(parameters)).build().unwrap()
    };
    let statements = client.batch_execute_statement().statements(statement(1)).statements(statement(3));
    let done = statements.send().await.unwrap();
    let codes: Vec<_> =
        done.responses().iter().map(|one| one.error.as_ref().and_then(|error| error.code.clone())).collect();
    assert_eq!(codes, [Some(BatchStatementErrorCodeEnum::TransactionConflict), None]);
    assert_eq!(status_of(&client, &env, 3).await, Some(status("NEW")));

    let put = |card: u64| {
        let put = PutRequest::builder().set_item(Some(key(card))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let written = client.batch_write_item().request_items(&env.table, vec![put(2), put(4)]).send().await.unwrap();
    assert_eq!(written.unprocessed_items, Some(HashMap::from([(env.table.clone(), vec![put(2)])])));
}
