//! The recipient of the events: a URL and keys, from a secret. Knowing the URL may be enough to send events in our
//! name, so it is stored with the keys and nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::secret::{self, Client, SecretError};
use tokio::sync::Mutex;

use crate::address::AllowedDestinations;
use crate::client::{Endpoint, EndpointError};
use crate::sign::{KeyError, Keys};

/// The time until the secret is read again.
pub const SECRET_TTL: Duration = Duration::from_secs(5 * 60);
/// The time until the next attempt if the secret cannot be read. The old value stays in use until then.
const STALE_TTL: Duration = Duration::from_secs(30);

/// The endpoint of the events and the keys to sign them.
#[derive(Clone)]
pub struct Recipient {
    /// The endpoint that receives the events.
    pub endpoint: Endpoint,
    /// The keys that sign the events.
    pub keys: Arc<Keys>,
}

/// The error for a secret that cannot be used. It does not quote the secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecipientError {
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret has no URL, or several.
    #[error("the webhook's secret must have one URL")]
    Count,
    /// The secret's URL cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The secret's keys cannot be used.
    #[error("the webhook's secret: {0}")]
    Key(#[from] KeyError),
}

impl Recipient {
    /// Parses a secret: one URL and one or more keys, in any order, separated by white space.
    ///
    /// # Errors
    /// [`RecipientError`] if the URL or a key cannot be used.
    pub fn parse(text: &str, allowed: AllowedDestinations) -> Result<Self, RecipientError> {
        // Keys contain no colon.
        let (urls, keys): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| word.contains("://"));
        let [url] = urls.as_slice() else { return Err(RecipientError::Count) };
        let endpoint = Endpoint::parse(url, allowed)?;
        Ok(Self { endpoint, keys: Arc::new(Keys::parse(&keys.join(" "))?) })
    }
}

/// A cache of the recipient in Secrets Manager. The secret is read again regularly, so that a change of the URL or
/// the keys needs no deployment.
#[derive(Debug)]
pub struct AddressBook {
    client: Client,
    secret: String,
    allowed: AllowedDestinations,
    ttl: Duration,
    cached: Mutex<Option<Cached>>,
}

/// The result of the last read.
#[derive(Clone)]
struct Cached {
    recipient: Result<Recipient, RecipientError>,
    /// The time of the next read.
    until: Instant,
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cached").field("until", &self.until).finish_non_exhaustive()
    }
}

impl AddressBook {
    /// Creates an empty cache of this secret. The secret is first read when it is needed, and again after `ttl`
    /// ([`SECRET_TTL`]).
    #[must_use]
    pub fn new(client: Client, secret: String, allowed: AllowedDestinations, ttl: Duration) -> Self {
        Self { client, secret, allowed, ttl, cached: Mutex::default() }
    }

    /// Returns the recipient. If the secret cannot be read again, the old recipient stays in use.
    ///
    /// # Errors
    /// [`RecipientError`] if the secret could never be read.
    pub async fn recipient(&self) -> Result<Recipient, RecipientError> {
        let mut cached = self.cached.lock().await;
        let now = match cached.clone() {
            Some(fresh) if Instant::now() < fresh.until => return fresh.recipient,
            before => self.read_again(before).await,
        };
        cached.insert(now).recipient.clone()
    }

    async fn read_again(&self, before: Option<Cached>) -> Cached {
        match self.read().await {
            Ok(recipient) => Cached { recipient: Ok(recipient), until: Instant::now() + self.ttl },
            Err(error) => {
                tracing::error!(%error, "the webhook's secret cannot be used; the last usable one stays in use");
                let recipient = before.and_then(|before| before.recipient.ok()).ok_or(error);
                Cached { recipient, until: Instant::now() + self.ttl.min(STALE_TTL) }
            }
        }
    }

    async fn read(&self) -> Result<Recipient, RecipientError> {
        Recipient::parse(&secret::read(&self.client, &self.secret).await?, self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[rstest]
    #[case::url_first("https://consumer.example/not-for-the-log?a=b whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    #[case::key_first("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\thttps://consumer.example/not-for-the-log?a=b \n")]
    fn a_secret_has_a_url_and_keys(#[case] text: &str) {
        let Recipient { endpoint, keys } = Recipient::parse(text, AllowedDestinations::Public).unwrap();
        assert!(
            endpoint
                == Endpoint::parse("https://consumer.example/not-for-the-log?a=b", AllowedDestinations::Public)
                    .unwrap()
        );
        assert_eq!(keys.sign("a", 1, "b"), Keys::parse(KEY).unwrap().sign("a", 1, "b"));
    }

    /// A new stack's secret has no URL. Events wait until the operator adds one.
    #[rstest]
    #[case::no_url("KEY", "must have one URL")]
    #[case::empty("", "must have one URL")]
    #[case::two_urls("https://a.example https://not-for-the-log.example KEY", "must have one URL")]
    #[case::no_key("https://not-for-the-log.example/", "between one and 5 keys")]
    #[case::bad_key("https://not-for-the-log.example/ not-for-the-log", "key 1 is not base64")]
    #[case::no_scheme("not-for-the-log.example/ KEY", "must have one URL")]
    #[case::plain("http://not-for-the-log.example/ KEY", "does not begin with https://")]
    #[case::a_name("https://not-for-the-log@consumer.example/ KEY", "malformed or has a user name")]
    fn an_invalid_secret_is_refused_and_not_quoted(#[case] text: &str, #[case] reason: &str) {
        let error = Recipient::parse(&text.replace("KEY", KEY), AllowedDestinations::Public).err().unwrap().to_string();
        assert!(error.contains(reason) && !error.contains("not-for-the-log"), "{error}");
    }
}
