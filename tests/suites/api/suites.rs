//! Checks that every test is run. Cargo ignores a file that no `[[test]]` and no `mod` names, without a warning.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Value;

#[test]
fn every_file_of_every_suite_is_run() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: Value = toml::from_str(&read(&tests.join("Cargo.toml"))).unwrap();
    let mut run = BTreeSet::new();
    for suite in manifest["test"].as_array().unwrap() {
        add_modules(tests.join(suite["path"].as_str().unwrap()), &mut run);
    }
    let mut found = BTreeSet::new();
    add_files(&tests.join("suites"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    assert_eq!(run, found, "add a [[test]] in tests/Cargo.toml for a new suite, and a `mod` for each of its files");
}

/// Adds this file and the modules that it names.
fn add_modules(file: PathBuf, run: &mut BTreeSet<PathBuf>) {
    let is_root = ["main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    let folder = if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    for line in read(&file).lines() {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            let alone = folder.join(format!("{name}.rs"));
            add_modules(if alone.exists() { alone } else { folder.join(name).join("mod.rs") }, run);
        }
    }
    run.insert(file);
}

/// Adds the folder's Rust files, including those of its subfolders.
fn add_files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
