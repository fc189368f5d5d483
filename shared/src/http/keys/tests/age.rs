//! Tests of keys over time, with an issuer that withdraws a key and then fails.

use lambda_http::http::StatusCode;
use rstest::rstest;

use super::super::*;
use super::START;
use super::issuer::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn keys_are_fetched_when_needed_and_not_at_a_clients_will() {
    let issuer = Issuer::good(of_length);
    let keys = issuer.keys();
    keys.fetch_in_advance(START).await;
    for _ in 0..3 {
        assert!(keys.find("a", START).await.unwrap().is_some());
        // The set was fetched a moment ago, without this key.
        assert_eq!(keys.find("b", START).await, Ok(None));
    }
    assert_eq!(issuer.fetches(), 1);
    let later = START + FETCH_INTERVAL;
    assert!(keys.find("a", later).await.unwrap().is_some());
    assert_eq!(issuer.fetches(), 1, "a known key is not fetched again");
    assert_eq!(keys.find("b", later).await, Ok(None));
    assert_eq!(keys.find("b", later).await, Ok(None));
    assert_eq!(issuer.fetches(), 2, "an unknown key is fetched, once per interval");
    assert!(keys.find("a", later + REFRESH_AGE).await.unwrap().is_some());
    assert_eq!(issuer.fetches(), 3, "old keys are fetched again");
}

/// Returns whether the withdrawn key and its successor are found.
async fn found(keys: &Keys, now: SystemTime) -> [Result<bool, StatusCode>; 2] {
    let find = async |kid| keys.find(kid, now).await.map(|key| key.is_some()).map_err(|problem| problem.status());
    [find("a").await, find("b").await]
}

const UNKNOWN: Result<bool, StatusCode> = Err(StatusCode::SERVICE_UNAVAILABLE);

/// A time after all the times that the tests look at.
const LATER: Duration = Duration::from_secs(200_000);

/// However the issuer fails after withdrawing a key, that key is trusted only up to the maximum age. The issuer's new
/// key cannot be known until then.
#[rstest]
#[case::without_a_response(DISCOVERY, hung_up)]
#[case::broken(DISCOVERY, broken)]
#[case::garbage(DISCOVERY, no_keys)]
#[case::too_large(DISCOVERY, too_large)]
#[case::cut_off(DISCOVERY, cut_off)]
#[case::elsewhere(DISCOVERY, elsewhere)]
#[case::without_discovery("<html></html>", of_length)]
#[case::another_discovery(r#"{"issuer":"https://issuer.test","jwks_uri":"ISSUER/keys"}"#, of_length)]
#[case::moved_to_nowhere(r#"{"issuer":"ISSUER","jwks_uri":"ISSUER/other"}"#, of_length)]
#[case::moved_out_of_tls(r#"{"issuer":"ISSUER","jwks_uri":"http://issuer.test/keys"}"#, of_length)]
#[tokio::test]
async fn a_withdrawn_key_dies_with_its_age(#[case] discovery: &'static str, #[case] writing: Writing) {
    let issuer = Issuer::good(of_length);
    let keys = issuer.keys();
    keys.fetch_in_advance(START).await;
    issuer.switch_to(discovery, writing);
    is_trusted_no_longer_than_its_age(&keys).await;
    issuer.switch_to(DISCOVERY, other_keys);
    assert_eq!(found(&keys, START + LATER).await, [Ok(false), Ok(true)], "the issuer works again");
}

#[tokio::test]
async fn a_withdrawn_key_dies_with_its_age_though_its_issuer_is_silent() {
    let issuer = Issuer::good(of_length);
    let keys = issuer.keys();
    keys.fetch_in_advance(START).await;
    issuer.switch_to(DISCOVERY, silent);
    // The paused clock skips the timeouts.
    tokio::time::pause();
    is_trusted_no_longer_than_its_age(&keys).await;
    tokio::time::resume();
    issuer.switch_to(DISCOVERY, other_keys);
    assert_eq!(found(&keys, START + LATER).await, [Ok(false), Ok(true)], "the issuer works again");
}

async fn is_trusted_no_longer_than_its_age(keys: &Keys) {
    assert_eq!(found(keys, START).await, [Ok(true), Ok(false)]);
    assert_eq!(found(keys, START + REFRESH_AGE).await, [Ok(true), UNKNOWN]);
    let end = START + MAX_KEYS_AGE;
    assert_eq!(found(keys, end - SECOND).await, [Ok(true), UNKNOWN]);
    // Covers times when a fetch is permitted and when it is not, for as long as the failure lasts.
    for after in [0, 1, 4, 5, 6, 59, 60, 61, 3600, 7200, 7201, 14_400, 86_400] {
        assert_eq!(found(keys, end + after * SECOND).await, [UNKNOWN, UNKNOWN], "{after} s after the end");
    }
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_as_soon_as_the_issuer_says_so() {
    let issuer = Issuer::good(of_length);
    let keys = issuer.keys();
    keys.fetch_in_advance(START).await;
    issuer.switch_to(DISCOVERY, empty);
    let later = START + REFRESH_AGE;
    assert_eq!(found(&keys, later).await, [UNKNOWN, UNKNOWN]);
    assert_eq!(found(&keys, later + RETRY_INTERVAL).await, [UNKNOWN, UNKNOWN]);
    issuer.switch_to(DISCOVERY, other_keys);
    assert_eq!(found(&keys, later + 2 * RETRY_INTERVAL).await, [Ok(false), Ok(true)]);
}

/// The old address still serves the old keys, as caches do.
#[tokio::test]
async fn keys_that_moved_are_found_where_they_are_now() {
    let (old, new) = (Issuer::good(of_length), Issuer::good(other_keys));
    let keys = old.keys();
    keys.fetch_in_advance(START).await;
    let moved = DISCOVERY.replace("ISSUER/keys", &format!("{}/keys", new.url));
    old.switch_to(moved.leak(), of_length);
    assert_eq!(found(&keys, START + FETCH_INTERVAL - SECOND).await, [Ok(true), Ok(false)]);
    assert_eq!(found(&keys, START + REFRESH_AGE).await, [Ok(false), Ok(true)]);
    assert_eq!((old.fetches(), new.fetches()), (1, 1));
}

/// A clock that was set back does not make keys younger.
#[tokio::test]
async fn keys_fetched_in_the_future_are_fetched_again() {
    let issuer = Issuer::good(of_length);
    let keys = issuer.keys();
    keys.fetch_in_advance(START + MAX_KEYS_AGE).await;
    issuer.switch_to(DISCOVERY, broken);
    assert_eq!(found(&keys, START).await, [UNKNOWN, UNKNOWN]);
    issuer.switch_to(DISCOVERY, of_length);
    assert_eq!(found(&keys, START + RETRY_INTERVAL).await, [Ok(true), Ok(false)]);
}

#[tokio::test]
async fn an_issuer_that_starts_late_is_asked_again() {
    let issuer = Issuer::good(hung_up);
    let keys = issuer.keys();
    keys.fetch_in_advance(START).await;
    issuer.switch_to(DISCOVERY, of_length);
    assert_eq!(found(&keys, START).await, [UNKNOWN, UNKNOWN]);
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(found(&keys, START + RETRY_INTERVAL).await, [Ok(true), Ok(false)]);
}
