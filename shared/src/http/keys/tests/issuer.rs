//! An issuer on this machine, with all of HTTP's framings and all states that an issuer can be in.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::{FETCH_TIMEOUT, Keys};
use crate::https::MAX_BODY_BYTES;

pub(super) const DISCOVERY: &str = r#"{"issuer":"ISSUER","jwks_uri":"ISSUER/keys"}"#;
pub(super) const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#;

/// A function that writes the response to a request for the keys.
pub(super) type Writing = fn(&mut TcpStream) -> std::io::Result<()>;

pub(super) fn of_length(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len())
}

pub(super) fn chunked(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for piece in KEYS.as_bytes().chunks(7) {
        write!(stream, "{:x}\r\n", piece.len())?;
        stream.write_all(piece)?;
        write!(stream, "\r\n")?;
    }
    write!(stream, "0\r\n\r\n")
}

pub(super) fn ended_by_close(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}")
}

pub(super) fn http_1_0(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{KEYS}")
}

pub(super) fn without_end(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    // Writes until the client disconnects.
    loop {
        write!(stream, "400\r\n{}\r\n", " ".repeat(0x400))?;
    }
}

pub(super) fn too_large(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}{}", " ".repeat(MAX_BODY_BYTES + 1 - KEYS.len()))
}

pub(super) fn as_large_as_may_be(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{KEYS}{}", " ".repeat(MAX_BODY_BYTES - KEYS.len()))
}

pub(super) fn cut_off(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{KEYS}")
}

pub(super) fn too_slow(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for _ in 0..30 {
        write!(stream, "1\r\n \r\n")?;
        thread::sleep(FETCH_TIMEOUT / 20);
    }
    write!(stream, "0\r\n\r\n")
}

pub(super) fn elsewhere(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")
}

pub(super) fn no_keys(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n<html></html>")
}

pub(super) fn other_keys(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{}", KEYS.replace(r#""kid":"a""#, r#""kid":"b""#))
}

pub(super) fn empty(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n\r\n{{\"keys\":[]}}")
}

pub(super) fn broken(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len())
}

pub(super) fn silent(stream: &mut TcpStream) -> std::io::Result<()> {
    // Leaves the connection open.
    std::mem::forget(stream.try_clone()?);
    Ok(())
}

pub(super) fn hung_up(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.shutdown(Shutdown::Both)
}

/// An issuer that serves this discovery document, with its own URL in place of `ISSUER`.
pub(super) struct Issuer {
    pub(super) url: String,
    served: Arc<Mutex<(&'static str, Writing)>>,
    /// The number of requests for the keys.
    fetched: Arc<AtomicUsize>,
}

impl Issuer {
    pub(super) fn start(discovery: &'static str, writing: Writing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        let issuer = Self { url, served: Arc::new(Mutex::new((discovery, writing))), fetched: Arc::default() };
        let (url, served, fetched) = (issuer.url.clone(), Arc::clone(&issuer.served), Arc::clone(&issuer.fetched));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request_line = read_head(&stream);
                let (discovery, writing) = *served.lock().unwrap();
                // Write errors are ignored: the client has disconnected.
                if request_line == "GET /a/.well-known/openid-configuration HTTP/1.1" {
                    let document = discovery.replace("ISSUER", &url);
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{document}");
                } else if request_line == "GET /a/keys HTTP/1.1" {
                    fetched.fetch_add(1, Ordering::SeqCst);
                    let _ = writing(&mut stream);
                } else {
                    let _ = write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
            }
        });
        issuer
    }

    pub(super) fn good(writing: Writing) -> Self {
        Self::start(DISCOVERY, writing)
    }

    /// Returns the issuer's keys, before any fetch.
    pub(super) fn keys(&self) -> Keys {
        Keys::of(self.url.clone()).unwrap()
    }

    pub(super) fn switch_to(&self, discovery: &'static str, writing: Writing) {
        *self.served.lock().unwrap() = (discovery, writing);
    }

    pub(super) fn fetches(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

/// Returns the first line of a request.
fn read_head(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap_or_default);
    let first = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    first
}
