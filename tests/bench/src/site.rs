//! The ground on which subjects are measured: a table, a queue and a bus, near or far, and binds to do, each of a card of its own.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::function::Function;
use tests::payloads::{ORG, batch};
use tests::requests::bind_event;
use tests::{seed, variable};

use crate::fake_aws::Ground;
use crate::rows::{TABLE, environment};
use crate::subject::{Role, Subject, answer};
use crate::tls::Terminator;

/// See above.
pub struct Site {
    ground: Ground,
    /// The environment of a subject that has everything on this machine.
    pub near: Vec<(String, String)>,
    /// That of one that reaches everything by TLS, a round trip away.
    pub far: Vec<(String, String)>,
    /// Makes the workers' messages.
    endpoint: Function,
}

/// An event, and what must have become of it.
pub struct Task {
    /// What the function is handed.
    pub event: Value,
    role: Role,
    cards: Vec<u64>,
}

impl Site {
    /// Starts it all.
    pub async fn start() -> Self {
        let ground = Ground::start(TABLE, &[]).await;
        let at = |name: &str| ground.environment.iter().find(|(variable, _)| variable == name).unwrap().1.clone();
        let (services, dynamodb) = (at("AWS_ENDPOINT_URL"), at("AWS_ENDPOINT_URL_DYNAMODB"));
        let terminator = Terminator::new(&PathBuf::from(variable("BINDERY_LOCAL_DIR")));
        let mut near = environment(&dynamodb, &services);
        let mut far = environment(&terminator.before(&dynamodb).await, &terminator.before(&services).await);
        for environment in [&mut near, &mut far] {
            // Python compiles once, as if deployed with its bytecode, and not into the source tree.
            environment.push(("PYTHONPYCACHEPREFIX".to_owned(), format!("{}/pycache", variable("BINDERY_LOCAL_DIR"))));
            // One bundle, as in Lambda's image. Debian has a file for each certificate besides, which would be read too.
            environment.push(("SSL_CERT_FILE".to_owned(), terminator.trusted.display().to_string()));
        }
        far.extend([
            ("AWS_CA_BUNDLE".to_owned(), terminator.trusted.display().to_string()),
            ("NODE_EXTRA_CA_CERTS".to_owned(), terminator.authority.display().to_string()),
        ]);
        let endpoint = Function::new("bind-card", near.clone()).await;
        Self { ground, near, far, endpoint }
    }

    /// Something to do for a subject: for a worker, a batch of so many messages.
    pub async fn task(&self, subject: &Subject, binds: usize) -> Task {
        let role = subject.role;
        let mut cards = Vec::new();
        let mut messages = Vec::new();
        for _ in 0..binds {
            let card = seed::new_card_id();
            seed::put(&self.ground.dynamodb, TABLE, ORG, &seed::unbound(card)).await;
            if role == Role::Worker {
                assert_eq!(
                    answer(&self.endpoint, bind_event(card, None, &format!("bench-{card}"))).await["statusCode"],
                    202
                );
                messages.push((self.ground.standin.receive().unwrap(), 1));
            }
            cards.push(card);
        }
        let event = match role {
            Role::Hello | Role::Endpoint => bind_event(cards[0], None, &format!("bench-{}", cards[0])),
            Role::Worker => batch(&messages),
        };
        let _ = self.ground.standin.take_events();
        Task { event, role, cards }
    }

    /// That it was done, and nothing else was: no subject is fast by doing less.
    pub async fn check(&self, task: &Task, answer: &Value) {
        match task.role {
            Role::Hello => assert_eq!(answer["body"], "hello", "{answer}"),
            Role::Endpoint => {
                assert_eq!(answer["statusCode"], 202, "{answer}");
                let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
                let id = body["operation_id"].as_str().unwrap();
                assert_eq!(self.row(&format!("OP#{id}"), "OP").await["state"], "PENDING");
                let message: Value = serde_json::from_str(&self.ground.standin.receive().unwrap()).unwrap();
                assert_eq!(message["operation_id"], id);
                assert!(self.ground.standin.receive().is_none());
            }
            Role::Worker => {
                assert_eq!(answer, &json!({ "batchItemFailures": [] }));
                let (events, _) = self.ground.standin.take_events();
                assert_eq!(events, task.cards.len());
                for card in &task.cards {
                    assert_eq!(self.row(&format!("CARD#{card}"), "CARD").await["status"], "CREATED");
                }
            }
        }
    }

    async fn row(&self, partition: &str, sk: &str) -> Value {
        let get = self.ground.dynamodb.get_item().table_name(TABLE).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(format!("{ORG}#{partition}")));
        let item = get.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap().item;
        serde_dynamo::from_item(item.unwrap_or_else(|| panic!("{partition} is not there"))).unwrap()
    }
}
