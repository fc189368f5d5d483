//! infra/template.yaml and what stands around it, held to the rules that they state.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alarms;
mod calls;
mod deployment;
mod environment;
mod rules;

/// A file of infra.
fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(path)).unwrap()
}
