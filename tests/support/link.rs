//! A link to AWS whose connections die while a function is frozen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long bytes take: long enough that calls which are made together need a connection each.
const DELAY: Duration = Duration::from_millis(100);

/// How a connection dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It is reset by whatever is sent: the other side has forgotten it.
    Reset,
    /// Whatever is sent is lost, and nobody says so.
    Silence,
}

/// The link.
#[derive(Debug)]
pub struct Link {
    /// Where functions find it.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    alive: usize,
    /// What becomes of the connections that are alive.
    fate: watch::Sender<Option<Death>>,
}

impl Link {
    /// Makes a link to this address.
    pub async fn to(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let fate = {
                    let mut state = shared.lock().unwrap();
                    state.alive += 1;
                    state.fate.subscribe()
                };
                tokio::spawn(connection(near, upstream.clone(), fate, Arc::clone(&shared)));
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
    pub fn die(&self, how: Death) {
        let mut state = self.state.lock().unwrap();
        state.alive = 0;
        std::mem::take(&mut state.fate).send_replace(Some(how));
    }
}

async fn connection(
    mut near: TcpStream,
    upstream: String,
    mut fate: watch::Receiver<Option<Death>>,
    state: Arc<Mutex<State>>,
) {
    tokio::time::sleep(DELAY).await;
    let mut far = TcpStream::connect(upstream).await.unwrap();
    let death = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {
            let mut state = state.lock().unwrap();
            state.alive = state.alive.saturating_sub(1);
            return;
        }
        fate = fate.wait_for(Option::is_some) => fate.ok().and_then(|fate| *fate),
    };
    match death {
        Some(Death::Silence) => std::future::pending().await,
        Some(Death::Reset) | None => {
            near.readable().await.unwrap();
            near.set_zero_linger().unwrap();
        }
    }
}
