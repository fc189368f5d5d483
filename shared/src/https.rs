//! Requests to servers that are not AWS's: a token issuer, and our own API as clients see it.
//!
//! Each client opens new connections, because a connection of an earlier invocation may be dead by now: see
//! `connections`. It follows no redirects, and uses no proxy.

use std::error::Error;
use std::net::IpAddr;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request as HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use lambda_http::http::Uri;

use crate::aws::causes;

/// Maximum size of a response's body, in bytes. Our limit.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The reasons why there is no response. They quote neither the URL nor the request, which may contain a secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The URL is not secure: an attacker on the network could read and replace what is sent.
    #[error("is neither an https URL nor an http URL of this machine")]
    Address,
    /// A header contains a control character.
    #[error("was not asked: a header is malformed")]
    Header,
    /// The request failed.
    #[error("did not respond: {0}")]
    Transport(String),
    /// The response is too large.
    #[error("is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
}

/// A request: a POST of this form, or a GET without one.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// The URL to send the request to.
    pub url: &'a str,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The body, in the encoding of HTML forms.
    pub form: Option<String>,
}

/// A response to a request.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type` header. It is empty if the response has none.
    pub content_type: String,
    /// The response's body.
    pub body: Vec<u8>,
}

/// An HTTP client with connections of its own.
#[derive(Debug)]
pub struct Client(Connector);

impl Client {
    /// Creates a client without connections.
    #[must_use]
    pub fn new() -> Self {
        Self(Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build())
    }

    /// Sends a request over TLS, or to this machine if `may_be_local`.
    ///
    /// # Errors
    /// Returns [`HttpsError`] if there is no response. Any status is a response.
    pub async fn send(&self, request: Request<'_>, may_be_local: bool) -> Result<Response, HttpsError> {
        let response = self.0.call(http_request(request, may_be_local)?).await.map_err(|error| transport(&error))?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").unwrap_or_default().to_owned();
        let (mut stream, mut body) = (ByteStream::new(response.into_body()), Vec::new());
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece.map_err(|error| transport(&error))?);
            if body.len() > MAX_BODY_BYTES {
                return Err(HttpsError::TooLarge);
            }
        }
        Ok(Response { status, content_type, body })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

fn http_request(request: Request<'_>, may_be_local: bool) -> Result<HttpRequest, HttpsError> {
    let Request { url, authorization, form } = request;
    let is_form = form.is_some();
    let mut http = HttpRequest::new(form.map_or_else(SdkBody::empty, SdkBody::from));
    if !(is_https(url) || may_be_local && is_local(url)) || http.set_uri(url).is_err() {
        return Err(HttpsError::Address);
    }
    if is_form {
        http.set_method("POST").map_err(|_| HttpsError::Header)?;
        http.headers_mut().insert("content-type", "application/x-www-form-urlencoded");
    }
    if let Some(authorization) = authorization {
        http.headers_mut().try_insert("authorization", authorization).map_err(|_| HttpsError::Header)?;
    }
    Ok(http)
}

fn transport(error: &(dyn Error + 'static)) -> HttpsError {
    HttpsError::Transport(causes(error))
}

/// Returns whether the URL is secured by TLS.
#[must_use]
pub fn is_https(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// Returns whether the URL is on this machine, as the local stack's issuer is. No attacker is between us and it.
#[must_use]
pub fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    uri.scheme_str() == Some("http") && (host == "localhost" || address.is_ok_and(|address| address.is_loopback()))
}
