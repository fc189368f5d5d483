//! Checks that the `OpenAPI` document has the deployed routes and the scopes that the functions require.

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
fn the_document_has_exactly_the_deployed_routes() {
    assert_eq!(documented(), deployed(), "left: routes in infra/api/openapi.yaml; right: in infra/template.yaml");
}

#[tokio::test]
async fn each_operation_requires_exactly_its_scope() {
    const LACKS: &str = "The access token lacks the scope for this request.";
    let tenant = Tenant::new().await;
    for endpoint in Endpoint::all() {
        let operation = endpoint.operation;
        for granted in token::SCOPES.split(' ') {
            let mut claims = token::claims(&tenant.org, ACCOUNT);
            claims["scope"] = json!(granted);
            // An admitted request fails too, because its resource or its body is missing, but with another error.
            let request = Request::of(endpoint);
            let response =
                tenant.request(request.method(), &request.path(), &token::sign(&claims)).send().await.unwrap();
            let (status, _, body) = parts(response).await;
            let is_refused = status == 403 && body.to_string().contains(LACKS);
            let is_required = operation.scopes().contains(&granted);
            assert_eq!(
                is_refused, !is_required,
                "{} {} by {granted}: {status} {body}",
                operation.method, operation.path
            );
        }
    }
}

/// Every function can fail, be unavailable or throttled, or get a request without a valid token.
#[test]
fn every_operation_has_the_common_responses() {
    for operation in operations(&DOCUMENT) {
        let responses = operation.node["responses"].as_object().unwrap();
        for status in ["401", "403", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{} {} lacks {status}", operation.method, operation.path);
        }
        let is_instruction = operation.method != "GET";
        assert_eq!(responses.contains_key("422"), is_instruction, "{} {}", operation.method, operation.path);
        let parameters = operation.node["parameters"].as_array().unwrap();
        let has_key = parameters.contains(&json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
        assert_eq!(has_key, is_instruction, "{} {}", operation.method, operation.path);
        assert!(parameters.contains(&json!({ "$ref": "#/components/parameters/CorrelationId" })), "{}", operation.path);
    }
}
