//! Tests of the dependencies between modules: rules use no events and nothing outside `domain`, and the modules of a
//! folder have no cyclic dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

/// The modules of a folder, each with the modules of the same folder that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)
}

/// Returns the code of a module, or of all modules in a folder, without tests.
fn code_of(path: &Path) -> String {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.filter(|path| path.file_stem().unwrap() != "tests").map(|path| code_of(&path)).collect();
    }
    let code = fs::read_to_string(path).unwrap();
    code.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// Returns the first name of each path with this prefix: `a` for `a::b`, and both for `{a, b::c}`.
fn names_behind(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |one: char| one.is_ascii_alphanumeric() || one == '_';
    let first = |path: &str| path.trim().split(|one| !is_name(one)).next().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let path = code[at + prefix.len()..].split(';').next().unwrap_or_default();
        let mut depth = 0;
        let is_comma = |one: char| {
            depth += i32::from(one == '{') - i32::from(one == '}');
            one == ',' && depth == 0
        };
        match path.strip_prefix('{') {
            Some(list) => names.extend(list.split(is_comma).map(first)),
            None => _ = names.insert(first(path)),
        }
    }
    names
}

/// Returns the names that a folder's `mod.rs` re-exports, each with its module.
fn reexports(code: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for statement in code.split("pub use ").skip(1) {
        let (module, names) = statement.split(';').next().unwrap().split_once("::").unwrap_or_default();
        let names = names.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        found.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    found
}

/// Returns the modules of a folder, each with the others that it uses, directly or through the re-exports of
/// `mod.rs`. Definitions in `mod.rs` itself belong to no module.
fn uses_in(name: &str) -> Uses {
    let mut uses = Uses::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        let code = code_of(&path);
        assert!(!code.contains("super::super::"), "{}: write `crate::{name}::`", path.display());
        let mut others = names_behind(&code, &format!("crate::{name}::"));
        if path.is_file() {
            // In a folder, `super` is the module that the folder belongs to.
            others.extend(names_behind(&code, "super::"));
        }
        uses.entry(path.file_stem().unwrap().to_str().unwrap().to_owned()).or_default().extend(others);
    }
    uses.remove("mod");
    let reexports = reexports(&code_of(&folder(name).join("mod.rs")));
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    for (module, used) in &mut uses {
        *used = used.iter().map(|name| reexports.get(name).unwrap_or(name).clone()).collect();
        used.retain(|name| name != module && modules.contains(name));
    }
    uses
}

/// Returns modules that use each other in a circle, if there are any.
fn circle(mut uses: Uses) -> Vec<String> {
    while let Some(name) = uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        uses.remove(&name);
        for used in uses.values_mut() {
            used.remove(&name);
        }
    }
    // Each remaining module uses a remaining one, so the path closes.
    let mut path: Vec<String> = uses.keys().take(1).cloned().collect();
    while let Some(next) = path.last().and_then(|last| uses[last].first()) {
        if let Some(at) = path.iter().position(|name| name == next) {
            return path.split_off(at);
        }
        path.push(next.clone());
    }
    path
}

#[rstest]
#[case("domain", 15)]
#[case("http", 12)]
fn modules_of_a_folder_have_no_cyclic_dependencies(#[case] folder: &str, #[case] uses_at_least: usize) {
    let uses = uses_in(folder);
    let found: usize = uses.values().map(BTreeSet::len).sum();
    assert!(found >= uses_at_least, "only {found} uses were found: {uses:?}");
    assert_eq!(circle(uses), [""; 0]);
}

#[test]
fn rules_use_no_events_and_nothing_outside() {
    for (module, used) in uses_in("domain") {
        assert!(!used.contains("event"), "`{module}` uses `event`");
    }
    let outside = names_behind(&code_of(&folder("domain")), "crate::");
    assert_eq!(outside.into_iter().collect::<Vec<_>>(), ["domain"]);
}

#[test]
fn a_circle_is_found_in_any_notation() {
    let code = "use super::b::{B, c};\nuse crate::x::{d::{D, e}, f};\nfn g() { super::h::i() }";
    assert_eq!(names_behind(code, "super::").into_iter().collect::<Vec<_>>(), ["b", "h"]);
    assert_eq!(names_behind(code, "crate::x::").into_iter().collect::<Vec<_>>(), ["d", "f"]);
    let uses = |uses: &[(&str, &str)]| {
        let mut found = Uses::new();
        for (module, used) in uses {
            found.entry((*used).to_owned()).or_default();
            found.entry((*module).to_owned()).or_default().insert((*used).to_owned());
        }
        found
    };
    assert_eq!(circle(uses(&[("a", "b"), ("b", "c"), ("a", "c"), ("d", "a")])), [""; 0]);
    assert_eq!(circle(uses(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")])), ["b", "c"]);
}
