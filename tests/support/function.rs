//! A function's binary, run as Lambda runs it: a process that asks a Runtime API for its next event.
//!
//! One event at a time, like Lambda. Unlike Lambda, the process can be killed at any moment.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

pub use crate::invocation::Invocation;
use crate::lineage::{self, Lineage};

/// The functions' timeout in the local environment of infra/samconfig.toml.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(3);

/// The default of the template's parameter `FunctionTimeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest value that the template allows for `FunctionTimeout`.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(29);

/// The maximum number of requests in a row that a stall of the emulator may fail. It is one process, so each response
/// waits for the others.
const MAX_STALLS: u32 = 5;

/// The longest time for a process to poll for its first event.
const START_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct RuntimeApi {
    /// The timeout of each invocation, in seconds.
    timeout_seconds: Arc<AtomicU64>,
    /// The offset of the function's clock, in seconds. Deadlines have the same offset.
    skew_seconds: Arc<AtomicI64>,
    /// The time at which the function first polled for an event.
    first_poll: watch::Sender<Option<Instant>>,
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Handed>>>,
    pending: Arc<Mutex<HashMap<String, oneshot::Sender<Invocation>>>>,
}

/// An event on its way to the process.
struct Handed {
    id: String,
    trace_header: String,
    event: Value,
}

/// A program that serves as a function.
#[derive(Debug, Clone)]
pub struct Program {
    /// The name, for its logs and as `_HANDLER`.
    pub name: String,
    /// The path of the binary.
    pub binary: PathBuf,
    /// The binary's arguments.
    pub arguments: Vec<PathBuf>,
}

impl Program {
    /// Returns a function of this workspace, as it was last built.
    #[must_use]
    pub fn built(name: &str) -> Self {
        // Benchmarks measure the functions' own release binaries. Tests use one binary of all functions, which selects
        // the function by `_HANDLER`.
        let binary = if cfg!(debug_assertions) { runner() } else { target().join("release").join(name) };
        Self { name: name.to_owned(), binary, arguments: Vec::new() }
    }
}

/// Returns cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var("CARGO_TARGET_DIR").map_or(target, PathBuf::from)
}

/// Returns the binary of all functions (`infra/local/runner`).
#[must_use]
pub fn runner() -> PathBuf {
    target().join("debug/local-runner")
}

/// The memory of a process.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// The resident set size, in bytes.
    pub resident: u64,
    /// The largest resident set size so far, in bytes.
    pub peak: u64,
}

/// A function with its own Runtime API, and its process while one runs.
pub struct Function {
    program: Program,
    environment: Vec<(String, String)>,
    address: String,
    send: mpsc::UnboundedSender<Handed>,
    api: RuntimeApi,
    child: Arc<tokio::sync::Mutex<Option<Child>>>,
    log_level: String,
    log: File,
    log_path: PathBuf,
    /// True if its chains of invocations may be longer than [`lineage::MOST`].
    is_recursive: bool,
    /// The trace header that replaces the one of each invocation.
    trace_header: Option<String>,
}

impl Function {
    /// Creates the function of this name, with only these environment variables.
    pub async fn new(name: &str, environment: Vec<(String, String)>) -> Self {
        Self::of(Program::built(name), environment).await
    }

    /// Creates a function that runs this program, with only these environment variables.
    pub async fn of(program: Program, environment: Vec<(String, String)>) -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        let api = RuntimeApi {
            timeout_seconds: Arc::new(AtomicU64::new(FUNCTION_TIMEOUT.as_secs())),
            skew_seconds: Arc::default(),
            first_poll: watch::Sender::default(),
            events: Arc::new(tokio::sync::Mutex::new(receive)),
            pending: Arc::new(Mutex::new(HashMap::new())),
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(responded))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .with_state(api.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (name, binary) = (&program.name, &program.binary);
        assert!(binary.exists(), "{} is missing: run the tests with ./tests/run", binary.display());
        let logs = PathBuf::from(crate::variable("BINDERY_LOCAL_DIR")).join("logs/functions");
        std::fs::create_dir_all(&logs).unwrap();
        let log_path = logs.join(format!("{name}-{}.log", Uuid::new_v4().simple()));
        let log = File::create(&log_path).unwrap();
        let (child, log_level) = (Arc::new(tokio::sync::Mutex::new(None)), "INFO".to_owned());
        let is_recursive = lineage::is_allowed(&program.name);
        Self {
            program,
            environment,
            address,
            send,
            api,
            child,
            log_level,
            log,
            log_path,
            is_recursive,
            trace_header: None,
        }
    }

