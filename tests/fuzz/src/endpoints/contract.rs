//! The endpoints, and what each may answer, as the README's table has it.

use std::collections::{BTreeMap, BTreeSet};

const README: &str = include_str!("../../../../README.md");

/// A line of the table.
#[derive(Debug)]
pub(super) struct Route {
    /// The function.
    pub(super) name: String,
    /// The method.
    pub(super) method: String,
    /// The path, with its parameter in braces.
    pub(super) path: String,
    /// The statuses that it may answer.
    pub(super) statuses: BTreeSet<u16>,
}

impl Route {
    /// The name of the path's parameter, if it has one.
    pub(super) fn parameter(&self) -> Option<&str> {
        let (_, rest) = self.path.split_once('{')?;
        rest.split_once('}').map(|(name, _)| name)
    }
}

/// All lines, by their function.
pub(super) fn routes() -> BTreeMap<String, Route> {
    let routes: BTreeMap<_, _> = README.lines().filter_map(route).map(|route| (route.name.clone(), route)).collect();
    assert!(!routes.is_empty(), "the README has no table of endpoints");
    routes
}

fn route(line: &str) -> Option<Route> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let (method, path) = cells.next()?.split_once(' ')?;
    let name = cells.next()?.strip_prefix('[')?.split_once("](functions/")?.0;
    let statuses = cells.last()?.trim_end_matches(" |").split(", ").map(|status| status.parse().unwrap()).collect();
    let path = path.split(['?', '`']).next()?;
    Some(Route { name: name.to_owned(), method: method.to_owned(), path: path.to_owned(), statuses })
}
