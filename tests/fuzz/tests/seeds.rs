//! Runs the fuzz targets on their seeds: the promises for all inputs hold, and each seed has the outcome that it
//! states. What fuzzing finds is fixed with a test next to the code. A seed here covers what such a test cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fuzz::Outcome;
use fuzz::examples::Example;
use fuzz::input::Input;

/// Returns every seed of a target: its name and its bytes.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let seed =
        |file: std::path::PathBuf| (file.file_name().unwrap().to_string_lossy().into_owned(), fs::read(file).unwrap());
    files.map(seed).collect()
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Runs each seed, and compares its outcome with the expected one. A panic that is caught counts as a failure too.
fn hold(target: &str, run: impl Fn(&[u8]) -> Option<Outcome>) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        PANICS.set(PANICS.get() + 1);
    }));
    let mut others = Vec::new();
    for (name, bytes) in seeds(target) {
        println!("{name}");
        let input = Input::read(&bytes);
        let (expected, found) = (input.setting("expect").unwrap(), run(&bytes).unwrap().word);
        if found != expected || PANICS.take() > 0 {
            others.push(format!("{name}: {found}, not {expected}"));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn requests() {
    hold("endpoints", fuzz::endpoints::run);
}

#[test]
fn batches() {
    hold("workers", fuzz::workers::run);
}

#[test]
fn bodies() {
    hold("orders", fuzz::orders::run);
}

/// Returns the functions that have a seed with such an outcome.
fn reached(target: &str, setting: &str, outcome: &str) -> BTreeSet<String> {
    let inputs = seeds(target).into_iter().filter_map(|(_, bytes)| {
        let input = Input::read(&bytes);
        input.setting("expect").unwrap().starts_with(outcome).then(|| input.setting(setting).unwrap().to_owned())
    });
    inputs.collect()
}

#[test]
fn every_function_has_an_input_that_it_accepts() {
    let mut functions = reached("endpoints", "endpoint", "2");
    functions.extend(reached("workers", "worker", "done"));
    functions.extend(accepted(fuzz::examples::requests(), fuzz::endpoints::run, "2"));
    functions.extend(accepted(fuzz::examples::messages(), fuzz::workers::run, "done"));
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions")).unwrap();
    let all = all.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_dir());
    // Tasks read nothing that others send.
    let is_task = |path: &Path| fs::read_to_string(path.join("src/main.rs")).unwrap().contains("shared::task::");
    let all = all.filter(|folder| !is_task(&folder.path()));
    let all: BTreeSet<_> = all.map(|folder| folder.file_name().into_string().unwrap()).collect();
    assert_eq!(functions, all, "with an example in infra/api or a seed that is accepted, and in functions/");
}

/// Returns the functions that accept one of their examples.
fn accepted(examples: Vec<Example>, run: impl Fn(&[u8]) -> Option<Outcome>, outcome: &str) -> BTreeSet<String> {
    let accepts = |example: &Example| run(&example.bytes).is_some_and(|found| found.word.starts_with(outcome));
    examples.into_iter().filter(accepts).map(|example| example.function).collect()
}

#[test]
fn every_example_is_read() {
    for Example { function, bytes } in fuzz::examples::requests() {
        let status = fuzz::endpoints::run(&bytes).unwrap_or_else(|| panic!("{function} is no endpoint")).word;
        // A refusal depends on rows, which the documents do not have.
        assert!(["200", "201", "202", "404", "409"].contains(&status.as_str()), "{function}: {status}");
    }
    for Example { function, bytes } in fuzz::examples::messages() {
        let input = Input::read(&bytes);
        let (kind, message) = (function.trim_end_matches("-worker"), str::from_utf8(input.body).unwrap());
        assert!(fuzz::workers::can_read(kind, message), "{function} cannot read {message}");
        assert!(fuzz::workers::run(&bytes).is_some(), "{function} is no worker");
    }
}
