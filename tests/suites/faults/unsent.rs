//! Cancellations of orders when SQS fails or does not respond. The endpoint distinguishes a request that certainly sent
//! nothing from one whose outcome is unknown.

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::Function;
use tests::proxy::{self, Moment, Step};
use tests::test_env::TestEnv;

use super::orders::{feed_orders, request};

const UNAVAILABLE: &str = "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key.";
const BROKEN: &str = "Internal server error.";
/// The number of orders, more than fit into one call of SQS.
const ORDERS: i32 = 12;

/// The outcome of one attempt to send messages.
#[derive(Debug, Clone, Copy)]
enum SendOutcome {
    Taken,
    /// SQS reports each message as failed.
    EachRefused,
    Refused(u16, &'static str),
    Cut,
    LostAfterTaken,
    Hang,
}

const THROTTLED: SendOutcome =
    SendOutcome::Refused(400, r#"{"__type":"com.amazonaws.sqs#RequestThrottled","message":"m"}"#);
const DENIED: SendOutcome =
    SendOutcome::Refused(403, r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"m"}"#);
const UNKNOWN_REFUSAL: SendOutcome = SendOutcome::Refused(400, "{}");
const FAILED: SendOutcome =
    SendOutcome::Refused(503, r#"{"__type":"com.amazonaws.sqs#ServiceUnavailable","message":"m"}"#);

impl SendOutcome {
    fn step(self, body: &[u8], moment: Moment) -> Step {
        match (self, moment) {
            (Self::Taken, _) | (Self::LostAfterTaken, Moment::Before) => Step::Pass,
            (Self::EachRefused, _) => {
                let request: Value = serde_json::from_slice(body).unwrap();
                let failed =
                    |entry: &Value| json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false });
                let failed: Vec<_> = request["Entries"].as_array().unwrap().iter().map(failed).collect();
                Step::Respond(200, json!({ "Successful": [], "Failed": failed }).to_string())
            }
            (Self::Refused(status, body), _) => Step::Respond(status, body.to_owned()),
            (Self::Cut | Self::LostAfterTaken, _) => Step::Cut,
            (Self::Hang, _) => Step::Hang,
        }
    }
}

/// Starts a proxy, and returns its URL. The attempts of the call about order 1 have these outcomes, and later attempts
/// the last of them. All other calls have the outcome `other`.
async fn proxy(of_the_first: &'static [SendOutcome], other: SendOutcome) -> String {
    let mut tries = 0;
    proxy::start(move |call, moment| {
        if call.target != "AmazonSQS.SendMessageBatch" {
            return Step::Pass;
        }
        if !String::from_utf8_lossy(call.body).contains(r#"{\"order_id\":1}"#) {
            return other.step(call.body, moment);
        }
        tries += usize::from(moment == Moment::Before);
        of_the_first[(tries - 1).min(of_the_first.len() - 1)].step(call.body, moment)
    })
    .await
}

/// Requests the cancellation of all orders. Returns the status and the body.
async fn ask(endpoint: &Function, keyed: bool) -> (u64, Value) {
    let mut event = request(1..=ORDERS);
    if !keyed {
        event["headers"].as_object_mut().unwrap().remove("idempotency-key");
    }
    let response = endpoint.invoke(event).await.payload();
    let status = response["statusCode"].as_u64().unwrap();
    assert_eq!(response["headers"]["retry-after"].is_string(), status == 503, "{response}");
    (status, serde_json::from_str(response["body"].as_str().unwrap()).unwrap())
}

#[rstest]
#[case::throttled(&[THROTTLED], THROTTLED, 503)]
#[case::denied(&[DENIED], DENIED, 503)]
#[case::of_two_calls_one_is_named(&[THROTTLED], SendOutcome::EachRefused, 503)]
#[case::of_two_calls_one_is_taken(&[THROTTLED], SendOutcome::Taken, 500)]
#[case::of_two_calls_one_is_unknown(&[THROTTLED], SendOutcome::Cut, 500)]
#[case::unknown_before(&[SendOutcome::Cut, THROTTLED], THROTTLED, 500)]
#[case::taken_before(&[SendOutcome::LostAfterTaken, THROTTLED], THROTTLED, 500)]
#[case::named_after_that(&[SendOutcome::LostAfterTaken, SendOutcome::EachRefused], SendOutcome::EachRefused, 500)]
#[case::refused_for_an_unknown_reason(&[UNKNOWN_REFUSAL], UNKNOWN_REFUSAL, 500)]
#[case::failed(&[FAILED], FAILED, 500)]
#[case::cut(&[SendOutcome::Cut], SendOutcome::Cut, 500)]
#[case::without_a_response(&[SendOutcome::Hang], SendOutcome::Hang, 500)]
#[tokio::test]
async fn only_a_request_that_sent_nothing_is_a_503(
    #[case] of_the_first: &'static [SendOutcome],
    #[case] other: SendOutcome,
    #[case] status: u64,
    #[values(true, false)] keyed: bool,
) {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=ORDERS).await;
    let url = proxy(of_the_first, other).await;
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    let text = if status == 503 { UNAVAILABLE } else { BROKEN };
    assert_eq!(ask(&endpoint, keyed).await, (status, json!(text)));
    if status == 503 {
        assert_eq!(env.take_messages().await, [""; 0]);
    }
    // A retry succeeds.
    let healthy = Function::new("cancel-orders", env.environment()).await;
    let (status, results) = ask(&healthy, keyed).await;
    assert_eq!(status, 200);
    assert!(results.as_array().unwrap().iter().all(|result| result["Success"] == true), "{results}");
    assert!(env.take_messages().await.len() >= ORDERS as usize);
}

