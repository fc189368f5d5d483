//! The Lambda function `create-bulk`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    create_bulk::run().await
}
