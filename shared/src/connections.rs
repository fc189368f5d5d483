//! An HTTP client that trusts no connection once one has failed.
//!
//! Lambda freezes a process between two events, and its connections can die meanwhile
//! (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>: an extended idle time). The process
//! cannot know before it uses them, and a call's tries could all meet dead ones. So the first try that fails takes all
//! connections with it that were there then: the next one has a new connection.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Returns a client whose connections are those of a client that `make` makes, until one fails, and then those of
/// another.
pub fn renewed(make: fn() -> SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Renewed(Arc::new(Mutex::new(Pool { client: make(), number: 0, make }))))
}

#[derive(Debug, Clone)]
struct Renewed(Arc<Mutex<Pool>>);

/// A client, with its connections.
struct Pool {
    client: SharedHttpClient,
    /// How many there were before.
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

/// A connector of one pool.
#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    number: u64,
    pool: Renewed,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let unanswered = Unanswered { pool: Some(self.pool.clone()), number: self.number };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            unanswered.end();
            Ok(answer)
        })
    }
}

/// A request that waits for its answer. When it goes without one, because it failed or its time was over, so does the
/// pool that it was sent from.
struct Unanswered {
    pool: Option<Renewed>,
    number: u64,
}

impl Unanswered {
    fn end(mut self) {
        self.pool = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Some(Renewed(pool)) = &self.pool else { return };
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        // Of several that fail at once, the first is enough.
        if pool.number == self.number {
            pool.client = (pool.make)();
            pool.number += 1;
        }
    }
}
