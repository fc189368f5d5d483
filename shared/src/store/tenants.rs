//! The row of all organizations that are shut out, and each organization's bucket of tokens.

use serde::Deserialize;

use super::bulks::number;
use super::change::{Change, Changed};
use super::{Item, Store, StoreError, attribute, key, read};
use crate::domain::ids::OrgId;
use crate::domain::tenant::{DenyList, SECOND, TenantLimit};

/// The partition of the row of all organizations that are shut out. It is the only one that begins with no
/// organization. So no request can name it, and no function may write it.
const DENY_LIST_PARTITION: &str = "STACK#DENIED";
const DENY_LIST_SORT_KEY: &str = "DENIED";

/// The time after which DynamoDB may delete a bucket that is full again, in seconds. Our limit: longer than clocks
/// differ. A missing bucket is a full one.
const BUCKET_MARGIN: u64 = 60 * 60;

/// Changes a bucket that is full: it starts now.
const OF_FULL: (&str, &str) =
    ("SET full_at = :full_at, expires_at = :expires_at", "attribute_not_exists(pk) OR full_at <= :now");
/// Changes a bucket that has a token, but is not full.
const OF_PARTLY_FULL: (&str, &str) =
    ("SET full_at = full_at + :cost, expires_at = :expires_at", "full_at > :now AND full_at <= :latest");
/// Maximum writes for one request: its guess was wrong, and the bucket has changed once more.
const BUCKET_ATTEMPTS: u32 = 3;

/// A bucket after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The time at which the bucket is full again, in microseconds since 1970.
    pub full_at: u64,
    /// False if the bucket had no token for the request.
    pub has_served: bool,
}

#[derive(Deserialize)]
struct BucketRow {
    full_at: u64,
}

impl Store {
    /// Returns the organizations that are shut out. Without `consistent`, a change of the last moment may be missing
    /// (usually of less than a second), at half the price.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn deny_list(&self, consistent: bool) -> Result<DenyList, StoreError> {
        const CALL: &str = "GetItem deny list";
        let get = self.client.get_item().table_name(&self.table).set_key(Some(deny_list_key()));
        let output = get.consistent_read(consistent).send().await.map_err(|error| StoreError::of(CALL, &error))?;
        Ok(output.item.map(|row| read(CALL, row)).transpose()?.unwrap_or_default())
    }

    /// Replaces the list, and counts the change in its version.
    ///
    /// # Errors
    /// Returns [`StoreError::Conflict`] if the list has changed since `list` was read.
    pub async fn replace_deny_list(&self, list: &DenyList) -> Result<(), StoreError> {
        const CALL: &str = "UpdateItem deny list";
        let condition = if list.version == 0 { "attribute_not_exists(pk)" } else { "version = :version" };
        let mut values = vec![(":denied", attribute(CALL, &list.denied)?), (":next", number(list.version + 1))];
        if list.version > 0 {
            values.push((":version", number(list.version)));
        }
        let update = "SET denied = :denied, version = :next";
        let change = Change { call: CALL, key: deny_list_key(), update, condition, names: Vec::new(), values };
        match self.change(change).await? {
            Changed::Yes(_) => Ok(()),
            Changed::No(_) => Err(StoreError::Conflict { call: CALL }),
        }
    }

    /// Takes tokens for a request of the organization, as [`TenantLimit::take`] does. `last` is the time at which the
    /// bucket was last seen to be full again: if it is still right, one write suffices.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_tokens(
        &self,
        org: &OrgId,
        limit: TenantLimit,
        tokens: u32,
        now: u64,
        last: Option<u64>,
    ) -> Result<Bucket, StoreError> {
        const CALL: &str = "UpdateItem bucket";
        let mut is_full = last.is_none_or(|full_at| full_at <= now);
        for _ in 0..BUCKET_ATTEMPTS {
            match self.change(of_bucket(CALL, org, limit, tokens, now, is_full)).await? {
                Changed::Yes(row) => {
                    return Ok(Bucket { full_at: read::<BucketRow>(CALL, row)?.full_at, has_served: true });
                }
                Changed::No(row) => {
                    let full_at = row.map(|row| read::<BucketRow>(CALL, row)).transpose()?.map_or(0, |row| row.full_at);
                    if limit.seconds_to_wait(full_at, now).is_some() {
                        return Ok(Bucket { full_at, has_served: false });
                    }
                    is_full = full_at <= now;
                }
            }
        }
        Err(StoreError::Conflict { call: CALL })
    }
}

fn deny_list_key() -> Item {
    key(DENY_LIST_PARTITION.to_owned(), DENY_LIST_SORT_KEY)
}

fn of_bucket(call: &'static str, org: &OrgId, limit: TenantLimit, tokens: u32, now: u64, is_full: bool) -> Change {
    let (cost, latest) = (limit.cost(tokens), limit.latest(now));
    let (update, condition) = if is_full { OF_FULL } else { OF_PARTLY_FULL };
    let expires_at = (latest + cost).div_ceil(SECOND) + BUCKET_MARGIN;
    let mut values = vec![(":now", number(now)), (":expires_at", number(expires_at))];
    values.extend(if is_full {
        vec![(":full_at", number(now + cost))]
    } else {
        vec![(":cost", number(cost)), (":latest", number(latest))]
    });
    Change { call, key: key(format!("{org}#RATE"), "RATE"), update, condition, names: Vec::new(), values }
}
