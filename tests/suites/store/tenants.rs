//! The deny list, and the buckets of tokens.

use fastrand::Rng;
use futures_util::future::join_all;
use shared::domain::tenant::{DenyList, TenantLimit};
use shared::store::StoreError;
use tests::test_env::TestEnv;

use super::{ORG, OTHER_ORG, at, org};

const SECOND: u64 = 1_000_000;
const NOW: u64 = 1_795_316_645 * SECOND;

#[tokio::test]
async fn a_change_of_the_deny_list_does_not_undo_another() {
    let store = TestEnv::new().await.store();
    let read = async || store.deny_list(true).await.unwrap();
    assert_eq!(read().await, DenyList::default());
    let (mut one, mut other) = (read().await, read().await);
    one.deny(org(), "one", at(0)).unwrap();
    other.deny(OTHER_ORG.parse().unwrap(), "other", at(1)).unwrap();
    store.replace_deny_list(&one).await.unwrap();
    let late = store.replace_deny_list(&other).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    let mut again = read().await;
    assert_eq!((again.denied.len(), again.denied[&org()].reason.as_str()), (1, "one"));
    again.deny(OTHER_ORG.parse().unwrap(), "other", at(1)).unwrap();
    store.replace_deny_list(&again).await.unwrap();
    // The version of `again` is now an old one.
    assert!(matches!(store.replace_deny_list(&again).await, Err(StoreError::Conflict { .. })));
    let mut both = read().await;
    assert_eq!(both.denied.keys().map(ToString::to_string).collect::<Vec<_>>(), [ORG, OTHER_ORG]);
    both.denied.clear();
    store.replace_deny_list(&both).await.unwrap();
    assert!(read().await.denied.is_empty());
    assert_eq!(store.deny_list(false).await.unwrap(), read().await);
}

/// Whatever was last seen of the bucket, the writes do what the rule says.
#[tokio::test]
async fn writes_to_a_bucket_follow_the_rule() {
    let store = TestEnv::new().await.store();
    let mut rng = Rng::with_seed(7);
    let (mut served, mut refused) = (0, 0);
    for number in 0..20 {
        let limit = TenantLimit::new(rng.u32(1..20), rng.u32(1..10)).unwrap();
        let org = format!("TN-6cf9a3a5-8ea1-4a37-9a43-{number:012}").parse().unwrap();
        let (mut now, mut full_at) = (NOW, 0);
        for _ in 0..15 {
            now += rng.u64(0..SECOND);
            let tokens = rng.u32(1..10);
            let last = [None, Some(full_at), Some(full_at / 2), Some(now - 1)][rng.usize(0..4)];
            let bucket = store.take_tokens(&org, limit, tokens, now, last).await.unwrap();
            if let Ok(next) = limit.take(full_at, now, tokens) {
                assert!(bucket.has_served && bucket.full_at == next, "{bucket:?}, not {next}");
                (full_at, served) = (next, served + 1);
            } else {
                assert!(!bucket.has_served && bucket.full_at == full_at, "{bucket:?}, not {full_at}");
                refused += 1;
            }
        }
    }
    assert!(served > 50 && refused > 50, "{served} served, {refused} refused");
}

/// However many processes ask at once, they do not take more than the bucket holds.
#[tokio::test]
async fn requests_at_the_same_time_share_one_bucket() {
    const BURST: u32 = 10;
    let env = TestEnv::new().await;
    let (store, limit) = (env.store(), TenantLimit::new(1, BURST).unwrap());
    let takes = (0..4 * BURST).map(|_| {
        let store = store.clone();
        async move { store.take_tokens(&org(), limit, 1, NOW, None).await.unwrap().has_served }
    });
    let served = join_all(takes).await.into_iter().filter(|served| *served).count();
    assert_eq!(served, BURST as usize);
    let rows = env.rows().await;
    let bucket = &rows[&(format!("{ORG}#RATE"), "RATE".to_owned())];
    assert_eq!(bucket["full_at"], NOW + u64::from(BURST) * SECOND);
    // DynamoDB may delete the row only when the bucket has been full for long.
    assert!(bucket["expires_at"].as_u64().unwrap() * SECOND > NOW + u64::from(BURST) * SECOND + 3_000 * SECOND);
}
