//! The document has the routes that are deployed, with the scopes that the functions ask for.

use std::collections::BTreeSet;

use serde_json::json;
use tests::contract::{DOCUMENT, operations};
use tests::requests::{Endpoint, Request};
use tests::stack::{ACCOUNT, Tenant, parts};
use tests::template::Template;
use tests::token;

/// A route's method and path, and the function that serves it.
type Routes = BTreeSet<(String, String, String)>;

fn documented() -> Routes {
    let operations = operations(&DOCUMENT).into_iter();
    operations.map(|of| (of.method.to_owned(), of.path.to_owned(), of.function().to_owned())).collect()
}

fn deployed() -> Routes {
    let mut routes = Routes::new();
    for function in Template::read().functions() {
        let events = function.properties["Events"].as_object().into_iter().flat_map(|events| events.values());
        for event in events.filter(|event| event["Type"] == "HttpApi") {
            let text = |name: &str| event["Properties"][name].as_str().unwrap().to_owned();
            routes.insert((text("Method"), text("Path"), function.name.clone()));
        }
    }
    routes
}

#[test]
fn the_document_has_every_route_and_no_other() {
    assert_eq!(documented(), deployed(), "in infra/api/openapi.yaml, and in infra/template.yaml");
}

#[tokio::test]
async fn each_operation_asks_for_its_scope_and_no_other() {
    const LACKS: &str = "The access token lacks the scope for this request.";
    let tenant = Tenant::new().await;
    for endpoint in Endpoint::all() {
        let operation = endpoint.operation;
        for granted in token::SCOPES.split(' ') {
            let mut claims = token::claims(&tenant.org, ACCOUNT);
            claims["scope"] = json!(granted);
            // What is asked for is not there; a request that is let in is refused for that, or for what it lacks.
            let request = Request::of(endpoint);
            let answer = tenant.request(request.method(), &request.path(), &token::sign(&claims)).send().await.unwrap();
            let (status, _, body) = parts(answer).await;
            let is_refused = status == 403 && body.to_string().contains(LACKS);
            let is_asked_for = operation.scopes().contains(&granted);
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
