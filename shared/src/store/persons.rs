//! Persons, and the wrong PINs counted against them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::bulks::number;
use super::change::{Change, Changed};
use super::{Item, Store, StoreError, key, read, write};
use crate::domain::ids::OrgId;
use crate::domain::order::PersonId;
use crate::domain::person::{LOCK_SECONDS, MAX_TRIES, MAX_WRONG_AN_HOUR, Person, Verdict, hour_expires_at, hour_of};
use crate::domain::time::Timestamp;

/// Condition for reporting whether a PIN is right: fewer than the maximum of wrong PINs in a row.
const MAY_BE_REPORTED: &str = "attribute_exists(pk) AND (attribute_not_exists(wrong) OR size(wrong) < :most)";
/// The same condition, for an attempt that has not been counted.
const COUNTS: &str = "attribute_exists(pk) AND \
                      (attribute_not_exists(wrong) OR (size(wrong) < :most AND NOT contains(wrong, :id)))";

impl Store {
    /// Returns the persons that have a row, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn persons(&self, org: &OrgId, persons: &[PersonId]) -> Result<HashMap<PersonId, Person>, StoreError> {
        const CALL: &str = "BatchGetItem persons";
        let keys = persons.iter().map(|person| person_key(org, *person)).collect();
        let rows = self.batch_get(CALL, keys).await?;
        rows.into_iter().map(|row| read(CALL, row).map(|person: Person| (person.creator_id, person))).collect()
    }

    /// Puts the person's row, and replaces any existing one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_person(&self, org: &OrgId, person: &Person) -> Result<(), StoreError> {
        const CALL: &str = "PutItem person";
        let mut row = write(CALL, person)?;
        row.extend(person_key(org, person.creator_id));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row)).send().await;
        put.map(|_| ()).map_err(|error| StoreError::of(CALL, &error))
    }

    /// Counts these PIN attempts against the organization's limit for the current hour, whether the PINs are right or
    /// wrong. Returns whether they may be verified, which is false if the hour has no room for all of them.
    ///
    /// Only attempts that are reported as right are uncounted ([`Self::uncount_tries`]). So the remaining room
    /// reveals nothing about a PIN whose result is not reported. An attempt counts once, by its ID.
    ///
    /// If a response is lost and the call is repeated, these attempts themselves may have used the room. Then no
    /// result is reported.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count_tries(&self, org: &OrgId, tries: Vec<String>, now: Timestamp) -> Result<bool, StoreError> {
        let room = MAX_WRONG_AN_HOUR.saturating_sub(tries.len());
        let values = vec![(":room", number(room)), (":expires_at", number(hour_expires_at(hour_of(now))))];
        let update = "ADD tries :tries SET expires_at = :expires_at";
        let condition = "attribute_not_exists(tries) OR size(tries) <= :room";
        let counted = self.change(of_hour(org, now, update, condition, tries, values)).await?;
        Ok(matches!(counted, Changed::Yes(_)))
    }

    /// Removes attempts that were reported as right from the hour in which they were counted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn uncount_tries(&self, org: &OrgId, tries: Vec<String>, now: Timestamp) -> Result<(), StoreError> {
        let change = of_hour(org, now, "DELETE tries :tries", "attribute_exists(pk)", tries, Vec::new());
        self.change(change).await.map(|_| ())
    }

    /// Records the result of a PIN verification, and returns the verdict to report. A wrong attempt is identified by
    /// its ID and counts once. However many attempts run at once, at most [`MAX_TRIES`] wrong ones are reported as
    /// wrong before each lock. Each lock in a row lasts longer than the one before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record_pin_attempt(
        &self,
        org: &OrgId,
        person: &Person,
        wrong: Option<&str>,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        const CALL: &str = "UpdateItem person";
        let change = |update, condition, mut values: Vec<(&'static str, AttributeValue)>| {
            values.push((":most", number(MAX_TRIES)));
            Change { call: CALL, key: person_key(org, person.creator_id), update, condition, names: Vec::new(), values }
        };
        if person.lock_has_ended(now) {
            // The condition names this lock and no later one, so that the lock ends only once.
            let condition = "size(wrong) >= :most AND locked_until = :ended";
            let values = vec![(":ended", number(person.locked_until)), (":next", number(person.next_lock_seconds()))];
            self.change(change("REMOVE wrong SET lock_seconds = :next", condition, values)).await?;
        }
        let Some(id) = wrong else {
            return Ok(match self.change(change("REMOVE wrong, lock_seconds", MAY_BE_REPORTED, Vec::new())).await? {
                Changed::Yes(_) => Verdict::Right,
                Changed::No(_) => Verdict::Locked,
            });
        };
        let values = vec![
            (":try", AttributeValue::Ss(vec![id.to_owned()])),
            (":id", AttributeValue::S(id.to_owned())),
            (":now", number(now.epoch_seconds())),
            (":first", number(LOCK_SECONDS)),
        ];
        // The row determines the duration of the lock, because `person` may have been read before the current lock.
        let update = "ADD wrong :try SET locked_until = if_not_exists(lock_seconds, :first) + :now";
        match self.change(change(update, COUNTS, values)).await? {
            Changed::Yes(_) => Ok(Verdict::Wrong),
            // The attempt was counted before: by an earlier attempt of this call, or by a duplicate of this request.
            Changed::No(Some(row)) if read::<Person>(CALL, row.clone())?.wrong.contains(id) => Ok(Verdict::Wrong),
            Changed::No(_) => Ok(Verdict::Locked),
        }
    }
}

fn of_hour(
    org: &OrgId,
    now: Timestamp,
    update: &'static str,
    condition: &'static str,
    tries: Vec<String>,
    mut values: Vec<(&'static str, AttributeValue)>,
) -> Change {
    values.push((":tries", AttributeValue::Ss(tries)));
    let key = key(format!("{org}#PINS#{}", hour_of(now)), "PINS");
    Change { call: "UpdateItem tries of PINs", key, update, condition, names: Vec::new(), values }
}

fn person_key(org: &OrgId, person: PersonId) -> Item {
    key(format!("{org}#PERSON#{person}"), "PERSON")
}
