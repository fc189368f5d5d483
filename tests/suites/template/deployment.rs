//! Tests the documented way to deploy, as far as the local stack supports it. See deployment.py.

use std::path::Path;

use tokio::process::Command;

use crate::output_of;

#[tokio::test]
async fn a_parameter_alone_makes_new_versions_of_all_functions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("tests/suites/template/deployment.py");
    let mut command = Command::new(root.join("target/local/venv/bin/python"));
    output_of(command.arg(script).env("PYTHONPATH", root.join("tests/scripts"))).await;
}
