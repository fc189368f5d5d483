//! Delivers events to a consumer's endpoint: the worker of the webhook queue, which a rule of the event bus feeds.
//!
//! The worker follows [Standard Webhooks](https://www.standardwebhooks.com). It POSTs the event, with the same ID on
//! every delivery, and with a timestamp and a signature of this delivery. Any 2xx response means that the event is
//! delivered. After any other response, or none, the event waits, longer each time. When its deliveries are used up,
//! it is dead-lettered. If the endpoint responds that it is gone (410), the event is not retried.
//!
//! Events are delivered at least once, and in any order: after a lost response, the event is sent again.

pub mod address;
pub mod backoff;
pub mod client;
pub mod recipient;
pub mod sign;

use std::time::Duration;

use crate::address::AllowedDestinations;
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::aws::Service;
use shared::domain::ids::{CorrelationId, OrgId};
use shared::domain::time::Timestamp;
use shared::environment::Environment;
use shared::worker::{self, Completed, DeliveryInfo, LogFields, Publishing, QueueMessage, Worker, WorkerError};
use shared::{Error, clock};
use uuid::Uuid;

use crate::client::{Client, Response, SendError};
use crate::recipient::{AddressBook, Recipient, SECRET_TTL};

/// The part of an invocation's time that is reserved for reading the secret, signing, and classifying the response.
const RESERVED_TIME: Duration = Duration::from_millis(200);
/// The minimum time that an endpoint has to respond.
const MIN_RESPONSE_TIME: Duration = Duration::from_millis(500);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// An event as a rule of the event bus sends it to a queue. The worker forwards its detail unchanged.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Form")]
pub struct BusEvent {
    /// The event, exact to the byte.
    detail: Box<RawValue>,
    names: Names,
    /// The time at which the bus received the event, unless it is a replay of an earlier one.
    received_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Form {
    detail: Box<RawValue>,
    time: Option<Value>,
    /// The name of the replay that put an archived event on the bus again.
    #[serde(rename = "replay-name")]
    replay_name: Option<IgnoredAny>,
}

/// The members of the event that the worker reads.
#[derive(Debug, Deserialize)]
struct Names {
    event_id: Uuid,
    org_id: OrgId,
    cid: CorrelationId,
}

impl TryFrom<Form> for BusEvent {
    type Error = serde_json::Error;

    fn try_from(Form { detail, time, replay_name }: Form) -> Result<Self, serde_json::Error> {
        let names = serde_json::from_str(detail.get())?;
        // Only a metric needs the time, so an unreadable one does not matter.
        let received_at = time.filter(|_| replay_name.is_none()).and_then(|time| serde_json::from_value(time).ok());
        Ok(Self { detail, names, received_at })
    }
}

impl QueueMessage for BusEvent {
    const KIND: &'static str = "webhook";

    fn log_fields(&self) -> LogFields {
        let Names { org_id, cid, .. } = &self.names;
        LogFields { tenant: org_id.to_string(), operation_id: None, cid: Some(cid.to_string()) }
    }

    fn waits_since(&self) -> Option<Timestamp> {
        self.received_at
    }
}

/// The worker, its HTTP client and its recipient.
pub struct WebhookWorker {
    /// The client that sends the events.
    pub client: Client,
    /// The source of the endpoint and the keys.
    pub address_book: AddressBook,
}

impl Worker for WebhookWorker {
    const NAME: &'static str = "webhook-worker";
    const CALLS: &'static [Service] = &[Service::SQS];
    const EVENTS: Publishing = Publishing::NONE;
    const SETS_DELAYS: bool = true;

    type Message = BusEvent;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        let allowed = AllowedDestinations::of_this_build();
        let secret = environment.text("WEBHOOK_SECRET");
        let address_book = AddressBook::new(environment.aws.secretsmanager(), secret, allowed, SECRET_TTL);
        Ok(Self { client: Client::new(allowed)?, address_book })
    }

    async fn warm_up(&self) {
        // An error is logged here. It is handled when an event is delivered.
        let _ = self.address_book.recipient().await;
    }

    /// Delivers an event. If the event cannot be sent, for example because the secret has no URL, it waits as if the
    /// endpoint were down. The operator can fix the cause while events wait.
    ///
    /// # Errors
    /// [`WorkerError::RetryAfter`] if the endpoint did not accept the event, [`WorkerError::Permanent`] if it never
    /// will.
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
        let time = response_timeout(delivery.timeout);
        let response = self.client.post(&endpoint, &headers, body.to_owned(), time).await;
        classify_response(response, delivery.receive_count)
    }
}

