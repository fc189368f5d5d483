use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::domain::card::{Bound, Replaced};
use crate::domain::event::{Contradiction, EventContext, bind_events};
use crate::domain::ids::ProgramId;

const STATUSES: [CardStatus; 18] = [
    CardStatus::Unbound,
    CardStatus::Created,
    CardStatus::Normal,
    CardStatus::Blocked,
    CardStatus::Pending,
    CardStatus::Warning,
    CardStatus::Reissued,
    CardStatus::Canceled,
    CardStatus::Lost,
    CardStatus::Robbed,
    CardStatus::Fraud,
    CardStatus::Damaged,
    CardStatus::Expired,
    CardStatus::Deleted,
    CardStatus::Broken,
    CardStatus::Theft,
    CardStatus::Defect,
    CardStatus::Inoperative,
];

fn context() -> EventContext {
    EventContext {
        org_id: "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap(),
        operation_id: "0192d1c0-0000-7000-8000-000000000001".parse().unwrap(),
        cid: "c-1".parse().unwrap(),
        accepted_at: at("2026-11-22T03:04:05.678Z"),
    }
}

fn at(text: &str) -> Timestamp {
    serde_json::from_value(json!(text)).unwrap()
}

fn bind() -> Bind {
    serde_json::from_value(json!({ "card_id": 7, "account_id": 8, "customer_id": 9, "reissued_card_id": 6 })).unwrap()
}

fn card(status: CardStatus, owner: Option<(u64, u64)>, replaced: bool) -> Card {
    let by = context().operation_id;
    let at = at("2026-11-22T03:04:05.678Z");
    Card {
        card_id: CardId::new(6).unwrap(),
        status,
        facts: facts(),
        bound: owner.map(|(account, customer)| Bound {
            by,
            accepted_at: at,
            at,
            account_id: AccountId::new(account).unwrap(),
            customer_id: CustomerId::new(customer).unwrap(),
            reissued_card_id: None,
        }),
        replaced: replaced.then_some(Replaced {
            by,
            accepted_at: at,
            at,
            new_card_id: CardId::new(5).unwrap(),
            previous_status: CardStatus::Normal,
        }),
        canceled: None,
    }
}

fn facts() -> CardFacts {
    serde_json::from_value(json!({
        "program_id": 1, "contactless_enabled": false, "issuing_date": "2026-11-22T00:00:00Z",
        "expiration_date": "2032-11-22T00:00:00Z",
    }))
    .unwrap()
}

proptest! {
    /// Only a card that is UNBOUND and was never bound can be bound.
    #[test]
    fn a_card_can_be_bound_once(status in select(&STATUSES[..]), owned: bool) {
        let card = card(status, owned.then_some((8, 9)), false);
        let allowed = status == CardStatus::Unbound && !owned;
        prop_assert_eq!(check_card(Some(&card)).is_ok(), allowed);
    }

    /// Only a live card of the same account and customer can be replaced, and only once.
    #[test]
    fn a_card_can_be_replaced_once(
        status in select(&STATUSES[..]),
        owner in prop::option::of((8_u64..10, 9_u64..11)),
        replaced: bool,
    ) {
        let card = card(status, owner, replaced);
        let expected = if owner != Some((8, 9)) {
            Err(BindRefusal::ReissuedCardNotFound)
        } else if replaced || status == CardStatus::Reissued {
            Err(BindRefusal::ReissuedCardAlreadyReplaced)
        } else {
            match status {
                CardStatus::Created | CardStatus::Normal => Ok(CardStatus::Reissued),
                CardStatus::Blocked | CardStatus::Pending | CardStatus::Warning => Ok(status),
                _ => Err(BindRefusal::ReissuedCardNotEligible),
            }
        };
        prop_assert_eq!(check_reissued(Some(&card), &bind()).map(|(_, status)| status), expected);
    }
}

