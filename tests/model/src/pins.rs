//! Verification of PINs: attempts for one person, counted in the person's row and in the organization's hour.

use std::collections::BTreeSet;

use shared::domain::ids::OperationId;

use crate::broken::Broken;
use crate::process::{Flow, Run};
use crate::transaction::Key;
use crate::world::World;

/// A guess of a PIN: 0 is the right one.
pub type Pin = u8;
/// An attempt to guess a PIN, identified by the request and the guess.
pub type Try = (OperationId, Pin);

/// The longest of the lengths that a lock can have, from 0. The code has a quarter of an hour, six doublings, and
/// then a day.
const LONGEST: u8 = 1;

/// The person's row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Person {
    /// The wrong attempts in a row.
    pub tries: Vec<Try>,
    /// The length of their lock.
    length: u8,
    /// The end of the lock: its number.
    until: u8,
}

/// The PIN's rows, and what the properties need to know of its history.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The person's row.
    pub person: Person,
    /// The number of wrong PINs in a row that locks it: five in the code.
    pub most_tries: usize,
    /// The number of locks that may end.
    pub most_ends: u8,
    /// The hour's row: its attempts, except those reported as right.
    pub hour: BTreeSet<Try>,
    /// The limit of attempts in an hour: 300 in the code. `None` turns the limit off.
    pub most_an_hour: Option<usize>,
    /// The number of the last lock that has ended.
    ended: u8,
    /// The attempts reported as wrong since the last right one or the last end of a lock. This field and those below
    /// are for the properties alone.
    reported_wrong: BTreeSet<Try>,
    /// All attempts that were reported as wrong.
    wrong_in_hour: BTreeSet<Try>,
    /// The length of each lock that began since the last right PIN.
    pub lengths: Vec<u8>,
    /// The attempts for which the hour had room.
    admitted: BTreeSet<Try>,
    /// The attempts that were reported as right.
    reported_right: BTreeSet<Try>,
    /// True if an attempt was reported as right for which the hour had no room.
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

/// The result of verifying a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The PIN is right.
    Right,
    /// The PIN is wrong.
    Wrong,
    /// The PIN is locked, and the result does not reveal whether it is right.
    Locked,
}

impl Pins {
    /// Returns whether the PIN is locked.
    pub fn is_full(&self) -> bool {
        self.person.tries.len() >= self.most_tries
    }
}

/// Counts an attempt in the organization's hour, writes its verdict, and takes it out of the hour if it is right.
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

/// Counts the attempt in the hour, and returns whether the hour had room.
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
    /// `UpdateItem` tries of PINs: adds the attempt, right or wrong, on the condition that there is room.
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

    /// `UpdateItem` right PINs: takes the attempt out again.
    fn uncount(&mut self, guess: Try) {
        self.desk.edit(|desk| _ = desk.pins.hour.remove(&guess));
    }

    /// `UpdateItem` person: ends the lock that was read and makes the next one longer, unless a later lock is stored.
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

    /// `UpdateItem` person: writes the verdict, on the condition that the limit of wrong attempts is not reached.
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

    /// Returns whether the PIN has a lock that may end.
    pub(crate) fn may_unlock(&self) -> bool {
        let Pins { person, ended, most_ends, .. } = &self.desk.pins;
        self.desk.pins.is_full() && *ended < person.until && ended < most_ends
    }

    /// Ends a lock, as time does.
    pub(crate) fn unlock(&mut self) {
        self.desk.edit(|desk| {
            desk.pins.ended += 1;
            desk.pins.reported_wrong.clear();
        });
    }
}

/// Checks that each wrong attempt counts once, and that no more of them are revealed than the limit allows.
pub fn are_counted_once(world: &World) -> bool {
    let Pins { person, reported_wrong, most_tries, .. } = &world.desk.pins;
    let distinct: BTreeSet<_> = person.tries.iter().collect();
    distinct.len() == person.tries.len() && reported_wrong.len() <= *most_tries
}

/// Checks that each lock in a series lasts longer than the one before, and that a right PIN starts a new series.
pub fn locks_grow(world: &World) -> bool {
    world.desk.pins.lengths.iter().zip(0_u8..).all(|(length, number)| *length == number.min(LONGEST))
}

/// Checks that no more wrong PINs are revealed than the hour allows, and no PIN for which it has no room. The room
/// that is left must not reveal that a PIN is right before a response has.
pub fn are_within_the_hour(world: &World) -> bool {
    let Pins { wrong_in_hour, most_an_hour, right_without_room, admitted, reported_right, hour, .. } = &world.desk.pins;
    let stay = admitted.iter().all(|guess| hour.contains(guess) || reported_right.contains(guess));
    most_an_hour.is_none_or(|most| wrong_in_hour.len() <= most) && !right_without_room && stay
}
