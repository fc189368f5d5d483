//! The scenarios that the tests explore.

use model::reached;
use model::scenario::{Fault, Scenario, bind};
use shared::domain::order::OrderStatus;

/// Returns two binds of one card.
pub fn binds() -> Scenario {
    let reached = [reached::A_BIND_WINS, reached::A_BIND_IS_REFUSED, reached::A_MARK_IS_MET, reached::TWICE_AT_ONCE];
    Scenario::new("binds", 3)
        .card(1)
        .accepted(1, bind(1, 1, None))
        .accepted(2, bind(1, 2, None))
        .late_copies()
        .reaches(reached)
}

/// Returns two clients that want one card, and ask until they get a response.
pub fn requests() -> Scenario {
    let reached = [reached::A_BIND_WINS, reached::A_REQUEST_IS_REFUSED, reached::A_REPLAY_FINDS_IT_PENDING];
    Scenario::new("requests", 2).card(1).asked(1, bind(1, 1, None)).asked(2, bind(1, 2, None)).reaches(reached)
}

/// Returns two reissues of one card, which is blocked and terminated meanwhile, outside this system.
pub fn reissues() -> Scenario {
    let reached = [
        reached::A_CARD_IS_REPLACED,
        reached::A_BLOCKED_CARD_IS_REPLACED,
        reached::ALREADY_REPLACED,
        reached::NOT_ELIGIBLE,
        reached::A_MARK_IS_MET,
    ];
    two_reissues("reissues", 2).outside().reaches(reached)
}

/// Returns two reissues of one card, each delivered several times at once.
pub fn reissues_at_once() -> Scenario {
    let reached = [reached::TWICE_AT_ONCE, reached::ALREADY_REPLACED, reached::HALF_SEEN];
    two_reissues("reissues at once", 3).one_clock().reaches(reached)
}

fn two_reissues(name: &'static str, processes: usize) -> Scenario {
    let cards = Scenario::new(name, processes).bound_card(3, 1).card(1).card(2);
    cards.accepted(1, bind(1, 1, Some(3))).accepted(2, bind(2, 1, Some(3)))
}

/// Returns two reissues of one card, and a bind of a card that one of them wants.
pub fn reissues_and_bind() -> Scenario {
    let scenario = two_reissues("reissues and a bind", 3).accepted(3, bind(1, 2, None)).one_clock();
    scenario.reaches([reached::A_CARD_IS_REPLACED, reached::A_BIND_IS_REFUSED])
}

/// Returns a bind, and a reissue of the card once it is bound. A redelivery of the bind finds the card changed.
pub fn bind_and_reissue() -> Scenario {
    let reached = [reached::A_CARD_IS_REPLACED, reached::A_CARD_IS_NOT_FOUND, reached::A_MARK_IS_MET];
    let cards = Scenario::new("bind and reissue", 2).card(1).card(2);
    cards.accepted(1, bind(1, 1, None)).asked(2, bind(2, 1, Some(1))).late_copies().reaches(reached)
}

/// Returns a reissue that a client requests again and again, while the operation's row goes away.
pub fn restored_reissue() -> Scenario {
    let reached = [reached::GONE_AFTER_ITS_EFFECT, reached::RECORDED_ANEW, reached::ABOUT_NOTHING];
    let cards = Scenario::new("a restored reissue", 2).bound_card(2, 1).card(1);
    cards.asked(1, bind(1, 1, Some(2))).forgets().one_clock().reaches(reached)
}

/// Returns two clients that want one card and ask again and again, while an operation's row goes away.
pub fn restored_binds() -> Scenario {
    let reached = [reached::GONE_AFTER_ITS_EFFECT, reached::RECORDED_ANEW, reached::ABOUT_NOTHING];
    let card = Scenario::new("restored binds", 2).card(1);
    card.asked(1, bind(1, 1, None)).asked(2, bind(1, 2, None)).forgets().one_clock().reaches(reached)
}

/// Returns a start, cancels and a bind whose operations have no rows, as if the table were restored to an earlier
/// time.
pub fn restored_bulk() -> Scenario {
    let bulk = Scenario::new("a restored bulk", 2).card(7).item("a").start(1).cancel(2).cancel_named(3, &["a"]);
    bulk.accepted(4, bind(7, 1, None)).restored().one_clock().reaches([reached::ABOUT_NOTHING])
}

