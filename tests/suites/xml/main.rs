//! Compares how cancel-orders reads XML with how libxml2 does.
//!
//! documents.py generates bodies, and oracle.py determines the expected result of each. The endpoint must refuse what
//! libxml2 refuses. It must refuse other bodies only by a named rule of the contract, and must read all others as
//! libxml2 does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::function::{Function, Invocation};
use tests::requests::Request;
use tests::test_env::TestEnv;
use tokio::process::Command;

/// Number of randomly corrupted documents, in addition to those made by hand. Each is sent in two bodies.
const CORRUPTED: usize = 2000;
const SEED: u64 = 19;
/// Copies of the function that are invoked at once. There are only two, because other tests run at the same time.
const COPIES: usize = 2;

/// A body and its expected result.
#[derive(Deserialize)]
struct Case {
    /// `whole` if the document is the body, `within` if it is inside a valid one.
    form: String,
    charset: Option<String>,
    bytes: String,
    /// The `OrderID` and `InternationalOrderUID` of each entry, if the body is valid.
    entries: Option<Value>,
    /// The rule by which the body must be refused.
    refused: Option<String>,
    /// The error of libxml2.
    why: Option<String>,
}

impl Case {
    fn event(&self) -> Value {
        let charset = self.charset.as_ref().map(|charset| format!("; charset={charset}")).unwrap_or_default();
        let request = Request::to("cancel-orders").header("content-type", format!("application/xml{charset}"));
        let mut event = request.header("accept", "application/json").event();
        event["body"] = json!(self.bytes);
        event["isBase64Encoded"] = json!(true);
        event
    }

    /// Returns a description of the error, if the response is not the expected one.
    fn wrong(&self, response: &Value) -> Option<String> {
        let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        let echoed = |result: &Value| match result["Errors"][0].as_str() {
            Some("Cancellation instruction is missing.") => Value::Null,
            _ => json!([result["OrderID"], result["InternationalOrderUID"]]),
        };
        let (actual, is_right) = match response["statusCode"].as_u64() {
            Some(200) => {
                let read: Value = body.as_array().unwrap().iter().map(echoed).collect();
                (format!("read as {read}"), self.entries.as_ref() == Some(&read))
            }
            Some(400) => (format!("refused: {body}"), self.refused.is_some()),
            status => (format!("{status:?} {body}"), false),
        };
        let expected = self.refused.as_ref().map_or_else(
            || format!("must be read as {}", self.entries.as_ref().unwrap()),
            |rule| format!("must be refused, {rule} {:?}", self.why.as_deref().unwrap_or_default()),
        );
        let bytes = BASE64_STANDARD.decode(&self.bytes).unwrap();
        let body = bytes.escape_ascii();
        (!is_right).then(|| format!("{actual}\n  {expected}\n  {} {:?} {body}", self.form, self.charset))
    }
}

/// Runs oracle.py, and returns its cases.
async fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut python = Command::new(root.join("target/tests-venv/bin/python"));
    python.arg(root.join("tests/suites/xml/oracle.py")).args([SEED.to_string(), CORRUPTED.to_string()]);
    let done = python.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn xml_is_read_as_libxml2_and_the_contract_require() {
    let all = cases().await;
    assert!(all.len() > 2 * CORRUPTED);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &all {
        *kinds.entry(case.refused.as_deref().unwrap_or("read")).or_default() += 1;
    }
    println!("{kinds:?}");
    let env = TestEnv::new().await;
    let copies: Vec<Function> = stream::iter(0..COPIES)
        .then(|_| async { Function::new("cancel-orders", env.environment()).await.logging("ERROR") })
        .collect()
        .await;
    let shares = copies.iter().enumerate().map(async |(copy, function)| {
        let mut wrong = Vec::new();
        for case in all.iter().skip(copy).step_by(COPIES) {
            match function.invoke(case.event()).await {
                Invocation::Responded(response) => wrong.extend(case.wrong(&response)),
                other => panic!("{other:?}"),
            }
        }
        wrong
    });
    let wrong = futures_util::future::join_all(shares).await.concat();
    assert!(wrong.is_empty(), "{} of {} bodies are read wrongly:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    // Each of the twelve rules must apply to some bodies, and a tenth of the bodies must be valid.
    assert!(kinds.len() == 13 && kinds["read"] > all.len() / 10, "{kinds:?}");
}
