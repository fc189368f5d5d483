//! An endpoint is killed between two of its calls, and the client retries. (The simulation and the model kill workers
//! between any two of their calls, and deliver their messages again.)

use std::sync::{Arc, OnceLock};

use tests::function::{Function, Invocation};
use tests::proxy::{self, Moment, Step};
use tests::seed;

use super::{bind_event, env_with};

/// The endpoint crashes between its row and its message. The client got no 202, and its retry sends the message.
#[tokio::test]
async fn a_request_that_crashed_halfway_is_completed_by_its_retry() {
    let env = env_with(&[seed::unbound(1)]).await;
    let killer: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
    let (kill, mut alive) = (Arc::clone(&killer), true);
    let url = proxy::start(move |call, moment| {
        if alive && moment == Moment::After && call.target.ends_with("PutItem") {
            alive = false;
            kill.get().unwrap()();
            return Step::Cut;
        }
        Step::Pass
    })
    .await;
    let endpoint = Function::new("bind-card", env.environment_behind(&url)).await;
    killer.set(Box::new(endpoint.killer())).ok().unwrap();
    assert_eq!(endpoint.invoke(bind_event(1, None, "k")).await, Invocation::Crashed);
    assert_eq!(env.rows().await.len(), 2);
    assert!(env.take_messages().await.is_empty());

    let response = endpoint.invoke(bind_event(1, None, "k")).await.payload();
    assert_eq!(response["statusCode"], 202);
    assert_eq!(env.rows().await.len(), 2);
    assert_eq!(env.take_messages().await.len(), 1);
}
