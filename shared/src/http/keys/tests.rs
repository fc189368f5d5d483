//! An issuer on this machine, in all framings that HTTP has, and in all states that an issuer can be in.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lambda_http::http::StatusCode;
use rstest::rstest;
use serde_json::json;

use super::*;

const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#;

/// What the server writes to whoever asks for the keys.
type Writing = fn(&mut TcpStream) -> std::io::Result<()>;

fn of_length(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len())
}

fn chunked(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for piece in KEYS.as_bytes().chunks(7) {
        write!(stream, "{:x}\r\n", piece.len())?;
        stream.write_all(piece)?;
        write!(stream, "\r\n")?;
    }
    write!(stream, "0\r\n\r\n")
}

fn ended_by_close(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}")
}

fn of_old(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{KEYS}")
}

fn without_end(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    // Until it hangs up.
    loop {
        write!(stream, "400\r\n{}\r\n", " ".repeat(0x400))?;
    }
}

fn too_large(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}{}", " ".repeat(MAX_DOCUMENT_BYTES + 1 - KEYS.len()))
}

fn as_large_as_may_be(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}{}", " ".repeat(MAX_DOCUMENT_BYTES - KEYS.len()))
}

fn cut_off(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{KEYS}")
}

fn too_slow(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for _ in 0..30 {
        write!(stream, "1\r\n \r\n")?;
        thread::sleep(FETCH_TIMEOUT / 20);
    }
    write!(stream, "0\r\n\r\n")
}

fn elsewhere(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")
}

fn no_keys(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n<html></html>")
}

/// An issuer whose discovery document is this, with its own address in the place of `ISSUER`.
struct Issuer {
    url: String,
    /// How often it was asked for keys.
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(discovery: &'static str, writing: Writing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        let (issuer, asked) = (url.clone(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked_for = read_head(&stream);
                // What cannot be written is not wanted any more.
                if asked_for == "GET /a/.well-known/openid-configuration HTTP/1.1" {
                    let document = discovery.replace("ISSUER", &issuer);
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{document}");
                } else if asked_for == "GET /a/keys HTTP/1.1" {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = writing(&mut stream);
                } else {
                    let _ = write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
            }
        });
        Self { url, asked }
    }

    fn good(writing: Writing) -> Self {
        Self::start(r#"{"issuer":"ISSUER","jwks_uri":"ISSUER/keys"}"#, writing)
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The first line of a request.
fn read_head(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap_or_default);
    let first = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    first
}

#[rstest]
#[case::of_length(of_length)]
#[case::chunked(chunked)]
#[case::ended_by_close(ended_by_close)]
#[case::of_old(of_old)]
#[case::as_large_as_may_be(as_large_as_may_be)]
#[tokio::test]
async fn keys_come_in_any_framing(#[case] writing: Writing) {
    let issuer = Issuer::good(writing);
    let keys = Keys::of(issuer.url.clone());
    assert!(keys.find("a").await.unwrap().is_some());
}

#[rstest]
#[case::without_end(without_end, "more than 65536 bytes")]
#[case::too_large(too_large, "more than 65536 bytes")]
#[case::cut_off(cut_off, "did not answer")]
#[case::too_slow(too_slow, "timed out")]
#[case::elsewhere(elsewhere, "answered 302")]
#[case::no_keys(no_keys, "not what it must be")]
#[tokio::test]
async fn what_is_no_key_set_is_not_taken(#[case] writing: Writing, #[case] reason: &str) {
    let issuer = Issuer::good(writing);
    let problem = Keys::of(issuer.url.clone()).find("a").await.unwrap_err();
    assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem.cause.as_ref().unwrap().contains(reason), "{problem:?}");
}

#[rstest]
#[case::other_issuer(r#"{"issuer":"ISSUER/","jwks_uri":"ISSUER/keys"}"#, "another issuer's")]
#[case::no_issuer(r#"{"jwks_uri":"ISSUER/keys"}"#, "missing field `issuer`")]
#[case::no_address(r#"{"issuer":"ISSUER"}"#, "missing field `jwks_uri`")]
#[case::not_encrypted(r#"{"issuer":"ISSUER","jwks_uri":"http://issuer.test/keys"}"#, "no https address")]
#[case::user(r#"{"issuer":"ISSUER","jwks_uri":"http://127.0.0.1@issuer.test/keys"}"#, "no https address")]
#[case::file(r#"{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}"#, "no https address")]
#[case::no_url(r#"{"issuer":"ISSUER","jwks_uri":"keys"}"#, "no https address")]
#[case::not_there(r#"{"issuer":"ISSUER","jwks_uri":"ISSUER/other"}"#, "answered 404")]
#[case::no_object("[]", "not what it must be")]
#[tokio::test]
async fn what_is_no_discovery_document_is_not_followed(#[case] document: &'static str, #[case] reason: &str) {
    let issuer = Issuer::start(document, of_length);
    let problem = Keys::of(issuer.url.clone()).find("a").await.unwrap_err();
    assert!(problem.cause.as_ref().unwrap().contains(reason), "{problem:?}");
    assert_eq!(issuer.times_asked(), 0);
}

