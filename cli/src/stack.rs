//! A deployment: its stack's outputs and resources, and the AWS clients to use them.

use std::collections::{BTreeSet, HashMap};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::error::CliError;

/// The suffix of an output that holds a queue's URL.
const QUEUE_URL: &str = "QueueUrl";
/// The suffix of an output that holds a dead-letter queue's URL.
const DLQ_URL: &str = "DlqUrl";

/// The output that holds the URL of the queue of parked messages.
const PARKED_QUEUE_URL: &str = "ParkedQueueUrl";

/// A deployment of Bindery.
#[derive(Debug)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    outputs: HashMap<String, String>,
    config: SdkConfig,
}

impl Stack {
    /// Finds the stack of this name, in the account and region of the environment.
    ///
    /// # Errors
    /// If there is no such stack, or the call fails.
    pub async fn find(name: &str) -> Result<Self, CliError> {
        if name.is_empty() {
            return Err(CliError::new("the name of the deployment's stack is missing")
                .help("give --stack NAME or set BINDERY_STACK; for the local stack: source target/local/env"));
        }
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
        let stacks = aws_sdk_cloudformation::Client::new(&config).describe_stacks().stack_name(name).send().await;
        let stacks = stacks.map_err(CliError::aws("CloudFormation DescribeStacks")).map_err(|failure| {
            failure.help("check the stack's name, AWS_REGION, and the credentials (AWS_PROFILE or access keys)")
        })?;
        let stack = stacks.stacks().first().ok_or_else(|| CliError::new(format!("there is no stack {name}")))?;
        let pair = |output: &aws_sdk_cloudformation::types::Output| {
            Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()))
        };
        let outputs = stack.outputs().iter().filter_map(pair).collect();
        Ok(Self { name: name.to_owned(), outputs, config })
    }

    /// Returns an output of the stack.
    ///
    /// # Errors
    /// If the stack has no output of this name.
    pub fn output(&self, name: &str) -> Result<&str, CliError> {
        self.outputs.get(name).map(String::as_str).ok_or_else(|| {
            CliError::new(format!("the stack {} has no output {name}", self.name))
                .help("check that it is a deployment of Bindery, and that this tool has the deployment's version")
        })
    }

    /// Returns the names of the deployment's queues, from the names of its outputs: `BindCardQueueUrl` and
    /// `BindCardDlqUrl` become `bind-card`. Some names have only a dead-letter queue.
    pub fn queues(&self) -> BTreeSet<String> {
        let name = |output: &String| {
            let name = output.strip_suffix(QUEUE_URL).or_else(|| output.strip_suffix(DLQ_URL))?;
            Some(kebab_case(name)).filter(|name| !name.is_empty())
        };
        self.outputs.keys().filter_map(name).collect()
    }

    /// Returns the queue's URL, or `None` if this name has only a dead-letter queue.
    ///
    /// # Errors
    /// If the deployment has no queue of this name.
    pub fn find_queue(&self, name: &str) -> Result<Option<&str>, CliError> {
        self.url(name, QUEUE_URL)
    }

    /// Returns the URL of the queue's dead-letter queue, or `None` if it has no such queue.
    ///
    /// # Errors
    /// See [`Self::find_queue`].
    pub fn find_dead_letters(&self, name: &str) -> Result<Option<&str>, CliError> {
        self.url(name, DLQ_URL)
    }

    /// Returns the queue's URL.
    ///
    /// # Errors
    /// If the deployment has no such queue.
    pub fn queue_url(&self, name: &str) -> Result<&str, CliError> {
        self.find_queue(name)?.ok_or_else(|| {
            CliError::new(format!("{name} has only a dead-letter queue, and no queue to send its messages back to"))
                .help("its messages are events: publish them again with `bindery replay`")
        })
    }

    /// Returns the URL of the queue's dead-letter queue.
    ///
    /// # Errors
    /// If the deployment has no such queue.
    pub fn dead_letters_url(&self, name: &str) -> Result<&str, CliError> {
        self.find_dead_letters(name)?.ok_or_else(|| CliError::new(format!("{name} has no dead-letter queue")))
    }

    /// Returns the URL of the queue of parked messages.
    ///
    /// # Errors
    /// If the stack has no such queue.
    pub fn parked_url(&self) -> Result<&str, CliError> {
        self.output(PARKED_QUEUE_URL)
    }

    fn url(&self, name: &str, kind: &str) -> Result<Option<&str>, CliError> {
        let queues = self.queues();
        if !queues.contains(name) {
            return Err(self.no_such("queue", name, &queues));
        }
        let is_its = |output: &str| output.strip_suffix(kind).is_some_and(|output| kebab_case(output) == name);
        Ok(self.outputs.iter().find(|(output, _)| is_its(output)).map(|(_, url)| url.as_str()))
    }

    /// Returns the error for an unknown name, which lists the known names.
    pub fn no_such(&self, kind: &str, name: &str, names: &BTreeSet<String>) -> CliError {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        CliError::new(format!("{} has no {kind} {name}; it has: {}", self.name, names.join(", ")))
    }

    /// Returns the physical IDs of the stack's resources of this type.
    ///
    /// # Errors
    /// If `CloudFormation` refuses the call.
    pub async fn resources(&self, kind: &str) -> Result<Vec<String>, CliError> {
        let cloudformation = aws_sdk_cloudformation::Client::new(&self.config);
        let mut pages = cloudformation.list_stack_resources().stack_name(&self.name).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(CliError::aws("CloudFormation ListStackResources"))?;
            let of_kind = page.stack_resource_summaries().iter().filter(|one| one.resource_type() == Some(kind));
            found.extend(of_kind.filter_map(|one| one.physical_resource_id().map(ToOwned::to_owned)));
        }
        Ok(found)
    }

    /// Returns the name by which operators know a function or queue: the name in its ARN, without the stack's name.
    pub fn short_name(&self, arn: &str) -> String {
        // arn:aws:lambda:REGION:ACCOUNT:function:NAME:ALIAS, arn:aws:sqs:REGION:ACCOUNT:NAME
        let mut parts = arn.split(':').skip(5).skip_while(|part| *part == "function");
        let name = parts.next().unwrap_or(arn);
        name.strip_prefix(&format!("{}-", self.name)).unwrap_or(name).to_owned()
    }

    /// Returns a client of `DynamoDB`.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// Returns a client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Returns a client of `EventBridge`.
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// Returns a client of Lambda.
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.config)
    }

    /// Returns a client of Secrets Manager.
    pub fn secretsmanager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}

