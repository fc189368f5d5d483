//! The Lambda function `order-feed-worker`.

fn main() -> Result<(), shared::Error> {
    shared::worker::serve::<order_feed_worker::OrderFeedWorker>()
}
