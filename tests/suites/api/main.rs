//! The documents of infra/api, held to the code, the template and the contract.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asynchronous;
mod limits;
mod registry;
mod routes;
mod seeds;
mod suites;
mod vocabulary;

use serde_json::Value;
use tests::contract::{DOCUMENT, resolved};

/// What stands at this place of the `OpenAPI` document, through references.
fn at(pointer: &str) -> &'static Value {
    resolved(&DOCUMENT, DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {pointer}")))
}

/// A schema of the `OpenAPI` document.
fn schema(name: &str) -> &'static Value {
    at(&format!("/components/schemas/{name}"))
}

/// A file of this repository.
fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
