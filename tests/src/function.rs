//! A function's binary, run as Lambda runs it: a process that asks a Runtime API for its next event.
//!
//! One event at a time, like Lambda. Unlike Lambda, the process can be killed at any moment.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// As in the local environment of infra/samconfig.toml.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(3);

/// What an invocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// The function answered.
    Answered(Value),
    /// The function reported an error.
    Failed(Value),
    /// The process died first.
    Died,
}

#[derive(Clone)]
struct RuntimeApi {
    /// By how much the function's clock is wrong, and so Lambda's, which its deadlines are told by.
    skew_seconds: Arc<AtomicI64>,
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Value)>>>,
    answers: Arc<Mutex<HashMap<String, oneshot::Sender<Invocation>>>>,
}

/// A function: its Runtime API, and the process if it runs.
pub struct Function {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    address: String,
    send: mpsc::UnboundedSender<(String, Value)>,
    api: RuntimeApi,
    child: Arc<tokio::sync::Mutex<Option<Child>>>,
    log_level: String,
    log: File,
    log_path: PathBuf,
}

impl Function {
    /// The function of this name, in this environment alone.
    pub async fn new(name: &str, environment: Vec<(String, String)>) -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        let api = RuntimeApi {
            skew_seconds: Arc::default(),
            events: Arc::new(tokio::sync::Mutex::new(receive)),
            answers: Arc::new(Mutex::new(HashMap::new())),
        };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .with_state(api.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
        let target = std::env::var("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
        // Benchmarks are built for speed, and so are the functions that they run.
        let binary = target.join(if cfg!(debug_assertions) { "debug" } else { "release" }).join(name);
        assert!(binary.exists(), "{} is missing: run the tests with ./tests/run", binary.display());
        let logs = PathBuf::from(crate::variable("BINDERY_LOCAL_DIR")).join("logs/functions");
        std::fs::create_dir_all(&logs).unwrap();
        let log_path = logs.join(format!("{name}-{}.log", Uuid::new_v4().simple()));
        let log = File::create(&log_path).unwrap();
        let (child, log_level) = (Arc::new(tokio::sync::Mutex::new(None)), "INFO".to_owned());
        Self { binary, environment, address, send, api, child, log_level, log, log_path }
    }

    /// The same function, which logs from this level on.
    #[must_use]
    pub fn logging(self, level: &str) -> Self {
        Self { log_level: level.to_owned(), ..self }
    }

    /// The same function, whose clock is wrong by so many seconds. That needs libfaketime (tests/requirements.txt),
    /// which `tests/run` names in `FAKETIME_LIBRARY`.
    #[must_use]
    pub fn skewed(mut self, seconds: i64) -> Self {
        if seconds != 0 {
            self.api.skew_seconds.store(seconds, Ordering::Relaxed);
            let variables = [
                ("LD_PRELOAD", crate::variable("FAKETIME_LIBRARY")),
                ("FAKETIME", format!("{seconds:+}")),
                // Waits are as long as ever.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ];
            self.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        }
        self
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_path).unwrap()
    }

    /// Hands it this event, starting a process if none lives, and waits for what comes of it.
    pub async fn invoke(&self, event: Value) -> Invocation {
        self.ensure_running().await;
        let id = Uuid::new_v4().to_string();
        let (answer, mut wait) = oneshot::channel();
        self.api.answers.lock().unwrap().insert(id.clone(), answer);
        self.send.send((id, event)).unwrap();
        loop {
            match tokio::time::timeout(Duration::from_millis(20), &mut wait).await {
                Ok(result) => return result.unwrap(),
                Err(_) if self.has_died().await => {
                    // What the dead process took with it is no longer waited for.
                    return wait.try_recv().unwrap_or(Invocation::Died);
                }
                Err(_) => {}
            }
        }
    }

    /// The processor time that the process has used so far, its own and the system's for it.
    pub async fn cpu_time(&self) -> Duration {
        /// Of the kernel's clock, which is 100 Hz wherever Linux runs us.
        const TICK: Duration = Duration::from_millis(10);
        let id = self.child.lock().await.as_ref().and_then(Child::id).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // After the name in parentheses, user and system time are the 12th and the 13th field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        TICK * (fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap())
    }

    /// Kills the process, as an operating system kills: nothing in it can notice.
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

    async fn ensure_running(&self) {
        if !self.has_died().await {
            return;
        }
        let child = Command::new(&self.binary)
            .env_clear()
            .envs(self.environment.iter().cloned())
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

    async fn has_died(&self) -> bool {
        self.child.lock().await.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }
}

async fn next(State(api): State<RuntimeApi>) -> Response {
    // Lambda holds the request until there is an event; without a test there is none any more.
    let Some((id, event)) = api.events.lock().await.recv().await else { return std::future::pending().await };
    let deadline = SystemTime::now() + FUNCTION_TIMEOUT;
    let deadline = i64::try_from(deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let deadline = deadline + 1000 * api.skew_seconds.load(Ordering::Relaxed);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:000000000000:function:test".to_owned()),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
    }
    (headers, event.to_string()).into_response()
}

async fn answered(State(api): State<RuntimeApi>, Path(id): Path<String>, body: String) -> StatusCode {
    api.finish(&id, Invocation::Answered(serde_json::from_str(&body).unwrap()))
}

async fn failed(State(api): State<RuntimeApi>, Path(id): Path<String>, body: String) -> StatusCode {
    api.finish(&id, Invocation::Failed(serde_json::from_str(&body).unwrap()))
}

impl RuntimeApi {
    fn finish(&self, id: &str, invocation: Invocation) -> StatusCode {
        if let Some(answer) = self.answers.lock().unwrap().remove(id) {
            let _ = answer.send(invocation);
        }
        StatusCode::ACCEPTED
    }
}
