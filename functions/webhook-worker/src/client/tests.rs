use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

#[rstest]
#[case("https://example.com/hooks?a=b", Ok(()), Ok(()))]
#[case("https://example.com:8443/hooks", Ok(()), Ok(()))]
#[case("https://8.8.8.8/", Ok(()), Ok(()))]
// These are names. Their addresses are checked on connecting.
#[case("https://localhost/", Ok(()), Ok(()))]
#[case("https://2130706433/", Ok(()), Ok(()))]
#[case("http://example.com/", Err(EndpointError::NotHttps), Err(EndpointError::NotHttps))]
#[case("http://localhost/", Err(EndpointError::NotHttps), Err(EndpointError::NotHttps))]
#[case("http://127.0.0.1:8080/", Err(EndpointError::NotHttps), Ok(()))]
#[case("http://[::1]:8080/", Err(EndpointError::NotHttps), Ok(()))]
#[case("http://10.0.0.1/", Err(EndpointError::NotHttps), Err(EndpointError::NotHttps))]
#[case("https://127.0.0.1/", Err(EndpointError::Address), Ok(()))]
#[case("https://169.254.169.254/", Err(EndpointError::Address), Err(EndpointError::Address))]
#[case("https://[::ffff:10.0.0.1]/", Err(EndpointError::Address), Err(EndpointError::Address))]
#[case("https://[fd00:ec2::254]/", Err(EndpointError::Address), Err(EndpointError::Address))]
#[case("https://user:word@example.com/", Err(EndpointError::Form), Err(EndpointError::Form))]
#[case("https:///path", Err(EndpointError::Form), Err(EndpointError::Form))]
#[case("/path", Err(EndpointError::Form), Err(EndpointError::Form))]
#[case("ftp://example.com/", Err(EndpointError::NotHttps), Err(EndpointError::NotHttps))]
fn only_https_urls_with_public_addresses_are_accepted(
    #[case] url: &str,
    #[case] deployed: Result<(), EndpointError>,
    #[case] locally: Result<(), EndpointError>,
) {
    assert_eq!(Endpoint::parse(url, AllowedDestinations::Public).map(drop), deployed);
    assert_eq!(Endpoint::parse(url, AllowedDestinations::PublicAndLoopback).map(drop), locally);
}

/// The client itself sends nothing without TLS, even if the URL was not checked.
#[tokio::test]
async fn nothing_is_sent_without_tls() {
    let lookup: Lookup = Arc::new(|_, _| panic!("a name is looked up"));
    let client = Client::with_lookup(lookup, AllowedDestinations::Public).unwrap();
    let endpoint = Endpoint(Uri::from_static("http://example.com/"));
    let error = client.post(&endpoint, &[], "{}".to_owned(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, SendError::Other(_)), "{error}");
}

/// Starts a server that responds to each connection with these bytes. Also returns a counter of connections.
async fn sink(response: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(response).await;
                // A client that expects more waits until its timeout.
                std::future::pending::<()>().await;
            });
        }
    });
    (address, count)
}

/// Returns a resolver that returns one of these addresses per call, in order, and then always the last. Also returns
/// its counter of calls.
fn rebinding(addresses: &[SocketAddr]) -> (Lookup, Arc<Mutex<usize>>) {
    let (addresses, calls) = (addresses.to_vec(), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&calls);
    let lookup: Lookup = Arc::new(move |_, _| {
        let mut calls = counted.lock().unwrap();
        let address = addresses[(*calls).min(addresses.len() - 1)];
        *calls += 1;
        std::future::ready(Ok(vec![address])).boxed()
    });
    (lookup, calls)
}

