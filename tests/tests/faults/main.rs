//! The functions' own binaries, run by the test between a Runtime API and a proxy to the emulator: killed
//! between any two of their calls, handed messages again and out of order, and lied to by AWS.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bulks;
mod cancels;
mod crew;
mod deaths;
mod held;
mod lies;
mod orders;
mod secrets;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use shared::domain::card::Card;
use tests::arena::{Arena, drain};
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, bind_event, failed, http_event};
use tests::proxy::{self, Step};
use tests::seed;

/// An arena with these cards.
async fn arena_with(cards: &[Card]) -> Arena {
    let arena = Arena::new().await;
    for card in cards {
        seed::put(&arena.dynamodb, &arena.table, ORG, card).await;
    }
    arena
}

/// Has the real endpoint accept these binds; answers the messages that it sent.
async fn accept(arena: &Arena, binds: &[(u64, Option<u64>)]) -> Vec<String> {
    let endpoint = Function::new("bind-card", arena.environment()).await;
    for (number, (card, reissued)) in binds.iter().enumerate() {
        let answer = endpoint.invoke(bind_event(*card, *reissued, &format!("key-{number}"))).await;
        let Invocation::Answered(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer["statusCode"], 202, "{answer}");
    }
    let messages = arena.take_messages().await;
    assert_eq!(messages.len(), binds.len());
    messages
}

/// How a run of redeliveries went.
struct Run {
    deliveries: usize,
    deaths: usize,
}

/// How messages are delivered.
struct Delivery {
    /// Most messages of one batch.
    batch: usize,
    /// How often a message is delivered that the worker sends to its own queue.
    copies: usize,
    /// Calls of the worker for one message, each with a moment before and one after.
    moments: u32,
    /// How likely a death is in an invocation.
    death: f64,
}

/// Messages on their way, and how many workers are busy with others.
struct Traffic {
    waiting: Vec<(String, u32)>,
    busy: usize,
    run: Run,
    rng: Rng,
}

/// Hands the messages to a crew of workers (by their functions' names; each is one process) in random
/// batches, each as often as it is listed, and kills them at random moments; what they had not let go comes
/// back. Messages that they send to their own queue join in.
async fn deliver_with_deaths(arena: &Arena, crew: &[&str], messages: Vec<String>, how: Delivery, rng: Rng) -> Run {
    let waiting = messages.into_iter().map(|body| (body, 0)).collect();
    let traffic = Mutex::new(Traffic { waiting, busy: 0, run: Run { deliveries: 0, deaths: 0 }, rng });
    join_all(crew.iter().map(|name| labour(arena, name, &traffic, &how))).await;
    assert!(drain(&arena.sqs, &arena.dlq_url).await.is_empty());
    traffic.into_inner().unwrap().run
}

/// One worker's part of the above, until nothing is left.
async fn labour(arena: &Arena, name: &str, traffic: &Mutex<Traffic>, how: &Delivery) {
    // The worker is killed when the countdown ends, before or after one of its calls.
    let countdown = Arc::new(Mutex::new(None::<u32>));
    let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
    let (count, kill) = (Arc::clone(&countdown), Arc::clone(&killer));
    let url = proxy::start_before(&arena.dynamodb_url, move |_, _| {
        let mut count = count.lock().unwrap();
        match *count {
            Some(0) => {
                kill.get().unwrap()();
                Step::Cut
            }
            Some(left) => {
                *count = Some(left - 1);
                Step::Pass
            }
            None => Step::Pass,
        }
    })
    .await;
    let worker = Function::new(name, arena.environment_behind(&url)).await;
    killer.set(Box::new(worker.killer())).ok().unwrap();
    loop {
        let Some(taken) = traffic.lock().unwrap().take(name, how.batch) else { return };
        if taken.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let moments = how.moments * u32::try_from(taken.len()).unwrap() + 2;
        *countdown.lock().unwrap() = traffic.lock().unwrap().death(how, moments);
        let invocation = worker.invoke(batch(&taken)).await;
        let sent = arena.take_messages().await;
        arena.gather_events().await;
        traffic.lock().unwrap().settle(taken, invocation, sent, how.copies);
    }
}

impl Traffic {
    /// Some of the messages for this worker, in random order; `None` once all is done.
    fn take(&mut self, name: &str, most: usize) -> Option<Vec<(String, u32)>> {
        if self.waiting.is_empty() && self.busy == 0 {
            return None;
        }
        self.rng.shuffle(&mut self.waiting);
        let (mine, others): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|(body, _)| worker_of(body) == name);
        self.waiting = others;
        let mut mine = mine;
        let taken = mine.split_off(mine.len() - mine.len().min(self.rng.usize(1..=most)));
        self.waiting.extend(mine);
        self.busy += usize::from(!taken.is_empty());
        self.run.deliveries += taken.len();
        Some(taken.into_iter().map(|(body, receives)| (body, receives + 1)).collect())
    }

    fn death(&mut self, how: &Delivery, moments: u32) -> Option<u32> {
        (self.rng.f64() < how.death).then(|| self.rng.u32(0..moments))
    }

    fn settle(&mut self, taken: Vec<(String, u32)>, invocation: Invocation, sent: Vec<String>, copies: usize) {
        self.busy -= 1;
        match invocation {
            Invocation::Answered(answer) => {
                let failed = failed(&answer);
                let back = taken.into_iter().enumerate().filter(|(position, _)| failed.contains(position));
                self.waiting.extend(back.map(|(_, message)| message));
            }
            Invocation::Died => {
                self.run.deaths += 1;
                // A dead letter only ever comes of five real tries; here deaths alone use them up.
                self.waiting.extend(taken.into_iter().map(|(body, _)| (body, 0)));
            }
            Invocation::Failed(error) => panic!("{error}"),
        }
        for body in sent {
            // A plan that is repeated repeats all that follows of it: enough of that comes of deaths.
            let copies = if body.contains(r#""step":{"plan"#) { 1 } else { copies };
            self.waiting.extend(vec![(body, 0); copies]);
        }
    }
}

/// The worker that a message is for: an arena has one queue for all.
fn worker_of(body: &str) -> &'static str {
    if !body.contains(r#""instruction":"#) {
        "order-feed-worker"
    } else if body.contains(r#""instruction":{"order":"#) {
        "cancel-orders-worker"
    } else if body.contains(r#""instruction":{"bind":"#) {
        "bind-card-worker"
    } else if body.contains(r#""program_id":"#) {
        "cancel-bulk-worker"
    } else {
        "start-bulk-worker"
    }
}