/// Converts `BindCard` to `bind-card`.
fn kebab_case(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(outputs: &[(&str, &str)]) -> Stack {
        let outputs = outputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Stack { name: "bindery-prod".to_owned(), outputs, config: SdkConfig::builder().build() }
    }

    #[test]
    fn queues_are_named_by_the_outputs() {
        let outputs = [("BindCardQueueUrl", "q"), ("BindCardDlqUrl", "d"), ("FeedDlqUrl", "f"), ("ApiUrl", "no queue")];
        let stack = stack(&outputs);
        assert_eq!(stack.queues().into_iter().collect::<Vec<_>>(), ["bind-card", "feed"]);
        assert_eq!((stack.queue_url("bind-card").unwrap(), stack.dead_letters_url("bind-card").unwrap()), ("q", "d"));
        assert_eq!((stack.find_queue("feed").unwrap(), stack.dead_letters_url("feed").unwrap()), (None, "f"));
        assert!(stack.queue_url("feed").unwrap_err().to_string().contains("bindery replay"));
    }

    #[test]
    fn parked_messages_are_in_a_queue_without_dead_letters() {
        let stack = stack(&[("BindCardDlqUrl", "d"), ("ParkedQueueUrl", "p")]);
        assert_eq!(stack.queues().into_iter().collect::<Vec<_>>(), ["bind-card", "parked"]);
        assert_eq!((stack.parked_url().unwrap(), stack.find_dead_letters("parked").unwrap()), ("p", None));
    }

    #[test]
    fn the_error_for_an_unknown_queue_lists_all_queues() {
        let stack = stack(&[("BindCardQueueUrl", "q"), ("EventsDlqUrl", "d")]);
        for name in ["", "BindCard", "bind", "bind-card-queue-url"] {
            let failure = stack.find_queue(name).unwrap_err().to_string();
            assert!(failure.ends_with("it has: bind-card, events"), "{failure}");
        }
    }

    #[test]
    fn names_are_printed_without_the_stack_name() {
        let stack = stack(&[]);
        for (arn, name) in [
            ("arn:aws:lambda:eu-central-1:1:function:bindery-prod-bind-card-worker:live", "bind-card-worker"),
            ("arn:aws:lambda:eu-central-1:1:function:bindery-prod-get-card", "get-card"),
            ("arn:aws:sqs:eu-central-1:1:bindery-prod-bind-card", "bind-card"),
            ("arn:aws:sqs:eu-central-1:1:anothers", "anothers"),
        ] {
            assert_eq!(stack.short_name(arn), name);
        }
    }
}
