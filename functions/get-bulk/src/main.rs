//! The Lambda function `get-bulk`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    get_bulk::run().await
}
