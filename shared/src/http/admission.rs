//! The checks that an organization is served at all: the operator's deny list, and the limit of its requests.
//!
//! Both are checked before anything of the request is read or stored. What was accepted earlier goes on: workers look
//! at neither.
//!
//! The list is read at most once in [`LIST_AGE`]. If it cannot be read again, the last known one remains in force: an
//! outage of the list must not become one of the API. If none was ever read, the request fails, as it would at its own
//! first call to DynamoDB.
//!
//! The limit fails open: if a bucket cannot be written, the request passes, and the gateway's limits for each route
//! still hold. But if DynamoDB throttles the bucket, the request is refused, because only its organization writes it
//! that often.

use std::collections::HashMap;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::Endpoint;
use super::problem::Problem;
use crate::clock;
use crate::domain::ids::OrgId;
use crate::domain::tenant::{DenyList, TenantLimit};
use crate::environment::Environment;
use crate::store::Store;

/// Age at which the list is read again. Our limit: an organization is shut out within a minute, also if the change is
/// not visible to the first read.
const LIST_AGE: Duration = Duration::from_secs(30);
/// Minimum time until the next attempt if the list could not be read. Our limit: requests do not wait for it all the
/// time.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time for a call that the request can do without. Our limit: it leaves time to respond within the shortest
/// function timeout in use, 3 seconds (infra/samconfig.toml).
const CALL_TIME: Duration = Duration::from_millis(300);
/// The seconds after which an organization whose bucket is throttled can try again. Our limit.
const THROTTLED_SECONDS: u64 = 1;
/// Maximum buckets that are remembered. Our limit: 100 KB. Forgetting one costs a call.
const MAX_BUCKETS: usize = 1000;

/// The admission of organizations by one endpoint.
#[derive(Debug)]
pub struct Admission {
    store: Store,
    /// The store of the buckets, whose calls are not repeated. Without a limit it is not used, and has no client of its
    /// own, which would take time at each start.
    buckets_store: Store,
    limit: Option<TenantLimit>,
    /// The tokens that a request takes.
    tokens: u32,
    list: Mutex<CachedList>,
    /// The time at which each organization's bucket is full again, as this process last saw it, in microseconds.
    buckets: StdMutex<HashMap<OrgId, u64>>,
}

/// The last known list. Its times are wall-clock times, because a monotonic clock may stop while Lambda freezes the
/// process.
#[derive(Debug, Default)]
struct CachedList {
    list: Option<DenyList>,
    /// The time of the last read, and whether it succeeded.
    last_read: Option<(SystemTime, bool)>,
}

impl Admission {
    /// Creates the admission of an endpoint.
    #[must_use]
    pub fn new<E: Endpoint>(store: Store, limit: Option<TenantLimit>) -> Self {
        let buckets_store = limit.map_or_else(|| store.clone(), |_| store.without_retries());
        let (list, buckets) = (Mutex::default(), StdMutex::default());
        Self { store, buckets_store, limit, tokens: E::TOKENS, list, buckets }
    }

    /// Creates the admission of an endpoint from its environment. `TENANT_RATE` and `TENANT_BURST` set the limit.
    #[must_use]
    pub fn from_env<E: Endpoint>(environment: &Environment) -> Self {
        let [rate, burst] = ["TENANT_RATE", "TENANT_BURST"].map(|name| environment.number(name));
        Self::new::<E>(environment.store(), TenantLimit::new(rate, burst))
    }

    /// Checks that requests of the organization are served now.
    ///
    /// # Errors
    /// Returns 403 if it is shut out, and 429 if it has sent too many requests. Returns 503 if no list was ever read.
    pub(super) async fn check(&self, org: &OrgId) -> Result<(), Problem> {
        self.check_list(org, SystemTime::now()).await?;
        match self.limit {
            Some(limit) => self.check_limit(org, limit, clock::epoch_microseconds()).await,
            None => Ok(()),
        }
    }

    async fn check_list(&self, org: &OrgId, now: SystemTime) -> Result<(), Problem> {
        let mut cached = self.list.lock().await;
        if cached.is_due(now) {
            cached.read(&self.store, now).await?;
        }
        let is_denied = cached.list.as_ref().is_some_and(|list| list.denied.contains_key(org));
        if is_denied { Err(Problem::denied()) } else { Ok(()) }
    }

    /// Takes the request's tokens. An organization that has none left is refused without a call until it has some.
    async fn check_limit(&self, org: &OrgId, limit: TenantLimit, now: u64) -> Result<(), Problem> {
        let last = self.with_buckets(|buckets| buckets.get(org).copied());
        let refused = |full_at| limit.seconds_to_wait(full_at, now).map(Problem::too_many_requests);
        if let Some(problem) = last.and_then(refused) {
            return Err(problem);
        }
        let taking = self.buckets_store.take_tokens(org, limit, self.tokens, now, last);
        let bucket = match tokio::time::timeout(CALL_TIME, taking).await {
            Ok(Ok(bucket)) => bucket,
            Ok(Err(error)) if error.is_throttling() => return Err(Problem::too_many_requests(THROTTLED_SECONDS)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the tenant's limit was not checked");
                return Ok(());
            }
            Err(_elapsed) => {
                tracing::warn!("the tenant's limit was not checked: timed out");
                return Ok(());
            }
        };
        self.with_buckets(|buckets| {
            if buckets.len() >= MAX_BUCKETS {
                buckets.clear();
            }
            buckets.insert(org.clone(), bucket.full_at);
        });
        if bucket.has_served { Ok(()) } else { refused(bucket.full_at).map_or(Ok(()), Err) }
    }

    fn with_buckets<T>(&self, act: impl FnOnce(&mut HashMap<OrgId, u64>) -> T) -> T {
        act(&mut self.buckets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CachedList {
    /// Returns whether the list must be read. A time in the future, caused by a clock set back, counts as passed.
    fn is_due(&self, now: SystemTime) -> bool {
        let interval = |succeeded: bool| if succeeded { LIST_AGE } else { RETRY_INTERVAL };
        self.last_read
            .is_none_or(|(at, succeeded)| now.duration_since(at).map_or(true, |elapsed| elapsed >= interval(succeeded)))
    }

    /// Reads the list. If that fails, the last known list remains.
    async fn read(&mut self, store: &Store, now: SystemTime) -> Result<(), Problem> {
        if self.list.is_none() {
            self.list = Some(store.deny_list(false).await?);
            self.last_read = Some((now, true));
            return Ok(());
        }
        // A read that is canceled counts as failed.
        self.last_read = Some((now, false));
        match tokio::time::timeout(CALL_TIME, store.deny_list(false)).await {
            Ok(Ok(list)) => (self.list, self.last_read) = (Some(list), Some((now, true))),
            Ok(Err(error)) => tracing::warn!(%error, "the deny list was not read; the last one remains in force"),
            Err(_elapsed) => tracing::warn!("the deny list was not read in time; the last one remains in force"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