    /// Returns the function with this log level.
    #[must_use]
    pub fn logging(self, level: &str) -> Self {
        Self { log_level: level.to_owned(), ..self }
    }

    /// Returns the function with the longest timeout that the template allows. For tests of results, not of timeouts.
    #[must_use]
    pub fn patient(self) -> Self {
        self.api.timeout_seconds.store(LONGEST_TIMEOUT.as_secs(), Ordering::Relaxed);
        self
    }

    /// Returns the function with the template's default timeout.
    #[must_use]
    pub fn as_deployed(self) -> Self {
        self.api.timeout_seconds.store(DEFAULT_TIMEOUT.as_secs(), Ordering::Relaxed);
        self
    }

    /// Returns the function without `RecursiveLoop: Allow`.
    #[must_use]
    pub fn terminated(self) -> Self {
        Self { is_recursive: false, ..self }
    }

    /// Returns the function with this trace header for all invocations.
    #[must_use]
    pub fn traced(self, header: &str) -> Self {
        Self { trace_header: Some(header.to_owned()), ..self }
    }

    /// Returns the function with its clock off by this many seconds. Needs libfaketime
    /// (tests/scripts/requirements.txt), whose path `tests/run` sets in `FAKETIME_LIBRARY`.
    #[must_use]
    pub fn skewed(mut self, seconds: i64) -> Self {
        if seconds != 0 {
            self.api.skew_seconds.store(seconds, Ordering::Relaxed);
            let variables = [
                ("LD_PRELOAD", crate::variable("FAKETIME_LIBRARY")),
                ("FAKETIME", format!("{seconds:+}")),
                // Durations of waits stay real.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ];
            self.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        }
        self
    }

    /// Returns the path of its log, which outlives it.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.log_path.clone()
    }

