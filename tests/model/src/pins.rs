//! How PINs are judged: tries of one person's, counted in the person's row, and in the organisation's hour.

use std::collections::BTreeSet;

use shared::domain::ids::OperationId;

use crate::broken::Broken;
use crate::process::{Flow, Run};
use crate::transaction::Key;
use crate::world::World;

/// A guess of a PIN: 0 is the right one.
pub type Pin = u8;
/// A try of a PIN, known by the request and by what it guesses.
pub type Try = (OperationId, Pin);

/// Lengths that a lock can have, from 0 on: a quarter of an hour and six doublings, and then a day, in the code.
const LONGEST: u8 = 1;

/// The person's row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Person {
    /// Wrong tries in a row.
    pub tries: Vec<Try>,
    /// How long their lock lasts.
    length: u8,
    /// Until when: the number of the lock.
    until: u8,
}

/// What is known of PINs.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The person's row.
    pub person: Person,
    /// Wrong PINs in a row after which it is locked: five in the code.
    pub most_tries: usize,
    /// How many locks end.
    pub most_ends: u8,
    /// The hour's row: its tries, but for those that were told to be right.
    pub hour: BTreeSet<Try>,
    /// How many an hour may have: 300 in the code. Without, hours are not in question.
    pub most_an_hour: Option<usize>,
    /// How many locks have ended: those up to this number.
    ended: u8,
    /// The wrong tries of which it was told that they are wrong, since the last right one or the last end of a lock. For the
    /// properties alone, as is what follows.
    reported_wrong: BTreeSet<Try>,
    /// The same, whatever came since.
    wrong_in_hour: BTreeSet<Try>,
    /// How long each lock lasts that began since the last right one.
    pub lengths: Vec<u8>,
    /// The tries for which the hour had room.
    admitted: BTreeSet<Try>,
    /// Those that were judged to be right.
    reported_right: BTreeSet<Try>,
    /// Whether one was said to be right for which it had none.
    right_without_room: bool,
}

impl Default for Pins {
    fn default() -> Self {
        Self {
            person: Person::default(),
            most_tries: 2,
            most_ends: 0,
            hour: BTreeSet::new(),
            most_an_hour: None,
            ended: 0,
            reported_wrong: BTreeSet::new(),
            wrong_in_hour: BTreeSet::new(),
            lengths: Vec::new(),
            admitted: BTreeSet::new(),
            reported_right: BTreeSet::new(),
            right_without_room: false,
        }
    }
}

/// What is said of a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// Nothing.
    Locked,
}

impl Pins {
    /// Whether there were so many tries that the PIN is locked.
    pub fn is_full(&self) -> bool {
        self.person.tries.len() >= self.most_tries
    }
}

/// Verified first, counted then in the organisation's hour, and judged; taken out of the hour, if it is told to be right.
pub fn record_pin_attempt(run: &mut Run, guess: Try) -> Flow<Verdict> {
    let read = |world: &mut World| {
        let pins = &world.desk.pins;
        let has_ended = pins.ended >= pins.person.until;
        (pins.person.clone(), pins.is_full() && !has_ended, pins.is_full() && has_ended)
    };
    let (person, is_locked, has_ended) = run.call("BatchGetItem persons", read)?;
    if person.tries.contains(&guess) && !run.is(Broken::TryCountsAgain) {
        return Ok(Verdict::Wrong);
    }
    if is_locked && !run.is(Broken::LockedIsVerified) {
        return Ok(Verdict::Locked);
    }
    let is_admitted = is_locked || guess.1 == 0 && run.is(Broken::RightIsNotCounted) || count(run, guess)?;
    if !is_admitted {
        return Ok(Verdict::Locked);
    }
    if has_ended {
        let (is_guarded, grows) = (!run.is(Broken::LockEndsUnguarded), !run.is(Broken::LocksAlike));
        let end = |world: &mut World| world.end_lock(&person, is_guarded, grows);
        run.write("UpdateItem person unlocked", &Key::Alone, end)?;
    }
    let (once, stays) = (!run.is(Broken::TryCountsAgain), run.is(Broken::LengthStays));
    let is_open = run.is(Broken::TriesCheckedBefore);
    let verdict =
        run.write("UpdateItem person", &Key::Alone, |world| world.record_pin_attempt(guess, once, stays, is_open))?;
    if verdict == Verdict::Right && run.world.desk.pins.most_an_hour.is_some() {
        run.write("UpdateItem right PINs", &Key::Alone, |world| world.uncount(guess))?;
    }
    Ok(verdict)
}

