//! What a function is made of: the variables of its environment, and the clients of what they name.
//!
//! A function asks for all that it needs, and whatever is missing is noted. So an error names **all** missing variables, and
//! a deployment is corrected in one go.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::aws::Aws;
use crate::config::{self, ConfigError};
use crate::events::EventBus;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::store::Store;

/// The suffix of a worker's name after its endpoint's, or its queue's.
const WORKER_SUFFIX: &str = "-worker";

/// A function's environment.
#[derive(Debug)]
pub struct Environment {
    /// AWS, as the environment names it.
    pub aws: Aws,
    /// Counts for the whole function.
    pub metrics: Metrics,
    /// The variables, if they are not the process's.
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
    /// Names the missing variables of AWS's.
    pub fn of_process() -> Result<Self, ConfigError> {
        Ok(Self::new(Aws::from_env()?, None))
    }

    /// Returns an environment of these variables, for tests.
    #[must_use]
    pub fn given(aws: Aws, variables: BTreeMap<String, String>) -> Self {
        Self::new(aws, Some(variables))
    }

    fn new(aws: Aws, given: Option<BTreeMap<String, String>>) -> Self {
        let mut environment =
            Self { aws, metrics: Metrics::new(String::new(), String::new()), given, errors: Mutex::default() };
        let [stack, function] = ["STACK_NAME", "AWS_LAMBDA_FUNCTION_NAME"].map(|name| environment.text(name));
        environment.metrics = Metrics::new(stack, function);
        environment
    }

    /// Makes what a function is.
    ///
    /// # Errors
    /// Names all variables that were asked for and are missing; else the error of `make`.
    pub fn make<T>(&self, make: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        let result = make(self);
        let Errors { missing, not_numbers } = &*self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match not_numbers.first() {
            _ if !missing.is_empty() => Err(ConfigError::Missing(missing.clone()).into()),
            Some(name) => Err(ConfigError::NotANumber(name.clone()).into()),
            None => result,
        }
    }

    /// Returns a variable's value; an empty one counts as missing, and is noted.
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

    /// Returns the number that a variable holds.
    #[must_use]
    pub fn number(&self, name: &str) -> u32 {
        let text = self.text(name);
        text.parse().unwrap_or_else(|_| {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).not_numbers.push(name.to_owned());
            0
        })
    }

    /// Returns the table.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.aws.dynamodb(), self.text("TABLE_NAME"))
    }

    /// Returns the bus. What is published on it is counted.
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
    fn an_error_names_all_that_is_missing() {
        let asked = |environment: &Environment| {
            let _ = (environment.store(), environment.queue("bind-card"), environment.number("N"));
        };
        let complete = [("TABLE_NAME", "t"), ("BIND_CARD_QUEUE_URL", "q"), ("N", "7")];
        assert_eq!(error(&environment(&[&METRICS[..], &complete].concat()), asked), None);
        let missing =
            "missing or empty environment variables: AWS_LAMBDA_FUNCTION_NAME, TABLE_NAME, BIND_CARD_QUEUE_URL, N";
        let incomplete = environment(&[("STACK_NAME", "stack"), ("TABLE_NAME", "")]);
        assert_eq!(error(&incomplete, asked).as_deref(), Some(missing));
    }

    #[test]
    fn a_number_that_is_none_is_an_error() {
        let environment = environment(&[&METRICS[..], &[("N", "x")]].concat());
        let made = error(&environment, |environment| assert_eq!(environment.number("N"), 0));
        assert_eq!(made.as_deref(), Some("environment variable N is not a number"));
    }

    #[test]
    fn the_errors_of_making_are_returned_if_nothing_is_missing() {
        let made = environment(&METRICS).make(|_| Err::<(), _>("the issuer".into()));
        assert_eq!(made.unwrap_err().to_string(), "the issuer");
    }
}
