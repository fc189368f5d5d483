//! What is measured: our functions, and the same things made the ordinary way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::function::{Function, Invocation, Program};

/// What a subject does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers "hello": the runtime alone.
    Hello,
    /// Takes binds.
    Endpoint,
    /// Applies binds.
    Worker,
}

impl Role {
    /// What subjects of this role are compared with.
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
pub struct Subject {
    /// In tables.
    pub name: &'static str,
    /// What it does.
    pub role: Role,
    /// Its binary, and what that runs.
    pub program: Program,
    /// What it finds in its environment besides.
    variables: &'static [(&'static str, &'static str)],
}

impl Subject {
    fn new(name: &'static str, role: Role, binary: PathBuf, arguments: Vec<PathBuf>) -> Self {
        let program = Program { name: name.replace([' ', ','], "-"), binary, arguments };
        Self { name, role, program, variables: &[] }
    }

    /// The same, without connections made before the first event.
    fn without_warm_up(self, name: &'static str) -> Self {
        Self { name, variables: &[("WARM_UP", "off")], ..self }
    }

    /// A process of it, not started yet.
    pub async fn function(&self, environment: &[(String, String)]) -> Function {
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Function::of(self.program.clone(), environment.iter().cloned().chain(variables).collect()).await
    }
}

/// What it answers to this event.
pub async fn answer(function: &Function, event: Value) -> Value {
    match function.invoke(event).await {
        Invocation::Responded(answer) => answer,
        other => panic!("{other:?}: {}", function.log()),
    }
}

/// `bind-card` and `bind-card-worker`, with connections made before the first event, and without.
pub fn ours() -> Vec<Subject> {
    let built = |name, role, function| Subject::new(name, role, Program::built(function).binary, Vec::new());
    let (endpoint, worker) =
        (built("endpoint", Role::Endpoint, "bind-card"), built("worker", Role::Worker, "bind-card-worker"));
    vec![
        endpoint.clone(),
        endpoint.without_warm_up("endpoint, no warm-up"),
        worker.clone(),
        worker.without_warm_up("worker, no warm-up"),
    ]
}

/// The runtime alone, and `bind-card` on the SDK's default features.
pub fn rust() -> Vec<Subject> {
    vec![beside("hello", Role::Hello, "hello"), beside("endpoint, SDK's defaults", Role::Endpoint, "defaults")]
}

/// `bind-card` as it is, without connections made before the first event, and with one choice made otherwise: in its source
/// (tests/bench/peers/rust), or of the compiler (tests/bench/run).
pub fn choices() -> Vec<Subject> {
    let built = |name, folder: &str| {
        let binary = target().join(format!("bench-{folder}")).join(profile()).join("bind-card");
        Subject::new(name, Role::Endpoint, binary, Vec::new())
    };
    let all = [
        beside("hello", Role::Hello, "hello"),
        Subject::new("endpoint", Role::Endpoint, Program::built("bind-card").binary, Vec::new()),
        built("dependencies compiled for speed", "dependencies-for-speed"),
        built("all compiled for size", "all-for-size"),
        built("thin link-time optimisation", "thin-lto"),
        beside("aws-config", Role::Endpoint, "aws-config"),
        beside("TLS by aws-lc", Role::Endpoint, "aws-lc"),
        beside("many threads", Role::Endpoint, "multi-thread"),
        beside("two HTTP clients", Role::Endpoint, "two-clients"),
    ];
    all.map(|subject| Subject { variables: &[("WARM_UP", "off")], ..subject }).into()
}

/// Built by the same profile, in a target folder beside ours.
fn beside(name: &'static str, role: Role, binary: &str) -> Subject {
    Subject::new(name, role, target().join("bench-peers").join(profile()).join(binary), Vec::new())
}

/// Where ours are: `target/release`, or `target/debug`.
fn target() -> PathBuf {
    Program::built("bind-card").binary.ancestors().nth(2).unwrap().to_owned()
}

fn profile() -> OsString {
    Program::built("bind-card").binary.ancestors().nth(1).unwrap().file_name().unwrap().to_owned()
}

/// Those in Python and in Node, if tests/bench/peers/install has made them.
pub fn peers() -> Vec<Subject> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (bench, sources) = (root.join("target/bench"), root.join("tests/bench/peers/python"));
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
            println!("The {name} is left out: ./tests/bench/peers/install makes it.\n");
        }
        there
    });
    there.map(|(name, role, binary, script)| Subject::new(name, role, binary.clone(), vec![script])).collect()
}

/// All of them.
pub fn all() -> Vec<Subject> {
    [rust(), ours(), peers()].concat()
}
