//! A proxy that puts a service behind TLS and at a distance: data takes as long as in a network with this round trip.
//! A connection costs its own round trip first, then those of TLS's handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// The round-trip time, as between two regions of a continent.
pub const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Bytes read at once, and buffered between both ends.
const BUFFER: usize = 64 * 1024;

/// A TLS proxy with a certificate for `localhost`, issued by a new authority.
pub struct Terminator {
    acceptor: TlsAcceptor,
    /// The authority's certificate alone.
    pub authority: PathBuf,
    /// The authority's certificate, after those that this machine trusts: reading them all is part of a client's
    /// start.
    pub trusted: PathBuf,
}

impl Terminator {
    /// Creates the authority and the certificate, and writes their files into this folder.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Bindery's benchmarks");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![leaf.der().clone()], key).unwrap();
        let system = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        let [alone, trusted] = ["authority.pem", "trusted.pem"].map(|name| folder.join(name));
        std::fs::write(&alone, authority.pem()).unwrap();
        std::fs::write(&trusted, system + &authority.pem()).unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: alone, trusted }
    }

    /// Starts a proxy for this service, and returns the proxy's URL.
    pub async fn before(&self, service: &str) -> String {
        let service = service.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, acceptor.clone(), service.clone()));
            }
        });
        format!("https://localhost:{port}")
    }
}

/// Serves one connection. If it fails, its client sees that.
async fn serve(client: TcpStream, acceptor: TlsAcceptor, service: String) -> Option<()> {
    client.set_nodelay(true).ok()?;
    // The operating system has accepted the connection at once. The delay of SYN and its acknowledgment is simulated
    // here.
    sleep(ROUND_TRIP).await;
    let (near, far) = tokio::io::duplex(BUFFER);
    let (client_reads, client_writes) = client.into_split();
    let (near_reads, near_writes) = tokio::io::split(near);
    tokio::spawn(delayed(client_reads, near_writes));
    tokio::spawn(delayed(near_reads, client_writes));
    let mut plain = acceptor.accept(far).await.ok()?;
    let mut service = TcpStream::connect(service).await.ok()?;
    service.set_nodelay(true).ok()?;
    tokio::io::copy_bidirectional(&mut plain, &mut service).await.ok()?;
    Some(())
}

/// Forwards what it reads half a round trip later.
async fn delayed(mut from: impl AsyncRead + Unpin + Send + 'static, mut to: impl AsyncWrite + Unpin) {
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if send.send((Instant::now() + ROUND_TRIP / 2, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    while let Some((due, bytes)) = receive.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
