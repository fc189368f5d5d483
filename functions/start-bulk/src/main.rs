//! The Lambda function `start-bulk`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    start_bulk::run().await
}
