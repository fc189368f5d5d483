//! A deployment: its stack's outputs, and the clients to reach what they name.

use std::collections::HashMap;
use std::fmt;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use clap::ValueEnum;

use crate::failure::Failure;

/// A queue that a worker serves, or the one that holds events for a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueName {
    /// Binds and reissues.
    BindCard,
    /// Starts of bulks.
    StartBulk,
    /// Cancels of bulks.
    CancelBulk,
    /// Cancellations of orders.
    CancelOrders,
    /// What the order system tells.
    OrderFeed,
    /// Events that could not be delivered to the queue of all events.
    Events,
    /// Events on their way to the webhook.
    Webhook,
    /// Events that could not be delivered to the API destination. It has no queue to send them back to: replay them.
    ApiDestination,
}

impl fmt::Display for QueueName {
    /// As the command line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl QueueName {
    /// As the stack's outputs spell it.
    const fn output(self) -> &'static str {
        match self {
            Self::BindCard => "BindCard",
            Self::StartBulk => "StartBulk",
            Self::CancelBulk => "CancelBulk",
            Self::CancelOrders => "CancelOrders",
            Self::OrderFeed => "OrderFeed",
            Self::Events => "Events",
            Self::Webhook => "Webhook",
            Self::ApiDestination => "ApiDestination",
        }
    }
}

/// A deployment.
#[derive(Debug)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    outputs: HashMap<String, String>,
    config: SdkConfig,
}

impl Stack {
    /// The stack of this name, in the account and region of the environment.
    ///
    /// # Errors
    /// If there is none, or it cannot be asked.
    pub async fn find(name: &str) -> Result<Self, Failure> {
        if name.is_empty() {
            return Err(Failure::new("which deployment?")
                .help("give --stack NAME or set BINDERY_STACK; for the local stack: source target/local/env"));
        }
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
        let stacks = aws_sdk_cloudformation::Client::new(&config).describe_stacks().stack_name(name).send().await;
        let stacks = stacks.map_err(Failure::aws("CloudFormation DescribeStacks")).map_err(|failure| {
            failure.help("is the name right, and are AWS_PROFILE (or keys) and AWS_REGION those of the deployment?")
        })?;
        let stack = stacks.stacks().first().ok_or_else(|| Failure::new(format!("there is no stack {name}")))?;
        let pair = |output: &aws_sdk_cloudformation::types::Output| {
            Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()))
        };
        let outputs = stack.outputs().iter().filter_map(pair).collect();
        Ok(Self { name: name.to_owned(), outputs, config })
    }

    /// An output of the stack.
    ///
    /// # Errors
    /// If it has none of that name.
    pub fn output(&self, name: &str) -> Result<&str, Failure> {
        self.outputs.get(name).map(String::as_str).ok_or_else(|| {
            Failure::new(format!("the stack {} has no output {name}", self.name))
                .help("is it a stack of Bindery, and deployed from this version of the template?")
        })
    }

    /// The queues that the deployment has.
    pub fn queues(&self) -> Vec<QueueName> {
        let has = |queue: &QueueName| self.outputs.contains_key(&format!("{}QueueUrl", queue.output()));
        QueueName::value_variants().iter().copied().filter(has).collect()
    }

    /// The queue's URL.
    ///
    /// # Errors
    /// See [`Self::output`].
    pub fn queue_url(&self, queue: QueueName) -> Result<&str, Failure> {
        self.output(&format!("{}QueueUrl", queue.output()))
    }

    /// The URL of its dead-letter queue.
    ///
    /// # Errors
    /// See [`Self::output`].
    pub fn dead_letters_url(&self, queue: QueueName) -> Result<&str, Failure> {
        self.output(&format!("{}DlqUrl", queue.output()))
    }

    /// A client of `DynamoDB`.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A client of `EventBridge`.
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// A client of Secrets Manager.
    pub fn secretsmanager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}
