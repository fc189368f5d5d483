//! The Lambda function `increment-bulk`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    increment_bulk::run().await
}
