//! Tests of the pre-traffic hook's binary, against a Lambda and a `CodeDeploy` of the tests' own. The emulator has no
//! `CodeDeploy`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::{Value, json};
use tests::function::{Function, Invocation, Program};
use tests::template::Template;
use tests::test_env::TestEnv;
use tests::webhook::Webhook;

const DEPLOYMENT: &str = "d-ABCDEF123";
const EXECUTION: &str = "eyJlbmNyeXB0ZWQ";
const SHA: &str = "0123abcd";
/// The version that gets traffic if the hook succeeds.
const NEW: &str = "8";

/// The fake: deployed versions, and what the hook did.
struct Fake {
    /// The new version of each function, by the function's name. One without a process never responds.
    versions: BTreeMap<String, Option<Function>>,
    /// The deployment's revision.
    content: String,
    /// The status of responses to reports.
    report_status: u16,
    invoked: Mutex<Vec<(String, Value)>>,
    reported: Mutex<Vec<String>>,
}

impl Fake {
    /// Returns the fake in which this function is deployed.
    fn of(name: &str, version: Option<Function>) -> Self {
        let name = format!("bindery-prod-{name}");
        // As in deployments of CloudFormation.
        let content = json!({ "version": 0.0, "Resources": [{ (name.clone()): { "Type": "AWS::Lambda::Function",
            "Properties": { "Name": name, "Alias": "live", "CurrentVersion": "7", "TargetVersion": NEW } } }],
            "Hooks": [{ "BeforeAllowTraffic": "bindery-prod-pre-traffic" }] });
        Self {
            versions: [(name, version)].into(),
            content: content.to_string(),
            report_status: 200,
            invoked: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// Runs the hook as `CodeDeploy` does. Returns its result, the statuses that it reported, and its log.
    async fn run(self) -> (Invocation, Vec<String>, Arc<Self>, String) {
        let fake = Arc::new(self);
        let router = Router::new().fallback(serve).with_state(Arc::clone(&fake));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let environment = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("STACK_NAME", "test"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let hook = Function::new("pre-traffic", environment.into()).await;
        let event = json!({ "DeploymentId": DEPLOYMENT, "LifecycleEventHookExecutionId": EXECUTION });
        let result = hook.invoke(event).await;
        let reported = std::mem::take(&mut *fake.reported.lock().unwrap());
        (result, reported, fake, hook.log())
    }
}

async fn serve(State(fake): State<Arc<Fake>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap());
    let respond = |status: u16, body: Value| Response::builder().status(status).body(Body::from(body.to_string()));
    match target.and_then(|target| target.strip_prefix("CodeDeploy_20141006.")) {
        None => fake.invoke(&uri, body).await,
        Some("GetDeployment") => {
            assert_eq!(body, json!({ "deploymentId": DEPLOYMENT }));
            let revision = json!({ "revisionType": "String", "string": { "sha256": SHA } });
            respond(200, json!({ "deploymentInfo": { "applicationName": "app", "revision": revision } })).unwrap()
        }
        Some("GetApplicationRevision") => {
            assert_eq!((&body["applicationName"], &body["revision"]["string"]["sha256"]), (&json!("app"), &json!(SHA)));
            let revision = json!({ "revisionType": "String", "string": { "sha256": SHA, "content": fake.content } });
            respond(200, json!({ "applicationName": "app", "revision": revision })).unwrap()
        }
        Some("PutLifecycleEventHookExecutionStatus") => {
            assert_eq!(body["deploymentId"], DEPLOYMENT);
            assert_eq!(body["lifecycleEventHookExecutionId"], EXECUTION);
            fake.reported.lock().unwrap().push(body["status"].as_str().unwrap().to_owned());
            let error = json!({ "__type": "DeploymentDoesNotExistException", "message": "no" });
            respond(fake.report_status, error).unwrap()
        }
        Some(other) => panic!("{other}"),
    }
}

impl Fake {
    /// Responds as Lambda does to an invocation of a version.
    async fn invoke(&self, uri: &Uri, event: Value) -> Response<Body> {
        assert_eq!(uri.query(), Some(format!("Qualifier={NEW}").as_str()), "only the new version may be invoked");
        let name = uri.path().split('/').nth(3).unwrap();
        self.invoked.lock().unwrap().push((name.to_owned(), event.clone()));
        let Some(version) = &self.versions[name] else { return std::future::pending().await };
        let (error, payload) = match version.invoke(event).await {
            Invocation::Responded(payload) => (None, payload),
            Invocation::Failed(error) => (Some("Unhandled"), error),
            Invocation::Crashed => (Some("Unhandled"), json!({ "errorType": "Runtime.ExitError" })),
            Invocation::Stopped => unreachable!("the chain has one invocation"),
        };
        let response = Response::builder().status(200);
        let response = error.into_iter().fold(response, |all, error| all.header("x-amz-function-error", error));
        response.body(Body::from(payload.to_string())).unwrap()
    }
}

/// Also finds a function that gives another response to the hook's event than the hook expects.
#[tokio::test]
async fn the_version_of_every_function_gets_traffic_after_one_harmless_invocation() {
    let (env, webhook) = (TestEnv::new().await, Webhook::new().await);
    let shifted = |function: &tests::template::FunctionResource| {
        function.properties["DeploymentPreference"].get("Enabled") != Some(&json!(false))
    };
    let functions: Vec<_> = Template::read().functions().into_iter().filter(shifted).collect();
    assert!(functions.len() >= 15);
    for function in functions {
        let environment = env.environment().into_iter().chain(webhook.variables()).collect();
        let version = Function::new(&function.name, environment).await.patient();
        version.start().await;
        let (result, reported, fake, log) = Fake::of(&function.name, Some(version)).run().await;
        assert_eq!((result.payload(), reported), (Value::Null, vec!["Succeeded".to_owned()]), "{log}");
        let invoked = fake.invoked.lock().unwrap();
        assert_eq!(invoked.len(), 1, "{}: {invoked:?}", function.name);
    }
    assert!(env.rows().await.is_empty() && env.take_messages().await.is_empty() && env.events().await.is_empty());
    assert!(webhook.requests().is_empty());
}

/// Returns the reason in the hook's log, after a run that must report a failure.
async fn refused(fake: Fake) -> String {
    let (result, reported, _, log) = fake.run().await;
    assert_eq!((result.payload(), reported), (Value::Null, vec!["Failed".to_owned()]), "{log}");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["outcome"] == "FAILED").unwrap();
    line["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_version_that_crashes_gets_no_traffic() {
    for name in ["get-card", "bind-card-worker"] {
        // Without its variables, the process ends while it starts.
        let version = Function::new(name, Vec::new()).await;
        let reason = refused(Fake::of(name, Some(version))).await;
        assert_eq!(reason, format!("bindery-prod-{name}:{NEW} failed: Unhandled"));
    }
}

#[tokio::test]
async fn a_version_with_another_programs_response_gets_no_traffic() {
    let env = TestEnv::new().await;
    let version = Function::of(Program::built("get-card"), env.environment()).await;
    let reason = refused(Fake::of("bind-card-worker", Some(version))).await;
    assert!(reason.contains("gave another response than no failures of a batch"), "{reason}");
    let version = Function::of(Program::built("bind-card-worker"), env.environment()).await;
    let reason = refused(Fake::of("get-card", Some(version))).await;
    assert!(reason.starts_with("bindery-prod-get-card:8 "), "{reason}");
}

#[tokio::test]
async fn a_version_that_does_not_respond_gets_no_traffic() {
    assert_eq!(refused(Fake::of("get-card", None)).await, "no time was left");
}

#[tokio::test]
async fn an_unknown_version_gets_no_traffic() {
    for content in ["", "version: 0.0", r#"{"Resources":[]}"#] {
        let fake = Fake { content: content.to_owned(), ..Fake::of("get-card", None) };
        assert_eq!(refused(fake).await, "the deployment's revision names no version of a function");
    }
}

/// `CodeDeploy` then fails the deployment after an hour. Lambda counts the error.
#[tokio::test]
async fn a_report_that_fails_is_an_error() {
    let fake = Fake { report_status: 400, content: String::new(), ..Fake::of("get-card", None) };
    let (result, _, _, log) = fake.run().await;
    assert!(matches!(result, Invocation::Failed(_)), "{log}");
}
