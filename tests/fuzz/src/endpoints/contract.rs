//! The endpoints and the statuses that each may return, from infra/api/openapi.yaml.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

/// The document, which is part of the binary: a fuzzer reads no files but its inputs.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../../../../infra/api/openapi.yaml")).expect("a document in YAML")
});

/// All scopes, separated by spaces.
pub(super) static SCOPES: LazyLock<String> = LazyLock::new(|| {
    let ways = operations().flat_map(|(_, _, operation)| operation["security"].as_array().into_iter().flatten());
    let scopes: BTreeSet<_> = ways.filter_map(|way| way["BearerAuth"][0].as_str()).collect();
    assert!(!scopes.is_empty(), "no operation asks for a scope");
    scopes.into_iter().collect::<Vec<_>>().join(" ")
});

/// An operation of the document.
#[derive(Debug)]
pub(super) struct Route {
    /// The function's name.
    pub(super) name: String,
    /// The HTTP method.
    pub(super) method: String,
    /// The path, with its parameter in braces.
    pub(super) path: String,
    /// The statuses that the function may return.
    pub(super) statuses: BTreeSet<u16>,
}

impl Route {
    /// Returns the name of the path's parameter, if it has one.
    pub(super) fn parameter(&self) -> Option<&str> {
        let (_, rest) = self.path.split_once('{')?;
        rest.split_once('}').map(|(name, _)| name)
    }
}

/// Returns all operations by their function's name.
pub(super) fn routes() -> BTreeMap<String, Route> {
    let route = |(path, method, operation): (&str, &str, &Value)| {
        // The contract has another ID for one of them.
        let name = operation["x-function"].as_str().or(operation["operationId"].as_str()).expect("a function");
        let statuses = operation["responses"].as_object().expect("responses").keys();
        let statuses = statuses.map(|status| status.parse().expect("a status"));
        // The gateway returns 429, and the function only with a limit of each tenant, which is off here.
        let statuses = statuses.filter(|status| *status != 429).collect();
        Route { name: name.to_owned(), method: method.to_uppercase(), path: path.to_owned(), statuses }
    };
    operations().map(route).map(|route| (route.name.clone(), route)).collect()
}

/// Returns path, method and definition of each operation.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().into_iter().flatten().filter(|(_, of)| of["operationId"].is_string());
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}