/// Answers whether the hour had room.
fn count(run: &mut Run, guess: Try) -> Flow<bool> {
    let Some(most) = run.world.desk.pins.most_an_hour else { return Ok(true) };
    let has_room = move |pins: &Pins| pins.hour.len() < most;
    if run.is(Broken::HourCheckedBefore) {
        let found = run.call("GetItem tries of PINs", |world| has_room(&world.desk.pins))?;
        return if found {
            run.write("UpdateItem tries of PINs", &Key::Alone, |world| world.count(guess, true, true))
        } else {
            Ok(false)
        };
    }
    let is_counted = guess.1 != 0 || !run.is(Broken::WrongAloneIsCounted);
    run.write("UpdateItem tries of PINs", &Key::Alone, |world| {
        let has_room = has_room(&world.desk.pins);
        world.count(guess, has_room, is_counted)
    })
}

impl World {
    /// `UpdateItem` tries of PINs: adds the try, be it right or wrong, on the condition that there is room.
    fn count(&mut self, guess: Try, has_room: bool, is_counted: bool) -> bool {
        self.desk.edit(|desk| {
            let pins = &mut desk.pins;
            if has_room {
                pins.admitted.insert(guess);
                if is_counted {
                    pins.hour.insert(guess);
                }
            }
        });
        has_room
    }

    /// `UpdateItem` right PINs: takes the try out again.
    fn uncount(&mut self, guess: Try) {
        self.desk.edit(|desk| _ = desk.pins.hour.remove(&guess));
    }

    /// `UpdateItem` person: the lock that was read has ended, and the next lasts longer; if no later one stands there.
    fn end_lock(&mut self, read: &Person, is_guarded: bool, grows: bool) {
        let pins = &self.desk.pins;
        if is_guarded && !(pins.is_full() && pins.person.until == read.until) {
            return;
        }
        self.desk.edit(|desk| {
            let person = &mut desk.pins.person;
            person.tries.clear();
            if grows {
                person.length = (person.length + 1).min(LONGEST);
            }
        });
    }

    /// `UpdateItem` person: writes the verdict, on the condition that fewer than so many were wrong.
    fn record_pin_attempt(&mut self, guess: Try, once: bool, stays: bool, is_open: bool) -> Verdict {
        let pins = &self.desk.pins;
        let (is_right, is_known) = (guess.1 == 0, once && pins.person.tries.contains(&guess));
        if is_known {
            return Verdict::Wrong;
        }
        if pins.is_full() && !is_open {
            return Verdict::Locked;
        }
        self.desk.edit(|desk| {
            let pins = &mut desk.pins;
            if is_right {
                pins.person.tries.clear();
                if !stays {
                    pins.person.length = 0;
                }
                pins.reported_right.insert(guess);
                pins.right_without_room |= pins.most_an_hour.is_some() && !pins.admitted.contains(&guess);
                pins.reported_wrong.clear();
                pins.lengths.clear();
                return;
            }
            pins.person.tries.push(guess);
            pins.reported_wrong.insert(guess);
            if pins.most_an_hour.is_some() {
                pins.wrong_in_hour.insert(guess);
            }
            if pins.person.tries.len() == pins.most_tries {
                pins.person.until = pins.ended + 1;
                pins.lengths.push(pins.person.length);
            }
        });
        if is_right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Whether a lock is on, of those that end.
    pub(crate) fn may_unlock(&self) -> bool {
        let Pins { person, ended, most_ends, .. } = &self.desk.pins;
        self.desk.pins.is_full() && *ended < person.until && ended < most_ends
    }

    /// The time of a lock passes.
    pub(crate) fn unlock(&mut self) {
        self.desk.edit(|desk| {
            desk.pins.ended += 1;
            desk.pins.reported_wrong.clear();
        });
    }
}

/// Whether each wrong try counts once, and no more of them are told apart from right ones than may be.
pub fn are_counted_once(world: &World) -> bool {
    let Pins { person, reported_wrong, most_tries, .. } = &world.desk.pins;
    let distinct: BTreeSet<_> = person.tries.iter().collect();
    distinct.len() == person.tries.len() && reported_wrong.len() <= *most_tries
}

/// Whether each lock in a row lasts longer than the one before, and the first after a right PIN as long as the first.
pub fn locks_grow(world: &World) -> bool {
    world.desk.pins.lengths.iter().zip(0_u8..).all(|(length, number)| *length == number.min(LONGEST))
}

/// Whether no more wrong ones are told than the hour may have, and nothing for which it has no room; and whether the hour's
/// room says of no PIN whether it is right, unless that was told.
pub fn are_within_the_hour(world: &World) -> bool {
    let Pins { wrong_in_hour, most_an_hour, right_without_room, admitted, reported_right, hour, .. } = &world.desk.pins;
    let stay = admitted.iter().all(|guess| hour.contains(guess) || reported_right.contains(guess));
    most_an_hour.is_none_or(|most| wrong_in_hour.len() <= most) && !right_without_room && stay
}
