//! The Lambda function `order-feed-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    order_feed_worker::run().await
}
