//! The table's conditional writes, tested against a DynamoDB emulator. Each test has its own table.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pins;
mod tenants;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::json;
use shared::domain::acceptance::Acceptance;
use shared::domain::bind::{Bind, BindEffect, BindOutcome, BindRefusal};
use shared::domain::bulk::Bulk;
use shared::domain::card::{Card, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId, OperationId, OrgId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::order::progress::{Stage, summary};
use shared::domain::order::{CancellationCode, OrderRef};
use shared::domain::time::Timestamp;
use shared::store::{Committed, Opened, Recorded, StoreError};
use tests::seed;
use tests::test_env::TestEnv;
use time::OffsetDateTime;
use uuid::Uuid;

const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
const OTHER_ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c12";

fn org() -> OrgId {
    ORG.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds).unwrap())
}

fn new_operation_id() -> OperationId {
    OperationId::from_uuid(Uuid::new_v4())
}

fn new_acceptance() -> Acceptance {
    Acceptance { operation_id: new_operation_id(), accepted_at: at(0) }
}

fn bind(card: u64, reissued: Option<u64>) -> Bind {
    Bind {
        card_id: CardId::new(card).unwrap(),
        account_id: AccountId::new(8).unwrap(),
        customer_id: CustomerId::new(9).unwrap(),
        reissued_card_id: reissued.map(|card| CardId::new(card).unwrap()),
    }
}

fn operation(operation_id: OperationId, fingerprint: &str, created_at: Timestamp) -> Operation {
    Operation {
        org_id: org(),
        operation_id,
        account_id: None,
        state: OperationState::Pending,
        fingerprint: fingerprint.to_owned(),
        cid: "c".parse().unwrap(),
        created_at,
        ended_at: None,
        subject: Subject::BindCard { card_id: CardId::new(1).unwrap(), reissued_card_id: None, outcome: None },
    }
}

async fn with_cards(cards: &[Card]) -> TestEnv {
    let env = TestEnv::new().await;
    for card in cards {
        seed::put(&env.dynamodb, &env.table, ORG, card).await;
    }
    env
}

#[tokio::test]
async fn a_card_is_bound_once_and_its_mark_is_permanent() {
    let env = with_cards(&[seed::unbound(1)]).await;
    let store = env.store();
    let (mine, yours) = (new_acceptance(), new_acceptance());
    let bound = BindEffect::Bound { at: at(0), replaced: None };
    assert_eq!(store.bind(&org(), mine, &bind(1, None), at(0)).await.unwrap(), bound);
    let after = env.rows().await;

    // A repeated bind returns the same effect with the first bind's time, and writes nothing.
    assert_eq!(store.bind(&org(), mine, &bind(1, None), at(60)).await.unwrap(), bound);
    assert_eq!(
        store.bind(&org(), yours, &bind(1, None), at(60)).await.unwrap(),
        BindEffect::Refused { code: BindRefusal::CardNotUnbound, card_status: Some(CardStatus::Created) }
    );
    assert_eq!(env.rows().await, after);

    // The mark stays this operation's, even after the card itself is replaced.
    assert!(matches!(
        {
            seed::put(&env.dynamodb, &env.table, ORG, &seed::unbound(2)).await;
            store.bind(&org(), yours, &bind(2, Some(1)), at(90)).await.unwrap()
        },
        BindEffect::Bound { .. }
    ));
    assert_eq!(store.card(&org(), CardId::new(1).unwrap()).await.unwrap().unwrap().status, CardStatus::Reissued);
    assert_eq!(store.bind(&org(), mine, &bind(1, None), at(120)).await.unwrap(), bound);
}

#[tokio::test]
async fn the_card_of_another_organization_is_not_found() {
    let env = with_cards(&[seed::unbound(1)]).await;
    let effect = env.store().bind(&OTHER_ORG.parse().unwrap(), new_acceptance(), &bind(1, None), at(0)).await;
    assert_eq!(effect.unwrap(), BindEffect::Refused { code: BindRefusal::CardNotFound, card_status: None });
}

