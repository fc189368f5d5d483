//! The protocol holds in every state that these scenarios can come to; and broken in any of the ways that
//! [`Broken`] lists, it does not.
//!
//! With `MORE_PROCESSES=1`, so many more processes are at work at once. That takes minutes, and up to a gigabyte.

use std::time::Instant;

use model::properties::{BOTH_OR_NONE, COUNTED, ENDS, FORWARD, GONE_THROUGH, HANDLED, ONE_FACT, ONE_WINNER, OUT, SO};
use model::reached;
use model::scenario::{Scenario, bind};
use model::{Bindery, Broken};
use rstest::rstest;
use stateright::{Checker, HasDiscoveries, Model};

/// Two binds of one card.
fn binds() -> Scenario {
    let reached = [reached::A_BIND_WINS, reached::A_BIND_IS_REFUSED, reached::A_MARK_IS_MET, reached::TWICE_AT_ONCE];
    Scenario::new("binds", 3)
        .card(1)
        .accepted(1, bind(1, 1, None))
        .accepted(2, bind(1, 2, None))
        .late_copies()
        .reaches(reached)
}

/// Two clients want one card, and ask until they are answered.
fn requests() -> Scenario {
    let reached = [reached::A_BIND_WINS, reached::A_REQUEST_IS_REFUSED, reached::A_REPLAY_FINDS_IT_PENDING];
    Scenario::new("requests", 2).card(1).asked(1, bind(1, 1, None)).asked(2, bind(1, 2, None)).reaches(reached)
}

/// Two reissues of one card, which is blocked and terminated meanwhile, outside this system.
fn reissues() -> Scenario {
    let reached = [
        reached::A_CARD_IS_REPLACED,
        reached::A_BLOCKED_CARD_IS_REPLACED,
        reached::ALREADY_REPLACED,
        reached::NOT_ELIGIBLE,
        reached::A_MARK_IS_MET,
    ];
    two_reissues("reissues", 2).outside().reaches(reached)
}

/// Two reissues of one card, each delivered several times at once.
fn reissues_at_once() -> Scenario {
    two_reissues("reissues at once", 3).reaches([reached::TWICE_AT_ONCE, reached::ALREADY_REPLACED])
}

fn two_reissues(name: &'static str, processes: usize) -> Scenario {
    let cards = Scenario::new(name, processes).bound_card(3, 1).card(1).card(2);
    cards.accepted(1, bind(1, 1, Some(3))).accepted(2, bind(2, 1, Some(3)))
}

/// Two reissues of one card, and a bind of a card that one of them wants.
fn reissues_and_bind() -> Scenario {
    let scenario = two_reissues("reissues and a bind", 3).accepted(3, bind(1, 2, None)).one_clock();
    scenario.reaches([reached::A_CARD_IS_REPLACED, reached::A_BIND_IS_REFUSED])
}

/// A bind, and a reissue of the card as soon as it is bound: what a delivery of the first finds has moved on.
fn bind_and_reissue() -> Scenario {
    let reached = [reached::A_CARD_IS_REPLACED, reached::A_CARD_IS_NOT_FOUND, reached::A_MARK_IS_MET];
    let cards = Scenario::new("bind and reissue", 2).card(1).card(2);
    cards.accepted(1, bind(1, 1, None)).asked(2, bind(2, 1, Some(1))).late_copies().reaches(reached)
}

/// A start of two items, a page each.
fn start() -> Scenario {
    let reached = [reached::ISSUED, reached::A_CONFLICT, reached::TWICE_AT_ONCE];
    Scenario::new("start", 2).item("a").item("b").start(1).one_clock().reaches(reached)
}

/// A start, while the bulk grows at its front.
fn start_and_increment() -> Scenario {
    let reached = [reached::ISSUED, reached::THE_BULK_GROWS, reached::GROWN_SINCE_THE_PLAN];
    Scenario::new("start and increment", 2).item("b").start(1).increment(2, "a").one_clock().reaches(reached)
}

/// A FULL cancel, while the bulk grows.
fn cancel_and_increment() -> Scenario {
    let reached = [reached::CANCELED, reached::THE_BULK_GROWS, reached::AN_INCREMENT_IS_REFUSED];
    Scenario::new("cancel and increment", 2).item("a").cancel(1).increment(2, "b").one_clock().reaches(reached)
}

/// A PARTIAL cancel of an item that the bulk grows by, asked for again and again.
fn named_and_increment() -> Scenario {
    let reached = [reached::AN_ITEM_IS_CANCELED, reached::NOT_FOUND, reached::A_REPLAY_FINDS_IT_PENDING];
    Scenario::new("PARTIAL cancel and increment", 2)
        .asked_cancel(1, &["a"])
        .increment(2, "a")
        .one_clock()
        .reaches(reached)
}

/// The chunks of a FULL cancel of two items.
fn cancel_chunks() -> Scenario {
    let reached = [reached::CANCELED, reached::A_RESULT_IS_MET, reached::A_CONFLICT, reached::TWICE_AT_ONCE];
    Scenario::new("cancel's chunks", 2).item("a").item("b").cancel(1).planned().late_copies().reaches(reached)
}

/// A start and a FULL cancel of one item, from their plans on.
fn start_and_cancel() -> Scenario {
    let reached = [
        reached::A_START_IS_REFUSED,
        reached::AN_ITEM_IS_CANCELED,
        reached::A_CARD_IS_CANCELED,
        reached::ISSUED_SINCE_THE_PLAN,
        reached::CANCELED,
    ];
    Scenario::new("start and cancel", 2).item("a").start(1).cancel(2).one_clock().reaches(reached)
}

