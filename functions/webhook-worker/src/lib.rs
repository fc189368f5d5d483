//! Delivers events to an endpoint of their consumer's: the worker of the webhook queue, which a rule of the bus feeds.
//!
//! As [Standard Webhooks](https://www.standardwebhooks.com) has it: a POST of the event, whose ID is the same at every
//! delivery, with a time and a signature of each. Any 2xx is an answer; whatever else comes, or nothing, has the event
//! wait, longer each time, until its deliveries are used up and it goes into the dead-letter queue. An endpoint that
//! says that it is gone (410) is not asked again.
//!
//! An event is delivered at least once, and in any order: after an answer that was lost it comes again.

pub mod address;
pub mod backoff;
pub mod client;
pub mod recipient;
pub mod sign;

use std::time::Duration;

use crate::address::AllowedDestinations;
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::aws::Service;
use shared::domain::ids::{CorrelationId, OrgId};
use shared::environment::Environment;
use shared::worker::{self, Completed, DeliveryInfo, LogFields, Publishing, QueueMessage, Worker, WorkerError};
use shared::{Error, clock};
use uuid::Uuid;

use crate::client::{Client, Response, SendError};
use crate::recipient::{AddressBook, Recipient, SECRET_TTL};

/// Of an invocation's time, what is kept back to read the secret, to sign, and to classify_response the answer.
const RESERVED_TIME: Duration = Duration::from_millis(200);
/// The least that an endpoint gets to answer.
const LEAST_TIME: Duration = Duration::from_millis(500);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// An event as a rule of the bus puts it into a queue. What it says is passed on as it is.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Form")]
pub struct BusEvent {
    /// The event, to the byte.
    detail: Box<RawValue>,
    names: Names,
}

#[derive(Deserialize)]
struct Form {
    detail: Box<RawValue>,
}

/// What is read of it.
#[derive(Debug, Deserialize)]
struct Names {
    event_id: Uuid,
    org_id: OrgId,
    cid: CorrelationId,
}

impl TryFrom<Form> for BusEvent {
    type Error = serde_json::Error;

    fn try_from(Form { detail }: Form) -> Result<Self, serde_json::Error> {
        let names = serde_json::from_str(detail.get())?;
        Ok(Self { detail, names })
    }
}

impl QueueMessage for BusEvent {
    const KIND: &'static str = "webhook";

    fn log_fields(&self) -> LogFields {
        let Names { org_id, cid, .. } = &self.names;
        LogFields { tenant: org_id.to_string(), operation_id: None, cid: Some(cid.to_string()) }
    }
}

/// The worker and what it may touch.
pub struct WebhookWorker {
    /// Sends.
    pub client: Client,
    /// Where to, and signed with what.
    pub address_book: AddressBook,
}

impl Worker for WebhookWorker {
    const NAME: &'static str = "webhook-worker";
    const CALLS: &'static [Service] = &[Service::SQS];
    const EVENTS: Publishing = Publishing::NONE;
    const SETS_DELAYS: bool = true;

    type Message = BusEvent;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        let reach = AllowedDestinations::of_this_build();
        let secret = environment.text("WEBHOOK_SECRET");
        let address_book = AddressBook::new(environment.aws.secretsmanager(), secret, reach, SECRET_TTL);
        Ok(Self { client: Client::new(reach)?, address_book })
    }

    async fn warm_up(&self) {
        // A failure is logged, and is every event's.
        let _ = self.address_book.recipient().await;
    }

    /// Delivers an event. What keeps it from being sent at all, such as a secret without a URL, has it wait as an endpoint does
    /// that is down: it can be mended while events wait.
    ///
    /// # Errors
    /// [`WorkerError::RetryAfter`] if the endpoint did not take it, [`WorkerError::Permanent`] if it never will.
    async fn apply(&self, event: BusEvent, delivery: DeliveryInfo) -> Result<Completed, WorkerError> {
        let (id, body) = (event.names.event_id.to_string(), event.detail.get());
        let again = |reason: String| {
            WorkerError::RetryAfter(reason, backoff::wait(delivery.receive_count, None, fastrand::f64()))
        };
        let recipient = self.address_book.recipient().await;
        let Recipient { endpoint, keys } = recipient.map_err(|error| again(error.to_string()))?;
        let timestamp = u64::try_from(clock::now().epoch_seconds()).unwrap_or_default();
        let signature = keys.sign(&id, timestamp, body);
        let headers = [(ID, id), (TIMESTAMP, timestamp.to_string()), (SIGNATURE, signature)];
        let time = time_to_answer(delivery.timeout);
        let answer = self.client.post(&endpoint, &headers, body.to_owned(), time).await;
        classify_response(answer, delivery.receive_count)
    }
}

