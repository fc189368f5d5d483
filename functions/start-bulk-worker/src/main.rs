//! The Lambda function `start-bulk-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    start_bulk_worker::run().await
}
