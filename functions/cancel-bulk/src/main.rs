//! The Lambda function `cancel-bulk`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    cancel_bulk::run().await
}
