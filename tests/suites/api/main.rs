//! Checks the documents in infra/api against the code, the template and the contract.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asynchronous;
mod limits;
mod registry;
mod routes;
mod seeds;
mod suites;
mod vocabulary;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tests::contract::{DOCUMENT, resolved};

/// Returns the node at this JSON pointer of the `OpenAPI` document, with references resolved.
fn at(pointer: &str) -> &'static Value {
    resolved(
        &DOCUMENT,
        DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("infra/api/openapi.yaml has nothing at {pointer}")),
    )
}

/// Returns a schema of the `OpenAPI` document.
fn schema(name: &str) -> &'static Value {
    at(&format!("/components/schemas/{name}"))
}

/// Returns the text of a file of this repository.
fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Returns the names of the JSON Schemas in this folder of infra.
fn schema_names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(folder);
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".schema.json").map(ToOwned::to_owned)).collect()
}
