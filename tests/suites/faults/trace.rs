//! Malformed trace headers, with which SQS refuses a message.

use rstest::rstest;
use serde_json::{Value, json};
use tests::function::Function;
use tests::proxy::{self, Call, Moment, Step};
use tests::requests::bind_event;
use tests::seed;
use tests::test_env::TestEnv;

use super::env_with;
use super::orders::{feed_orders, request};

/// Refuses messages with malformed trace headers, as SQS does. Covers only the headers that these tests send.
fn step(call: &Call<'_>, moment: Moment) -> Step {
    if moment == Moment::After || !call.target.starts_with("AmazonSQS.SendMessage") {
        return Step::Pass;
    }
    let request: Value = serde_json::from_slice(call.body).unwrap();
    let single = [request.clone()];
    let messages: &[Value] = request["Entries"].as_array().map_or(&single, Vec::as_slice);
    let header = |message: &Value| message["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].clone();
    if messages.iter().map(header).all(|header| header.as_str().is_none_or(|header| header.starts_with("Root=1-"))) {
        return Step::Pass;
    }
    let refusal = json!({ "__type": "com.amazonaws.sqs#InvalidParameterValue", "message": "not a trace header" });
    Step::Respond(400, refusal.to_string())
}

async fn function(name: &str, env: &TestEnv, header: &str) -> Function {
    let url = proxy::start(step).await;
    Function::new(name, env.environment_behind(&url)).await.patient().traced(header)
}

#[rstest]
#[case::not_a_header("arn::myarn", false)]
#[case::no_root("Parent=53995c3f42cd8ad8;Sampled=1", false)]
#[case::a_valid_header("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", true)]
#[tokio::test]
async fn a_malformed_trace_header_fails_no_send(#[case] header: &str, #[case] is_passed_on: bool) {
    let env = env_with(&[seed::unbound(1)]).await;
    feed_orders(&env, 1..=1).await;
    let endpoint = function("bind-card", &env, header).await;
    endpoint.invoke(bind_event(1, None, "k")).await.response(202);
    let endpoint = function("cancel-orders", &env, header).await;
    let results = endpoint.invoke(request(1..=1)).await.response(200);
    assert_eq!(results[0]["Success"], true, "{results}");
    // The emulator does not store the trace headers of a batch's messages, so only the bind's message has one.
    let sent = env.take_sent().await;
    let of_bind = sent.iter().find(|message| message.body.contains("\"bind\"")).unwrap();
    assert_eq!((sent.len(), of_bind.trace_header.as_deref()), (2, is_passed_on.then_some(header)));
}