#[rstest]
#[case("http://issuer.test", false)]
#[case("http://127.0.0.1:80/a", true)]
#[case("http://localhost", true)]
#[case("http://[::1]:80", true)]
#[case("http://localhost.issuer.test", false)]
#[case("http://localhost@issuer.test", false)]
#[case("https://localhost", false)]
#[case("", false)]
fn only_this_machine_needs_no_tls(#[case] url: &str, #[case] expected: bool) {
    assert_eq!(is_local(url), expected);
}

/// Lets so much time go by.
async fn age(keys: &Keys, by: Duration) {
    let mut held = keys.held.lock().await;
    let earlier = |at: Instant| at.checked_sub(by).unwrap();
    held.asked = held.asked.map(|(at, came)| (earlier(at), came));
    held.came = held.came.map(earlier);
}

#[tokio::test]
async fn keys_are_asked_for_when_they_are_needed_and_not_at_will() {
    let issuer = Issuer::good(of_length);
    let keys = Keys::of(issuer.url.clone());
    keys.fetch_in_advance().await;
    for _ in 0..3 {
        assert!(keys.find("a").await.unwrap().is_some());
        // It was asked for a moment ago, and there was none.
        assert_eq!(keys.find("b").await, Ok(None));
    }
    assert_eq!(issuer.times_asked(), 1);
    age(&keys, FETCH_INTERVAL).await;
    assert!(keys.find("a").await.unwrap().is_some());
    assert_eq!(issuer.times_asked(), 1, "a key that is known is not asked for again");
    assert_eq!(keys.find("b").await, Ok(None));
    assert_eq!(keys.find("b").await, Ok(None));
    assert_eq!(issuer.times_asked(), 2, "one that is not known is, once in a while");
    age(&keys, REFRESH_AGE).await;
    assert!(keys.find("a").await.unwrap().is_some());
    assert_eq!(issuer.times_asked(), 3, "old ones are asked for anew");
}

#[tokio::test]
async fn without_an_issuer_keys_are_trusted_for_a_while_and_nobody_gets_in_after() {
    let mut keys = Keys::of(Issuer::good(of_length).url);
    keys.fetch_in_advance().await;
    keys.issuer = Some("http://127.0.0.1:1".to_owned());
    age(&keys, REFRESH_AGE).await;
    assert!(keys.find("a").await.unwrap().is_some());
    assert!(keys.find("a").await.unwrap().is_some());
    let unknown = async |kid: &str| keys.find(kid).await.unwrap_err().status();
    assert_eq!(unknown("b").await, StatusCode::SERVICE_UNAVAILABLE, "whether there is one is not known");
    age(&keys, MAX_KEYS_AGE).await;
    assert_eq!(unknown("a").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown("a").await, StatusCode::SERVICE_UNAVAILABLE, "nor a moment later");
}

#[tokio::test]
async fn an_issuer_that_is_there_too_late_is_asked_again() {
    let issuer = Issuer::good(of_length);
    let mut keys = Keys::of("http://127.0.0.1:1".to_owned());
    keys.fetch_in_advance().await;
    keys.issuer = Some(issuer.url.clone());
    assert_eq!(keys.find("a").await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(issuer.times_asked(), 0);
    age(&keys, FETCH_INTERVAL).await;
    assert!(keys.find("a").await.unwrap().is_some());
}

/// A set with what issuers have in theirs besides.
#[test]
fn a_key_that_is_of_no_use_leaves_the_others() {
    let good =
        |kid: &str| json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": "AAEAAQ", "e": "AQAB" });
    let but = |name: &str, value: Value| {
        let mut key = good("bad");
        key[name] = value;
        key
    };
    let document = json!({
        "keys": [
            good("first"),
            { "kty": "EC", "kid": "bad", "crv": "P-256", "x": "AQ", "y": "AQ" },
            { "kty": "oct", "kid": "bad", "k": "AQ" },
            { "kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": "AQ" },
            { "kty": "something new", "kid": "bad" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "bad", "e": "AQAB" },
            but("kid", json!(5)), but("kid", json!(null)), but("n", json!("=")), but("e", json!([1])),
            but("alg", json!("RS512")), but("use", json!("enc")), but("use", json!({})),
            {}, [], "bad", null, 5, true,
            { "kty": "RSA", "kid": "last", "n": "AQAB", "e": "AQAB", "alg": null, "x5c": [], "key_ops": 5 },
        ],
        "more": {},
    });
    let KeySet(keys) = KeySet::read(document.to_string().as_bytes()).unwrap();
    let mut kids: Vec<&str> = keys.keys().map(String::as_str).collect();
    kids.sort_unstable();
    assert_eq!(kids, ["first", "last"]);
    assert_eq!(keys["first"], keys["last"], "zeros before a number are nothing");
}

#[rstest]
#[case("")]
#[case("[]")]
#[case("{}")]
#[case(r#"{"keys":{}}"#)]
#[case(r#"{"keys":null}"#)]
fn what_has_no_list_of_keys_is_no_set(#[case] document: &str) {
    assert!(KeySet::read(document.as_bytes()).is_err());
}
