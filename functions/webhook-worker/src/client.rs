//! Sends requests to an endpoint that the consumer has chosen.
//!
//! The client resolves the endpoint's name once for each connection, and connects only to an address that it got from
//! this lookup and that is allowed. A second lookup, which could return another address, does not happen. An address in
//! the URL itself is checked the same way. The client follows no redirects, uses no proxy, and reads only the head of a
//! response.

use std::error::Error;
use std::future::Future;
use std::io;
use std::iter::successors;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

use crate::address::AllowedDestinations;

/// The timeout for connecting to one of several addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that an idle connection stays open for the next event. It is shorter than most endpoints' timeouts,
/// because a request on a connection that the other side closes is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a response's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The value of the `User-Agent` header.
const AGENT: &str = concat!("bindery/", env!("CARGO_PKG_VERSION"));

/// The URL of an endpoint. Its form and any literal address in it are allowed; a host name is checked on connecting.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// The error for a URL that cannot be used. It does not quote the URL, which may contain a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The URL is malformed, or has a user name.
    #[error("the webhook's URL is malformed or has a user name")]
    Form,
    /// The scheme is not `https`.
    #[error("the webhook's URL does not begin with https://")]
    NotHttps,
    /// The URL has an address that is not allowed.
    #[error("the webhook's URL names an address that is not public")]
    Address,
}

impl Endpoint {
    /// Parses and checks the URL.
    ///
    /// # Errors
    /// [`EndpointError`] if events must not be sent there.
    pub fn parse(url: &str, allowed: AllowedDestinations) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::Form)?;
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map(http::uri::Authority::as_str));
        if host.is_empty() || authority.is_none_or(|authority| authority.contains('@')) {
            return Err(EndpointError::Form);
        }
        let address = literal(host);
        let is_loopback = address.is_some_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            // Without TLS only to this machine, if that is allowed at all.
            Some("http") if is_loopback && allowed == AllowedDestinations::PublicAndLoopback => {}
            _ => return Err(EndpointError::NotHttps),
        }
        if address.is_some_and(|address| !allowed.allows(address)) {
            return Err(EndpointError::Address);
        }
        Ok(Self(uri))
    }
}

/// Returns the host as an address, if it is written as one.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// The response of an endpoint, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: StatusCode,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
}

/// The error if there is no response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The time is up.
    #[error("no response in time")]
    Time,
    /// The request failed for another reason.
    #[error("not sent: {0}")]
    Other(String),
}

/// An HTTP client that connects only to allowed destinations.
#[derive(Clone)]
pub struct Client(HyperClient<HttpsConnector<Connector>, String>);

impl Client {
    /// Creates a client for these destinations.
    ///
    /// # Errors
    /// If this machine has no root certificates.
    pub fn new(allowed: AllowedDestinations) -> io::Result<Self> {
        Self::with_lookup(Arc::new(|host, port| lookup(host, port).boxed()), allowed)
    }

    fn with_lookup(lookup: Lookup, allowed: AllowedDestinations) -> io::Result<Self> {
        let tls = HttpsConnectorBuilder::new().with_native_roots()?;
        let tls = if allowed == AllowedDestinations::Public { tls.https_only() } else { tls.https_or_http() };
        let connector = tls.enable_http1().wrap_connector(Connector { lookup, allowed });
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Ok(Self(client))
    }

    /// Posts the JSON with these headers.
    ///
    /// # Errors
    /// [`SendError`] if no response's head arrived within `time`.
    pub async fn post(
        &self,
        endpoint: &Endpoint,
        headers: &[(HeaderName, String)],
        json: String,
        time: Duration,
    ) -> Result<Response, SendError> {
        let mut request = Request::post(endpoint.0.clone()).header(CONTENT_TYPE, "application/json");
        request = request.header(USER_AGENT, AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(json).map_err(|error| SendError::Other(causes(&error)))?;
        let response = tokio::time::timeout(time, self.0.request(request)).await.map_err(|_elapsed| SendError::Time)?;
        // The body is dropped unread.
        let (head, _) = response.map_err(|error| SendError::Other(causes(&error)))?.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Ok(Response { status: head.status, retry_after })
    }
}

/// Returns the error and its causes. They do not quote the request.
fn causes(error: &dyn Error) -> String {
    successors(Some(error), |error| (*error).source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A function that resolves a host name to socket addresses with this port.
type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

/// A connector that refuses addresses that are not allowed.
#[derive(Clone)]
struct Connector {
    lookup: Lookup,
    allowed: AllowedDestinations,
}

impl Connector {
    async fn connect(self, target: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().unwrap_or(if target.scheme_str() == Some("http") { 80 } else { 443 });
        let found = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => (self.lookup)(host.to_owned(), port).await?,
        };
        let mut failure = io::Error::other("the endpoint's name resolves to no public address");
        for address in found.into_iter().filter(|address| self.allowed.allows(address.ip())) {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => failure = error,
                Err(_elapsed) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().connect(target))
    }
}

#[cfg(test)]
mod tests;