/// Returns the chunks of a start and of a FULL cancel, while an operation's row goes away.
pub fn restored_chunks() -> Scenario {
    let reached = [reached::GONE_AFTER_ITS_EFFECT, reached::ABOUT_NOTHING];
    let bulk = Scenario::new("restored chunks", 2).item("a").start(1).cancel(2).planned();
    bulk.forgets().one_clock().reaches(reached)
}

/// Returns a start of two items, with one page each.
pub fn start() -> Scenario {
    let reached = [reached::ISSUED, reached::A_CONFLICT, reached::TWICE_AT_ONCE, reached::A_PLAN_IS_MET];
    Scenario::new("start", 2).item("a").item("b").start(1).one_clock().reaches(reached)
}

/// Returns the plan of a FULL cancel of three items, with one page each. SQS delivers all its messages again.
pub fn plan() -> Scenario {
    let reached = [reached::TWICE_AT_ONCE, reached::A_PLAN_IS_MET];
    let bulk = Scenario::new("a plan", 2).item("a").item("b").item("c").cancel(1).plans_alone();
    bulk.one_clock().late_copies().fault(Fault::OutOfTime).reaches(reached)
}

/// Returns a start of two items that an operator has planned again at any time, while chunks complete and it ends.
pub fn resumed_start() -> Scenario {
    let reached = [reached::ISSUED, reached::PLANNED_ANEW];
    Scenario::new("a resumed start", 2).item("a").item("b").start(1).fault(Fault::Resumed).one_clock().reaches(reached)
}

/// Returns a FULL cancel that an operator has planned again at any time.
pub fn resumed_cancel() -> Scenario {
    let reached = [reached::CANCELED, reached::PLANNED_ANEW];
    Scenario::new("a resumed cancel", 2)
        .item("a")
        .item("b")
        .cancel(1)
        .fault(Fault::Resumed)
        .one_clock()
        .reaches(reached)
}

/// Returns a start, while the bulk gets an item before its first.
pub fn start_and_increment() -> Scenario {
    let reached = [reached::ISSUED, reached::THE_BULK_GROWS, reached::GROWN_SINCE_THE_PLAN];
    Scenario::new("start and increment", 2).item("b").start(1).increment_once(2, "a").one_clock().reaches(reached)
}

/// Returns a FULL cancel, while the bulk grows.
pub fn cancel_and_increment() -> Scenario {
    let reached = [reached::CANCELED, reached::THE_BULK_GROWS, reached::AN_INCREMENT_IS_REFUSED];
    Scenario::new("cancel and increment", 2).item("a").cancel(1).increment_once(2, "b").one_clock().reaches(reached)
}

/// Returns a PARTIAL cancel, requested again and again, of an item that is being added to the bulk.
pub fn named_and_increment() -> Scenario {
    let reached = [reached::AN_ITEM_IS_CANCELED, reached::NOT_FOUND, reached::A_REPLAY_FINDS_IT_PENDING];
    Scenario::new("PARTIAL cancel and increment", 2)
        .asked_cancel(1, &["a"])
        .increment_once(2, "a")
        .one_clock()
        .reaches(reached)
}

/// Returns an increment that is requested again and again, while a FULL cancel seals the bulk.
pub fn keyed_increment() -> Scenario {
    let reached = [reached::THE_BULK_GROWS, reached::AN_INCREMENT_IS_REFUSED, reached::TAKEN_OVER];
    Scenario::new("a keyed increment", 2).cancel(1).increment(2, "b").one_clock().reaches(reached)
}

/// Returns orders whose cancellation is requested again and again, while SQS refuses entries and responses are lost.
pub fn orders() -> Scenario {
    Scenario::new("orders", 2)
        .cancel_orders(1, &[1, 2], None)
        .fault(Fault::Sending)
        .one_clock()
        .reaches([reached::NOT_SENT])
}

