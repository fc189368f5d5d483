//! Tests with a fake of DynamoDB that gives each call the next response.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

use super::*;
use crate::aws::Aws;

const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
const NOW: u64 = 1_795_316_645_000_000;

/// The status and the body of a response.
type Reply = (u16, Value);

/// The response to each call, or `None` for a call without a response.
#[derive(Debug, Clone, Default)]
struct FakeTable(Arc<Mutex<VecDeque<Option<Reply>>>>);

impl HttpConnector for FakeTable {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let next = self.0.lock().unwrap().pop_front().expect("an unexpected call");
        let Some((status, body)) = next else { return HttpConnectorFuture::new(std::future::pending()) };
        let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()));
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl FakeTable {
    fn admission(&self, rate: u32, burst: u32) -> Admission {
        let connector = SharedHttpConnector::new(self.clone());
        let aws = Aws::behind(http_client_fn(move |_, _| connector.clone()));
        let store = Store::new(aws.dynamodb(), "table".to_owned());
        Admission {
            buckets_store: store.without_retries(),
            store,
            limit: TenantLimit::new(rate, burst),
            tokens: 1,
            list: tokio::sync::Mutex::default(),
            buckets: StdMutex::default(),
        }
    }

    fn expect(&self, responses: impl IntoIterator<Item = Reply>) {
        self.0.lock().unwrap().extend(responses.into_iter().map(Some));
    }

    fn expect_silence(&self) {
        self.0.lock().unwrap().push_back(None);
    }

    fn assert_all_called(&self) {
        assert_eq!(*self.0.lock().unwrap(), [], "calls that were not made");
    }
}

fn list(orgs: &[&str]) -> Reply {
    let denial = json!({ "M": { "reason": { "S": "r" }, "at": { "S": "2026-11-22T03:04:05.678Z" } } });
    let denied: serde_json::Map<String, Value> = orgs.iter().map(|org| ((*org).to_owned(), denial.clone())).collect();
    (200, json!({ "Item": { "version": { "N": "1" }, "denied": { "M": denied } } }))
}

fn throttled() -> Reply {
    (400, json!({ "__type": "aws#ProvisionedThroughputExceededException", "message": "m" }))
}

fn full_at(time: u64) -> Reply {
    (200, json!({ "Attributes": { "full_at": { "N": time.to_string() } } }))
}

fn refused_full_at(time: u64) -> Reply {
    let item = json!({ "full_at": { "N": time.to_string() } });
    (400, json!({ "__type": "aws#ConditionalCheckFailedException", "message": "m", "Item": item }))
}

fn status(result: &Result<(), Problem>) -> u16 {
    result.as_ref().err().map_or(200, |problem| problem.status().as_u16())
}

#[tokio::test]
async fn the_list_is_read_again_after_its_age_and_outlives_failures() {
    let table = FakeTable::default();
    let admission = table.admission(0, 1);
    let (org, start) = (ORG.parse().unwrap(), SystemTime::now());
    let after = async |time: Duration| status(&admission.check_list(&org, start + time).await);
    let second = Duration::from_secs(1);

    table.expect([list(&[])]);
    assert_eq!((after(Duration::ZERO).await, after(LIST_AGE.mul_f64(0.9)).await), (200, 200));
    table.expect([list(&[ORG])]);
    assert_eq!((after(LIST_AGE).await, after(LIST_AGE + second).await), (403, 403));
    // Throttled, then silent: the last known list remains, and a failure is not repeated at once.
    table.expect([throttled()]);
    assert_eq!((after(2 * LIST_AGE).await, after(2 * LIST_AGE + second).await), (403, 403));
    table.expect_silence();
    assert_eq!(after(2 * LIST_AGE + RETRY_INTERVAL).await, 403);
    table.expect([list(&[])]);
    assert_eq!(after(2 * LIST_AGE + 2 * RETRY_INTERVAL).await, 200);
    // A clock that is set back does not keep an old list.
    table.expect([list(&[ORG])]);
    assert_eq!(after(Duration::ZERO).await, 403);
    table.assert_all_called();
}

