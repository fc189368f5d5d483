//! The Lambda function `webhook-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    webhook_worker::run().await
}
