//! `bindery api`: closes the endpoints that accept instructions, and opens them again.
//!
//! The functions' resource policies show which endpoints these are: API Gateway may invoke a function only by the
//! methods of its routes. Endpoints with GET routes only are readers, and stay open. A closed endpoint has a reserved
//! concurrency of 0: Lambda does not run its function, and API Gateway responds 503.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::get_policy::GetPolicyError;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::confirm::confirm;
use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

const ALIAS: &str = "AWS::Lambda::Alias";
/// The HTTP methods that change nothing.
const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Arguments of `api`.
#[derive(Debug, Args)]
pub struct Api {
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Change {
    /// Closes all endpoints that accept instructions: clients get 503. Endpoints that only read stay open.
    ///
    /// Requests in progress are completed. The command sets the reserved concurrency of the endpoints' functions to 0.
    /// Deployments do not change that value: the endpoints stay closed until `bindery api open`.
    Close,
    /// Opens the closed endpoints.
    Open,
}

/// A function that API Gateway invokes.
struct Endpoint {
    name: String,
    function: String,
    methods: Vec<String>,
    /// The function's reserved concurrency; 0 means closed.
    reserved: Option<i32>,
    changed: bool,
}

impl Api {
    /// Prints which endpoints are open, or closes or opens them after the operator confirms.
    pub async fn run(self, stack: &Stack, output: Output, yes: bool) -> Result<(), CliError> {
        let lambda = stack.lambda();
        let mut endpoints = find(stack, &lambda).await?;
        let Some(change) = self.change else {
            output.table(&["endpoint", "methods", "state"], &endpoints.iter().map(Endpoint::row).collect::<Vec<_>>());
            return Ok(());
        };
        endpoints.retain(Endpoint::accepts_instructions);
        let listed: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let verb = if change == Change::Close { "Close" } else { "Open" };
        confirm(&format!("{verb} {} of {}", listed.join(", "), stack.name), yes)?;

        let mut failures = Vec::new();
        for endpoint in &mut endpoints {
            failures.extend(endpoint.apply(change, &lambda).await.err().map(|failure| failure.of(&endpoint.name)));
        }
        let rows: Vec<Value> = endpoints.iter().map(Endpoint::row).collect();
        output.table(&["endpoint", "methods", "state", "changed"], &rows);
        CliError::report(&failures)
    }
}

impl Endpoint {
    fn accepts_instructions(&self) -> bool {
        !self.methods.iter().all(|method| READING.contains(&method.as_str()))
    }

    fn is_closed(&self) -> bool {
        self.reserved == Some(0)
    }

    fn row(&self) -> Value {
        json!({
            "endpoint": self.name,
            "methods": self.methods.join(", "),
            "accepts_instructions": self.accepts_instructions(),
            "state": if self.is_closed() { "closed" } else { "open" },
            "changed": self.changed,
        })
    }

    async fn apply(&mut self, change: Change, lambda: &Client) -> Result<(), CliError> {
        match change {
            Change::Close if !self.is_closed() => {
                let closing = lambda.put_function_concurrency().function_name(&self.function);
                let closed = closing.reserved_concurrent_executions(0).send().await;
                closed.map_err(CliError::aws("Lambda PutFunctionConcurrency"))?;
                (self.reserved, self.changed) = (Some(0), true);
            }
            Change::Open if self.is_closed() => {
                let opened = lambda.delete_function_concurrency().function_name(&self.function).send().await;
                opened.map_err(CliError::aws("Lambda DeleteFunctionConcurrency"))?;
                (self.reserved, self.changed) = (None, true);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the stack's endpoints, sorted by name.
async fn find(stack: &Stack, lambda: &Client) -> Result<Vec<Endpoint>, CliError> {
    let mut endpoints = Vec::new();
    // Other services invoke the alias, so the resource policy is the alias's. Its physical ID is its ARN.
    for alias in stack.resources(ALIAS).await? {
        let methods = match lambda.get_policy().function_name(&alias).send().await {
            Ok(found) => methods(found.policy().unwrap_or_default()),
            // Only the stack's event source mappings invoke a function without a policy.
            Err(error) if error.as_service_error().is_some_and(GetPolicyError::is_resource_not_found_exception) => {
                continue;
            }
            Err(error) => return Err(CliError::aws("Lambda GetPolicy")(error)),
        };
        if methods.is_empty() {
            continue;
        }
        let function = alias.rsplit_once(':').map_or(alias.as_str(), |(function, _)| function).to_owned();
        let reserved = lambda.get_function_concurrency().function_name(&function).send().await;
        let reserved = reserved.map_err(CliError::aws("Lambda GetFunctionConcurrency"))?;
        endpoints.push(Endpoint {
            name: stack.short_name(&alias),
            function,
            methods,
            reserved: reserved.reserved_concurrent_executions(),
            changed: false,
        });
    }
    if endpoints.is_empty() {
        let failure = CliError::new(format!("the stack {} has no endpoints", stack.name));
        return Err(failure.help("check that --stack names a deployment of Bindery"));
    }
    endpoints.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(endpoints)
}

/// Returns the methods by which API Gateway may invoke a function with this resource policy; `*` means any method.
fn methods(policy: &str) -> Vec<String> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = policy["Statement"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found: Vec<String> = statements
        .iter()
        .filter_map(|statement| {
            // arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH
            let source = statement["Condition"]["ArnLike"]["AWS:SourceArn"].as_str()?;
            let resource = source.strip_prefix("arn:")?.split_once(":execute-api:")?.1;
            Some(resource.split('/').nth(2).unwrap_or("*").to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(methods: &[&str]) -> Endpoint {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        Endpoint { name: String::new(), function: String::new(), methods, reserved: None, changed: false }
    }

    #[test]
    fn methods_are_read_from_the_statements_of_api_gateway_only() {
        let statement = |source: &str| json!({ "Condition": { "ArnLike": { "AWS:SourceArn": source } } });
        let policy = json!({ "Statement": [
            statement("arn:aws:execute-api:eu-central-1:1:abc/*/PUT/cards/v1/bulks/*"),
            statement("arn:aws:execute-api:eu-central-1:1:abc/*/GET/cards/v1/bulks/*"),
            statement("arn:aws:execute-api:eu-central-1:1:abc/*/GET/cards/v1/bulks"),
            statement("arn:aws:events:eu-central-1:1:rule/GET/POST/DELETE"),
            { "Principal": { "Service": "sqs.amazonaws.com" } },
        ] });
        assert_eq!(methods(&policy.to_string()), ["GET", "PUT"]);
        assert_eq!(
            methods(&json!({ "Statement": [statement("arn:aws:execute-api:r:1:abc/$default")] }).to_string()),
            ["*"]
        );
        assert!(methods("{}").is_empty() && methods("").is_empty());
    }

    #[test]
    fn an_endpoint_with_a_writing_method_accepts_instructions() {
        assert!(!endpoint(&["GET"]).accepts_instructions() && !endpoint(&["GET", "HEAD"]).accepts_instructions());
        for methods in [&["PUT"][..], &["POST"], &["GET", "POST"], &["*"], &["DELETE"], &["PATCH"]] {
            assert!(endpoint(methods).accepts_instructions(), "{methods:?}");
        }
    }
}
