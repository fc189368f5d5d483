//! The surroundings that all targets share: an identity, secrets that must never show up, a clock, and logs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Once;
use std::time::{Duration, SystemTime};

use lambda_runtime::Context;
use shared::aws::Aws;
use shared::environment::{Environment, dead_letter_variable, queue_variable};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::LevelFilter;

/// The caller's organization, unless the input states another.
pub const ORG: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";
/// The organization that is shut out.
pub const DENIED_ORG: &str = "TN-dddddddd-8ea1-4a37-9a43-5d6b1d4f0c11";
/// The caller's account, unless the input states another. A number that occurs nowhere by chance.
pub const ACCOUNT: &str = "400155667788";
/// The customer that bound cards are bound to.
pub const CUSTOMER: &str = "700155667788";

/// The placeholder for [`PIN`] in an input's body.
const PIN_MARK: &str = "$PIN";
/// The right PIN of every person who has one.
pub const PIN: &str = "canary-pin-90210";
/// The hash of [`PIN`] in a person's row, for the [`PEPPER`], [`ORG`] and [`PERSON`]. It is as weak as possible, so
/// that verifying it takes no time.
pub const PIN_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$H6RJgIlqwOLUaifFE/AlJ7ajwmoFVILDiIFzWOe4RM8";
/// The pepper that PINs are hashed with.
pub const PEPPER: &str = "pepper";
/// The person who created all orders.
pub const PERSON: i32 = 9;

/// The placeholder for [`TOKEN`] in an input's `authorization`.
pub const TOKEN_MARK: &str = "$TOKEN";
/// A valid access token of [`ORG`] and [`ACCOUNT`] that never expires. The key that signed it is gone.
pub const TOKEN: &str = include_str!("token.txt");
/// The key set that verifies the token.
pub const KEYS: &str = include_str!("keys.json");

/// Returns the body with the PIN in place of each mark.
#[must_use]
pub fn with_pin(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(PIN_MARK.len()).position(|window| window == PIN_MARK.as_bytes()) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(PIN.as_bytes());
        rest = &rest[at + PIN_MARK.len()..];
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// The timeout of an invocation.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a runtime with a paused clock, which jumps ahead when all tasks sleep. Waiting takes no time.
#[must_use]
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Returns the context that Lambda passes to an invocation.
#[must_use]
pub fn context() -> Context {
    let deadline = SystemTime::now() + TIMEOUT;
    let mut context = Context::default();
    "request-1".clone_into(&mut context.request_id);
    context.deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
    context
}

/// The URL of a function's queue.
pub const QUEUE: &str = "https://sqs.test/queue";
/// The URL of a worker's dead-letter queue.
pub const DEAD_LETTERS: &str = "https://sqs.test/dead-letters";
/// Most deliveries of a message before it is dead-lettered.
pub const MAX_RECEIVES: u32 = 5;

/// Returns the environment of a function.
#[must_use]
pub fn environment(aws: &Aws, function: &str) -> Environment {
    let variables = BTreeMap::from(
        [
            ("STACK_NAME", "fuzz"),
            ("AWS_LAMBDA_FUNCTION_NAME", function),
            ("TABLE_NAME", "table"),
            ("EVENT_BUS_NAME", "bus"),
            (&queue_variable(function), QUEUE),
            (&dead_letter_variable(function), DEAD_LETTERS),
            ("MAX_RECEIVES", &MAX_RECEIVES.to_string()),
            ("PIN_PEPPER_SECRET", "pepper"),
            ("CARD_EXPIRY_MONTHS", "72"),
            ("TENANT_RATE", "0"),
            ("TENANT_BURST", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    Environment::given(aws.clone(), variables)
}

/// Panics if any of `texts` holds a part of the PIN or the token, unless the input holds it itself.
pub fn assert_no_secret<'a>(input: &[u8], texts: impl IntoIterator<Item = &'a str>) {
    let secrets: Vec<&str> =
        TOKEN.trim().split('.').skip(1).chain([PIN]).filter(|secret| !holds(input, secret)).collect();
    for text in texts {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "a secret shows in {text}");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

thread_local! {
    static LOGS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Returns what this thread logged since the last time, at the level at which functions log.
#[must_use]
pub fn take_logs() -> String {
    String::from_utf8(LOGS.take()).expect("logs in UTF-8")
}

/// Starts to record logs.
pub fn keep_logs() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        tracing_subscriber::fmt().json().with_max_level(LevelFilter::INFO).with_writer(|| Log).init();
    });
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.with_borrow_mut(|logs| logs.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
