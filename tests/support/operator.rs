//! Runs `bindery`, the operator's tool, as a script does.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::function;
use crate::proxy::{self, Step};
use crate::test_env::TestEnv;

/// Runs `bindery` with these arguments and this standard input, and returns its standard output.
///
/// # Errors
/// Its standard error, if it exits with an error.
pub async fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = output(arguments, input, &[]).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Starts a proxy whose `CloudFormation` describes every stack with this environment's table and queues. Returns the
/// proxy's URL.
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
        // Parked messages are the dead letters themselves, because nothing is moved.
        ("ParkedQueueUrl", &env.dlq_url),
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

/// Runs `bindery` with these additional environment variables, and returns its exit status and output.
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
    // The process may have exited without reading its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}
