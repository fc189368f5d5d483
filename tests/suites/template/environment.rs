//! Checks that the template sets exactly the environment variables that the code reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::function::runner;
use tests::template::{CHECKS_TOKENS, Template};
use tests::variable;
use tokio::process::Command;

/// Variables that Lambda itself sets.
const OF_LAMBDA: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
];

/// Optional variables, and the reason why the template does not set each. The name of a variable with one version for
/// each AWS service ends where the service's name follows.
const OPTIONAL: [(&str, &str); 8] = [
    ("AUTH_AUDIENCE", "API Gateway checks tokens, except for one function; `cargo lambda watch` has no gateway"),
    ("AUTH_ISSUER", "the same"),
    ("AWS_ENDPOINT_URL", "AWS's own, unless an emulator is used"),
    ("AWS_ENDPOINT_URL_", "the same"),
    ("AWS_SESSION_TOKEN", "Lambda sets it, but an emulator may not"),
    ("RUST_LOG", "Lambda's log level setting has precedence"),
    ("WARM_UP", "on by default; benchmarks turn it off"),
    ("_X_AMZN_TRACE_ID", "the runtime sets it for each invocation"),
];

#[test]
fn optional_variables_are_listed_and_not_set() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut read = BTreeSet::new();
    for folder in ["functions", "shared"] {
        note_optional(&root.join(folder), &mut read);
    }
    let known: BTreeSet<String> = OPTIONAL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let of_lambda: BTreeSet<String> = OF_LAMBDA.map(ToOwned::to_owned).into();
    assert_eq!(&read - &of_lambda, known, "left: optional variables in the code; right: OPTIONAL");
    let template = Template::read();
    for function in template.functions() {
        let set: BTreeSet<String> = template.environment(&function).into_keys().collect();
        // The function that checks tokens itself requires these two: see
        // `functions_read_exactly_the_variables_that_are_set`.
        let checks: &[&str] = if function.name == CHECKS_TOKENS { &["AUTH_AUDIENCE", "AUTH_ISSUER"] } else { &[] };
        assert_eq!(set.intersection(&known).collect::<Vec<_>>(), checks, "{}", function.name);
    }
}

/// Adds the variables that the sources below the folder read as optional ones.
fn note_optional(folder: &Path, read: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            note_optional(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            for call in ["optional(", "env::var("] {
                // The name is the string literal in the call. The calls in `config` itself have none.
                let names = source.split(call).skip(1).filter_map(|rest| rest.split(')').next()?.split('"').nth(1));
                read.extend(names.map(|name| name.split('{').next().unwrap_or_default().to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn functions_read_exactly_the_variables_that_are_set() {
    let template = Template::read();
    for function in template.functions() {
        let set: BTreeSet<String> = template.environment(&function).into_keys().collect();
        let required = required_by(&function.name).await;
        assert_eq!(
            required, set,
            "{}: left: variables that the code reads; right: variables that are set",
            function.name
        );
    }
}

/// Returns the variables that a function requires at its start. Starts it without variables, and then with those that
/// its error names, until no more are missing.
async fn required_by(function: &str) -> BTreeSet<String> {
    let mut required = BTreeSet::new();
    loop {
        let value = |name: &str| match name {
            // Nothing listens on this port, so a function with all its variables exits.
            "AWS_LAMBDA_RUNTIME_API" => "127.0.0.1:1".to_owned(),
            "AWS_REGION" | "PIN_PEPPER_SECRET" => variable(name),
            "AUTH_ISSUER" => "https://127.0.0.1:1".to_owned(),
            _ => "1".to_owned(),
        };
        let names = required.iter().map(String::as_str).chain(OF_LAMBDA);
        let environment: BTreeMap<&str, String> = names.map(|name| (name, value(name))).collect();
        let run = Command::new(runner())
            .env_clear()
            .env("_HANDLER", function)
            .env("AWS_ENDPOINT_URL", variable("AWS_ENDPOINT_URL"))
            .envs(environment)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let run = tokio::time::timeout(Duration::from_secs(30), run).await;
        let log = String::from_utf8(run.expect("the function must exit").unwrap().stderr).unwrap();
        let Some((_, missing)) = log.split_once("Missing([") else { return required };
        let missing = missing.split_once(']').unwrap().0.split(", ").map(|name| name.trim_matches('"').to_owned());
        let before = required.len();
        required.extend(missing);
        assert!(required.len() > before, "{function}: {log}");
    }
}

/// Words in the name of a parameter that may hold a credential. A URL may hold one too.
const CREDENTIALS: [&str; 7] = ["credential", "key", "password", "pepper", "secret", "token", "url"];
/// Parameters with such a word in the name that hold only an ARN.
const ONLY_NAMES: [&str; 2] = ["ApiDestinationSecret", "KmsKeyArn"];
/// A parameter with such a word that holds the address of a page, which alarms show.
const OF_A_PAGE: &str = "RunbookUrl";

/// Everyone with read access can see parameters, in samconfig.toml and `CloudFormation`, and variables, in Lambda.
#[test]
fn no_credential_is_in_a_variable_or_a_visible_parameter() {
    let template = Template::read();
    let is_suspect =
        |name: &str| name != OF_A_PAGE && CREDENTIALS.iter().any(|word| name.to_lowercase().contains(word));
    let parameters = template.section("Parameters").as_object().unwrap();
    let suspects = parameters.iter().filter(|(name, _)| is_suspect(name) && !ONLY_NAMES.contains(&name.as_str()));
    let suspects: BTreeMap<&str, &Value> = suspects.map(|(name, one)| (name.as_str(), &one["NoEcho"])).collect();
    assert_eq!(suspects, [("ApiDestinationUrl", &json!(true))].into());
    for (name, parameter) in parameters {
        // An address in S3 has no place for a credential.
        let takes_urls = |pattern: &str| pattern.contains("://") && !pattern.contains("s3://");
        let takes_urls = parameter["AllowedPattern"].as_str().is_some_and(takes_urls);
        assert!(
            !takes_urls || suspects.contains_key(name.as_str()),
            "set NoEcho for {name}: a URL may hold a credential"
        );
    }
    for name in ONLY_NAMES {
        let says = format!("{} {}", parameters[name]["Description"], parameters[name]["AllowedPattern"]);
        assert!(says.contains("arn:") || name.ends_with("Arn"), "{name}: {says}");
    }
    let shown: Vec<String> = ["Outputs", "Globals"].map(|section| template.section(section).to_string()).into();
    for name in suspects.keys() {
        assert!(!shown.iter().any(|text| text.contains(name)), "Outputs and Globals must not show {name}");
    }
    // A variable with such a word in its name holds a queue's URL, or the name of a secret.
    let (queues, secrets) = (template.resources("AWS::SQS::Queue"), template.resources("AWS::SecretsManager::Secret"));
    for function in template.functions() {
        for (variable, value) in template.environment(&function) {
            let is_name = queues.contains_key(&value) || secrets.contains_key(&value);
            assert!(!is_suspect(&variable) || is_name, "{}: {variable}", function.name);
            assert!(!suspects.contains_key(value.as_str()), "{}: {variable}", function.name);
        }
    }
}
