//! Persons, and how often their PINs were guessed wrong.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::bulks::number;
use super::change::{Change, Changed};
use super::{Item, Store, StoreError, key, read, write};
use crate::domain::ids::OrgId;
use crate::domain::order::PersonId;
use crate::domain::person::{LOCK_SECONDS, MAX_TRIES, MAX_WRONG_AN_HOUR, Person, Verdict, hour_expires_at, hour_of};
use crate::domain::time::Timestamp;

/// As long as fewer wrong PINs came in a row.
const MAY_BE_TOLD: &str = "attribute_exists(pk) AND (attribute_not_exists(wrong) OR size(wrong) < :most)";
/// The same, of a try that has not been written.
const COUNTS: &str = "attribute_exists(pk) AND \
                      (attribute_not_exists(wrong) OR (size(wrong) < :most AND NOT contains(wrong, :id)))";

impl Store {
    /// The persons of these who have a row, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn persons(&self, org: &OrgId, persons: &[PersonId]) -> Result<HashMap<PersonId, Person>, StoreError> {
        const CALL: &str = "BatchGetItem persons";
        let keys = persons.iter().map(|person| person_key(org, *person)).collect();
        let rows = self.batch_get(CALL, keys).await?;
        rows.into_iter().map(|row| read(CALL, row).map(|person: Person| (person.creator_id, person))).collect()
    }

    /// Puts the person's row, whatever stood there.
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

    /// Counts these tries of an organisation's PINs in its hour, whether they are right or not. Answers whether they may be
    /// judged: not if the hour has no room for all of them. Those that are told to be right are taken out again
    /// ([`Self::uncount_tries`]), and no others: so what an hour has room for does not depend on whether a PIN is right of
    /// which nothing is told. A try counts once, by its ID.
    ///
    /// If the answer is lost and the call is made again, the tries themselves may have taken the room; nothing is told then.
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

    /// Takes tries that were told to be right out of the hour in which they were counted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn uncount_tries(&self, org: &OrgId, tries: Vec<String>, now: Timestamp) -> Result<(), StoreError> {
        let change = of_hour(org, now, "DELETE tries :tries", "attribute_exists(pk)", tries, Vec::new());
        self.change(change).await.map(|_| ())
    }

    /// Writes the verdict on a PIN that was verified already; answers what may be said of it. A wrong one is known by this
    /// ID, and counts once. However many are verified at once, no more than [`MAX_TRIES`] wrong ones are told apart from
    /// right ones before each lock, and each lock in a row lasts longer.
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
            // That lock and no later one, so that it ends once.
            let condition = "size(wrong) >= :most AND locked_until = :ended";
            let values = vec![(":ended", number(person.locked_until)), (":next", number(person.next_lock_seconds()))];
            self.change(change("REMOVE wrong SET lock_seconds = :next", condition, values)).await?;
        }
        let Some(id) = wrong else {
            return Ok(match self.change(change("REMOVE wrong, lock_seconds", MAY_BE_TOLD, Vec::new())).await? {
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
        // How long it is locked is the row's to say: what was read may be of the lock before.
        let update = "ADD wrong :try SET locked_until = if_not_exists(lock_seconds, :first) + :now";
        match self.change(change(update, COUNTS, values)).await? {
            Changed::Yes(_) => Ok(Verdict::Wrong),
            // It was counted before: this call's own earlier try, or the same request sent twice.
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
