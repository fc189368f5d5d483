//! The times of calls to AWS, for the metrics.
//!
//! A call's time is that of the whole operation: its attempts, the waits between them, and the reading of the response.
//! Calls that fail are timed like others. A call that the function abandons counts until that moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

/// The times of a function's calls, which clones share. As an interceptor of a client, it times all of its calls.
#[derive(Debug, Clone, Default)]
pub struct CallTimes {
    calls: Arc<Mutex<Calls>>,
    /// The name of all calls, if it is not the operation's.
    name: Option<&'static str>,
}

/// Calls that have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Milliseconds of each call, by its service and operation, such as `DynamoDB.GetItem`.
    pub times: BTreeMap<String, Vec<u64>>,
    /// Attempts beyond the first one, of all calls.
    pub retries: u32,
}

impl CallTimes {
    /// Returns the calls that have ended since the last time, which are then forgotten.
    #[must_use]
    pub fn take(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns an interceptor that adds to the same times, under this name.
    #[must_use]
    pub fn under(&self, name: &'static str) -> Self {
        Self { name: Some(name), ..self.clone() }
    }

    /// Adds a call that has ended.
    pub(crate) fn add(&self, name: String, time: Duration, retries: u32) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.times.entry(name).or_default().push(rounded(time));
        calls.retries += retries;
    }
}

fn rounded(time: Duration) -> u64 {
    u64::try_from((time + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX)
}

/// A call in progress. It belongs to the call's configuration, and is dropped with it, whatever ends the call.
#[derive(Debug)]
struct Timer {
    of: CallTimes,
    name: String,
    started: Instant,
    attempts: AtomicU32,
}

impl Storable for Timer {
    type Storer = StoreReplace<Self>;
}

impl Drop for Timer {
    fn drop(&mut self) {
        let retries = self.attempts.get_mut().saturating_sub(1);
        self.of.add(std::mem::take(&mut self.name), self.started.elapsed(), retries);
    }
}

#[dyn_dispatch_hint]
impl Intercept for CallTimes {
    fn name(&self) -> &'static str {
        "CallTimes"
    }

    // The first hook of a client's interceptor that knows the operation.
    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = || {
            let metadata = cfg.load::<Metadata>()?;
            // The service's name may have a space: `Secrets Manager`.
            Some(format!("{}.{}", metadata.service().replace(' ', ""), metadata.name()))
        };
        let name = self.name.map(ToOwned::to_owned).or_else(operation).unwrap_or_default();
        let timer = Timer { of: self.clone(), name, started: Instant::now(), attempts: AtomicU32::new(0) };
        cfg.interceptor_state().store_put(timer);
        Ok(())
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(timer) = cfg.load::<Timer>() {
            timer.attempts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use aws_smithy_types::retry::RetryConfig;

    use super::*;
    use crate::aws::Aws;

    /// Returns the address of a server that responds to each request, on any connection, with the next of these
    /// statuses, and then to none.
    fn server(statuses: &'static [u16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for status in statuses {
                let (mut connection, _) = listener.accept().unwrap();
                let _ = connection.read(&mut [0; 10_000]);
                let response = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
                connection.write_all(response.as_bytes()).unwrap();
            }
            loop {
                open.push(listener.accept());
            }
        });
        url
    }

    async fn send(times: &CallTimes, url: &str, retries: RetryConfig) {
        let config = Aws::for_tests().timed(times).sqs().config().to_builder().endpoint_url(url);
        let client = aws_sdk_sqs::Client::from_conf(config.retry_config(retries).build());
        let _ = client.delete_message().queue_url("q").receipt_handle("r").send().await;
    }

    /// Returns the names of the calls, each with the number of times, and the retries.
    fn counted(times: &CallTimes) -> (Vec<(String, usize)>, u32) {
        let Calls { times, retries } = times.take();
        (times.into_iter().map(|(name, times)| (name, times.len())).collect(), retries)
    }

    fn once(name: &str) -> Vec<(String, usize)> {
        vec![(name.to_owned(), 1)]
    }

    #[tokio::test]
    async fn a_call_with_its_retries_is_one_call() {
        let times = CallTimes::default();
        let twice_refused = server(&[500, 503, 200]);
        let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
        send(&times, &twice_refused, retries).await;
        assert_eq!(counted(&times), (once("SQS.DeleteMessage"), 2));
        assert_eq!(counted(&times), (vec![], 0), "taken once");
    }

    #[tokio::test]
    async fn failed_calls_are_timed() {
        let times = CallTimes::default();
        send(&times, "http://127.0.0.1:1", RetryConfig::disabled()).await;
        send(&times, &server(&[400]), RetryConfig::disabled()).await;
        assert_eq!(counted(&times), (vec![("SQS.DeleteMessage".to_owned(), 2)], 0));
        let config = Aws::for_tests().timed(&times).secretsmanager().config().to_builder();
        let config = config.endpoint_url("http://127.0.0.1:1").retry_config(RetryConfig::disabled()).build();
        let secrets = aws_sdk_secretsmanager::Client::from_conf(config);
        assert!(secrets.get_secret_value().secret_id("s").send().await.is_err());
        assert_eq!(counted(&times), (once("SecretsManager.GetSecretValue"), 0));
    }

    #[tokio::test]
    async fn an_abandoned_call_is_timed_until_then() {
        let (times, patience) = (CallTimes::default(), Duration::from_millis(200));
        let silent = server(&[]);
        let (started, calling) = (Instant::now(), send(&times, &silent, RetryConfig::disabled()));
        assert!(tokio::time::timeout(patience, calling).await.is_err());
        let Calls { times, retries } = times.take();
        let longest = rounded(started.elapsed());
        assert!(matches!(times["SQS.DeleteMessage"][..], [waited] if (1..=longest).contains(&waited)), "{times:?}");
        assert_eq!(retries, 0);
    }

    #[tokio::test]
    async fn pings_are_named_so() {
        let times = CallTimes::default();
        send(&times.under("Ping"), &server(&[200]), RetryConfig::disabled()).await;
        assert_eq!(counted(&times), (once("Ping"), 0));
    }

    #[test]
    fn times_are_rounded() {
        assert_eq!([499, 500, 1_499].map(|time| rounded(Duration::from_micros(time))), [0, 1, 1]);
    }
}
