//! The functions' own binaries, run by the test between a Runtime API and a proxy to the emulator: killed
//! between any two of their calls, handed messages again and out of order, and lied to by AWS.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bulks;
mod deaths;
mod lies;
mod secrets;

use std::sync::{Arc, Mutex, OnceLock};

use fastrand::Rng;

use shared::domain::card::Card;
use tests::arena::{Arena, drain};
use tests::function::{Function, Invocation};
use tests::payloads::{ACCOUNT, CUSTOMER, ORG, batch, bind_event, failed, http_event};
use tests::proxy::{self, Step};
use tests::{seed, variable};

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
    let endpoint = Function::new("bind-card", arena.environment(&variable("AWS_ENDPOINT_URL"))).await;
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

/// Hands the messages to the worker in random batches, each as often as it is listed, and kills it at
/// random moments; what it had not let go comes back. Messages that it sends to its own queue join in.
async fn deliver_with_deaths(arena: &Arena, name: &str, messages: Vec<String>, how: Delivery, rng: &mut Rng) -> Run {
    // The worker is killed when the countdown ends, before or after one of its calls.
    let countdown = Arc::new(Mutex::new(None::<u32>));
    let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
    let (count, kill) = (Arc::clone(&countdown), Arc::clone(&killer));
    let url = proxy::start(move |_, _| {
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
    let worker = Function::new(name, arena.environment(&url)).await;
    killer.set(Box::new(worker.killer())).ok().unwrap();

    let mut waiting: Vec<(String, u32)> = messages.into_iter().map(|body| (body, 0)).collect();
    let mut run = Run { deliveries: 0, deaths: 0 };
    while !waiting.is_empty() {
        rng.shuffle(&mut waiting);
        let taken = waiting.split_off(waiting.len() - waiting.len().min(rng.usize(1..=how.batch)));
        let taken: Vec<_> = taken.into_iter().map(|(body, receives)| (body, receives + 1)).collect();
        run.deliveries += taken.len();
        let moments = how.moments * u32::try_from(taken.len()).unwrap() + 2;
        *countdown.lock().unwrap() = (rng.f64() < how.death).then(|| rng.u32(0..moments));
        match worker.invoke(batch(&taken)).await {
            Invocation::Answered(answer) => {
                let failed = failed(&answer);
                let back = taken.into_iter().enumerate().filter(|(position, _)| failed.contains(position));
                waiting.extend(back.map(|(_, message)| message));
            }
            Invocation::Died => {
                run.deaths += 1;
                // A dead letter only ever comes of five real tries; here deaths alone use them up.
                waiting.extend(taken.into_iter().map(|(body, _)| (body, 0)));
            }
            Invocation::Failed(error) => panic!("{error}"),
        }
        for body in arena.take_messages().await {
            // A plan that is repeated repeats all that follows of it: enough of that comes of deaths.
            let copies = if body.contains(r#""plan":"#) { 1 } else { how.copies };
            waiting.extend(vec![(body, 0); copies]);
        }
    }
    assert!(drain(&arena.sqs, &arena.dlq_url).await.is_empty());
    run
}
