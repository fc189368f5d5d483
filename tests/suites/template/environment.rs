//! Every environment variable that the code reads is set, and every one that is set is read.

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

/// What Lambda itself sets.
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

/// What the code reads if it is there, and why the template does not set it. A variable for all services of AWS ends
/// where the service's name follows.
const OPTIONAL: [(&str, &str); 8] = [
    ("AUTH_AUDIENCE", "the gateway checks tokens, but for one function; `cargo lambda watch` has none before it"),
    ("AUTH_ISSUER", "the same"),
    ("AWS_ENDPOINT_URL", "AWS itself, unless an emulator stands in for it"),
    ("AWS_ENDPOINT_URL_", "the same"),
    ("AWS_SESSION_TOKEN", "Lambda sets it; an emulator may not"),
    ("RUST_LOG", "Lambda's own setting of the level comes first"),
    ("WARM_UP", "on; benchmarks measure without"),
    ("_X_AMZN_TRACE_ID", "the runtime sets it for each invocation"),
];

#[test]
fn what_may_be_missing_is_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut read = BTreeSet::new();
    for folder in ["functions", "shared"] {
        note_optional(&root.join(folder), &mut read);
    }
    let known: BTreeSet<String> = OPTIONAL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let of_lambda: BTreeSet<String> = OF_LAMBDA.map(ToOwned::to_owned).into();
    assert_eq!(&read - &of_lambda, known);
    let template = Template::read();
    for function in template.functions() {
        let set: BTreeSet<String> = template.environment(&function).into_keys().collect();
        // Who checks tokens itself must know how: `functions_read_what_is_set_and_nothing_else_is_set`.
        let checks: &[&str] = if function.name == CHECKS_TOKENS { &["AUTH_AUDIENCE", "AUTH_ISSUER"] } else { &[] };
        assert_eq!(set.intersection(&known).collect::<Vec<_>>(), checks, "{}", function.name);
    }
}

/// Notes the variables that are read where they may be missing, in all sources below the folder.
fn note_optional(folder: &Path, read: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            note_optional(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            for call in ["optional(", "env::var("] {
                // The name is the text in the call; `config` itself has none there.
                let names = source.split(call).skip(1).filter_map(|rest| rest.split(')').next()?.split('"').nth(1));
                read.extend(names.map(|name| name.split('{').next().unwrap_or_default().to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn functions_read_what_is_set_and_nothing_else_is_set() {
    let template = Template::read();
    for function in template.functions() {
        let set: BTreeSet<String> = template.environment(&function).into_keys().collect();
        assert_eq!(asked_for(&function.name).await, set, "{}", function.name);
    }
}

/// What the function wants to know before it serves: it is started with nothing, and told what it misses until
/// it misses nothing more.
async fn asked_for(function: &str) -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    loop {
        let value = |name: &str| match name {
            // Nobody listens there: with all that it wants, the function ends here.
            "AWS_LAMBDA_RUNTIME_API" => "127.0.0.1:1".to_owned(),
            "AWS_REGION" | "PIN_PEPPER_SECRET" => variable(name),
            "AUTH_ISSUER" => "https://127.0.0.1:1".to_owned(),
            _ => "1".to_owned(),
        };
        let names = asked.iter().map(String::as_str).chain(OF_LAMBDA);
        let environment: BTreeMap<&str, String> = names.map(|name| (name, value(name))).collect();
        let run = Command::new(runner())
            .env_clear()
            .env("_HANDLER", function)
            .env("AWS_ENDPOINT_URL", variable("AWS_ENDPOINT_URL"))
            .envs(environment)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let said = tokio::time::timeout(Duration::from_secs(30), run).await.expect("the function ends").unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        let Some((_, missing)) = said.split_once("Missing([") else { return asked };
        let missing = missing.split_once(']').unwrap().0.split(", ").map(|name| name.trim_matches('"').to_owned());
        let before = asked.len();
        asked.extend(missing);
        assert!(asked.len() > before, "{function}: {said}");
    }
}

/// What a parameter's name says that may hold a credential: a URL can, too.
const CREDENTIALS: [&str; 7] = ["credential", "key", "password", "pepper", "secret", "token", "url"];
/// Parameters with such a name that only say where something is.
const ONLY_NAMES: [&str; 2] = ["ApiDestinationSecret", "KmsKeyArn"];

/// Parameters are in samconfig.toml, in what `CloudFormation` tells, and variables in what Lambda tells, of whoever may look.
#[test]
fn what_may_hold_a_credential_is_in_no_variable_and_no_parameter_that_is_shown() {
    let template = Template::read();
    let is_suspect = |name: &str| CREDENTIALS.iter().any(|word| name.to_lowercase().contains(word));
    let parameters = template.section("Parameters").as_object().unwrap();
    let suspects = parameters.iter().filter(|(name, _)| is_suspect(name) && !ONLY_NAMES.contains(&name.as_str()));
    let suspects: BTreeMap<&str, &Value> = suspects.map(|(name, one)| (name.as_str(), &one["NoEcho"])).collect();
    assert_eq!(suspects, [("ApiDestinationUrl", &json!(true))].into());
    for (name, parameter) in parameters {
        let takes_urls = parameter["AllowedPattern"].as_str().is_some_and(|pattern| pattern.contains("://"));
        assert!(!takes_urls || suspects.contains_key(name.as_str()), "{name}");
    }
    for name in ONLY_NAMES {
        let says = format!("{} {}", parameters[name]["Description"], parameters[name]["AllowedPattern"]);
        assert!(says.contains("arn:") || name.ends_with("Arn"), "{name}: {says}");
    }
    let shown: Vec<String> = ["Outputs", "Globals"].map(|section| template.section(section).to_string()).into();
    for name in suspects.keys() {
        assert!(!shown.iter().any(|text| text.contains(name)), "{name} is shown");
    }
    // What a variable names that may be one is a queue, or the name of a secret.
    let (queues, secrets) = (template.resources("AWS::SQS::Queue"), template.resources("AWS::SecretsManager::Secret"));
    for function in template.functions() {
        for (variable, value) in template.environment(&function) {
            let is_name = queues.contains_key(&value) || secrets.contains_key(&value);
            assert!(!is_suspect(&variable) || is_name, "{}: {variable}", function.name);
            assert!(!suspects.contains_key(value.as_str()), "{}: {variable}", function.name);
        }
    }
}
