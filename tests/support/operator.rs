//! `bindery`, the operator's tool, run as an operator's script runs it.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::function;
use crate::proxy::{self, Step};
use crate::test_env::TestEnv;

/// What it prints with these arguments and this on its standard input.
///
/// # Errors
/// What it says, if it fails.
pub async fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = output(arguments, input, &[]).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The address of an AWS whose `CloudFormation` says of every stack that it has this table and these queues, whoever's.
pub async fn deployed(env: &TestEnv) -> String {
    let output = |(name, value): (&str, &str)| {
        format!("<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>")
    };
    let outputs = [
        ("TableName", env.table.as_str()),
        ("BindCardQueueUrl", &env.queue_url),
        ("BindCardDlqUrl", &env.dlq_url),
        ("CancelBulkQueueUrl", &env.queue_url),
        ("CancelBulkDlqUrl", &env.dlq_url),
    ];
    let described = format!(
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>env</StackName>\
        <CreationTime>2026-11-22T03:04:05Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
        <Outputs>{}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
        outputs.map(output).concat()
    );
    proxy::start(move |call, _| {
        let is_asked = String::from_utf8_lossy(call.body).contains("Action=DescribeStacks");
        if is_asked { Step::Respond(200, described.clone()) } else { Step::Pass }
    })
    .await
}

/// All that comes of it, with these variables besides.
pub async fn output(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(function::target().join("debug/bindery"))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}