/// Connects without TLS, as only tests can, to the same address as with TLS.
async fn connect(lookup: Lookup, allowed: AllowedDestinations, host: &str) -> io::Result<SocketAddr> {
    let target = format!("https://{host}/").parse().unwrap();
    Connector { lookup, allowed }.connect(target).await?.inner().peer_addr()
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused() {
    let (inside, connections) = sink(b"").await;
    for allowed in [AllowedDestinations::Public, AllowedDestinations::PublicAndLoopback] {
        for private in ["10.0.0.1:443", "169.254.169.254:443", "[::ffff:192.168.0.1]:443", "[fe80::1]:443"] {
            let (lookup, _) = rebinding(&[private.parse().unwrap()]);
            let error = connect(lookup, allowed, "rebind.test").await.unwrap_err();
            assert_eq!(error.to_string(), "the endpoint's name resolves to no public address", "{private}");
        }
    }
    let (lookup, calls) = rebinding(&[inside]);
    assert!(connect(lookup, AllowedDestinations::Public, "rebind.test").await.is_err());
    assert_eq!((*calls.lock().unwrap(), connections.load(Ordering::SeqCst)), (1, 0));
    // An address written as the host is refused, too, without a lookup.
    let (lookup, calls) = rebinding(&[inside]);
    assert!(connect(Arc::clone(&lookup), AllowedDestinations::Public, &inside.to_string()).await.is_err());
    assert!(
        connect(lookup, AllowedDestinations::Public, &format!("[::ffff:127.0.0.1]:{}", inside.port())).await.is_err()
    );
    assert_eq!((*calls.lock().unwrap(), connections.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn the_client_connects_to_the_address_that_it_checked() {
    let (first, of_first) = sink(b"").await;
    let (second, of_second) = sink(b"").await;
    let (lookup, calls) = rebinding(&[first, second]);
    let connected = connect(Arc::clone(&lookup), AllowedDestinations::PublicAndLoopback, "rebind.test").await.unwrap();
    assert_eq!((connected, *calls.lock().unwrap()), (first, 1));
    // Of several addresses, those that are not allowed are skipped.
    let several: Lookup =
        Arc::new(move |_, _| std::future::ready(Ok(vec!["10.0.0.1:443".parse().unwrap(), second])).boxed());
    assert_eq!(connect(several, AllowedDestinations::PublicAndLoopback, "rebind.test").await.unwrap(), second);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((of_first.load(Ordering::SeqCst), of_second.load(Ordering::SeqCst)), (1, 1));
}

/// Returns an address that does not respond to new connections, because the listener's backlog is full.
async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (address, listener, waiting)
}

#[tokio::test]
async fn a_silent_address_is_skipped_after_a_timeout() {
    let ((silent, _listener, _waiting), (next, _)) = (silent().await, sink(b"").await);
    let both: Lookup = Arc::new(move |_, _| std::future::ready(Ok(vec![silent, next])).boxed());
    let connecting = connect(both, AllowedDestinations::PublicAndLoopback, "several.test");
    // Ten times the timeout, but far less than the system's own.
    assert_eq!(tokio::time::timeout(10 * CONNECT_TIMEOUT, connecting).await.unwrap().unwrap(), next);
}

/// Posts to a server on this machine that responds with these bytes.
async fn post(response: &'static [u8]) -> (Result<Response, SendError>, Arc<AtomicUsize>) {
    let (address, connections) = sink(response).await;
    let allowed = AllowedDestinations::PublicAndLoopback;
    let endpoint = Endpoint::parse(&format!("http://{address}/"), allowed).unwrap();
    let client = Client::new(allowed).unwrap();
    let result = client.post(&endpoint, &[], "{}".to_owned(), Duration::from_secs(2)).await;
    (result, connections)
}

#[tokio::test]
async fn only_the_head_of_a_response_is_read() {
    // The announced body never arrives.
    let (response, _) = post(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(response.unwrap().status, 204);
    let (response, _) = post(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nabc").await;
    assert_eq!(response.unwrap().status, 200);
    let (response, _) = post(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(
        response.unwrap(),
        Response { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some("7".to_owned()) }
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (elsewhere, connections) = sink(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let redirect =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
    let (response, _) = post(redirect.leak().as_bytes()).await;
    assert_eq!((response.unwrap().status.as_u16(), connections.load(Ordering::SeqCst)), (307, 0));
}

#[tokio::test]
async fn a_missing_or_malformed_response_is_an_error() {
    assert_eq!(post(b"").await.0, Err(SendError::Time));
    assert_eq!(post(b"HTTP/1.1 200 OK\r\nX: ").await.0, Err(SendError::Time));
    let huge = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; 2 * MAX_HEAD_BYTES], b"\r\n\r\n"].concat();
    for broken in [b"SSH-2.0-x\r\n\r\n".as_slice(), huge.leak()] {
        let (response, _) = post(broken).await;
        assert!(matches!(response, Err(SendError::Other(_))), "{response:?}");
    }
}
