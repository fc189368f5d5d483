//! What the endpoint that cancels orders takes for XML, beside libxml2: judge.py says of bodies that documents.py makes up
//! what must become of each. What libxml2 refuses must be refused; what it does not, the contract must refuse by a rule
//! that has a name, or it must be read, as libxml2 reads it.
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

/// So many documents are spoilt at random, besides those that are made by hand. Each comes in two bodies.
const SPOILT: usize = 2000;
const SEED: u64 = 19;
/// Copies of the function that are asked at once: no more, for other tests run beside it.
const COPIES: usize = 2;

/// A body, and what must become of it.
#[derive(Deserialize)]
struct Judged {
    /// Whether the document is the body, or within a good one.
    form: String,
    charset: Option<String>,
    bytes: String,
    /// Each entry's `OrderID` and `InternationalOrderUID`, if the body must be read.
    entries: Option<Value>,
    /// The rule by which it must be refused.
    refused: Option<String>,
    /// What libxml2 says.
    why: Option<String>,
}

impl Judged {
    fn event(&self) -> Value {
        let charset = self.charset.as_ref().map(|charset| format!("; charset={charset}")).unwrap_or_default();
        let request = Request::to("cancel-orders").header("content-type", format!("application/xml{charset}"));
        let mut event = request.header("accept", "application/json").event();
        event["body"] = json!(self.bytes);
        event["isBase64Encoded"] = json!(true);
        event
    }

    /// What is wrong with the answer, if anything is.
    fn wrong(&self, answer: &Value) -> Option<String> {
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        let echoed = |result: &Value| match result["Errors"][0].as_str() {
            Some("Cancellation instruction is missing.") => Value::Null,
            _ => json!([result["OrderID"], result["InternationalOrderUID"]]),
        };
        let (said, is_right) = match answer["statusCode"].as_u64() {
            Some(200) => {
                let read: Value = body.as_array().unwrap().iter().map(echoed).collect();
                (format!("read as {read}"), self.entries.as_ref() == Some(&read))
            }
            Some(400) => (format!("refused: {body}"), self.refused.is_some()),
            status => (format!("{status:?} {body}"), false),
        };
        let must = self.refused.as_ref().map_or_else(
            || format!("must be read as {}", self.entries.as_ref().unwrap()),
            |rule| format!("must be refused, {rule} {:?}", self.why.as_deref().unwrap_or_default()),
        );
        let bytes = BASE64_STANDARD.decode(&self.bytes).unwrap();
        let body = bytes.escape_ascii();
        (!is_right).then(|| format!("{said}\n  {must}\n  {} {:?} {body}", self.form, self.charset))
    }
}

async fn judged() -> Vec<Judged> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut python = Command::new(root.join("target/tests-venv/bin/python"));
    python.arg(root.join("tests/suites/xml/judge.py")).args([SEED.to_string(), SPOILT.to_string()]);
    let done = python.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn what_is_read_and_refused_is_what_libxml2_and_the_contract_say() {
    let all = judged().await;
    assert!(all.len() > 2 * SPOILT);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for judged in &all {
        *kinds.entry(judged.refused.as_deref().unwrap_or("read")).or_default() += 1;
    }
    println!("{kinds:?}");
    let env = TestEnv::new().await;
    let copies: Vec<Function> = stream::iter(0..COPIES)
        .then(|_| async { Function::new("cancel-orders", env.environment()).await.logging("ERROR") })
        .collect()
        .await;
    let shares = copies.iter().enumerate().map(async |(copy, function)| {
        let mut wrong = Vec::new();
        for judged in all.iter().skip(copy).step_by(COPIES) {
            match function.invoke(judged.event()).await {
                Invocation::Responded(answer) => wrong.extend(judged.wrong(&answer)),
                other => panic!("{other:?}"),
            }
        }
        wrong
    });
    let wrong = futures_util::future::join_all(shares).await.concat();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    // Each rule has its bodies, and enough of them are good.
    assert!(kinds.len() == 13 && kinds["read"] > all.len() / 10, "{kinds:?}");
}
