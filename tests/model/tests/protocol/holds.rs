//! The protocol holds in every reachable state of the scenarios. Broken in any of the ways that [`Broken`] lists, it
//! does not.
//!
//! With `MORE_PROCESSES=1`, one more process runs at once. That takes minutes, and up to a gigabyte of memory.

use std::time::Instant;

use model::properties::{
    BOTH_OR_NONE, COUNTED, EVENTS_TRUE, FORWARD, GONE_THROUGH, HANDLED, KNOWN, LOCKS_GROW, ONE_FACT, ONE_WINNER,
    PLANNED_ONCE, PUBLISHED_BEFORE_ACK, RESPONSES_CONSISTENT, SENT, TERMINATES, TRIED_ONCE, VISIBLE, WITHIN_THE_HOUR,
};
use model::scenario::Scenario;
use model::{Bindery, Broken};
use rstest::rstest;
use stateright::{Checker, HasDiscoveries, Model};

use super::scenarios::*;

#[rstest]
fn the_protocol_holds(
    #[values(
        binds(),
        requests(),
        reissues(),
        reissues_at_once(),
        reissues_and_bind(),
        bind_and_reissue(),
        restored_reissue(),
        restored_binds(),
        restored_bulk(),
        restored_chunks(),
        start(),
        plan(),
        resumed_start(),
        resumed_cancel(),
        keyed_increment(),
        orders(),
        market(),
        pins(),
        locks(),
        pins_of_an_hour(),
        start_and_increment(),
        cancel_and_increment(),
        named_and_increment(),
        cancel_chunks(),
        start_and_cancel(),
        two_beginnings(),
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

/// Checks all properties in all reachable states.
fn holds(scenario: Scenario, broken: Broken) {
    let (name, started) = (scenario.name, Instant::now());
    let checker = Bindery { scenario, broken }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps between them, {:.1} s", started.elapsed().as_secs_f64());
    checker.assert_properties();
}

/// Checks until this property is violated, and prints a trace to the violation.
fn violated(scenario: Scenario, broken: Broken, property: &'static str) -> bool {
    let checker = Bindery { scenario, broken }.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else { return false };
    println!("{property}: violated after");
    for (state, action) in path.into_vec() {
        let Some(action) = action else { continue };
        let done = checker.model().after(&state, action.clone()).map_or("nothing", |(_, done)| done);
        println!("  {done}: {action:?}");
    }
    true
}

#[rstest]
#[case(Broken::SendsBeforeRow, requests(), HANDLED)]
#[case(Broken::ReplayOnlyResponds, requests(), TERMINATES)]
#[case(Broken::AcksBeforePublishing, binds(), PUBLISHED_BEFORE_ACK)]
#[case(Broken::PublishesBeforeWriting, binds(), EVENTS_TRUE)]
#[case(Broken::MineByStatus, binds(), ONE_WINNER)]
#[case(Broken::RefusalNotStored, binds(), ONE_FACT)]
#[case(Broken::EventOfStatus, reissues(), ONE_FACT)]
#[case(Broken::ReissueInTwoWrites, reissues(), BOTH_OR_NONE)]
#[case(Broken::MineOfFirstRead, reissues(), HANDLED)]
#[case(Broken::MineOfLastRead, reissues_at_once(), HANDLED)]
#[case(Broken::MineOfLastRead, reissues_at_once(), EVENTS_TRUE)]
#[case(Broken::EffectBeforeOperation, restored_bulk(), KNOWN)]
#[case(Broken::EffectBeforeOperation, restored_chunks(), KNOWN)]
#[case(Broken::GoneIsNew, restored_binds(), RESPONSES_CONSISTENT)]
#[case(Broken::GoneIsNew, restored_reissue(), RESPONSES_CONSISTENT)]
#[case(Broken::PlansAgain, plan(), PLANNED_ONCE)]
#[case(Broken::ForgetsComplete, resumed_cancel(), COUNTED)]
#[case(Broken::TakenReportedNotSent, orders(), SENT)]
#[case(Broken::NotesOrderOnce, market(), TERMINATES)]
#[case(Broken::CountsOrderAgain, market(), COUNTED)]
#[case(Broken::PublishesBeforeNoting, market(), COUNTED)]
#[case(Broken::IncrementLooksOnce, keyed_increment(), RESPONSES_CONSISTENT)]
#[case(Broken::CardToBeIsMissing, held(), EVENTS_TRUE)]
#[case(Broken::TryCountsAgain, pins(), TRIED_ONCE)]
#[case(Broken::TriesCheckedBefore, pins(), TRIED_ONCE)]
#[case(Broken::LockEndsUnguarded, locks(), TRIED_ONCE)]
#[case(Broken::LockEndsUnguarded, locks(), LOCKS_GROW)]
#[case(Broken::LocksAlike, locks(), LOCKS_GROW)]
#[case(Broken::LengthStays, locks(), LOCKS_GROW)]
#[case(Broken::HourCheckedBefore, pins_of_an_hour(), WITHIN_THE_HOUR)]
#[case(Broken::LockedIsVerified, locks(), WITHIN_THE_HOUR)]
#[case(Broken::RightIsNotCounted, pins_of_an_hour(), WITHIN_THE_HOUR)]
#[case(Broken::WrongAloneIsCounted, pins_of_an_hour(), WITHIN_THE_HOUR)]
#[case(Broken::EndOfStartUnpublished, start_and_cancel(), TERMINATES)]
#[case(Broken::CreateBeforeCard, start(), VISIBLE)]
#[case(Broken::EndBeforeHeader, start(), VISIBLE)]
#[case(Broken::AnyAcceptance, restored_binds(), TERMINATES)]
#[case(Broken::IssuesUnguarded, start_cancel_and_bind(), FORWARD)]
#[case(Broken::CancelsUnguarded, start_cancel_and_bind(), FORWARD)]
#[case(Broken::PlansWithoutSeal, cancel_and_increment(), GONE_THROUGH)]
#[case(Broken::BatchesOfEachPlan, start_and_increment(), GONE_THROUGH)]
#[case(Broken::BatchesOfEachPlan, named_and_increment(), EVENTS_TRUE)]
#[case(Broken::TotalBeforeChunks, start(), TERMINATES)]
#[case(Broken::ResultOverwritten, cancel_chunks(), ONE_FACT)]
#[case(Broken::CompletesBeforePublishing, cancel_chunks(), GONE_THROUGH)]
#[case(Broken::CompletesAgain, cancel_chunks(), COUNTED)]
#[case(Broken::BeginsInTwoWrites, start(), COUNTED)]
#[case(Broken::EndsInTwoWrites, cancel_chunks(), COUNTED)]
#[case(Broken::EndsOnOldHeader, two_ends(), COUNTED)]
#[case(Broken::EndReportedOnce, cancel_chunks(), TERMINATES)]
#[case(Broken::HeldWithoutLook, held(), EVENTS_TRUE)]
#[case(Broken::HeldLooksAtItemAlone, held(), EVENTS_TRUE)]
#[case(Broken::HeldReportedAtOnce, held(), EVENTS_TRUE)]
fn a_broken_protocol_is_caught(#[case] broken: Broken, #[case] scenario: Scenario, #[case] property: &'static str) {
    assert!(violated(scenario, broken, property), "{broken:?} was not caught");
}
