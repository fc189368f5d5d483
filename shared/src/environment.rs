//! A function's environment: its variables, and the clients that they configure.
//!
//! A function requests all that it needs, and missing variables are recorded. So an error names **all** missing
//! variables, and one deployment can fix them all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::aws::Aws;
use crate::config::{self, ConfigError};
use crate::events::EventBus;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::store::Store;

/// The suffix of a worker's name, which follows the name of its endpoint or queue.
const WORKER_SUFFIX: &str = "-worker";

/// The environment of a function.
#[derive(Debug)]
pub struct Environment {
    /// The configuration of the AWS clients.
    pub aws: Aws,
    /// The metrics of the whole function.
    pub metrics: Metrics,
    /// The variables, if they are not the process's own.
    given: Option<BTreeMap<String, String>>,
    errors: Mutex<Errors>,
}

#[derive(Debug, Default)]
struct Errors {
    missing: Vec<String>,
    not_numbers: Vec<String>,
}

impl Environment {
    /// Returns the environment of this process.
    ///
    /// # Errors
    /// Returns the names of AWS's variables that are missing.
    pub fn of_process() -> Result<Self, ConfigError> {
        Ok(Self::new(Aws::from_env()?, None))
    }

    /// Creates an environment with these variables, for tests.
    #[must_use]
    pub fn given(aws: Aws, variables: BTreeMap<String, String>) -> Self {
        Self::new(aws, Some(variables))
    }

    fn new(aws: Aws, given: Option<BTreeMap<String, String>>) -> Self {
        let mut environment =
            Self { aws, metrics: Metrics::new(String::new(), String::new()), given, errors: Mutex::default() };
        let [stack, function] = ["STACK_NAME", "AWS_LAMBDA_FUNCTION_NAME"].map(|name| environment.text(name));
        environment.metrics = Metrics::new(stack, function);
        environment.aws = environment.aws.timed(environment.metrics.calls());
        environment
    }

    /// Creates a function's parts with `make`.
    ///
    /// # Errors
    /// Returns the names of all requested variables that are missing, otherwise the error of `make`.
    pub fn make<T>(&self, make: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        let result = make(self);
        let Errors { missing, not_numbers } = &*self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match not_numbers.first() {
            _ if !missing.is_empty() => Err(ConfigError::Missing(missing.clone()).into()),
            Some(name) => Err(ConfigError::NotANumber(name.clone()).into()),
            None => result,
        }
    }

    /// Returns a variable's value. An empty one counts as missing, and is recorded.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let value = match &self.given {
            None => config::optional(name),
            Some(given) => given.get(name).cloned().filter(|value| !value.is_empty()),
        };
        value.unwrap_or_else(|| {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).missing.push(name.to_owned());
            String::new()
        })
    }

    /// Returns a variable's value as a number. Another value is recorded as an error.
    #[must_use]
    pub fn number(&self, name: &str) -> u32 {
        let text = self.text(name);
        text.parse().unwrap_or_else(|_| {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).not_numbers.push(name.to_owned());
            0
        })
    }

    /// Returns the store for the function's table.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.aws.dynamodb(), self.text("TABLE_NAME"))
    }

    /// Returns the event bus. Published events are counted in the metrics.
    #[must_use]
    pub fn bus(&self) -> EventBus {
        EventBus::new(self.aws.eventbridge(), self.text("EVENT_BUS_NAME"), self.metrics.clone())
    }

    /// Returns the queue that the endpoint of this name sends to, or the worker of this name receives from.
    #[must_use]
    pub fn queue(&self, function: &str) -> Queue {
        Queue::new(self.aws.sqs(), self.text(&queue_variable(function)))
    }

    /// Returns the dead-letter queue of the worker of this name.
    #[must_use]
    pub fn dead_letters(&self, worker: &str) -> Queue {
        Queue::new(self.aws.sqs(), self.text(&dead_letter_variable(worker)))
    }
}

/// Returns the variable of the queue that the endpoint of this name sends to, or the worker of this name receives from.
#[must_use]
pub fn queue_variable(function: &str) -> String {
    format!("{}_QUEUE_URL", variable_prefix(function))
}

/// Returns the variable of the dead-letter queue of the worker of this name.
#[must_use]
pub fn dead_letter_variable(worker: &str) -> String {
    format!("{}_DLQ_URL", variable_prefix(worker))
}

fn variable_prefix(function: &str) -> String {
    function.strip_suffix(WORKER_SUFFIX).unwrap_or(function).replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment::given(Aws::for_tests(), variables)
    }

    fn error(environment: &Environment, make: impl FnOnce(&Environment)) -> Option<String> {
        let result = environment.make(|environment| {
            make(environment);
            Ok(())
        });
        result.err().map(|error| error.to_string())
    }

    const METRICS: [(&str, &str); 2] = [("STACK_NAME", "stack"), ("AWS_LAMBDA_FUNCTION_NAME", "function")];

    #[test]
    fn an_endpoint_and_its_worker_have_one_queue() {
        for function in ["bind-card", "bind-card-worker"] {
            assert_eq!(queue_variable(function), "BIND_CARD_QUEUE_URL");
            assert_eq!(dead_letter_variable(function), "BIND_CARD_DLQ_URL");
        }
        assert_eq!(queue_variable("webhook-worker"), "WEBHOOK_QUEUE_URL");
    }

    #[test]
    fn an_error_names_all_missing_variables() {
        let request = |environment: &Environment| {
            let _ = (environment.store(), environment.queue("bind-card"), environment.number("N"));
        };
        let complete = [("TABLE_NAME", "t"), ("BIND_CARD_QUEUE_URL", "q"), ("N", "7")];
        assert_eq!(error(&environment(&[&METRICS[..], &complete].concat()), request), None);
        let missing =
            "missing or empty environment variables: AWS_LAMBDA_FUNCTION_NAME, TABLE_NAME, BIND_CARD_QUEUE_URL, N";
        let incomplete = environment(&[("STACK_NAME", "stack"), ("TABLE_NAME", "")]);
        assert_eq!(error(&incomplete, request).as_deref(), Some(missing));
    }

    #[test]
    fn an_invalid_number_is_an_error() {
        let environment = environment(&[&METRICS[..], &[("N", "x")]].concat());
        let made = error(&environment, |environment| assert_eq!(environment.number("N"), 0));
        assert_eq!(made.as_deref(), Some("environment variable N is not a number"));
    }

    #[test]
    fn the_error_of_make_is_returned_if_nothing_is_missing() {
        let made = environment(&METRICS).make(|_| Err::<(), _>("the issuer".into()));
        assert_eq!(made.unwrap_err().to_string(), "the issuer");
    }
}
