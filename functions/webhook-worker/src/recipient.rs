//! Who gets the events: a URL and keys, as a secret has them. A URL may be all that it takes to speak for us, so it stands
//! where the keys do, and nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::secret::{self, Client, SecretError};
use tokio::sync::Mutex;

use crate::address::AllowedDestinations;
use crate::client::{Endpoint, EndpointError};
use crate::sign::{KeyError, Keys};

/// How long what was read is used.
pub const SECRET_TTL: Duration = Duration::from_secs(5 * 60);
/// How long it is used beyond that, each time that it cannot be read again.
const STALE_TTL: Duration = Duration::from_secs(30);

/// Where events go, and what they are signed with.
#[derive(Clone)]
pub struct Recipient {
    /// Where to.
    pub endpoint: Endpoint,
    /// Signed with.
    pub keys: Arc<Keys>,
}

/// The secret cannot be used. Nothing of it is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecipientError {
    /// It cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It has no URL, or several.
    #[error("the webhook's secret must have one URL")]
    Count,
    /// What its URL is.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What its keys are.
    #[error("the webhook's secret: {0}")]
    Key(#[from] KeyError),
}

impl Recipient {
    /// Returns what the text says: one URL, and keys, in any order, which spaces or line feeds separate.
    ///
    /// # Errors
    /// [`RecipientError`].
    pub fn parse(text: &str, reach: AllowedDestinations) -> Result<Self, RecipientError> {
        // No key has a colon in it.
        let (urls, keys): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| word.contains("://"));
        let [url] = urls.as_slice() else { return Err(RecipientError::Count) };
        let endpoint = Endpoint::parse(url, reach)?;
        Ok(Self { endpoint, keys: Arc::new(Keys::parse(&keys.join(" "))?) })
    }
}

/// The recipient as Secrets Manager has it: read again now and then, so that another URL, and other keys, take no
/// deployment.
#[derive(Debug)]
pub struct AddressBook {
    client: Client,
    secret: String,
    reach: AllowedDestinations,
    fresh: Duration,
    held: Mutex<Option<Held>>,
}

/// What came of reading it last.
#[derive(Clone)]
struct Held {
    recipient: Result<Recipient, RecipientError>,
    /// When it is read again.
    until: Instant,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("until", &self.until).finish_non_exhaustive()
    }
}

impl AddressBook {
    /// Returns that of this secret, to be read when it is first asked, and again after this time ([`SECRET_TTL`]).
    #[must_use]
    pub fn new(client: Client, secret: String, reach: AllowedDestinations, fresh: Duration) -> Self {
        Self { client, secret, reach, fresh, held: Mutex::default() }
    }

    /// Returns the recipient. What cannot be read again stays as it was.
    ///
    /// # Errors
    /// [`RecipientError`] if it could never be read.
    pub async fn recipient(&self) -> Result<Recipient, RecipientError> {
        let mut held = self.held.lock().await;
        let now = match held.clone() {
            Some(fresh) if Instant::now() < fresh.until => return fresh.recipient,
            before => self.read_again(before).await,
        };
        held.insert(now).recipient.clone()
    }

    async fn read_again(&self, before: Option<Held>) -> Held {
        match self.read().await {
            Ok(recipient) => Held { recipient: Ok(recipient), until: Instant::now() + self.fresh },
            Err(error) => {
                tracing::error!(%error, "the webhook's secret cannot be used; what it said before stays in use");
                let recipient = before.and_then(|before| before.recipient.ok()).ok_or(error);
                Held { recipient, until: Instant::now() + self.fresh.min(STALE_TTL) }
            }
        }
    }

    async fn read(&self) -> Result<Recipient, RecipientError> {
        Recipient::parse(&secret::read(&self.client, &self.secret).await?, self.reach)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[rstest]
    #[case::url_first("https://consumer.example/of-nobody-else?a=b whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    #[case::key_first("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\thttps://consumer.example/of-nobody-else?a=b \n")]
    fn a_secret_has_a_url_and_keys(#[case] text: &str) {
        let Recipient { endpoint, keys } = Recipient::parse(text, AllowedDestinations::Public).unwrap();
        assert!(
            endpoint
                == Endpoint::parse("https://consumer.example/of-nobody-else?a=b", AllowedDestinations::Public).unwrap()
        );
        assert_eq!(keys.sign("a", 1, "b"), Keys::parse(KEY).unwrap().sign("a", 1, "b"));
    }

    /// As the stack makes it: events wait until somebody puts the URL in.
    #[rstest]
    #[case::no_url("KEY", "must have one URL")]
    #[case::empty("", "must have one URL")]
    #[case::two_urls("https://a.example https://of-nobody-else.example KEY", "must have one URL")]
    #[case::no_key("https://of-nobody-else.example/", "between one and 5 keys")]
    #[case::bad_key("https://of-nobody-else.example/ of-nobody-else", "key 1 is not base64")]
    #[case::no_scheme("of-nobody-else.example/ KEY", "must have one URL")]
    #[case::plain("http://of-nobody-else.example/ KEY", "does not begin with https://")]
    #[case::a_name("https://of-nobody-else@consumer.example/ KEY", "URL is none")]
    fn what_is_none_is_refused_and_not_told(#[case] text: &str, #[case] reason: &str) {
        let said = Recipient::parse(&text.replace("KEY", KEY), AllowedDestinations::Public).err().unwrap().to_string();
        assert!(said.contains(reason) && !said.contains("of-nobody-else"), "{said}");
    }
}