    /// Returns its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_path).unwrap()
    }

    /// Starts the process. Returns the time until it first polled for an event, including process creation.
    pub async fn start(&self) -> Duration {
        // Taken first: the new process may run at once, while this one runs again only later.
        let started = Instant::now();
        self.ensure_running().await;
        let mut first_poll = self.api.first_poll.subscribe();
        let first_poll = tokio::time::timeout(START_TIMEOUT, first_poll.wait_for(Option::is_some)).await;
        let first_poll = first_poll.unwrap_or_else(|_| panic!("{} does not start: {}", self.program.name, self.log()));
        first_poll.unwrap().unwrap().duration_since(started)
    }

    /// Invokes the function with this event, and waits for the result. Starts a process if none is running. Repeats a
    /// 503 that only a stall of the emulator caused, as clients repeat a 503.
    pub async fn invoke(&self, event: Value) -> Invocation {
        for _ in 1..MAX_STALLS {
            let logged = self.log().len();
            let result = self.invoke_once(event.clone()).await;
            let is_503 = matches!(&result, Invocation::Responded(payload) if payload["statusCode"] == 503);
            if !is_503 || self.is_behind_proxy() || !self.log()[logged..].contains("timeout occurred after") {
                return result;
            }
        }
        self.invoke_once(event).await
    }

    /// Returns true if some of its calls to AWS do not go straight to the emulator.
    fn is_behind_proxy(&self) -> bool {
        let emulator = crate::variable("AWS_ENDPOINT_URL");
        self.environment.iter().any(|(name, url)| name.starts_with("AWS_ENDPOINT_URL") && *url != emulator)
    }

    async fn invoke_once(&self, event: Value) -> Invocation {
        let Lineage { header, count } = Lineage::of(&self.program.name, &event);
        if count > lineage::MOST && !self.is_recursive {
            return Invocation::Stopped;
        }
        self.ensure_running().await;
        let id = Uuid::new_v4().to_string();
        let (send, mut wait) = oneshot::channel();
        self.api.pending.lock().unwrap().insert(id.clone(), send);
        let trace_header = self.trace_header.clone().unwrap_or(header);
        self.send.send(Handed { id, trace_header, event }).unwrap();
        loop {
            match tokio::time::timeout(Duration::from_millis(20), &mut wait).await {
                Ok(result) => {
                    let result = result.unwrap();
                    check_headers(&result);
                    return result;
                }
                Err(_) if self.has_exited().await => {
                    // The process may have responded just before it exited.
                    return wait.try_recv().unwrap_or(Invocation::Crashed);
                }
                Err(_) => {}
            }
        }
    }

    /// Returns the process's CPU time so far: user and system time of all its threads, including ended ones.
    pub async fn cpu_time(&self) -> Duration {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(self.id().await).unwrap())).unwrap();
        clock_gettime(clock).unwrap().into()
    }

    /// Returns the process's memory use.
    pub async fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id().await)).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            1024 * line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        Memory { resident: bytes("VmRSS"), peak: bytes("VmHWM") }
    }

    /// Resets the process's peak to its current memory use (Linux, `proc_pid_clear_refs(5)`).
    pub async fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.id().await), "5").unwrap();
    }

    async fn id(&self) -> u32 {
        self.child.lock().await.as_ref().and_then(Child::id).unwrap()
    }

    /// Returns a function that kills the process with SIGKILL, which the process cannot handle.
    pub fn killer(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let child = Arc::clone(&self.child);
        move || {
            if let Ok(mut child) = child.try_lock()
                && let Some(child) = child.as_mut()
            {
                let _ = child.start_kill();
            }
        }
    }

    /// Freezes the process, as Lambda does between two events, calls `meanwhile`, and invokes it with the next event.
    pub async fn invoke_after_freeze(&self, meanwhile: impl FnOnce(), event: Value) -> Invocation {
        let process = Pid::from_raw(i32::try_from(self.id().await).unwrap());
        kill(process, Signal::SIGSTOP).unwrap();
        meanwhile();
        let thaw = async {
            // By then the network has delivered what `meanwhile` caused.
            tokio::time::sleep(Duration::from_millis(200)).await;
            kill(process, Signal::SIGCONT).unwrap();
        };
        tokio::join!(self.invoke(event), thaw).0
    }

    async fn ensure_running(&self) {
        if !self.has_exited().await {
            return;
        }
        let child = Command::new(&self.program.binary)
            .args(&self.program.arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("_HANDLER", &self.program.name)
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_LEVEL", &self.log_level)
            .stdout(self.log.try_clone().unwrap())
            .stderr(self.log.try_clone().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        *self.child.lock().await = Some(child);
    }

    async fn has_exited(&self) -> bool {
        self.child.lock().await.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }
}

/// Panics if an endpoint's response may be cached.
fn check_headers(invocation: &Invocation) {
    if let Invocation::Responded(payload) = invocation
        && payload.get("statusCode").is_some()
    {
        assert_eq!(payload["headers"]["cache-control"], "no-store", "{payload}");
    }
}

async fn next(State(api): State<RuntimeApi>) -> Response {
    api.first_poll.send_if_modified(|first_poll| first_poll.is_none() && first_poll.replace(Instant::now()).is_none());
    // Lambda holds the request until there is an event. Once the test has ended there will be none.
    let handed = api.events.lock().await.recv().await;
    let Some(Handed { id, trace_header, event }) = handed else { return std::future::pending().await };
    let deadline = SystemTime::now() + Duration::from_secs(api.timeout_seconds.load(Ordering::Relaxed));
    let deadline = i64::try_from(deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let deadline = deadline + 1000 * api.skew_seconds.load(Ordering::Relaxed);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-trace-id", trace_header),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:000000000000:function:test".to_owned()),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
    }
    (headers, event.to_string()).into_response()
}

async fn responded(State(api): State<RuntimeApi>, Path(id): Path<String>, body: String) -> StatusCode {
    api.finish(&id, Invocation::Responded(serde_json::from_str(&body).unwrap()))
}

async fn failed(State(api): State<RuntimeApi>, Path(id): Path<String>, body: String) -> StatusCode {
    api.finish(&id, Invocation::Failed(serde_json::from_str(&body).unwrap()))
}

impl RuntimeApi {
    fn finish(&self, id: &str, invocation: Invocation) -> StatusCode {
        if let Some(send) = self.pending.lock().unwrap().remove(id) {
            let _ = send.send(invocation);
        }
        StatusCode::ACCEPTED
    }
}
