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
// A name, whatever it looks like: what it leads to is looked at when it is connected to.
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
fn only_https_leads_out(
    #[case] url: &str,
    #[case] deployed: Result<(), EndpointError>,
    #[case] locally: Result<(), EndpointError>,
) {
    assert_eq!(Endpoint::parse(url, AllowedDestinations::Public).map(drop), deployed);
    assert_eq!(Endpoint::parse(url, AllowedDestinations::PublicAndLoopback).map(drop), locally);
}

/// Whatever made the URL: the client itself sends nothing without TLS.
#[tokio::test]
async fn nothing_is_sent_without_tls() {
    let lookup: Lookup = Arc::new(|_, _| panic!("a name is looked up"));
    let client = Client::looking_up(lookup, AllowedDestinations::Public).unwrap();
    let endpoint = Endpoint(Uri::from_static("http://example.com/"));
    let error = client.post(&endpoint, &[], "{}".to_owned(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, SendError::Other(_)), "{error}");
}

/// A server that answers each connection with these bytes; counts the connections.
async fn sink(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
                // Whoever wants more waits for it.
                std::future::pending::<()>().await;
            });
        }
    });
    (address, count)
}

/// A resolver that answers these, one at each call, and the last ever after.
fn rebinding(answers: &[SocketAddr]) -> (Lookup, Arc<Mutex<usize>>) {
    let (answers, calls) = (answers.to_vec(), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&calls);
    let lookup: Lookup = Arc::new(move |_, _| {
        let mut calls = counted.lock().unwrap();
        let answer = answers[(*calls).min(answers.len() - 1)];
        *calls += 1;
        std::future::ready(Ok(vec![answer])).boxed()
    });
    (lookup, calls)
}

/// Without TLS, as only tests can: what is connected to is the same.
async fn connect(lookup: Lookup, reach: AllowedDestinations, host: &str) -> io::Result<SocketAddr> {
    let target = format!("https://{host}/").parse().unwrap();
    Connector { lookup, reach }.connect(target).await?.inner().peer_addr()
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let (inside, connections) = sink(b"").await;
    for reach in [AllowedDestinations::Public, AllowedDestinations::PublicAndLoopback] {
        for private in ["10.0.0.1:443", "169.254.169.254:443", "[::ffff:192.168.0.1]:443", "[fe80::1]:443"] {
            let (lookup, _) = rebinding(&[private.parse().unwrap()]);
            let error = connect(lookup, reach, "rebind.test").await.unwrap_err();
            assert_eq!(error.to_string(), "the endpoint's name leads to no public address", "{private}");
        }
    }
    let (lookup, calls) = rebinding(&[inside]);
    assert!(connect(lookup, AllowedDestinations::Public, "rebind.test").await.is_err());
    assert_eq!((*calls.lock().unwrap(), connections.load(Ordering::SeqCst)), (1, 0));
    // Nor is an address that is written as a host, of which nobody asks the resolver.
    let (lookup, calls) = rebinding(&[inside]);
    assert!(connect(Arc::clone(&lookup), AllowedDestinations::Public, &inside.to_string()).await.is_err());
    assert!(
        connect(lookup, AllowedDestinations::Public, &format!("[::ffff:127.0.0.1]:{}", inside.port())).await.is_err()
    );
    assert_eq!((*calls.lock().unwrap(), connections.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn what_was_allowed_is_what_is_connected_to() {
    let (first, of_first) = sink(b"").await;
    let (second, of_second) = sink(b"").await;
    let (lookup, calls) = rebinding(&[first, second]);
    let connected = connect(Arc::clone(&lookup), AllowedDestinations::PublicAndLoopback, "rebind.test").await.unwrap();
    assert_eq!((connected, *calls.lock().unwrap()), (first, 1));
    // Of several, those that are not allowed are passed over.
    let several: Lookup =
        Arc::new(move |_, _| std::future::ready(Ok(vec!["10.0.0.1:443".parse().unwrap(), second])).boxed());
    assert_eq!(connect(several, AllowedDestinations::PublicAndLoopback, "rebind.test").await.unwrap(), second);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((of_first.load(Ordering::SeqCst), of_second.load(Ordering::SeqCst)), (1, 1));
}

/// An address that answers nothing, not even that it is none: whoever listens there has his hands full.
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
async fn an_address_that_is_silent_is_left_for_the_next() {
    let ((silent, _listener, _waiting), (next, _)) = (silent().await, sink(b"").await);
    let both: Lookup = Arc::new(move |_, _| std::future::ready(Ok(vec![silent, next])).boxed());
    let connecting = connect(both, AllowedDestinations::PublicAndLoopback, "several.test");
    // Long after it should have been, and long before the system would give up.
    assert_eq!(tokio::time::timeout(10 * CONNECT_TIMEOUT, connecting).await.unwrap().unwrap(), next);
}

/// Posts to a sink on this machine.
async fn post(answer: &'static [u8]) -> (Result<Response, SendError>, Arc<AtomicUsize>) {
    let (address, connections) = sink(answer).await;
    let reach = AllowedDestinations::PublicAndLoopback;
    let endpoint = Endpoint::parse(&format!("http://{address}/"), reach).unwrap();
    let client = Client::new(reach).unwrap();
    let answer = client.post(&endpoint, &[], "{}".to_owned(), Duration::from_secs(2)).await;
    (answer, connections)
}

#[tokio::test]
async fn of_an_answer_only_the_head_is_read() {
    // The body that is announced never comes.
    let (answer, _) = post(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer.unwrap().status, 204);
    let (answer, _) = post(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nabc").await;
    assert_eq!(answer.unwrap().status, 200);
    let (answer, _) = post(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(
        answer.unwrap(),
        Response { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some("7".to_owned()) }
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (elsewhere, connections) = sink(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
    let (answer, _) = post(answer.leak().as_bytes()).await;
    assert_eq!((answer.unwrap().status.as_u16(), connections.load(Ordering::SeqCst)), (307, 0));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    assert_eq!(post(b"").await.0, Err(SendError::Time));
    assert_eq!(post(b"HTTP/1.1 200 OK\r\nX: ").await.0, Err(SendError::Time));
    let huge = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; 2 * MAX_HEAD_BYTES], b"\r\n\r\n"].concat();
    for broken in [b"SSH-2.0-x\r\n\r\n".as_slice(), huge.leak()] {
        let (answer, _) = post(broken).await;
        assert!(matches!(answer, Err(SendError::Other(_))), "{answer:?}");
    }
}
