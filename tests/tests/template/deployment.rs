//! The documented way to deploy, gone through as far as the local stack goes: see deployment.py.

use std::path::Path;

use tokio::process::Command;

#[tokio::test]
async fn a_parameter_alone_makes_new_versions_of_all_functions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let done = Command::new(root.join("target/local/venv/bin/python"))
        .arg(root.join("tests/tests/template/deployment.py"))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "{said}");
}
