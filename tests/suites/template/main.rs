//! infra/template.yaml and what stands around it, held to the rules that they state.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alarms;
mod calls;
mod deployment;
mod environment;
mod office;
mod rules;

use tokio::process::Command;

/// A file of infra.
fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(path)).unwrap()
}

/// What the command says, which must end well.
async fn said(command: &mut Command) -> String {
    let done = command.kill_on_drop(true).output().await.unwrap();
    let [said, complaints] = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{said}{complaints}");
    said
}
