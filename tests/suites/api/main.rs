//! The documents of infra/api, held to the code, the template and the contract.
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
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The names of the JSON Schemas in this folder of infra.
fn forms(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(folder);
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".schema.json").map(ToOwned::to_owned)).collect()
}
