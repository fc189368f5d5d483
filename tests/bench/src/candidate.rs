//! The candidates that are compared: our functions, and baselines that do the same in the usual way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::function::{Function, Invocation, Program};

/// The task of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Responds "hello": the runtime alone.
    Hello,
    /// Accepts binds, as bind-card.
    Endpoint,
    /// Applies binds, as bind-card-worker.
    Worker,
}

impl Role {
    /// Returns the name of the candidate that others with this role are compared with.
    pub fn measure(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Endpoint => "endpoint",
            Self::Worker => "worker",
        }
    }
}

/// A program that speaks the Runtime API.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The candidate's name in tables.
    pub name: &'static str,
    /// The candidate's task.
    pub role: Role,
    /// The binary and its arguments.
    pub program: Program,
    /// Additional environment variables.
    variables: &'static [(&'static str, &'static str)],
}

impl Candidate {
    fn new(name: &'static str, role: Role, binary: PathBuf, arguments: Vec<PathBuf>) -> Self {
        let program = Program { name: name.replace([' ', ','], "-"), binary, arguments };
        Self { name, role, program, variables: &[] }
    }

    /// Returns the candidate without connections made before the first event.
    fn without_warm_up(self, name: &'static str) -> Self {
        Self { name, variables: &[("WARM_UP", "off")], ..self }
    }

    /// Creates a process of this candidate, which is not started yet.
    pub async fn function(&self, environment: &[(String, String)]) -> Function {
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Function::of(self.program.clone(), environment.iter().cloned().chain(variables).collect()).await
    }
}

/// Returns the function's response to this event.
pub async fn respond(function: &Function, event: Value) -> Value {
    match function.invoke(event).await {
        Invocation::Responded(response) => response,
        other => panic!("{other:?}: {}", function.log()),
    }
}

/// Returns `bind-card` and `bind-card-worker`, each with and without connections made before the first event.
pub fn ours() -> Vec<Candidate> {
    let built = |name, role, function| Candidate::new(name, role, Program::built(function).binary, Vec::new());
    let (endpoint, worker) =
        (built("endpoint", Role::Endpoint, "bind-card"), built("worker", Role::Worker, "bind-card-worker"));
    vec![
        endpoint.clone(),
        endpoint.without_warm_up("endpoint, no warm-up"),
        worker.clone(),
        worker.without_warm_up("worker, no warm-up"),
    ]
}

/// Returns the runtime alone, and `bind-card` with the SDK's default features.
pub fn rust() -> Vec<Candidate> {
    vec![beside("hello", Role::Hello, "hello"), beside("endpoint, SDK's defaults", Role::Endpoint, "defaults")]
}

/// Returns `bind-card` without connections made before the first event, and variants with one choice changed: in the
/// source (tests/bench/baselines/rust), or in the compiler's options (tests/bench/run).
pub fn choices() -> Vec<Candidate> {
    let built = |name, folder: &str| {
        let binary = target().join(format!("bench-{folder}")).join(profile()).join("bind-card");
        Candidate::new(name, Role::Endpoint, binary, Vec::new())
    };
    let all = [
        beside("hello", Role::Hello, "hello"),
        Candidate::new("endpoint", Role::Endpoint, Program::built("bind-card").binary, Vec::new()),
        built("dependencies compiled for speed", "dependencies-for-speed"),
        built("all compiled for size", "all-for-size"),
        built("thin link-time optimization", "thin-lto"),
        beside("aws-config", Role::Endpoint, "aws-config"),
        beside("TLS by aws-lc", Role::Endpoint, "aws-lc"),
        beside("many threads", Role::Endpoint, "multi-thread"),
        beside("two HTTP clients", Role::Endpoint, "two-clients"),
    ];
    all.map(|candidate| Candidate { variables: &[("WARM_UP", "off")], ..candidate }).into()
}

/// Returns a binary built with the same profile, in a separate target folder.
fn beside(name: &'static str, role: Role, binary: &str) -> Candidate {
    Candidate::new(name, role, target().join("bench-baselines").join(profile()).join(binary), Vec::new())
}

/// Returns the folder above the profile's folder with our binaries.
fn target() -> PathBuf {
    Program::built("bind-card").binary.ancestors().nth(2).unwrap().to_owned()
}

fn profile() -> OsString {
    Program::built("bind-card").binary.ancestors().nth(1).unwrap().file_name().unwrap().to_owned()
}

/// Returns the candidates in Python and Node, if tests/bench/baselines/install has installed them.
pub fn baselines() -> Vec<Candidate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (bench, sources) = (root.join("target/bench"), root.join("tests/bench/baselines/python"));
    let (python, node) = (bench.join("python/bin/python"), PathBuf::from(tests::variable("BINDERY_NODE")));
    let all = [
        ("boto3 endpoint", Role::Endpoint, &python, sources.join("endpoint.py")),
        ("boto3 worker", Role::Worker, &python, sources.join("worker.py")),
        ("node endpoint", Role::Endpoint, &node, bench.join("node/endpoint.mjs")),
        ("node worker", Role::Worker, &node, bench.join("node/worker.mjs")),
    ];
    let there = all.into_iter().filter(|(name, _, binary, script)| {
        let there = binary.exists() && script.exists();
        if !there {
            println!("The {name} is left out: ./tests/bench/baselines/install installs it.\n");
        }
        there
    });
    there.map(|(name, role, binary, script)| Candidate::new(name, role, binary.clone(), vec![script])).collect()
}

/// Returns all candidates.
pub fn all() -> Vec<Candidate> {
    [rust(), ours(), baselines()].concat()
}
