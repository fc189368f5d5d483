//! The documented way to deploy, gone through as far as the local stack goes: see deployment.py.

use std::path::Path;

use tokio::process::Command;

use crate::said;

#[tokio::test]
async fn a_parameter_alone_makes_new_versions_of_all_functions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("tests/suites/template/deployment.py");
    let mut command = Command::new(root.join("target/local/venv/bin/python"));
    said(command.arg(script).env("PYTHONPATH", root.join("tests/scripts"))).await;
}
