//! A network link to AWS whose connections break while a function is frozen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The delay of a new connection. It is long enough that simultaneous calls need a connection each.
const DELAY: Duration = Duration::from_millis(100);

/// The way in which a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// The next data sent resets the connection, because the other side no longer knows it.
    Reset,
    /// Data sent is lost silently.
    Silent,
}

/// A link to an upstream address.
#[derive(Debug)]
pub struct Link {
    /// The URL that functions connect to.
    pub url: String,
    state: Arc<Mutex<LinkState>>,
}

#[derive(Debug, Default)]
struct LinkState {
    alive: usize,
    /// Tells the open connections when and how to break.
    disconnect: watch::Sender<Option<Disconnect>>,
}

impl Link {
    /// Creates a link to this address.
    pub async fn to(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<LinkState>> = Arc::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let disconnect = {
                    let mut state = shared.lock().unwrap();
                    state.alive += 1;
                    state.disconnect.subscribe()
                };
                tokio::spawn(connection(near, upstream.clone(), disconnect, Arc::clone(&shared)));
            }
        });
        Self { url, state }
    }

    /// Returns the number of connections that are not broken.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.state.lock().unwrap().alive
    }

    /// Breaks all current connections. Later connections work.
    pub fn disconnect(&self, how: Disconnect) {
        let mut state = self.state.lock().unwrap();
        state.alive = 0;
        std::mem::take(&mut state.disconnect).send_replace(Some(how));
    }
}

async fn connection(
    mut near: TcpStream,
    upstream: String,
    mut disconnect: watch::Receiver<Option<Disconnect>>,
    state: Arc<Mutex<LinkState>>,
) {
    tokio::time::sleep(DELAY).await;
    let mut far = TcpStream::connect(upstream).await.unwrap();
    let how = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {
            let mut state = state.lock().unwrap();
            state.alive = state.alive.saturating_sub(1);
            return;
        }
        disconnect = disconnect.wait_for(Option::is_some) => disconnect.ok().and_then(|disconnect| *disconnect),
    };
    match how {
        Some(Disconnect::Silent) => std::future::pending().await,
        Some(Disconnect::Reset) | None => {
            near.readable().await.unwrap();
            near.set_zero_linger().unwrap();
        }
    }
}
