//! The document has the routes that are deployed, with the scopes that the functions ask for.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::contract::{DOCUMENT, operations};
use tests::stack::{ACCOUNT, Tenant, parts};
use tests::template::Template;
use tests::token;

use crate::file;

type Routes = BTreeSet<(String, String)>;

fn documented() -> Routes {
    let operations = operations(&DOCUMENT).into_iter();
    operations.map(|operation| (operation.method.to_owned(), operation.path.to_owned())).collect()
}

fn deployed() -> Routes {
    let functions = Template::read().functions();
    let events = functions.iter().filter_map(|function| function.properties["Events"].as_object());
    let http = events.flat_map(|events| events.values()).filter(|event| event["Type"] == "HttpApi");
    let text = |event: &Value, name: &str| event["Properties"][name].as_str().unwrap().to_owned();
    http.map(|event| (text(event, "Method"), text(event, "Path"))).collect()
}

/// What `cargo lambda watch` serves.
fn watched() -> Routes {
    let manifest: toml::Table = toml::from_str(&file("Cargo.toml")).unwrap();
    let watch = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let routes = watch.as_table().unwrap().iter().flat_map(|(path, by_method)| {
        let named = by_method.as_array().unwrap().iter().map(|route| route["method"].as_str().unwrap().to_owned());
        named.map(|method| (method, path.clone()))
    });
    routes.collect()
}

#[test]
fn the_document_has_every_route_and_no_other() {
    assert_eq!(documented(), deployed(), "in infra/api/openapi.yaml, and in infra/template.yaml");
    assert_eq!(
        documented(),
        watched(),
        "in infra/api/openapi.yaml, and in Cargo.toml's routes of `cargo lambda watch`"
    );
}

/// The scopes of which an operation asks for one.
fn scopes(operation: &Value) -> Vec<&str> {
    let ways = operation["security"].as_array().unwrap();
    assert!(ways.iter().all(|way| way["BearerAuth"].as_array().unwrap().len() == 1), "{operation}");
    ways.iter().map(|way| way["BearerAuth"][0].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_operation_asks_for_its_scope_and_no_other() {
    const LACKS: &str = "The access token lacks the scope for this request.";
    let tenant = Tenant::new().await;
    for operation in operations(&DOCUMENT) {
        for granted in token::SCOPES.split(' ') {
            let mut claims = token::claims(&tenant.org, ACCOUNT);
            claims["scope"] = json!(granted);
            // What is asked for is not there; a request that is let in is refused for that, or for what it lacks.
            let path =
                operation.path.replace("{cardId}", "1").replace("{bulkID}", "none").replace("{operationId}", "none");
            let method = Method::from_bytes(operation.method.as_bytes()).unwrap();
            let answer = tenant.request(method, &path, &token::sign(&claims)).send().await.unwrap();
            let (status, _, body) = parts(answer).await;
            let is_refused = status == 403 && body.to_string().contains(LACKS);
            let is_asked_for = scopes(operation.node).contains(&granted);
            assert_eq!(
                is_refused, !is_asked_for,
                "{} {} by {granted}: {status} {body}",
                operation.method, operation.path
            );
        }
    }
}

/// Every function can be broken, out of reach, throttled or asked without a token.
#[test]
fn every_operation_has_the_answers_that_all_have() {
    for operation in operations(&DOCUMENT) {
        let answers = operation.node["responses"].as_object().unwrap();
        for status in ["401", "403", "429", "500", "503"] {
            assert!(answers.contains_key(status), "{} {}: {status}", operation.method, operation.path);
        }
        let is_instruction = operation.method != "GET";
        assert_eq!(answers.contains_key("422"), is_instruction, "{} {}", operation.method, operation.path);
        let parameters = operation.node["parameters"].as_array().unwrap();
        let has_key = parameters.contains(&json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
        assert_eq!(has_key, is_instruction, "{} {}", operation.method, operation.path);
        assert!(parameters.contains(&json!({ "$ref": "#/components/parameters/CorrelationId" })), "{}", operation.path);
    }
}

/// What the README's table says of each endpoint: scope, and answers but for the gateway's.
#[test]
fn the_readme_says_the_same() {
    let readme = file("README.md");
    for operation in operations(&DOCUMENT) {
        let start = format!("| `{} {}", operation.method, operation.path);
        let is_its = |line: &&str| line.strip_prefix(&start).is_some_and(|rest| rest.starts_with(['`', '?']));
        let line = readme.lines().find(is_its).unwrap_or_else(|| panic!("{start} is not in README.md"));
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert!(cells[3].starts_with(&format!("`{}`", scopes(operation.node).join("` or `"))), "{line}");
        let said: BTreeSet<&str> = cells[4].split(", ").collect();
        let answers = operation.node["responses"].as_object().unwrap().keys().map(String::as_str);
        assert_eq!(said, answers.filter(|status| *status != "429").collect(), "{line}");
    }
}