#[test]
fn the_events_of_a_reissue_are_exactly_these_bytes() {
    let replaced = ReplacedCard {
        card_id: CardId::new(6).unwrap(),
        previous_status: CardStatus::Blocked,
        facts: CardFacts { contactless_enabled: true, program_id: ProgramId::new(2).unwrap(), ..facts() },
    };
    let effect = BindEffect::Bound { at: at("2026-11-22T03:04:05.678Z"), replaced: Some(replaced) };
    let outcome = BindOutcome::of(&effect, at("2027-01-01T00:00:00Z"));
    let events = bind_events(&context(), &bind(), &facts(), &outcome, &effect).unwrap();
    let written: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let envelope = |id: &str, event_type: &str, data: &str| {
        format!(
            r#"{{"event_id":"{id}","schema_version":1,"domain":"cards","event_type":"{event_type}","org_id":"TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11","cid":"c-1","timestamp":"2026-11-22T03:04:05.678Z","data":{data}}}"#
        )
    };
    assert_eq!(
        written,
        [
            envelope(
                "71c17ffa-e077-50e2-a6dd-abfbc6329d8a",
                "bind_card",
                r#"{"account_id":8,"customer_id":9,"card_id":7,"card_status":"CREATED","card_previous_status":"UNBOUND","card_name":"","card_printed_name":"","program_id":1,"issuing_date":"2026-11-22T00:00:00Z","expiration_date":"2032-11-22T00:00:00Z","operation_type":"BIND_REISSUE","status":"SUCCESS"}"#
            ),
            envelope(
                "c5cea5e8-9f08-5a3f-8ed1-1e05c7e81226",
                "update",
                r#"{"account_id":8,"card_id":6,"card_status":"BLOCKED","card_previous_status":"BLOCKED","card_type":"PLASTIC","card_name":"","card_printed_name":null,"card_hash":null,"card_last_four_numbers":null,"activation_date":null,"contactless_enabled":true,"operation_type":"BIND_REISSUE","new_card_id":7,"program_id":2,"issuing_date":"2026-11-22T00:00:00Z","expiration_date":"2032-11-22T00:00:00Z","status":"SUCCESS"}"#
            ),
        ]
    );
}

#[test]
fn a_refusal_reports_the_stored_state_not_a_later_one() {
    let stored = BindOutcome::Failure {
        at: at("2026-11-22T03:04:05.678Z"),
        code: BindRefusal::CardNotUnbound,
        card_status: CardStatus::Created,
    };
    let later = BindEffect::Refused { code: BindRefusal::CardNotUnbound, card_status: Some(CardStatus::Lost) };
    let events = bind_events(&context(), &bind(), &facts(), &stored, &later).unwrap();
    let event = serde_json::to_value(&events[0]).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(event["timestamp"], "2026-11-22T03:04:05.678Z");
    assert_eq!(event["data"]["card_status"], "CREATED");
    assert_eq!(event["data"]["status"], "FAILURE");
    assert_eq!(event["data"]["message_code"], "CARD_NOT_UNBOUND");
    assert_eq!(event["data"]["message"], "The card is not UNBOUND.");
    assert_eq!(event["data"].get("card_previous_status"), None);
}

#[test]
fn an_outcome_has_a_name_and_a_time() {
    let (bound_at, now) = (at("2026-11-22T03:04:05.678Z"), at("2027-01-01T00:00:00Z"));
    let success = BindOutcome::of(&BindEffect::Bound { at: bound_at, replaced: None }, now);
    assert_eq!((success.name(), success.at()), ("SUCCESS", bound_at));
    let failure = BindOutcome::of(&BindEffect::Refused { code: BindRefusal::CardNotFound, card_status: None }, now);
    assert_eq!((failure.name(), failure.at()), ("FAILURE", now));
    assert!(matches!(failure, BindOutcome::Failure { card_status: CardStatus::Unbound, .. }));
}

/// A key used again yields the same operation ID with another time of acceptance, which has no earlier effects.
#[test]
fn effects_of_an_earlier_acceptance_are_not_this_ones() {
    let (new, old) = reissued(1);
    let later = Acceptance { accepted_at: at("2027-06-01T00:00:00Z"), ..acceptance(1) };
    let cards = (Some(&new), Some(&old));
    assert!(bound_by(acceptance(1), cards.0).is_some() && replaced_by(acceptance(1), cards.1).is_some());
    assert_eq!((bound_by(later, cards.0), replaced_by(later, cards.1)), (None, None));
    assert_eq!((bound_by(acceptance(2), cards.0), replaced_by(acceptance(2), cards.1)), (None, None));
    assert_eq!((bound_by(acceptance(1), None), replaced_by(acceptance(1), None)), (None, None));
}

