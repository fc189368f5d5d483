//! Organizations that are shut out, and organizations that send too many requests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::clock;
use shared::domain::tenant::TenantLimit;
use tests::function::Function;
use tests::payloads::ORG;
use tests::proxy::{self, Moment, Step};
use tests::requests::{Endpoint, create_bulk};
use tests::template::DENY_LIST;
use tests::test_env::TestEnv;
use uuid::Uuid;

use super::{Fixture, good};

const OTHER_ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-0123456789ab";

/// Shuts the organization out, as an operator does.
async fn deny(env: &TestEnv, org: &str) {
    let mut list = env.store().deny_list(true).await.unwrap();
    list.deny(org.parse().unwrap(), "a test", clock::now()).unwrap();
    env.store().replace_deny_list(&list).await.unwrap();
}

/// Returns the event of a valid request, from this organization.
fn event_of(endpoint: Endpoint, org: &str) -> Value {
    good(endpoint).claim("tenant_id", org).event()
}

/// Checks the body and the headers of an error: each endpoint has the format of its contract.
fn assert_format(endpoint: Endpoint, status: u64, kind: &str, response: (u64, String, Value)) {
    let (got, body, headers) = response;
    assert_eq!(got, status, "{}: {body}", endpoint.function);
    if endpoint.function == "cancel-orders" {
        assert!(serde_json::from_str::<String>(&body).unwrap().starts_with("The organization "), "{body}");
        return;
    }
    assert_eq!(headers["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&problem["type"], &problem["status"]), (&json!(format!("urn:bindery:problem:{kind}")), &json!(status)));
}

#[tokio::test]
async fn an_organization_that_is_shut_out_can_do_nothing() {
    let mut fixture = Fixture::new().await;
    deny(&fixture.env, ORG).await;
    fixture.before = fixture.env.rows().await;
    for endpoint in Endpoint::all() {
        let response = fixture.response(endpoint, event_of(endpoint, ORG)).await;
        assert_format(endpoint, 403, "organization-denied", response);
    }
    let orders = Endpoint::of("cancel-orders");
    let mut event = event_of(orders, ORG);
    event["headers"]["accept"] = json!("text/xml");
    let (status, body, headers) = fixture.response(orders, event).await;
    assert_eq!((status, &headers["content-type"]), (403, &json!("text/xml; charset=utf-8")));
    assert!(body.starts_with("<string ") && body.contains("The organization is shut out."), "{body}");
    fixture.assert_untouched().await;
    // The same processes serve another organization. Another spelling of an ID is another organization.
    for org in [OTHER_ORG.to_owned(), ORG.replace('a', "A")] {
        for endpoint in Endpoint::all() {
            let (status, body, _) = fixture.response(endpoint, event_of(endpoint, &org)).await;
            assert!(!body.contains("shut out"), "{}: {status} {body}", endpoint.function);
        }
    }
}

/// A caller without the scope, or without a valid token, learns nothing about the list.
#[tokio::test]
async fn the_token_is_checked_before_the_list() {
    let fixture = Fixture::new().await;
    deny(&fixture.env, ORG).await;
    for endpoint in Endpoint::all() {
        let event = good(endpoint).claim("tenant_id", ORG).claim("scope", "another").event();
        let (status, body, _) = fixture.response(endpoint, event).await;
        assert!(status == 403 && body.contains("lacks the scope"), "{}: {status} {body}", endpoint.function);
    }
}

/// Without the list, it is unknown who is shut out. The first request of a process therefore waits for it.
#[tokio::test]
async fn without_the_list_no_request_is_served() {
    let env = TestEnv::new().await;
    let url = proxy::start(|call, moment| {
        let is_list = moment == Moment::Before && String::from_utf8_lossy(call.body).contains(DENY_LIST);
        if is_list { throttled() } else { Step::Pass }
    });
    let url = url.await;
    for endpoint in Endpoint::all() {
        let function = Function::new(endpoint.function, env.environment_behind(&url)).await;
        let response = function.invoke(event_of(endpoint, ORG)).await.payload();
        assert_eq!((&response["statusCode"], &response["headers"]["retry-after"]), (&json!(503), &json!("1")));
    }
    assert_eq!(env.rows().await.len(), 0);
}

fn throttled() -> Step {
    let body = json!({ "__type": "aws#ProvisionedThroughputExceededException", "message": "m" });
    Step::Respond(400, body.to_string())
}

/// Returns the endpoint's function with a limit of each tenant. Its calls go through `proxy`.
async fn limited(env: &TestEnv, endpoint: Endpoint, rate: u32, burst: u32, proxy: Option<&str>) -> Function {
    let mut environment = proxy.map_or_else(|| env.environment(), |proxy| env.environment_behind(proxy));
    environment.push(("TENANT_RATE".to_owned(), rate.to_string()));
    environment.push(("TENANT_BURST".to_owned(), burst.to_string()));
    Function::new(endpoint.function, environment).await
}

/// Takes a minute's tokens of the organization.
async fn empty_bucket(env: &TestEnv, org: &str) {
    let (limit, now) = (TenantLimit::new(1, 1).unwrap(), clock::epoch_microseconds());
    env.store().take_tokens(&org.parse().unwrap(), limit, 60, now, None).await.unwrap();
}

#[tokio::test]
async fn an_organization_beyond_its_limit_waits_and_others_do_not() {
    let env = TestEnv::new().await;
    empty_bucket(&env, ORG).await;
    let before = env.rows().await;
    for endpoint in Endpoint::all() {
        let function = limited(&env, endpoint, 1, 1, None).await;
        // The second time, the process knows the bucket.
        for _ in 0..2 {
            let response = function.invoke(event_of(endpoint, ORG)).await.payload();
            let headers = &response["headers"];
            let wait: u64 = headers["retry-after"].as_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            let (status, body) = (response["statusCode"].as_u64().unwrap(), response["body"].as_str().unwrap());
            assert_format(endpoint, 429, "too-many-requests", (status, body.to_owned(), headers.clone()));
        }
        // The limit is per organization.
        let other = format!("TN-{}", Uuid::new_v4());
        let response = function.invoke(event_of(endpoint, &other)).await.payload();
        assert_ne!(response["statusCode"], 429, "{response}");
    }
    let mine = |rows: BTreeMap<(String, String), Value>| -> Vec<_> {
        rows.into_iter().filter(|((pk, _), _)| pk.starts_with(ORG)).collect()
    };
    assert_eq!(mine(env.rows().await), mine(before), "a refused request changes nothing");
    let orders = Endpoint::of("cancel-orders");
    let mut event = event_of(orders, ORG);
    event["headers"]["accept"] = json!("application/xml");
    let response = limited(&env, orders, 1, 1, None).await.invoke(event).await.payload();
    let body = response["body"].as_str().unwrap();
    assert!(response["statusCode"] == 429 && body.starts_with("<string "), "{response}");
}

/// A request leaves as many tokens as its route's limit is low: after one bulk, there is nothing for a while.
#[tokio::test]
async fn a_costly_request_takes_more_of_the_limit() {
    let env = TestEnv::new().await;
    let create = create_bulk(&["a"]).event();
    let function = limited(&env, Endpoint::of("create-bulk"), 10, 1000, None).await;
    function.invoke(create.clone()).await.response(201);
    function.invoke(create.clone()).await.response(201);
    let response = function.invoke(create).await.payload();
    let wait: u64 = response["headers"]["retry-after"].as_str().unwrap().parse().unwrap();
    // 1,112 tokens were taken, and 113 of them must be back.
    assert!(response["statusCode"] == 429 && (1..=12).contains(&wait), "{response}");
    // The bucket is the organization's, whatever the route.
    let card = Endpoint::of("get-card");
    let response = limited(&env, card, 10, 1000, None).await.invoke(event_of(card, ORG)).await.payload();
    assert_eq!(response["statusCode"], 429, "{response}");
}

/// The limit fails open: the gateway's limits still hold. But only a flood throttles its own bucket.
#[tokio::test]
async fn a_request_passes_if_the_limit_cannot_be_checked() {
    let env = TestEnv::new().await;
    let card = Endpoint::of("get-card");
    let failing = || Step::Respond(500, "{}".to_owned());
    let steps: [fn() -> Step; 3] = [|| Step::Hang, failing, throttled];
    for (what, of_bucket, status) in
        [("silent", steps[0], 404), ("failing", steps[1], 404), ("throttled", steps[2], 429)]
    {
        empty_bucket(&env, ORG).await;
        let url = proxy::start(move |call, moment| {
            let is_bucket = moment == Moment::Before && String::from_utf8_lossy(call.body).contains("#RATE");
            if is_bucket { of_bucket() } else { Step::Pass }
        });
        let function = limited(&env, card, 1, 1, Some(&url.await)).await;
        let response = function.invoke(event_of(card, ORG)).await.payload();
        assert_eq!(response["statusCode"], status, "{what}: {response}");
        let is_logged = function.log().contains("the tenant's limit was not checked");
        assert_eq!(is_logged, status == 404, "{what}");
    }
}
