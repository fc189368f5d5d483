//! Sends requests to an endpoint that somebody else has chosen.
//!
//! Its name is looked up once for each connection, and what is connected to is what was looked up and allowed: there is
//! no second look-up that could answer otherwise. An address in the URL itself goes the same way. Redirects are not
//! followed, no proxy is asked, and of the answer nothing but its head is read.

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

/// Longest time to connect to one of several addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection is kept for the next event. Shorter than endpoints usually keep theirs: a request on a
/// connection that the other side closes is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Who calls.
const AGENT: &str = concat!("bindery/", env!("CARGO_PKG_VERSION"));

/// Where events go: a URL that deliveries may go to, as far as the URL tells.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// The URL cannot be used. Nothing of it is told: it may hold what only its owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No URL, or with a user's name in it.
    #[error("the webhook's URL is none")]
    Form,
    /// Not `https`.
    #[error("the webhook's URL does not begin with https://")]
    NotHttps,
    /// An address that is not allowed.
    #[error("the webhook's URL names an address that is not public")]
    Address,
}

impl Endpoint {
    /// This URL.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(url: &str, reach: AllowedDestinations) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::Form)?;
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map(http::uri::Authority::as_str));
        if host.is_empty() || authority.is_none_or(|authority| authority.contains('@')) {
            return Err(EndpointError::Form);
        }
        let address = literal(host);
        let is_own = address.is_some_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            // By itself, without TLS, only to this machine, where it is allowed at all.
            Some("http") if is_own && reach == AllowedDestinations::PublicAndLoopback => {}
            _ => return Err(EndpointError::NotHttps),
        }
        if address.is_some_and(|address| !reach.allows(address)) {
            return Err(EndpointError::Address);
        }
        Ok(Self(uri))
    }
}

/// The host as an address, if it is written as one.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// An endpoint's answer, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its `Retry-After`.
    pub retry_after: Option<String>,
}

/// There was no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Within the time.
    #[error("no answer in time")]
    Time,
    /// For another reason.
    #[error("not sent: {0}")]
    Other(String),
}

/// Sends requests.
#[derive(Clone)]
pub struct Client(HyperClient<HttpsConnector<Connector>, String>);

impl Client {
    /// One that reaches so far.
    ///
    /// # Errors
    /// If this machine has no root certificates.
    pub fn new(reach: AllowedDestinations) -> io::Result<Self> {
        Self::looking_up(Arc::new(|host, port| lookup(host, port).boxed()), reach)
    }

    fn looking_up(lookup: Lookup, reach: AllowedDestinations) -> io::Result<Self> {
        let tls = HttpsConnectorBuilder::new().with_native_roots()?;
        let tls = if reach == AllowedDestinations::Public { tls.https_only() } else { tls.https_or_http() };
        let connector = tls.enable_http1().wrap_connector(Connector { lookup, reach });
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Ok(Self(client))
    }

    /// Posts the JSON, with these headers.
    ///
    /// # Errors
    /// [`SendError`] if no answer's head came within the time.
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
        let answer = tokio::time::timeout(time, self.0.request(request)).await.map_err(|_elapsed| SendError::Time)?;
        // The body is dropped unread.
        let (head, _) = answer.map_err(|error| SendError::Other(causes(&error)))?.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Ok(Response { status: head.status, retry_after })
    }
}

/// The error and its causes, none of which quotes the request.
fn causes(error: &dyn Error) -> String {
    successors(Some(error), |error| (*error).source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Looks up a name.
type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

/// Connects to what is allowed.
#[derive(Clone)]
struct Connector {
    lookup: Lookup,
    reach: AllowedDestinations,
}

impl Connector {
    async fn connect(self, target: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().unwrap_or(if target.scheme_str() == Some("http") { 80 } else { 443 });
        let found = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => (self.lookup)(host.to_owned(), port).await?,
        };
        let mut failure = io::Error::other("the endpoint's name leads to no public address");
        for address in found.into_iter().filter(|address| self.reach.allows(address.ip())) {
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