#[test]
fn a_contradiction_is_not_published() {
    let effect = BindEffect::Bound { at: at("2026-11-22T03:04:05.678Z"), replaced: None };
    let refused = BindEffect::Refused { code: BindRefusal::CardNotFound, card_status: None };
    let now = at("2027-01-01T00:00:00Z");
    let (success, failure) = (BindOutcome::of(&effect, now), BindOutcome::of(&refused, now));
    assert_eq!(bind_events(&context(), &bind(), &facts(), &failure, &effect), Err(Contradiction));
    assert_eq!(bind_events(&context(), &bind(), &facts(), &success, &refused), Err(Contradiction));
}

/// Returns the new card as bound by this operation, and the card that it replaced.
fn reissued(operation: u128) -> (Card, Card) {
    let acceptance = acceptance(operation);
    let (mut new, mut old) =
        (card(CardStatus::Created, Some((8, 9)), false), card(CardStatus::Reissued, Some((8, 9)), true));
    new.card_id = bind().card_id;
    if let (Some(bound), Some(replaced)) = (&mut new.bound, &mut old.replaced) {
        (bound.by, bound.accepted_at, bound.reissued_card_id) =
            (acceptance.operation_id, acceptance.accepted_at, bind().reissued_card_id);
        (replaced.by, replaced.accepted_at, replaced.new_card_id) =
            (acceptance.operation_id, acceptance.accepted_at, new.card_id);
    }
    (new, old)
}

fn acceptance(operation: u128) -> Acceptance {
    let operation_id = OperationId::from_uuid(uuid::Uuid::from_u128(operation));
    Acceptance { operation_id, accepted_at: at("2026-11-22T03:04:05.678Z") }
}

/// Whichever of a transaction's two rows is visible first, by this operation or another, it is not taken for the
/// whole.
#[test]
fn a_reissue_visible_on_one_card_alone_is_read_again() {
    let (new, old) = reissued(1);
    let blank = Card { status: CardStatus::Unbound, bound: None, ..new.clone() };
    let whole = Card { status: CardStatus::Normal, replaced: None, ..old.clone() };
    let seen = |new: &Card, old: &Card| reissued_before(acceptance(1), Some(new), Some(old));
    assert!(matches!(seen(&new, &old), Ok(Some(BindEffect::Bound { replaced: Some(_), .. }))));
    assert_eq!(seen(&new, &whole), Err(HalfSeen));
    assert_eq!(seen(&blank, &old), Err(HalfSeen));
    assert_eq!(seen(&blank, &whole), Ok(None));
    let (anothers_new, anothers_old) = reissued(2);
    assert_eq!(seen(&blank, &anothers_old), Err(HalfSeen));
    assert_eq!(seen(&anothers_new, &anothers_old), Ok(None));
    assert_eq!(seen(&anothers_new, &whole), Ok(None));
}

#[test]
fn an_operation_is_found_by_its_mark_only_for_the_same_bind() {
    let (new, _) = reissued(1);
    let operation = acceptance(1).operation_id;
    let asked = |bind: &Bind, now| carried_out_by(operation, bind, Some(&new), at(now));
    let accepted = Some(acceptance(1).accepted_at);
    assert_eq!(asked(&bind(), "2026-11-23T00:00:00.000Z"), accepted);
    assert_eq!(asked(&bind(), "2027-02-20T03:04:05.677Z"), accepted);
    // The operation's row has expired, so the key creates a new operation.
    assert_eq!(asked(&bind(), "2027-02-20T03:04:05.678Z"), None);
    let plain = Bind { reissued_card_id: None, ..bind() };
    let of_another = Bind { customer_id: CustomerId::new(10).unwrap(), ..bind() };
    for other in [plain, of_another] {
        assert_eq!(asked(&other, "2026-11-23T00:00:00.000Z"), None);
    }
    let another = acceptance(2).operation_id;
    assert_eq!(carried_out_by(another, &bind(), Some(&new), at("2026-11-23T00:00:00.000Z")), None);
}
