//! `bindery`, the operator's tool, run as an operator's script runs it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What it prints with these arguments and this on its standard input.
///
/// # Errors
/// What it says, if it fails.
pub async fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let target = std::env::var("CARGO_TARGET_DIR");
    let target = target.map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let mut child = Command::new(target.join("debug/bindery"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}