/// A refusal of the first attempt does not decide the request. The SDK's next attempt does.
#[rstest]
#[case::taken_then(&[THROTTLED, SendOutcome::Taken], true)]
#[case::named_then(&[THROTTLED, SendOutcome::EachRefused], false)]
#[tokio::test]
async fn a_refusal_of_an_earlier_attempt_does_not_decide(
    #[case] of_the_first: &'static [SendOutcome],
    #[case] is_sent: bool,
) {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=ORDERS).await;
    let url = proxy(of_the_first, SendOutcome::Taken).await;
    let endpoint = Function::new("cancel-orders", env.environment_behind(&url)).await;
    let (status, results) = ask(&endpoint, true).await;
    assert_eq!((status, &results[0]["Success"], &results[11]["Success"]), (200, &json!(is_sent), &json!(true)));
}

/// SQS cannot be reached. The response is the same in JSON and in XML.
#[rstest]
#[case::json("application/json", format!("\"{UNAVAILABLE}\""))]
#[case::xml(
    "text/xml",
    format!("<string xmlns=\"http://schemas.microsoft.com/2003/10/Serialization/\">{UNAVAILABLE}</string>")
)]
#[tokio::test]
async fn without_a_connection_nothing_is_sent(#[case] accept: &str, #[case] body: String) {
    let env = TestEnv::new().await;
    feed_orders(&env, 1..=ORDERS).await;
    let mut environment = env.environment();
    environment.push(("AWS_ENDPOINT_URL_SQS".to_owned(), "http://127.0.0.1:1".to_owned()));
    let endpoint = Function::new("cancel-orders", environment).await;
    let mut event = request(1..=ORDERS);
    event["headers"]["accept"] = json!(accept);
    let response = endpoint.invoke(event.clone()).await.payload();
    assert_eq!((&response["statusCode"], &response["body"]), (&json!(503), &json!(body)), "{response:#}");
    assert!(response["headers"]["retry-after"].is_string(), "{response:#}");
    // A retry gets the same response.
    let again = endpoint.invoke(event).await.payload();
    assert_eq!((&again["statusCode"], &again["body"]), (&json!(503), &json!(body)), "{again:#}");
    let healthy = Function::new("cancel-orders", env.environment()).await;
    healthy.invoke(request(1..=ORDERS)).await.response(200);
    assert_eq!(env.take_messages().await.len(), ORDERS as usize);
}