/// A chunk of a start, one of a FULL cancel, and a bind of the card: rules 1 and 4.
fn start_cancel_and_bind() -> Scenario {
    let reached = [
        reached::BOUND_BEFORE_REDELIVERY,
        reached::A_CANCEL_IS_REFUSED,
        reached::A_CARD_IS_CANCELED,
        reached::AN_ITEM_IS_CANCELED,
        reached::A_BIND_IS_REFUSED,
        reached::PARTIALLY_CANCELED,
    ];
    Scenario::new("start, cancel and bind", 2)
        .item("a")
        .start(1)
        .cancel(2)
        .planned()
        .asked(3, bind(1, 1, None))
        .one_clock()
        .reaches(reached)
}

/// PARTIAL cancels of the two halves of a bulk end at the same time.
fn two_ends() -> Scenario {
    let reached = [reached::PARTIALLY_CANCELED, reached::CANCELED, reached::A_CONFLICT];
    let bulk = Scenario::new("two ends", 2).item("a").item("b");
    bulk.cancel_named(1, &["a"]).cancel_named(2, &["b"]).planned().reaches(reached)
}

/// A FULL cancel and a PARTIAL one of the same item.
fn full_and_partial() -> Scenario {
    let reached = [reached::ALREADY_CANCELED, reached::AN_ITEM_IS_CANCELED, reached::CANCELED];
    let bulk = Scenario::new("FULL and PARTIAL cancel", 2).item("a");
    bulk.cancel_named(1, &["a"]).cancel(2).planned().reaches(reached)
}

/// Rows that are held until a chunk is given up.
fn held() -> Scenario {
    let bulk = Scenario::new("held", 3).item("a").start(1).cancel(2).planned();
    bulk.one_clock().held().reaches([reached::SAID_TO_BE_HELD, reached::A_CARD_IS_CANCELED])
}

#[rstest]
fn the_protocol_holds(
    #[values(
        binds(),
        requests(),
        reissues(),
        reissues_at_once(),
        reissues_and_bind(),
        bind_and_reissue(),
        start(),
        start_and_increment(),
        cancel_and_increment(),
        named_and_increment(),
        cancel_chunks(),
        start_and_cancel(),
        start_cancel_and_bind(),
        two_ends(),
        full_and_partial(),
        held()
    )]
    mut scenario: Scenario,
) {
    scenario.processes += std::env::var("MORE_PROCESSES").map_or(0, |more| more.parse().expect("a number"));
    holds(scenario, Broken::Nothing);
}

/// Checks all of it.
fn holds(scenario: Scenario, broken: Broken) {
    let (name, started) = (scenario.name, Instant::now());
    let checker = Bindery { scenario, broken }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps between them, {:.1} s", started.elapsed().as_secs_f64());
    checker.assert_properties();
}

/// Checks until this is violated.
fn violated(scenario: Scenario, broken: Broken, property: &'static str) -> bool {
    let checker = Bindery { scenario, broken }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else { return false };
    println!("{property}: not so after");
    for (state, action) in path.into_vec() {
        let Some(action) = action else { continue };
        let done = checker.model().after(&state, action.clone()).map_or("nothing", |(_, done)| done);
        println!("  {done}: {action:?}");
    }
    true
}

#[rstest]
#[case(Broken::SendsBeforeRow, requests(), HANDLED)]
#[case(Broken::ReplayOnlyAnswers, requests(), ENDS)]
#[case(Broken::LetsGoBeforePublishing, binds(), OUT)]
#[case(Broken::PublishesBeforeWriting, binds(), SO)]
#[case(Broken::MineByStatus, binds(), ONE_WINNER)]
#[case(Broken::RefusalNotStored, binds(), ONE_FACT)]
#[case(Broken::EventOfStatus, reissues(), ONE_FACT)]
#[case(Broken::ReissueInTwoWrites, reissues(), BOTH_OR_NONE)]
#[case(Broken::MineOfFirstRead, reissues(), HANDLED)]
#[case(Broken::IssuesUnguarded, start_cancel_and_bind(), FORWARD)]
#[case(Broken::CancelsUnguarded, start_cancel_and_bind(), FORWARD)]
#[case(Broken::PlansWithoutSeal, cancel_and_increment(), GONE_THROUGH)]
#[case(Broken::BatchesOfEachPlan, start_and_increment(), GONE_THROUGH)]
#[case(Broken::BatchesOfEachPlan, named_and_increment(), SO)]
#[case(Broken::PlannedOnceTotalIsSet, start(), ENDS)]
#[case(Broken::ResultOverwritten, cancel_chunks(), ONE_FACT)]
#[case(Broken::CountsOffBeforePublishing, cancel_chunks(), GONE_THROUGH)]
#[case(Broken::CountsOffAgain, cancel_chunks(), COUNTED)]
#[case(Broken::EndsInTwoWrites, cancel_chunks(), COUNTED)]
#[case(Broken::EndsOnOldHeader, two_ends(), COUNTED)]
#[case(Broken::EndSaidOnce, cancel_chunks(), ENDS)]
#[case(Broken::HeldWithoutLook, held(), SO)]
#[case(Broken::HeldLooksAtItemAlone, held(), SO)]
#[case(Broken::HeldSaidAtOnce, held(), SO)]
fn a_broken_protocol_is_caught(#[case] broken: Broken, #[case] scenario: Scenario, #[case] property: &'static str) {
    assert!(violated(scenario, broken, property), "{broken:?} was not caught");
}

/// Of no harm by itself: the plan's message is let go only after both, and does both again.
#[test]
fn the_total_may_be_set_before_the_chunks_are_sent() {
    holds(start(), Broken::TotalBeforeChunks);
}
