//! Writes the lines of the registry, one for each crate in `functions`. The names derive from the folder's: the crate
//! `get-card` has the endpoint `get_card::GetCard`, and `bind-card-worker` has the worker
//! `bind_card_worker::BindCardWorker`.

use std::path::Path;
use std::{env, fs, io};

/// The functions that are neither endpoints nor workers.
const TASKS: [&str; 2] = ["canary", "pre-traffic"];

fn main() -> io::Result<()> {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../functions");
    println!("cargo:rerun-if-changed={}", functions.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(functions)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let visits: String = names.iter().map(|name| visit(name)).collect();
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("visits.rs"), format!("{{\n{visits}}}\n"))
}

/// Returns the line that visits the function of this name.
fn visit(name: &str) -> String {
    let method = match name {
        _ if name.ends_with("-worker") => "worker",
        _ if TASKS.contains(&name) => "task",
        _ => "endpoint",
    };
    let initial = |word: &str| word[..1].to_uppercase() + &word[1..];
    let type_name: String = name.split('-').map(initial).collect();
    format!("visitor.{method}::<{}::{type_name}>();\n", name.replace('-', "_"))
}