#[tokio::test]
async fn without_any_list_no_request_is_served() {
    let table = FakeTable::default();
    let admission = table.admission(0, 1);
    let (org, now) = (ORG.parse().unwrap(), SystemTime::now());
    table.expect([throttled(), throttled(), list(&[])]);
    for expected in [503, 503, 200, 200] {
        assert_eq!(status(&admission.check_list(&org, now).await), expected);
    }
    table.assert_all_called();
}

#[test]
fn a_minute_is_enough_for_an_exclusion() {
    // The first read may just miss the change, or fail. The next one does not.
    assert!(LIST_AGE + RETRY_INTERVAL + CALL_TIME < Duration::from_secs(60));
}

#[tokio::test]
async fn a_bucket_without_tokens_is_not_asked_again() {
    let table = FakeTable::default();
    let (admission, org) = (table.admission(1, 1), ORG.parse().unwrap());
    let limit = admission.limit.unwrap();
    let check = async |now| admission.check_limit(&org, limit, now).await.map_err(|problem| problem.retry_after);
    table.expect([full_at(NOW + 1_000_000)]);
    assert_eq!(check(NOW).await, Ok(()));
    assert_eq!((check(NOW).await, check(NOW + 999_999).await), (Err(Some(1)), Err(Some(1))));
    // Another process has taken the next tokens. The first guess is that the bucket is full by now.
    table.expect([refused_full_at(NOW + 9_000_000)]);
    assert_eq!((check(NOW + 1_000_000).await, check(NOW + 2_000_000).await), (Err(Some(8)), Err(Some(7))));
    table.expect([full_at(NOW + 10_000_000)]);
    assert_eq!(check(NOW + 9_000_000).await, Ok(()));
    table.assert_all_called();
}

#[tokio::test]
async fn a_wrong_guess_costs_one_more_call() {
    let table = FakeTable::default();
    let (admission, org) = (table.admission(1, 10), ORG.parse().unwrap());
    let limit = admission.limit.unwrap();
    // Others have used the bucket, but it has tokens.
    table.expect([refused_full_at(NOW + 2_000_000), full_at(NOW + 3_000_000), full_at(NOW + 4_000_000)]);
    for _ in 0..2 {
        assert_eq!(admission.check_limit(&org, limit, NOW).await, Ok(()));
    }
    table.assert_all_called();
}

#[tokio::test]
async fn a_request_passes_if_its_bucket_cannot_be_written() {
    let table = FakeTable::default();
    let (admission, org) = (table.admission(1, 1), ORG.parse().unwrap());
    let limit = admission.limit.unwrap();
    table.expect_silence();
    // The service fails, and then the bucket changes at every try.
    table.expect([(500, json!({})), refused_full_at(NOW), refused_full_at(NOW), refused_full_at(NOW)]);
    for _ in 0..3 {
        assert_eq!(admission.check_limit(&org, limit, NOW).await, Ok(()));
    }
    table.assert_all_called();
}

#[tokio::test]
async fn a_flood_that_throttles_its_own_bucket_is_refused() {
    let table = FakeTable::default();
    let (admission, org) = (table.admission(1, 1), ORG.parse().unwrap());
    let limit = admission.limit.unwrap();
    table.expect([throttled()]);
    let refused = admission.check_limit(&org, limit, NOW).await.unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.retry_after), (429, Some(THROTTLED_SECONDS)));
    table.assert_all_called();
}

#[tokio::test]
async fn the_memory_of_buckets_is_limited() {
    let table = FakeTable::default();
    let admission = table.admission(1, 1);
    let limit = admission.limit.unwrap();
    for number in 0..=MAX_BUCKETS {
        table.expect([full_at(NOW + 1_000_000)]);
        let org = format!("TN-6cf9a3a5-8ea1-4a37-9a43-{number:012}").parse().unwrap();
        assert_eq!(admission.check_limit(&org, limit, NOW).await, Ok(()));
    }
    assert_eq!(admission.with_buckets(|buckets| buckets.len()), 1);
}
