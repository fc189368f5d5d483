//! `bindery`, the operator's tool, run as an operator's script runs it.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::function;

/// What it prints with these arguments and this on its standard input.
///
/// # Errors
/// What it says, if it fails.
pub async fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = output(arguments, input, &[]).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
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