/// Returns the time that the endpoint has to respond, for an invocation with this timeout.
fn response_timeout(timeout: Duration) -> Duration {
    timeout.saturating_sub(worker::RESERVED_TIME + RESERVED_TIME).max(MIN_RESPONSE_TIME)
}

/// Converts the endpoint's response to this delivery (counted from 1) to the worker's result.
///
/// # Errors
/// The same as [`WebhookWorker::apply`].
pub fn classify_response(response: Result<Response, SendError>, delivery: u32) -> Result<Completed, WorkerError> {
    let again = |reason: String, requested| {
        WorkerError::RetryAfter(reason, backoff::wait(delivery, requested, fastrand::f64()))
    };
    let Response { status, retry_after } = response.map_err(|error| again(error.to_string(), None))?;
    match status {
        status if status.is_success() => Ok(Completed { outcome: "DELIVERED", events: Vec::new() }),
        StatusCode::GONE => Err(WorkerError::Permanent("the endpoint is gone: it responded with 410".to_owned())),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let requested = retry_after.and_then(|header| backoff::retry_after(&header, clock::now()));
            Err(again(format!("the endpoint responded with {}", status.as_u16()), requested))
        }
        status => Err(again(format!("the endpoint responded with {}", status.as_u16()), None)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_event_is_forwarded_unchanged() {
        let detail = r#"{ "event_id":"1be7080a-4d6f-5cee-9da5-d4acc3344e9c", "cid":"c", "data":{"n":1.0,"s":"é\u00e9"},
            "org_id":"TN-11111111-2222-4333-8444-555555555555"}"#;
        let event: BusEvent =
            serde_json::from_str(&format!(r#"{{"version":"0","detail":{detail},"id":"x"}}"#)).unwrap();
        assert_eq!(event.detail.get(), detail);
        assert_eq!(event.log_fields().tenant, "TN-11111111-2222-4333-8444-555555555555");
    }

    #[rstest]
    #[case(r#""time":"2026-11-22T03:04:05Z","#, Some("2026-11-22T03:04:05.000Z"))]
    #[case(r#""time":"2026-10-22T03:04:05Z","replay-name":"r","#, None)] // waits since its replay
    #[case(r#""time":"soon","#, None)]
    #[case(r#""time":null,"#, None)]
    #[case("", None)]
    fn an_event_waits_since_the_bus_received_it(#[case] members: &str, #[case] since: Option<&str>) {
        let detail = r#"{"event_id":"1be7080a-4d6f-5cee-9da5-d4acc3344e9c","cid":"c",
            "org_id":"TN-11111111-2222-4333-8444-555555555555"}"#;
        let event: BusEvent = serde_json::from_str(&format!(r#"{{{members}"detail":{detail}}}"#)).unwrap();
        assert_eq!(event.waits_since().map(|at| at.to_string()).as_deref(), since);
    }

    #[rstest]
    #[case(r#"{"detail":{}}"#)]
    #[case(r#"{"detail":{"event_id":"1","cid":"c","org_id":"TN-11111111-2222-4333-8444-555555555555"}}"#)]
    #[case(r#"{"event_id":"1be7080a-4d6f-5cee-9da5-d4acc3344e9c"}"#)]
    fn a_malformed_event_is_refused(#[case] message: &str) {
        assert!(serde_json::from_str::<BusEvent>(message).is_err());
    }

    #[test]
    fn the_endpoint_has_most_of_the_invocation_to_respond() {
        assert_eq!(response_timeout(Duration::from_secs(20)), Duration::from_millis(18_900));
        assert_eq!(response_timeout(Duration::from_secs(1)), MIN_RESPONSE_TIME);
    }

    fn classified(status: u16, retry_after: Option<&str>) -> Result<Completed, WorkerError> {
        let status = StatusCode::from_u16(status).unwrap();
        classify_response(Ok(Response { status, retry_after: retry_after.map(ToOwned::to_owned) }), 1)
    }

    #[test]
    fn only_a_2xx_response_means_delivered() {
        for status in 100..1000 {
            match classified(status, None) {
                Ok(completed) => assert!((200..300).contains(&status) && completed.events.is_empty(), "{status}"),
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
    #[case(503, "1", 7..=13)] // not sooner than without the header
    #[case(503, "99999999", 21600..=21600)]
    #[case(503, "soon", 7..=13)]
    #[case(500, "60", 7..=13)] // the header has no meaning with this status
    fn an_endpoint_may_request_a_wait(
        #[case] status: u16,
        #[case] retry_after: &str,
        #[case] seconds: std::ops::RangeInclusive<u64>,
    ) {
        let Err(WorkerError::RetryAfter(_, time)) = classified(status, Some(retry_after)) else { panic!("{status}") };
        assert!(seconds.contains(&time.as_secs()), "{time:?}");
    }
}
