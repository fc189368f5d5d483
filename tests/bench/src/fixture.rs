//! The fixture for candidates: a table, a queue and a bus, near or far, and tasks that bind one new card each.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::{ORG, batch};
use tests::requests::bind_event;
use tests::{seed, variable};

use crate::candidate::{Candidate, Role, respond};
use crate::fake_aws::FakeAws;
use crate::rows::{TABLE, environment};
use crate::tls::Terminator;

/// The services that candidates use, and the endpoint that makes tasks.
pub struct Fixture {
    aws: FakeAws,
    /// The environment of a candidate whose services are on this machine.
    pub near: Vec<(String, String)>,
    /// The environment of a candidate whose services are reached by TLS, a round trip away.
    pub far: Vec<(String, String)>,
    /// The endpoint that makes the workers' messages.
    endpoint: Function,
}

/// An event, and what is expected of its result.
pub struct Task {
    /// The function's event.
    pub event: Value,
    role: Role,
    cards: Vec<u64>,
}

impl Fixture {
    /// Starts all services.
    pub async fn start() -> Self {
        let aws = FakeAws::start(TABLE, &[]).await;
        let at = |name: &str| aws.environment.iter().find(|(variable, _)| variable == name).unwrap().1.clone();
        let (services, dynamodb) = (at("AWS_ENDPOINT_URL"), at("AWS_ENDPOINT_URL_DYNAMODB"));
        let terminator = Terminator::new(&PathBuf::from(variable("BINDERY_LOCAL_DIR")));
        let mut near = environment(&dynamodb, &services);
        let mut far = environment(&terminator.before(&dynamodb).await, &terminator.before(&services).await);
        for environment in [&mut near, &mut far] {
            // Python compiles once, as if deployed with its bytecode, and not into the source tree.
            environment.push(("PYTHONPYCACHEPREFIX".to_owned(), format!("{}/pycache", variable("BINDERY_LOCAL_DIR"))));
            // One bundle, as in Lambda's image. Debian also has one file for each certificate, and clients would read
            // those too.
            environment.push(("SSL_CERT_FILE".to_owned(), terminator.trusted.display().to_string()));
        }
        far.extend([
            ("AWS_CA_BUNDLE".to_owned(), terminator.trusted.display().to_string()),
            ("NODE_EXTRA_CA_CERTS".to_owned(), terminator.authority.display().to_string()),
        ]);
        let endpoint = Function::new("bind-card", near.clone()).await;
        Self { aws, near, far, endpoint }
    }

    /// Returns a task for a candidate. For a worker, it is a batch of this number of messages.
    pub async fn task(&self, candidate: &Candidate, binds: usize) -> Task {
        let role = candidate.role;
        let mut cards = Vec::new();
        let mut messages = Vec::new();
        for _ in 0..binds {
            let card = seed::new_card_id();
            seed::put(&self.aws.dynamodb, TABLE, ORG, &seed::unbound(card)).await;
            if role == Role::Worker {
                assert_eq!(
                    respond(&self.endpoint, bind_event(card, None, &format!("bench-{card}"))).await["statusCode"],
                    202
                );
                messages.push((self.aws.fake.receive().unwrap(), 1));
            }
            cards.push(card);
        }
        let event = match role {
            Role::Hello | Role::Endpoint => bind_event(cards[0], None, &format!("bench-{}", cards[0])),
            Role::Worker => batch(&messages),
        };
        let _ = self.aws.fake.take_events();
        Task { event, role, cards }
    }

    /// Asserts that the task is complete and nothing else changed, so that no candidate wins by doing less.
    pub async fn check(&self, task: &Task, response: &Value) {
        match task.role {
            Role::Hello => assert_eq!(response["body"], "hello", "{response}"),
            Role::Endpoint => {
                assert_eq!(response["statusCode"], 202, "{response}");
                let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
                let id = body["operation_id"].as_str().unwrap();
                assert_eq!(self.row(&format!("OP#{id}"), "OP").await["state"], "PENDING");
                let message: Value = serde_json::from_str(&self.aws.fake.receive().unwrap()).unwrap();
                assert_eq!(message["operation_id"], id);
                assert!(self.aws.fake.receive().is_none());
            }
            Role::Worker => {
                assert_eq!(response, &json!({ "batchItemFailures": [] }));
                let (events, _) = self.aws.fake.take_events();
                assert_eq!(events, task.cards.len());
                for card in &task.cards {
                    assert_eq!(self.row(&format!("CARD#{card}"), "CARD").await["status"], "CREATED");
                }
            }
        }
    }

    async fn row(&self, partition: &str, sk: &str) -> Value {
        let get = self.aws.dynamodb.get_item().table_name(TABLE).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(format!("{ORG}#{partition}")));
        let item = get.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap().item;
        serde_dynamo::from_item(item.unwrap_or_else(|| panic!("{partition} is not there"))).unwrap()
    }
}
