//! An HTTP client that discards all connections once one has failed.
//!
//! Lambda freezes a process between two events, and its connections can die meanwhile
//! (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>: an extended idle time). The
//! process cannot detect that before it uses them, and all attempts of a call could meet dead connections. So the
//! first failed attempt discards all connections that existed then, and the next attempt opens a new one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Returns a client that uses the connections of a client created by `make`, and replaces that client when a request
/// fails.
pub fn renewed(make: fn() -> SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Renewed(Arc::new(Mutex::new(Pool { client: make(), number: 0, make }))))
}

#[derive(Debug, Clone)]
struct Renewed(Arc<Mutex<Pool>>);

/// A client and its connections.
struct Pool {
    client: SharedHttpClient,
    /// The number of pools before this one.
    number: u64,
    make: fn() -> SharedHttpClient,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("number", &self.number).finish_non_exhaustive()
    }
}

impl HttpClient for Renewed {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let (client, number) = {
            let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (pool.client.clone(), pool.number)
        };
        let inner = client.http_connector(settings, components);
        SharedHttpConnector::new(Connector { inner, number, pool: self.clone() })
    }
}

/// A connector that uses one pool.
#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    number: u64,
    pool: Renewed,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let pending = PendingRequest { pool: Some(self.pool.clone()), number: self.number };
        let response = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let response = response.await?;
            pending.end();
            Ok(response)
        })
    }
}

/// A request that is waiting for its response. If it is dropped without one, because it failed or timed out, its pool
/// is discarded.
struct PendingRequest {
    pool: Option<Renewed>,
    number: u64,
}

impl PendingRequest {
    fn end(mut self) {
        self.pool = None;
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let Some(Renewed(pool)) = &self.pool else { return };
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        // If several requests fail at once, the first one discards the pool.
        if pool.number == self.number {
            pool.client = (pool.make)();
            pool.number += 1;
        }
    }
}
