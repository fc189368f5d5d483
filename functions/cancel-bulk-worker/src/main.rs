//! The Lambda function `cancel-bulk-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    cancel_bulk_worker::run().await
}
