//! What is measured: our functions, and the same things made the ordinary way.

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
        Invocation::Answered(answer) => answer,
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

/// The runtime alone, and `bind-card` made otherwise, one choice at a time; with the SDK's default features, all of them the
/// ordinary way: tests/bench/peers/rust.
pub fn rust() -> Vec<Subject> {
    // Built by the same profile, in a target folder beside ours.
    let ours = Program::built("bind-card").binary;
    let profile = ours.parent().unwrap();
    let folder = profile.parent().unwrap().join("bench-peers").join(profile.file_name().unwrap());
    let subject = |(name, role, binary): (_, _, &str)| Subject::new(name, role, folder.join(binary), Vec::new());
    [
        ("hello", Role::Hello, "hello"),
        ("endpoint, SDK's defaults", Role::Endpoint, "defaults"),
        ("endpoint, aws-config", Role::Endpoint, "aws-config"),
        ("endpoint, TLS by aws-lc", Role::Endpoint, "aws-lc"),
        ("endpoint, many threads", Role::Endpoint, "multi-thread"),
        ("endpoint, two HTTP clients", Role::Endpoint, "two-clients"),
    ]
    .map(subject)
    .into()
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
