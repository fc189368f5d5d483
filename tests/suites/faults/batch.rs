//! Tests of `shared::worker` with a worker that behaves as its instruction demands.

use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Context, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::Error;
use shared::aws::{Aws, Service};
use shared::environment::Environment;
use shared::message::{Instruction, Message};
use shared::worker::{Completed, DeliveryInfo, Worker, WorkerContext, WorkerError, run_batch};
use tests::test_env::{TestEnv, drain};

/// The behavior that an instruction demands.
#[derive(Serialize, Deserialize)]
struct Word(String);

impl Instruction for Word {
    const KIND: &'static str = "webhook";
}

/// A worker that behaves as its instruction demands. It has the name of the webhook worker, and so its queues.
struct Obey;

impl Worker for Obey {
    const NAME: &'static str = "webhook-worker";
    const CALLS: &'static [Service] = &[];

    type Message = Message<Word>;

    fn from_env(_: &Environment) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn apply(&self, message: Message<Word>, _: DeliveryInfo) -> Result<Completed, WorkerError> {
        match message.instruction.0.as_str() {
            "succeed" => Ok(Completed { outcome: "SUCCESS", events: Vec::new() }),
            "panic" => panic!("as instructed"),
            "hang" => std::future::pending().await,
            "retry" => Err(WorkerError::Transient("not yet".to_owned())),
            "wonder" => Err(WorkerError::Unexpected("as instructed".to_owned())),
            _ => Err(WorkerError::Permanent("as instructed".to_owned())),
        }
    }
}

/// Returns a record with this instruction and receive count.
fn record(word: &str, receive_count: u32) -> Value {
    let body = json!({
        "version": 1, "kind": "webhook", "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", "cid": word,
        "operation_id": "00000000-0000-7000-8000-000000000000", "accepted_at": "2026-11-22T00:00:00.000Z",
        "instruction": word,
    });
    let attributes = json!({ "ApproximateReceiveCount": receive_count.to_string() });
    json!({ "messageId": word, "body": body.to_string(), "attributes": attributes })
}

#[tokio::test]
async fn each_message_of_a_batch_has_its_own_disposition() {
    let env = TestEnv::new().await;
    let variables = env.environment().into_iter().chain([("AWS_LAMBDA_FUNCTION_NAME".to_owned(), "test".to_owned())]);
    let environment = Environment::given(Aws::from_env().unwrap(), variables.collect());
    let surroundings = environment.make(|environment| Ok(WorkerContext::of::<Obey>(environment))).unwrap();
    let mut records = ["marked", "succeed", "panic", "hang", "retry", "break", "wonder"].map(|word| record(word, 1));
    // Some serializers write a byte order mark before a text.
    records[0]["body"] = format!("\u{feff}{}", records[1]["body"].as_str().unwrap()).into();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).unwrap();
    let deadline = SystemTime::now() + Duration::from_secs(2);
    let mut context = Context::default();
    context.deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();

    let response = run_batch(&Obey, &surroundings, LambdaEvent::new(event, context.clone())).await;
    assert!(SystemTime::now() < deadline);
    let failed: Vec<_> = response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["hang", "retry", "wonder"]);
    let mut dead_letters: Vec<_> = drain(&env.sqs, &env.dlq_url)
        .await
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["instruction"].as_str().unwrap().to_owned())
        .collect();
    dead_letters.sort();
    assert_eq!(dead_letters, ["break", "panic"]);

    // An unexpected state is retried a few times, because rows may be invisible yet, but not until the last receive.
    for (receive_count, is_dead_lettered) in [(2, false), (3, true)] {
        let event = serde_json::from_value(json!({ "Records": [record("wonder", receive_count)] })).unwrap();
        let deadline = SystemTime::now() + Duration::from_secs(2);
        context.deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let response = run_batch(&Obey, &surroundings, LambdaEvent::new(event, context.clone())).await;
        assert_eq!(response.batch_item_failures.is_empty(), is_dead_lettered);
        assert_eq!(drain(&env.sqs, &env.dlq_url).await.len(), usize::from(is_dead_lettered));
    }
}
