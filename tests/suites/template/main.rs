//! Checks infra/template.yaml and the files next to it against the project's rules.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alarms;
mod audit_env;
mod call_times;
mod calls;
mod deployed;
mod deployment;
mod environment;
mod front_door;
mod names;
mod operators;
mod options;
mod queues;
mod rules;
mod tenants;
mod traffic;

use tokio::process::Command;

/// Returns the text of a file in infra.
fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(path)).unwrap()
}

/// Runs a command, which must succeed, and returns its standard output.
async fn output_of(command: &mut Command) -> String {
    let done = command.kill_on_drop(true).output().await.unwrap();
    let [output, errors] = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{output}{errors}");
    output
}
