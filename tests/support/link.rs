//! A link to AWS whose connections die while a function is frozen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long bytes take: long enough that calls which are made together need a connection each.
const DELAY: Duration = Duration::from_millis(100);

/// How a connection dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// It is reset by whatever is sent: the other side has forgotten it.
    Reset,
    /// Whatever is sent is lost, and nobody says so.
    Silent,
}

/// The link.
#[derive(Debug)]
pub struct Link {
    /// Where functions find it.
    pub url: String,
    state: Arc<Mutex<LinkState>>,
}

#[derive(Debug, Default)]
struct LinkState {
    alive: usize,
    /// What becomes of the connections that are alive.
    disconnect: watch::Sender<Option<Disconnect>>,
}

impl Link {
    /// Makes a link to this address.
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

    /// Returns how many connections there are that have not died.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.state.lock().unwrap().alive
    }

    /// Lets all connections die that there are now. Those that come later live.
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