#[tokio::test]
async fn a_reissue_is_all_or_nothing() {
    let old = seed::bound(1, CardStatus::Normal, 8, 9);
    let env = with_cards(&[old, seed::unbound(2), seed::unbound(3)]).await;
    let store = env.store();
    let (mine, yours) = (new_acceptance(), new_acceptance());
    let effect = store.bind(&org(), mine, &bind(2, Some(1)), at(0)).await.unwrap();
    let BindEffect::Bound { at: first, replaced: Some(replaced) } = &effect else { panic!("{effect:?}") };
    assert_eq!((*first, replaced.previous_status), (at(0), CardStatus::Normal));
    let after = env.rows().await;

    assert_eq!(store.bind(&org(), mine, &bind(2, Some(1)), at(60)).await.unwrap(), effect);
    // The old card is replaced already: a second new card cannot replace it, and stays unbound.
    assert_eq!(
        store.bind(&org(), yours, &bind(3, Some(1)), at(60)).await.unwrap(),
        BindEffect::Refused { code: BindRefusal::ReissuedCardAlreadyReplaced, card_status: Some(CardStatus::Unbound) }
    );
    // The new card is bound already: the card that it would replace does not change.
    assert!(matches!(
        store.bind(&org(), yours, &bind(2, Some(1)), at(60)).await.unwrap(),
        BindEffect::Refused { code: BindRefusal::CardNotUnbound, .. }
    ));
    assert_eq!(env.rows().await, after);
}

#[tokio::test]
async fn racing_reissues_of_one_card_have_one_winner() {
    let mut cards: Vec<_> = (2..=9).map(seed::unbound).collect();
    cards.push(seed::bound(1, CardStatus::Blocked, 8, 9));
    let env = with_cards(&cards).await;
    let store = env.store();
    let effects = futures_util::future::join_all((2..=9).map(|card| {
        let store = store.clone();
        async move { store.bind(&org(), new_acceptance(), &bind(card, Some(1)), at(0)).await.unwrap() }
    }))
    .await;
    let won = effects.iter().filter(|effect| matches!(effect, BindEffect::Bound { .. })).count();
    assert_eq!(won, 1, "{effects:?}");
    let created = env.rows().await.into_values().filter(|row| row["status"] == "CREATED").count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn an_operation_is_recorded_once_until_it_expires() {
    let env = TestEnv::new().await;
    let store = env.store();
    let id = new_operation_id();
    let first = operation(id, "one", at(0));
    assert!(matches!(store.record_operation(&first, at(0)).await.unwrap(), Recorded::New));
    let Recorded::Existing(found) = store.record_operation(&operation(id, "two", at(9)), at(9)).await.unwrap() else {
        panic!("the store recorded the operation a second time");
    };
    assert_eq!(*found, first);
    assert_eq!(store.operation(&org(), id, at(9)).await.unwrap(), Some(first));
    assert_eq!(store.operation(&OTHER_ORG.parse().unwrap(), id, at(9)).await.unwrap(), None);

    // An expired operation counts as absent, although DynamoDB has not deleted its row yet.
    let later = at(91 * 24 * 3600);
    assert_eq!(store.operation(&org(), id, later).await.unwrap(), None);
    assert!(matches!(store.record_operation(&operation(id, "two", later), later).await.unwrap(), Recorded::New));
}

#[tokio::test]
async fn the_first_outcome_counts() {
    let env = TestEnv::new().await;
    let store = env.store();
    let id = new_operation_id();
    let failure = |seconds| BindOutcome::Failure {
        at: at(seconds),
        code: BindRefusal::CardNotUnbound,
        card_status: CardStatus::Created,
    };
    // An update never creates an operation: one that expired stays absent.
    assert!(matches!(store.end_bind(&org(), id, failure(1)).await, Err(StoreError::Broken { .. })));
    assert!(env.rows().await.is_empty());

    store.record_operation(&operation(id, "one", at(0)), at(0)).await.unwrap();
    assert_eq!(store.end_bind(&org(), id, failure(1)).await.unwrap(), failure(1));
    assert_eq!(store.end_bind(&org(), id, failure(2)).await.unwrap(), failure(1));
    let stored = store.operation(&org(), id, at(3)).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.ended_at), (OperationState::Failed, Some(at(1))));
}