/// How long the endpoint may take, of an invocation that may take so long.
fn time_to_answer(timeout: Duration) -> Duration {
    timeout.saturating_sub(worker::RESERVED_TIME + RESERVED_TIME).max(LEAST_TIME)
}

/// What the endpoint's answer to this delivery (from 1) comes to.
///
/// # Errors
/// As [`WebhookWorker::apply`].
pub fn classify_response(answer: Result<Response, SendError>, delivery: u32) -> Result<Completed, WorkerError> {
    let again =
        |reason: String, asked| WorkerError::RetryAfter(reason, backoff::wait(delivery, asked, fastrand::f64()));
    let Response { status, retry_after } = answer.map_err(|error| again(error.to_string(), None))?;
    match status {
        status if status.is_success() => Ok(Completed { outcome: "DELIVERED", events: Vec::new() }),
        StatusCode::GONE => Err(WorkerError::Permanent("the endpoint is gone: it answered 410".to_owned())),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let asked = retry_after.and_then(|header| backoff::retry_after(&header, clock::now()));
            Err(again(format!("the endpoint answered {}", status.as_u16()), asked))
        }
        status => Err(again(format!("the endpoint answered {}", status.as_u16()), None)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_event_is_passed_on_to_the_byte() {
        let detail = r#"{ "event_id":"1be7080a-4d6f-5cee-9da5-d4acc3344e9c", "cid":"c", "data":{"n":1.0,"s":"é\u00e9"},
            "org_id":"TN-11111111-2222-4333-8444-555555555555"}"#;
        let event: BusEvent =
            serde_json::from_str(&format!(r#"{{"version":"0","detail":{detail},"id":"x"}}"#)).unwrap();
        assert_eq!(event.detail.get(), detail);
        assert_eq!(event.log_fields().tenant, "TN-11111111-2222-4333-8444-555555555555");
    }

    #[rstest]
    #[case(r#"{"detail":{}}"#)]
    #[case(r#"{"detail":{"event_id":"1","cid":"c","org_id":"TN-11111111-2222-4333-8444-555555555555"}}"#)]
    #[case(r#"{"event_id":"1be7080a-4d6f-5cee-9da5-d4acc3344e9c"}"#)]
    fn what_is_no_event_is_refused(#[case] message: &str) {
        assert!(serde_json::from_str::<BusEvent>(message).is_err());
    }

    #[test]
    fn the_endpoint_has_nearly_all_of_the_time() {
        assert_eq!(time_to_answer(Duration::from_secs(20)), Duration::from_millis(18_900));
        assert_eq!(time_to_answer(Duration::from_secs(1)), LEAST_TIME);
    }

    fn classified(status: u16, retry_after: Option<&str>) -> Result<Completed, WorkerError> {
        let status = StatusCode::from_u16(status).unwrap();
        classify_response(Ok(Response { status, retry_after: retry_after.map(ToOwned::to_owned) }), 1)
    }

    #[test]
    fn any_2xx_is_taken_and_nothing_else_is() {
        for status in 100..1000 {
            match classified(status, None) {
                Ok(applied) => assert!((200..300).contains(&status) && applied.events.is_empty(), "{status}"),
                Err(WorkerError::Permanent(_)) => assert_eq!(status, 410),
                Err(WorkerError::RetryAfter(reason, time)) => {
                    assert!(!(200..300).contains(&status) && status != 410, "{status}");
                    assert!(reason.contains(&status.to_string()) && time < Duration::from_secs(13), "{reason}");
                }
                Err(WorkerError::Transient(_) | WorkerError::Unexpected(_)) => panic!("{status}"),
            }
        }
    }

    #[rstest]
    #[case(429, "60", 60..=60)]
    #[case(503, "60", 60..=60)]
    #[case(503, "1", 7..=13)] // not sooner than by itself
    #[case(503, "99999999", 21600..=21600)]
    #[case(503, "soon", 7..=13)]
    #[case(500, "60", 7..=13)] // it has no meaning there
    fn an_endpoint_may_ask_for_time(
        #[case] status: u16,
        #[case] retry_after: &str,
        #[case] seconds: std::ops::RangeInclusive<u64>,
    ) {
        let Err(WorkerError::RetryAfter(_, time)) = classified(status, Some(retry_after)) else { panic!("{status}") };
        assert!(seconds.contains(&time.as_secs()), "{time:?}");
    }
}