/// Returns an order whose cancellation the market reports before or after it is requested.
pub fn market() -> Scenario {
    let market = Scenario::new("a market", 2).accepted_orders(1, &[1]).market(1, 1, OrderStatus::Canceled);
    market.one_clock().late_copies().reaches([reached::AN_ORDER_IS_CANCELED, reached::TOO_LATE_TO_CANCEL])
}

/// Returns wrong guesses of a PIN and the right one, each of which a client sends again and again.
pub fn pins() -> Scenario {
    let guesses = Scenario::new("PINs", 2).cancel_orders(1, &[1], Some(1)).cancel_orders(2, &[1], Some(2));
    guesses.cancel_orders(3, &[1], Some(3)).cancel_orders(4, &[1], Some(0)).one_clock().reaches([reached::LOCKED])
}

/// Returns two wrong guesses and the right one, of a PIN that is locked after one wrong guess, while a lock ends.
pub fn locks() -> Scenario {
    let guesses = Scenario::new("locks", 2).cancel_orders(1, &[1], Some(1)).cancel_orders(2, &[1], Some(2));
    let guesses = guesses.cancel_orders(3, &[1], Some(0)).unlocked().most_an_hour(3).one_clock();
    guesses.reaches([reached::LOCKED, reached::LOCKED_LONGER])
}

/// Returns two wrong guesses and the right one, in an hour that has room for one wrong PIN.
pub fn pins_of_an_hour() -> Scenario {
    let guesses = Scenario::new("PINs of an hour", 2).cancel_orders(1, &[1], Some(1)).cancel_orders(2, &[1], Some(2));
    let guesses = guesses.cancel_orders(3, &[1], Some(0)).most_an_hour(1).one_clock();
    guesses.reaches([reached::AN_HOUR_IS_FULL])
}

/// Returns the chunks of a FULL cancel of two items.
pub fn cancel_chunks() -> Scenario {
    let reached = [reached::CANCELED, reached::A_RESULT_IS_MET, reached::A_CONFLICT, reached::TWICE_AT_ONCE];
    Scenario::new("cancel's chunks", 2).item("a").item("b").cancel(1).planned().late_copies().reaches(reached)
}

/// Returns a start and a FULL cancel of one item, from their plans on.
pub fn start_and_cancel() -> Scenario {
    let reached =
        [reached::AN_ITEM_IS_CANCELED, reached::A_CARD_IS_CANCELED, reached::ISSUED_SINCE_THE_PLAN, reached::CANCELED];
    Scenario::new("start and cancel", 2).item("a").start(1).planned().cancel(2).one_clock().reaches(reached)
}

/// Returns a start and a FULL cancel that both begin. There are no items: other scenarios have those.
pub fn two_beginnings() -> Scenario {
    let reached = [reached::A_START_IS_REFUSED, reached::CANCELED, reached::A_CONFLICT];
    Scenario::new("two beginnings", 2).start(1).cancel(2).one_clock().reaches(reached)
}

/// Returns a chunk of a start, one of a FULL cancel, and a bind of the card, for rules 1 and 4.
pub fn start_cancel_and_bind() -> Scenario {
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

/// Returns PARTIAL cancels of the two halves of a bulk that end at the same time.
pub fn two_ends() -> Scenario {
    let reached = [reached::PARTIALLY_CANCELED, reached::CANCELED, reached::A_CONFLICT];
    let bulk = Scenario::new("two ends", 2).item("a").item("b");
    bulk.cancel_named(1, &["a"]).cancel_named(2, &["b"]).planned().reaches(reached)
}

/// Returns a FULL cancel and a PARTIAL one of the same item.
pub fn full_and_partial() -> Scenario {
    let reached = [reached::ALREADY_CANCELED, reached::AN_ITEM_IS_CANCELED, reached::CANCELED];
    let bulk = Scenario::new("FULL and PARTIAL cancel", 2).item("a");
    bulk.cancel_named(1, &["a"]).cancel(2).planned().reaches(reached)
}

/// Returns a start and a FULL cancel of one item, whose rows are locked until a chunk is given up.
pub fn held() -> Scenario {
    let bulk = Scenario::new("held", 3).item("a").start(1).cancel(2).planned();
    bulk.one_clock().fault(Fault::Held).reaches([reached::REPORTED_HELD, reached::A_CARD_IS_CANCELED])
}