/// One write aborts many batches, except those committed in the meantime. An aborted batch cannot be committed later.
#[tokio::test]
async fn batches_are_aborted_together() {
    let env = TestEnv::new().await;
    let store = env.store();
    let settings = json!({ "program_id": 5, "pin_length": 4, "contactless_enabled": true });
    let bulk = json!({
        "bulk_id": "b", "settings": settings, "batches": [1], "last_batch": 400, "items": 0,
        "issued": 0, "canceled": 0, "canceled_blank": 0,
    });
    let bulk: Bulk = serde_json::from_value(bulk).unwrap();
    store.put_bulk(&org(), &bulk).await.unwrap();
    assert!(matches!(store.commit_batch(&org(), &bulk.bulk_id, 7, 0).await.unwrap(), Committed::Yes(_)));
    // This copy of the bulk was read before batch 7 was committed.
    let aborted = store.abort_batches(&org(), &bulk, (2..=400).collect()).await.unwrap();
    assert_eq!(aborted, (2..=400).filter(|batch| *batch != 7).collect());
    for batch in [2, 400] {
        assert!(matches!(store.commit_batch(&org(), &bulk.bulk_id, batch, 0).await.unwrap(), Committed::Aborted));
    }
    let Opened::Yes { aborted: known, .. } = store.open_batch(&org(), &bulk.bulk_id).await.unwrap() else { panic!() };
    assert_eq!(known, aborted);
}

/// An order's outcome counts once, however often, in whatever order and by however many callers at once it is noted.
/// An operation that the same key created at another time has its own notes.
#[tokio::test]
async fn an_outcome_noted_again_counts_once() {
    let env = TestEnv::new().await;
    let store = env.store();
    let uid: Uuid = "6269c403-5b9f-47dd-b8c3-7ecbef8f686d".parse().unwrap();
    let orders = [OrderRef::Domestic(1), OrderRef::Domestic(2), OrderRef::International(uid)];
    let operation = new_acceptance();
    let ended = |code, seconds| Stage::Ended { code, at: at(seconds) };
    let canceled = ended(CancellationCode::Canceled, 7);
    let refused = ended(CancellationCode::UnknownOrder, 5);
    let org = org();
    let note = |order: usize, stage| store.note_stage(&org, operation, orders[order], stage);
    note(0, Stage::Requested).await.unwrap();
    let stages = store.stages(&org, operation).await.unwrap();
    assert_eq!(stages, BTreeMap::from([(orders[0], Stage::Requested)]));
    // A late copy of the request's note comes last, and changes nothing.
    for stage in [canceled, canceled, Stage::Requested] {
        note(0, stage).await.unwrap();
    }
    let again = join_all((0..8).map(|_| note(2, refused))).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    let stages = store.stages(&org, operation).await.unwrap();
    assert_eq!(stages, BTreeMap::from([(orders[0], canceled), (orders[2], refused)]));
    let summed = summary(OperationState::Running, &orders, &stages);
    assert_eq!((summed.state, summed.total, summed.done, summed.succeeded), (OperationState::Running, 3, 2, 1));
    note(1, refused).await.unwrap();
    let summed = summary(OperationState::Running, &orders, &store.stages(&org, operation).await.unwrap());
    let end = (summed.state, summed.ended_at, summed.done, summed.succeeded);
    assert_eq!(end, (OperationState::Succeeded, Some(at(7)), 3, 1));
    let later = Acceptance { accepted_at: at(1), ..operation };
    assert!(store.stages(&org, later).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_row_that_cannot_be_parsed_is_not_retried() {
    let env = with_cards(&[seed::unbound(1)]).await;
    env.dynamodb
        .update_item()
        .table_name(&env.table)
        .key("pk", AttributeValue::S(format!("{ORG}#CARD#1")))
        .key("sk", AttributeValue::S("CARD".to_owned()))
        .update_expression("SET #status = :status")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":status", AttributeValue::S("SHINY".to_owned()))
        .send()
        .await
        .unwrap();
    let card = env.store().card(&org(), CardId::new(1).unwrap()).await;
    assert!(matches!(card, Err(StoreError::Broken { .. })), "{card:?}");
}
